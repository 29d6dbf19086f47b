//! Files that the kubelet writes into a volume: items of secrets and config maps, fields of the pod, tokens
//! (`validateKeyToPath`, `validateDownwardAPIVolumeFile`, `validateProjectionSources` in Kubernetes 1.36).

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, DownwardAPIVolumeFile, KeyToPath, PodCertificateProjection, ProjectedVolumeSource,
    ServiceAccountTokenProjection, Volume, VolumeProjection,
};

use crate::{
    field_error::{FieldError, Problems, check, field, item},
    labels::Selector,
    names,
    policy::compile::reference::{self, ReadBy},
};

/// Checks the files of a volume whose source stands at the path `at`.
pub(super) fn files(volume: &Volume, at: &str, problems: &mut Problems) {
    let config_map = volume.config_map.as_ref().and_then(|map| map.items.as_deref());
    let secret = volume.secret.as_ref().and_then(|secret| secret.items.as_deref());
    if let Some(list) = config_map.or(secret) {
        items(list, at, problems);
    }
    if let Some(list) = volume.downward_api.as_ref().and_then(|fields| fields.items.as_deref()) {
        fields(list, at, problems);
    }
    if let Some(projected) = &volume.projected {
        projections(projected, at, problems);
    }
}

/// Keys and the files that they become.
pub(super) fn items(items: &[KeyToPath], at: &str, problems: &mut Problems) {
    for (index, key) in items.iter().enumerate() {
        let at = item(&field(at, "items"), index);
        check(&field(&at, "key"), &key.key, names::data_key(&key.key), problems);
        path(&field(&at, "path"), &key.path, problems);
        mode(&field(&at, "mode"), key.mode, problems);
    }
    distinct(items.iter().map(|key| key.path.as_str()), &field(at, "items"), problems);
}

fn fields(items: &[DownwardAPIVolumeFile], at: &str, problems: &mut Problems) {
    for (index, file) in items.iter().enumerate() {
        let at = item(&field(at, "items"), index);
        path(&field(&at, "path"), &file.path, problems);
        mode(&field(&at, "mode"), file.mode, problems);
        match (&file.field_ref, &file.resource_field_ref) {
            (Some(of), None) => reference::pod_field(of, ReadBy::Volume, &field(&at, "fieldRef"), problems),
            (None, Some(of)) => reference::resource(of, ReadBy::Volume, &field(&at, "resourceFieldRef"), problems),
            _ => problems.push(FieldError::new(at, "must have exactly one of fieldRef and resourceFieldRef")),
        }
    }
    distinct(items.iter().map(|file| file.path.as_str()), &field(at, "items"), problems);
}

fn projections(projected: &ProjectedVolumeSource, at: &str, problems: &mut Problems) {
    let sources = projected.sources.as_deref().unwrap_or_default();
    for (index, source) in sources.iter().enumerate() {
        projection(source, &item(&field(at, "sources"), index), problems);
    }
    distinct(sources.iter().flat_map(paths), &field(at, "sources"), problems);
}

fn projection(source: &VolumeProjection, at: &str, problems: &mut Problems) {
    let kinds = [
        source.secret.is_some(),
        source.config_map.is_some(),
        source.downward_api.is_some(),
        source.service_account_token.is_some(),
        source.cluster_trust_bundle.is_some(),
        source.pod_certificate.is_some(),
    ];
    let count = kinds.iter().filter(|is_there| **is_there).count();
    if count != 1 {
        problems.push(FieldError::new(at, format!("must have exactly one source; it has {count}")));
    }
    if let Some(secret) = &source.secret {
        let at = field(at, "secret");
        check(&field(&at, "name"), &secret.name, names::secret_name(&secret.name), problems);
        items(secret.items.as_deref().unwrap_or_default(), &at, problems);
    }
    if let Some(map) = &source.config_map {
        let at = field(at, "configMap");
        check(&field(&at, "name"), &map.name, names::config_map_name(&map.name), problems);
        items(map.items.as_deref().unwrap_or_default(), &at, problems);
    }
    if let Some(list) = source.downward_api.as_ref().and_then(|source| source.items.as_deref()) {
        fields(list, &field(at, "downwardAPI"), problems);
    }
    if let Some(source) = &source.service_account_token {
        token(source, &field(at, "serviceAccountToken"), problems);
    }
    if let Some(source) = &source.cluster_trust_bundle {
        trust_bundle(source, &field(at, "clusterTrustBundle"), problems);
    }
    if let Some(source) = &source.pod_certificate {
        certificate(source, &field(at, "podCertificate"), problems);
    }
}

