//! The API server's rules for names, keys and paths, one function each.
//!
//! Every check answers `Err` with a phrase that completes "FIELD: value VALUE …" and names what is
//! allowed. The rules are those of apimachinery's `util/validation` and of `core/validation` in
//! Kubernetes 1.36; where Stowage is stricter the function says so. Policies are checked with these
//! when they are compiled, and a name made from placeholders again once it is known.

mod references;

use std::borrow::Cow;

pub use self::references::{expand_variables, variable_references};

/// The outcome of a check: `Err` says what would have been allowed.
pub type Check = Result<(), &'static str>;

/// Annotation of a static pod's mirror; the API server lets nobody change such a pod.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// The lowest priority of pods that the cluster needs to run (`SystemCriticalPriority`); users' classes end at half of it.
pub const SYSTEM_CRITICAL_PRIORITY: i64 = 2_000_000_000;

/// What the API server allows the annotations of an object to weigh (`apimachinery/pkg/api/validation`), in bytes.
pub const ANNOTATIONS_MAX: usize = 256 * 1024;

/// Bytes in a DNS-1123 label.
pub const DNS1123_LABEL_MAX: usize = 63;
/// Bytes in a DNS-1123 subdomain.
pub const DNS1123_SUBDOMAIN_MAX: usize = 253;
/// Bytes in a label value, and in the part of a label key after the slash.
pub const LABEL_VALUE_MAX: usize = 63;

const DNS1123_LABEL: &str =
    "must be a DNS label: 1 to 63 lowercase letters, digits or '-', beginning and ending with a letter or digit";
const DNS1123_SUBDOMAIN: &str = "must be a DNS subdomain: 1 to 253 lowercase letters, digits, '-' or '.', each part between dots beginning and ending with a letter or digit";
const QUALIFIED_NAME: &str = "must be a key like 'name' or 'example.com/name': a name of 1 to 63 letters, digits, '-', '_' or '.', beginning and ending with a letter or digit, after an optional lowercase DNS prefix and '/'";
const LABEL_VALUE: &str =
    "must be empty or 1 to 63 letters, digits, '-', '_' or '.', beginning and ending with a letter or digit";
const ENV_VAR_NAME: &str = "must be one or more printable ASCII characters without '='";
const DATA_KEY: &str = "must be 1 to 253 letters, digits, '-', '_' or '.', and neither '.' nor begin with '..'";
const CONTAINER_PATTERN: &str =
    "must be 1 to 63 lowercase letters, digits or '-', beginning and ending with a letter or digit; '*' is any text";
const MOUNT_PATH: &str = "must be an absolute path without ':'";
const HOST_PATH: &str = "must be an absolute path without a '..' component";
const SUB_PATH: &str = "must be a relative path without a '..' component";
const FILE_PATH: &str = "must be a relative path without a '..' component, and must not begin with '..'";
const LONG_PATH: &str = "must have at most 255 bytes between slashes and 4095 in all, and no NUL";
const CONTAINER_RESOURCE: &str =
    "must be 'cpu', 'memory', 'ephemeral-storage', 'hugepages-SIZE' or an extended resource like 'example.com/name'";

/// A DNS-1123 label (`IsDNS1123Label`).
pub fn dns1123_label(value: &str) -> Check {
    ensure(is_dns1123_label(value), DNS1123_LABEL)
}

/// A DNS-1123 subdomain (`IsDNS1123Subdomain`).
pub fn dns1123_subdomain(value: &str) -> Check {
    ensure(is_dns1123_subdomain(value), DNS1123_SUBDOMAIN)
}

/// A namespace's name: a DNS label.
pub fn namespace(value: &str) -> Check {
    dns1123_label(value)
}

/// A container's name: a DNS label.
pub fn container_name(value: &str) -> Check {
    dns1123_label(value)
}

