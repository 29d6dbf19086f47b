//! What the API server will refuse of a volume's source (`validateVolumeSource` in Kubernetes 1.36), found before it is
//! put on a pod: the schema knows the types of the fields and not what must be in them.
//!
//! Stricter than the API server where it accepts what no kubelet can then mount as a folder: an unknown medium, a claim
//! template of block devices, a host path that is not absolute.

use k8s_openapi::api::core::v1::{
    AzureDiskVolumeSource, CSIVolumeSource, FCVolumeSource, FlexVolumeSource, FlockerVolumeSource,
    PersistentVolumeClaimTemplate, QuobyteVolumeSource, StorageOSVolumeSource, Volume,
};
use serde_json::Value;

use crate::{
    field_error::{FieldError, Problems, check, field, item},
    labels::Selector,
    names,
    policy::compile::projection,
    quantity::Quantity,
};

/// What `hostPath.type` may be.
pub(super) const HOST_PATH_TYPES: [&str; 8] =
    ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];

/// What a source of each kind must have, and not empty.
const REQUIRED: [(&str, &[&str]); 24] = [
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("configMap", &["name"]),
    ("csi", &["driver"]),
    ("ephemeral", &["volumeClaimTemplate"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("hostPath", &["path"]),
    ("image", &["reference"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("nfs", &["server", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("quobyte", &["registry", "volume"]),
    ("rbd", &["monitors", "image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("secret", &["secretName"]),
    ("vsphereVolume", &["volumePath"]),
];

/// References to secrets whose name the API server asks for.
const SECRET_REFS: [(&str, &str); 3] =
    [("cinder", "secretRef"), ("storageos", "secretRef"), ("csi", "nodePublishSecretRef")];

/// Checks the source of `volume`, which is of `kind`, has this `content` and stands at the path `at`.
pub(super) fn volume_source(kind: &str, content: &Value, volume: &Volume, at: &str) -> Problems {
    let mut problems = required(kind, content, at);
    // What is missing is said once.
    let mut text = |name: &str, allowed: fn(&str) -> names::Check| {
        if let Some(value) = content.get(name).and_then(Value::as_str).filter(|value| !value.is_empty()) {
            check(&field(at, name), value, allowed(value), &mut problems);
        }
    };
    match kind {
        "configMap" => text("name", names::config_map_name),
        "gitRepo" => text("directory", names::sub_path),
        "hostPath" => {
            text("path", names::host_path);
            text("type", host_path_type);
        }
        "nfs" => text("path", absolute),
        "emptyDir" => text("medium", medium),
        "image" => text("pullPolicy", pull_policy),
        _ => {}
    }
    numbers(kind, content, at, &mut problems);
    projection::files(volume, at, &mut problems);
    if let Some(template) = volume.ephemeral.as_ref().and_then(|ephemeral| ephemeral.volume_claim_template.as_ref()) {
        claim_template(template, &field(at, "volumeClaimTemplate"), &mut problems);
    }
    vendors(volume, at, &mut problems);
    problems
}

fn required(kind: &str, content: &Value, at: &str) -> Problems {
    let fields = REQUIRED.iter().filter(|(of, _)| *of == kind).flat_map(|(_, fields)| fields.iter());
    let absent = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    };
    let mut problems: Problems = fields
        .filter(|name| absent(content.get(**name)))
        .map(|name| FieldError::new(field(at, name), "must not be empty"))
        .collect();
    for (_, reference) in SECRET_REFS.iter().filter(|(of, _)| *of == kind) {
        let Some(secret) = content.get(reference).filter(|secret| !secret.is_null()) else { continue };
        let name = secret.get("name").and_then(Value::as_str).unwrap_or_default();
        check(&field(&field(at, reference), "name"), name, names::secret_name(name), &mut problems);
    }
    problems
}

/// Numbers that have bounds.
fn numbers(kind: &str, content: &Value, at: &str, problems: &mut Problems) {
    let bounds: &[(&str, i64)] = match kind {
        "awsElasticBlockStore" | "gcePersistentDisk" => &[("partition", 255)],
        "fc" | "iscsi" => &[("lun", 255)],
        "configMap" | "downwardAPI" | "projected" | "secret" => &[("defaultMode", 0o777)],
        _ => &[],
    };
    for (name, most) in bounds {
        if let Some(number) = content.get(name).and_then(Value::as_i64).filter(|number| !(0..=*most).contains(number)) {
            problems.push(FieldError::new(field(at, name), format!("{number} must be 0 to {most}")));
        }
    }
    let size = content.get("sizeLimit").filter(|_| kind == "emptyDir").and_then(Value::as_str);
    if size.and_then(|size| size.parse::<Quantity>().ok()).is_some_and(Quantity::is_negative) {
        problems.push(FieldError::new(field(at, "sizeLimit"), "must not be negative"));
    }
}

/// A claim that is made for each pod (`ValidatePersistentVolumeClaimTemplate`).
fn claim_template(template: &PersistentVolumeClaimTemplate, at: &str, problems: &mut Problems) {
    let spec = &template.spec;
    let at_spec = field(at, "spec");
    let metadata = template.metadata.iter();
    for (key, value) in metadata.clone().filter_map(|metadata| metadata.labels.as_ref()).flatten() {
        let at = field(&field(&field(at, "metadata"), "labels"), key);
        check(&at, key, names::label_key(key), problems);
        check(&at, value, names::label_value(value), problems);
    }
    for key in metadata.filter_map(|metadata| metadata.annotations.as_ref()).flat_map(|map| map.keys()) {
        check(&field(&field(&field(at, "metadata"), "annotations"), key), key, names::annotation_key(key), problems);
    }
    access_modes(spec.access_modes.as_deref().unwrap_or_default(), &field(&at_spec, "accessModes"), problems);
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let size = requests.and_then(|requests| requests.get("storage")).map(|size| size.0.as_str());
    let is_size = |size: &str| size.parse::<Quantity>().is_ok_and(|size| size > Quantity::default());
    if !size.is_some_and(is_size) {
        let at = field(&field(&field(&at_spec, "resources"), "requests"), "storage");
        problems.push(FieldError::new(at, "must be more than 0"));
    }
    let classes = [
        ("storageClassName", &spec.storage_class_name),
        ("volumeAttributesClassName", &spec.volume_attributes_class_name),
    ];
    for (name, class) in classes {
        if let Some(class) = class.as_deref().filter(|class| !class.is_empty()) {
            check(&field(&at_spec, name), class, names::dns1123_subdomain(class), problems);
        }
    }
    if let Some(mode) = spec.volume_mode.as_deref().filter(|mode| *mode != "Filesystem") {
        let allowed = Err("must be Filesystem: a block device cannot be mounted");
        check(&field(&at_spec, "volumeMode"), mode, allowed, problems);
    }
    if let Some(selector) = &spec.selector {
        Selector::parse(selector, &field(&at_spec, "selector"), problems);
    }
}

fn access_modes(modes: &[String], at: &str, problems: &mut Problems) {
    const ALONE: &str = "ReadWriteOncePod";
    if modes.is_empty() {
        problems.push(FieldError::new(at, "must not be empty"));
    }
    for (index, mode) in modes.iter().enumerate() {
        if !matches!(mode.as_str(), "ReadWriteOnce" | "ReadOnlyMany" | "ReadWriteMany" | ALONE) {
            let allowed = Err("must be ReadWriteOnce, ReadOnlyMany, ReadWriteMany or ReadWriteOncePod");
            check(&item(at, index), mode, allowed, problems);
        }
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == ALONE) {
        problems.push(FieldError::new(at, format!("{ALONE} cannot stand beside another mode")));
    }
}

/// What is peculiar to single drivers.
fn vendors(volume: &Volume, at: &str, problems: &mut Problems) {
    if let Some(csi) = &volume.csi {
        csi_driver(csi, at, problems);
    }
    if let Some(flex) = &volume.flex_volume {
        flex_options(flex, at, problems);
    }
    if let Some(disk) = &volume.azure_disk {
        azure_disk(disk, at, problems);
    }
    if let Some(fc) = &volume.fc {
        fibre_channel(fc, at, problems);
    }
    if let Some(iscsi) = &volume.iscsi {
        iqn(&field(at, "iqn"), &iscsi.iqn, problems);
        if let Some(name) = &iscsi.initiator_name {
            iqn(&field(at, "initiatorName"), name, problems);
        }
        let asks = iscsi.chap_auth_discovery == Some(true) || iscsi.chap_auth_session == Some(true);
        if asks && iscsi.secret_ref.is_none() {
            problems
                .push(FieldError::new(field(at, "secretRef"), "required with chapAuthDiscovery or chapAuthSession"));
        }
    }
    if let Some(flocker) = &volume.flocker {
        flocker_dataset(flocker, at, problems);
    }
    if let Some(quobyte) = &volume.quobyte {
        quobyte_registry(quobyte, at, problems);
    }
    if let Some(storageos) = &volume.storageos {
        storageos_names(storageos, at, problems);
    }
}

fn csi_driver(csi: &CSIVolumeSource, at: &str, problems: &mut Problems) {
    let driver = &csi.driver;
    let is_name =
        driver.len() <= names::DNS1123_LABEL_MAX && names::dns1123_subdomain(&driver.to_ascii_lowercase()).is_ok();
    if !driver.is_empty() && !is_name {
        let allowed = Err("must be a DNS subdomain of at most 63 characters");
        check(&field(at, "driver"), driver, allowed, problems);
    }
}

fn flex_options(flex: &FlexVolumeSource, at: &str, problems: &mut Problems) {
    for key in flex.options.iter().flat_map(|options| options.keys()) {
        let domain = key.split_once('/').map_or(key.as_str(), |(domain, _)| domain);
        let domain = format!(".{}", domain.to_ascii_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let at = field(&field(at, "options"), key);
            problems.push(FieldError::new(at, "kubernetes.io and k8s.io are reserved"));
        }
    }
}

fn azure_disk(disk: &AzureDiskVolumeSource, at: &str, problems: &mut Problems) {
    let words: [(&str, &Option<String>, &[&str], &'static str); 2] = [
        ("cachingMode", &disk.caching_mode, &["None", "ReadOnly", "ReadWrite"], "must be None, ReadOnly or ReadWrite"),
        ("kind", &disk.kind, &["Shared", "Dedicated", "Managed"], "must be Shared, Dedicated or Managed"),
    ];
    for (name, word, known, allowed) in words {
        if let Some(word) = word.as_deref().filter(|word| !known.contains(word)) {
            check(&field(at, name), word, Err(allowed), problems);
        }
    }
    let (start, allowed) = match disk.kind.as_deref() {
        None => return,
        Some("Managed") => ("/subscriptions/", "must begin with /subscriptions/ where kind is Managed"),
        Some(_) => ("https://", "must begin with https:// unless kind is Managed"),
    };
    if !disk.disk_uri.starts_with(start) {
        check(&field(at, "diskURI"), &disk.disk_uri, Err(allowed), problems);
    }
}

fn fibre_channel(fc: &FCVolumeSource, at: &str, problems: &mut Problems) {
    let has = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if has(&fc.target_wwns) == has(&fc.wwids) {
        problems.push(FieldError::new(at, "must have either targetWWNs or wwids"));
    }
    if has(&fc.target_wwns) && fc.lun.is_none() {
        problems.push(FieldError::new(field(at, "lun"), "required with targetWWNs"));
    }
}

/// `validateISCSIVolumeSource`, whose patterns are looser than the names they mean.
fn iqn(at: &str, name: &str, problems: &mut Problems) {
    let is_dated = |rest: &str| {
        let (date, rest) = rest.split_once('.').unwrap_or((rest, ""));
        let (year, month) = date.split_once('-').unwrap_or((date, ""));
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        let (authority, name) = rest.split_once(':').unwrap_or((rest, ""));
        let is_authority = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let is_odd = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '*' | '&' | '$' | '|');
        digits(year, 4)
            && digits(month, 2)
            && !authority.is_empty()
            && authority.bytes().all(is_authority)
            && !name.is_empty()
            && !name.contains(is_odd)
    };
    let is_hex = |rest: &str, count| rest.len() == count && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_name = name.strip_prefix("iqn.").is_some_and(is_dated)
        || name.strip_prefix("eui.").is_some_and(|rest| is_hex(rest, 16))
        || name.strip_prefix("naa.").is_some_and(|rest| is_hex(rest, 32));
    if !name.is_empty() && !is_name {
        check(at, name, Err("must be a name like iqn.2001-04.com.example:disk, eui.… or naa.…"), problems);
    }
}

fn flocker_dataset(flocker: &FlockerVolumeSource, at: &str, problems: &mut Problems) {
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if given(&flocker.dataset_name) == given(&flocker.dataset_uuid) {
        problems.push(FieldError::new(at, "must have either datasetName or datasetUUID"));
    }
    if let Some(name) = flocker.dataset_name.as_deref().filter(|name| name.contains('/')) {
        check(&field(at, "datasetName"), name, Err("must not contain '/'"), problems);
    }
}

fn quobyte_registry(quobyte: &QuobyteVolumeSource, at: &str, problems: &mut Problems) {
    if quobyte.tenant.as_ref().is_some_and(|tenant| tenant.len() > 64) {
        problems.push(FieldError::new(field(at, "tenant"), "must have at most 64 characters"));
    }
    let is_pair =
        |pair: &str| pair.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    if !quobyte.registry.is_empty() && !quobyte.registry.split(',').all(is_pair) {
        let allowed = Err("must be host:port, or several by commas");
        check(&field(at, "registry"), &quobyte.registry, allowed, problems);
    }
}

fn storageos_names(storageos: &StorageOSVolumeSource, at: &str, problems: &mut Problems) {
    let name = storageos.volume_name.as_deref().unwrap_or_default();
    check(&field(at, "volumeName"), name, names::dns1123_label(name), problems);
    if let Some(namespace) = storageos.volume_namespace.as_deref().filter(|name| !name.is_empty()) {
        check(&field(at, "volumeNamespace"), namespace, names::namespace(namespace), problems);
    }
}

fn host_path_type(kind: &str) -> names::Check {
    let allowed = "is not allowed; use one of DirectoryOrCreate, Directory, FileOrCreate, File, Socket, CharDevice, BlockDevice, or nothing";
    if HOST_PATH_TYPES.contains(&kind) { Ok(()) } else { Err(allowed) }
}

fn absolute(path: &str) -> names::Check {
    if path.starts_with('/') { Ok(()) } else { Err("must be an absolute path") }
}

/// The API server takes any word, and the kubelet then mounts nothing.
fn medium(word: &str) -> names::Check {
    let is_size = |size: &str| size.parse::<Quantity>().is_ok_and(|size| size > Quantity::default());
    let is_known = matches!(word, "Memory" | "HugePages") || word.strip_prefix("HugePages-").is_some_and(is_size);
    if is_known { Ok(()) } else { Err("must be Memory, HugePages or HugePages-SIZE, or left out for the node's disk") }
}

fn pull_policy(word: &str) -> names::Check {
    if matches!(word, "Always" | "IfNotPresent" | "Never") {
        Ok(())
    } else {
        Err("must be Always, IfNotPresent or Never")
    }
}