fn token(token: &ServiceAccountTokenProjection, at: &str, problems: &mut Problems) {
    path(&field(at, "path"), &token.path, problems);
    if let Some(seconds) = token.expiration_seconds.filter(|seconds| !(600..=1 << 32).contains(seconds)) {
        let why = format!("{seconds} must be 600 to {}", 1_i64 << 32);
        problems.push(FieldError::new(field(at, "expirationSeconds"), why));
    }
}

fn trust_bundle(bundle: &ClusterTrustBundleProjection, at: &str, problems: &mut Problems) {
    path(&field(at, "path"), &bundle.path, problems);
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if given(&bundle.name) == given(&bundle.signer_name) {
        problems.push(FieldError::new(at, "must have exactly one of name and signerName"));
    }
    match &bundle.label_selector {
        Some(_) if given(&bundle.name) => {
            problems.push(FieldError::new(field(at, "labelSelector"), "must be left out with name"));
        }
        Some(selector) => {
            Selector::parse(selector, &field(at, "labelSelector"), problems);
        }
        None => {}
    }
}

fn certificate(certificate: &PodCertificateProjection, at: &str, problems: &mut Problems) {
    const KINDS: [&str; 6] = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    if !KINDS.contains(&certificate.key_type.as_str()) {
        let allowed = "must be RSA3072, RSA4096, ECDSAP256, ECDSAP384, ECDSAP521 or ED25519";
        check(&field(at, "keyType"), &certificate.key_type, Err(allowed), problems);
    }
    if certificate.max_expiration_seconds.is_some_and(|seconds| seconds < 3600) {
        problems.push(FieldError::new(field(at, "maxExpirationSeconds"), "must be at least 3600"));
    }
    let files = certificate_files(certificate);
    if files.iter().all(|(_, file)| file.is_none()) {
        problems.push(FieldError::new(at, "needs credentialBundlePath, keyPath or certificateChainPath"));
    }
    for (name, file) in files {
        if let Some(file) = file {
            path(&field(at, name), file, problems);
        }
    }
}

fn certificate_files(certificate: &PodCertificateProjection) -> [(&'static str, Option<&str>); 3] {
    [
        ("credentialBundlePath", certificate.credential_bundle_path.as_deref()),
        ("keyPath", certificate.key_path.as_deref()),
        ("certificateChainPath", certificate.certificate_chain_path.as_deref()),
    ]
}

/// The files that a projection makes, as far as it says them.
fn paths(source: &VolumeProjection) -> Vec<&str> {
    let secret = source.secret.iter().flat_map(|secret| secret.items.iter().flatten());
    let map = source.config_map.iter().flat_map(|map| map.items.iter().flatten());
    let fields = source.downward_api.iter().flat_map(|fields| fields.items.iter().flatten());
    let token = source.service_account_token.iter().map(|token| token.path.as_str());
    let bundle = source.cluster_trust_bundle.iter().map(|bundle| bundle.path.as_str());
    let certificate = source.pod_certificate.iter().flat_map(certificate_files).filter_map(|(_, file)| file);
    let items = secret.chain(map).map(|key| key.path.as_str());
    items.chain(fields.map(|file| file.path.as_str())).chain(token).chain(bundle).chain(certificate).collect()
}

fn path(at: &str, value: &str, problems: &mut Problems) {
    let outcome = if value.is_empty() { Err("must not be empty") } else { names::file_path(value) };
    check(at, value, outcome, problems);
}

fn mode(at: &str, mode: Option<i32>, problems: &mut Problems) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        problems.push(FieldError::new(at, format!("{mode} must be 0 to 511 (0777)")));
    }
}

/// Of two files at one path, or one inside the other, the kubelet can write only one.
fn distinct<'s>(paths: impl Iterator<Item = &'s str>, at: &str, problems: &mut Problems) {
    let mut clean: Vec<String> =
        paths.filter(|path| !path.is_empty()).map(|path| names::clean_path(path).into_owned()).collect();
    // What lies inside another comes right after it.
    clean.sort_unstable_by_key(|path| path.replace('/', "\0"));
    for pair in clean.windows(2) {
        let [one, other] = pair else { continue };
        let is_inside = other.strip_prefix(one.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_inside {
            let (one, other) = (one.trim_start_matches('/'), other.trim_start_matches('/'));
            problems.push(FieldError::new(at, format!("files {one:?} and {other:?} cannot both be written")));
        }
    }
}