/// A container's name, in which `*` stands for any text.
pub fn container_pattern(value: &str) -> Check {
    // Whatever a star stands for, what is around it must be able to be a part of a name.
    dns1123_label(&value.replace('*', "a")).map_err(|_| CONTAINER_PATTERN)
}

/// A volume's name inside a pod: a DNS label.
pub fn volume_name(value: &str) -> Check {
    dns1123_label(value)
}

/// The name of a Secret: a DNS subdomain.
pub fn secret_name(value: &str) -> Check {
    dns1123_subdomain(value)
}

/// The name of a ConfigMap: a DNS subdomain.
pub fn config_map_name(value: &str) -> Check {
    dns1123_subdomain(value)
}

/// The name of a PersistentVolumeClaim: a DNS subdomain.
pub fn claim_name(value: &str) -> Check {
    dns1123_subdomain(value)
}

/// The name of a ServiceAccount: a DNS subdomain.
pub fn service_account_name(value: &str) -> Check {
    dns1123_subdomain(value)
}

/// The name of a PriorityClass: a DNS subdomain.
pub fn priority_class_name(value: &str) -> Check {
    dns1123_subdomain(value)
}

/// The name of a policy: a DNS subdomain.
pub fn policy_name(value: &str) -> Check {
    dns1123_subdomain(value)
}

/// A label's key (`IsQualifiedName`): `name` or `prefix/name`.
pub fn label_key(value: &str) -> Check {
    ensure(is_qualified_name(value), QUALIFIED_NAME)
}

/// A label's value (`IsValidLabelValue`); the empty string is one.
pub fn label_value(value: &str) -> Check {
    ensure(value.is_empty() || is_name_part(value), LABEL_VALUE)
}

/// An annotation's key: as a label's, but letters of the prefix may be of either case
/// (`ValidateAnnotations` lowers the key first).
pub fn annotation_key(value: &str) -> Check {
    label_key(&value.to_ascii_lowercase())
}

/// A taint's key, as a toleration names it: as a label's. A toleration's empty key is the caller's
/// case.
pub fn taint_key(value: &str) -> Check {
    label_key(value)
}

/// A taint's value, as a toleration names it: as a label's.
pub fn taint_value(value: &str) -> Check {
    label_value(value)
}

/// A `topologyKey`: a node label's key.
pub fn topology_key(value: &str) -> Check {
    label_key(value)
}

/// An environment variable's name, or the prefix of an `envFrom` (`IsRelaxedEnvVarName`, the rule
/// of every supported release).
pub fn env_var_name(value: &str) -> Check {
    let printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=');
    ensure(!value.is_empty() && printable, ENV_VAR_NAME)
}

/// A key of a Secret's or ConfigMap's data (`IsConfigMapKey`).
pub fn data_key(value: &str) -> Check {
    let charset = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let sized = (1..=DNS1123_SUBDOMAIN_MAX).contains(&value.len());
    ensure(charset && sized && value != "." && !value.starts_with(".."), DATA_KEY)
}

/// A `mountPath`. The API server asks for a non-empty path without ':' (runtimes read it as a
/// separator); Stowage asks for an absolute one, since a relative path means something else to
/// every runtime.
pub fn mount_path(value: &str) -> Check {
    ensure(value.starts_with('/') && !value.contains(':'), MOUNT_PATH)?;
    ensure(fits_a_node(value), LONG_PATH)
}

/// A `subPath` (`validateLocalDescendingPath`). The empty string is the volume's root.
pub fn sub_path(value: &str) -> Check {
    ensure(!value.starts_with('/') && has_no_backsteps(value), SUB_PATH)?;
    ensure(fits_a_node(value), LONG_PATH)
}

/// The path of a file that the kubelet writes into a volume (`ValidateLocalNonReservedPath`): the
/// kubelet's own names there begin with `..`.
pub fn file_path(value: &str) -> Check {
    ensure(!value.starts_with('/') && has_no_backsteps(value) && !value.starts_with(".."), FILE_PATH)?;
    ensure(fits_a_node(value), LONG_PATH)
}

/// A `hostPath.path` (`validatePathNoBacksteps`; Stowage asks for an absolute one too).
pub fn host_path(value: &str) -> Check {
    ensure(value.starts_with('/') && has_no_backsteps(value), HOST_PATH)?;
    ensure(fits_a_node(value), LONG_PATH)
}

/// The name of a resource that a container may ask for (`validateContainerResourceName`).
pub fn container_resource(value: &str) -> Check {
    let known = matches!(value, "cpu" | "memory" | "ephemeral-storage")
        || is_hugepages(value)
        || is_extended_resource(value)
        || (value.contains("kubernetes.io/") && is_qualified_name(value));
    ensure(known, CONTAINER_RESOURCE)
}

/// Whether a resource is an extended one (`IsExtendedResourceName`): a GPU, a network device, an
/// FPGA. Its amounts are whole and its request equals its limit.
#[must_use]
pub fn is_extended_resource(value: &str) -> bool {
    let native = !value.contains('/') || value.contains("kubernetes.io/");
    // The quota of an extended resource is named "requests.NAME", so that has to be valid as well.
    !native && !value.starts_with("requests.") && is_qualified_name(&format!("requests.{value}"))
}

/// Whether a resource is a size of huge pages (`IsHugePageResourceName`), which like an extended
/// resource cannot be overcommitted.
#[must_use]
pub fn is_hugepages(value: &str) -> bool {
    value.strip_prefix("hugepages-").is_some_and(|size| !size.is_empty() && is_qualified_name(value))
}

fn ensure(holds: bool, allowed: &'static str) -> Check {
    if holds { Ok(()) } else { Err(allowed) }
}

fn is_dns1123_label(value: &str) -> bool {
    value.len() <= DNS1123_LABEL_MAX && is_dns1123_part(value)
}

fn is_dns1123_subdomain(value: &str) -> bool {
    value.len() <= DNS1123_SUBDOMAIN_MAX && value.split('.').all(is_dns1123_part)
}

fn is_dns1123_part(value: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    edge(value.bytes().next()) && edge(value.bytes().next_back()) && value.bytes().all(inner)
}

fn is_qualified_name(value: &str) -> bool {
    match value.split_once('/') {
        Some((prefix, name)) => is_dns1123_subdomain(prefix) && is_name_part(name),
        None => is_name_part(value),
    }
}

fn is_name_part(value: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    value.len() <= LABEL_VALUE_MAX
        && edge(value.bytes().next())
        && edge(value.bytes().next_back())
        && value.bytes().all(inner)
}

fn has_no_backsteps(value: &str) -> bool {
    value.split('/').all(|component| component != "..")
}

/// Whether Linux has room for the path (`NAME_MAX`, `PATH_MAX`): the API server asks nothing of that,
/// and no container starts with such a mount.
fn fits_a_node(value: &str) -> bool {
    value.len() < 4096 && !value.contains('\0') && value.split('/').all(|component| component.len() <= 255)
}

/// A path as the kubelet compares it: from the root, without double and trailing slashes. The kubelet makes a relative
/// `mountPath` absolute (`makeMounts`).
#[must_use]
pub fn clean_path(path: &str) -> Cow<'_, str> {
    let is_absolute = path.starts_with('/');
    let clean = !path.contains("//") && (path.len() == 1 || !path.ends_with('/')) && !path.contains("/.");
    if is_absolute && clean {
        return Cow::Borrowed(path);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    Cow::Owned(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_table(check: fn(&str) -> Check, good: &[&str], bad: &[&str]) {
        for value in good {
            assert_eq!(check(value), Ok(()), "{value:?} is allowed");
        }
        for value in bad {
            assert!(check(value).is_err(), "{value:?} is refused");
        }
    }

    #[test]
    fn dns_labels_are_short_lowercase_and_without_dots() {
        let long = "a".repeat(63);
        let longer = "a".repeat(64);
        check_table(
            dns1123_label,
            &["a", "0", "a-b", "pipeline", &long],
            &["", "-a", "a-", "A", "a.b", "a_b", "ä", "a b", &longer],
        );
    }

    #[test]
    fn dns_subdomains_have_no_empty_part() {
        let long = format!("{}.b", "a".repeat(251));
        let longer = format!("{}.b", "a".repeat(252));
        check_table(
            dns1123_subdomain,
            &["a", "a.b", "mlrun-auth-secrets.0ab1", &long],
            &["", ".", "a.", ".a", "a..b", "a.-b", "A.b", "a/b", &longer],
        );
    }

    #[test]
    fn label_keys_take_one_lowercase_prefix() {
        let long = "a".repeat(63);
        let longer = "a".repeat(64);
        check_table(
            label_key,
            &["a", "A", "mlrun/class", "app.iguazio.com/lifecycle", "a_b.c-d", "x/A", &long],
            &["", "/", "a/", "/a", "a/b/c", "A/b", "-a", "a-", "a b", "{x}", &longer],
        );
        check_table(annotation_key, &["Example.com/Name"], &["example com/name", "a/b/c"]);
    }

    #[test]
    fn label_values_may_be_empty_but_hold_no_slash() {
        let longer = "a".repeat(64);
        check_table(label_value, &["", "a", "A.b_c-d", "0"], &["-", "a-", "_a", "a/b", "a b", &longer]);
    }

    #[test]
    fn env_var_names_are_printable_without_equals() {
        check_table(env_var_name, &["A", "a.b-c", "1A", "a b", "{}"], &["", "A=B", "A\n", "ä"]);
    }

    #[test]
    fn data_keys_do_not_walk() {
        check_table(data_key, &["key.json", ".x", "A_b"], &["", ".", "..", "..a", "a/b", "a b"]);
    }

    #[test]
    fn paths_stay_where_they_are_put() {
        check_table(mount_path, &["/", "/a/../b", "/User"], &["", "a", "/a:b", "./a"]);
        check_table(sub_path, &["", "a/b", "a..b", "..a"], &["/a", "..", "a/..", "a/../b"]);
        check_table(host_path, &["/", "/mnt/x"], &["", "mnt", "/a/../b", "/.."]);
        check_table(file_path, &["a/b", "a/..b", ".a"], &["/a", "..", "..data", "..a/b", "a/../b"]);
        let (long, longer) = (format!("/{}", "a".repeat(255)), format!("/{}", "a".repeat(256)));
        let deep = "/a".repeat(2049);
        check_table(mount_path, &[&long], &[&longer, &deep, "/a\0"]);
        check_table(host_path, &[&long], &[&longer, &deep, "/a\0"]);
        check_table(sub_path, &[&long[1..]], &[&longer[1..], &deep[1..], "a\0"]);
        check_table(file_path, &[&long[1..]], &[&longer[1..], "a\0"]);
    }

    #[test]
    fn resources_are_known_or_have_a_domain() {
        check_table(
            container_resource,
            &["cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "nvidia.com/gpu", "amd.com/gpu"],
            &["", "gpu", "storage", "hugepages-", "requests.nvidia.com/gpu", "a/b/c", "pods"],
        );
        assert!(is_extended_resource("nvidia.com/mig-1g.5gb"));
        assert!(!is_extended_resource("kubernetes.io/batch-cpu"));
        assert!(!is_extended_resource("cpu"));
    }

    #[test]
    fn compares_paths_as_the_kubelet_does() {
        for (path, clean) in [
            ("/a", "/a"),
            ("/a/", "/a"),
            ("//a//b", "/a/b"),
            ("/a/./b/..", "/a"),
            ("/", "/"),
            ("a/", "/a"),
            ("etc/ca", "/etc/ca"),
            ("", "/"),
        ] {
            assert_eq!(clean_path(path), clean, "{path}");
        }
    }
}
