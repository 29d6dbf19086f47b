//! Placeholders: `{namespace}`, `{serviceAccount}`, `{username}`, `{label:KEY}`.
//!
//! They resolve in names and paths only; the fields that take them say so. A placeholder that is absent or empty does
//! not resolve, and neither does a whole that is not valid for its kind: the modifier is then left out with a warning
//! instead of asking for an object that nobody meant.

use std::borrow::Cow;

use crate::{labels::Labels, names};

/// Text with placeholders, parsed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    parts: Box<[Part]>,
    kind: Kind,
}

/// What a resolved text must be valid as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A volume's name: a DNS label.
    Volume,
    /// A Secret's name: a DNS subdomain.
    Secret,
    /// A PersistentVolumeClaim's name: a DNS subdomain.
    Claim,
    /// A path within a volume.
    SubPath,
    /// A path within a volume in which Kubernetes expands `$(NAME)`.
    SubPathExpr,
    /// A user of the v3io platform.
    Username,
    /// URL of a bucket; its form is checked by the one who uses it.
    Bucket,
}

/// What placeholders resolve to: the pod before Stowage.
#[derive(Clone, Copy, Debug)]
pub struct PlaceholderValues<'a> {
    /// The request's namespace.
    pub namespace: &'a str,
    /// The pod's service account; `default` where it names none.
    pub service_account: &'a str,
    /// The user of the policy's v3io block, where that resolved.
    pub username: Option<&'a str>,
    /// The pod's labels, by key.
    pub labels: &'a dyn Labels,
}

/// Why a template did not resolve.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unresolved {
    /// The placeholder is absent or empty.
    Absent(String),
    /// The value of the placeholder is none that the API server would accept: a webhook is called before it validates.
    NotAccepted(String),
    /// The whole is not valid for its kind.
    Invalid(&'static str),
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Text(Box<str>),
    Namespace,
    ServiceAccount,
    Username,
    Label(Box<str>),
}

const KNOWN: &str = "{namespace}, {serviceAccount}, {username} and {label:KEY}";

impl Template {
    /// Parses `text` as something that must be valid as `kind`.
    ///
    /// # Errors
    ///
    /// A brace without its pair, an unknown placeholder, or a text without placeholders that is not valid as `kind`.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if before.contains('}') {
                return Err(format!("{text:?} has a }} without its {{; placeholders are {KNOWN}"));
            }
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("{text:?} has a {{ without its }}; placeholders are {KNOWN}"));
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::parse(name)?);
            rest = after;
        }
        if rest.contains('}') {
            return Err(format!("{text:?} has a }} without its {{; placeholders are {KNOWN}"));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        let template = Self { parts: parts.into(), kind };
        if let Some(text) = template.fixed() {
            kind.check(text).map_err(|allowed| format!("{} {text:?} {allowed}", kind.what()))?;
        }
        Ok(template)
    }

    /// A text that is known to be valid as `kind`, without placeholders.
    #[must_use]
    pub fn literal(text: &str, kind: Kind) -> Self {
        Self { parts: [Part::Text(text.into())].into(), kind }
    }

    /// The text, where it has no placeholders.
    #[must_use]
    pub fn fixed(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether `{username}` occurs.
    #[must_use]
    pub fn has_username(&self) -> bool {
        self.parts.contains(&Part::Username)
    }

    /// The same, with `{username}` replaced by the template `user`.
    #[must_use]
    pub fn with_username(self, user: &Self) -> Self {
        let parts = self.parts.into_iter().flat_map(|part| match part {
            Part::Username => user.parts.to_vec(),
            part => vec![part],
        });
        Self { parts: parts.collect(), kind: self.kind }
    }

    /// The labels that occur.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Label(key) => Some(&**key),
            _ => None,
        })
    }

    /// The text with every placeholder put in.
    ///
    /// # Errors
    ///
    /// Where a placeholder is absent or empty, or the whole is not valid for its kind.
    pub fn resolve<'a>(&'a self, facts: &PlaceholderValues<'a>) -> Result<Cow<'a, str>, Unresolved> {
        if let Some(text) = self.fixed() {
            return Ok(Cow::Borrowed(text));
        }
        let text = match &*self.parts {
            [only] => Cow::Borrowed(only.value(facts)?),
            parts => {
                let mut text = String::with_capacity(64);
                for part in parts {
                    text.push_str(part.value(facts)?);
                }
                Cow::Owned(text)
            }
        };
        self.kind.check(&text).map_err(Unresolved::Invalid)?;
        Ok(text)
    }
}

impl Part {
    fn parse(name: &str) -> Result<Self, String> {
        match name {
            "namespace" => Ok(Self::Namespace),
            "serviceAccount" => Ok(Self::ServiceAccount),
            "username" => Ok(Self::Username),
            _ => match name.strip_prefix("label:") {
                Some(key) => match names::label_key(key) {
                    Ok(()) => Ok(Self::Label(key.into())),
                    Err(allowed) => Err(format!("{{{name}}}: label key {key:?} {allowed}")),
                },
                None => Err(format!("unknown placeholder {{{name}}}; placeholders are {KNOWN}")),
            },
        }
    }

    fn value<'a>(&'a self, facts: &PlaceholderValues<'a>) -> Result<&'a str, Unresolved> {
        let value = match self {
            Self::Text(text) => return Ok(text),
            Self::Namespace => Some(facts.namespace),
            Self::ServiceAccount => Some(facts.service_account),
            Self::Username => facts.username,
            Self::Label(key) => facts.labels.label(key),
        };
        let value = value.filter(|value| !value.is_empty()).ok_or_else(|| Unresolved::Absent(self.what()))?;
        let is_accepted = match self {
            Self::Label(_) => names::label_value(value).is_ok(),
            Self::ServiceAccount => names::service_account_name(value).is_ok(),
            _ => true,
        };
        if is_accepted { Ok(value) } else { Err(Unresolved::NotAccepted(self.what())) }
    }

    /// What the placeholder stands for, in words.
    fn what(&self) -> String {
        match self {
            Self::Label(key) => format!("label {key}"),
            Self::Username => "the v3io username".into(),
            Self::ServiceAccount => "the service account".into(),
            Self::Namespace | Self::Text(_) => "the namespace".into(),
        }
    }
}

impl Kind {
    const fn what(self) -> &'static str {
        match self {
            Self::Volume => "volume name",
            Self::Secret => "secret name",
            Self::Claim => "claim name",
            Self::SubPath => "subPath",
            Self::SubPathExpr => "subPathExpr",
            Self::Username => "username",
            Self::Bucket => "bucket",
        }
    }

    fn check(self, text: &str) -> Result<(), &'static str> {
        match self {
            Self::Volume => names::volume_name(text),
            Self::Secret => names::secret_name(text),
            Self::Claim => names::claim_name(text),
            Self::SubPath | Self::SubPathExpr => names::sub_path(text),
            Self::Username => username(text),
            Self::Bucket if text.is_empty() => Err("must not be empty"),
            Self::Bucket => Ok(()),
        }
    }
}

impl std::fmt::Display for Unresolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent(what) => write!(f, "{what} is absent or empty"),
            Self::NotAccepted(what) => write!(f, "{what} has a value that the API server refuses"),
            Self::Invalid(allowed) => write!(f, "its placeholders give a name that is not valid: it {allowed}"),
        }
    }
}

/// Whether `text` uses the words of a placeholder. In a field that takes none it is refused, since the braces would
/// reach the pod as text; other braces (JSON, say) are left alone.
#[must_use]
pub fn looks_like_placeholder(text: &str) -> bool {
    ["{namespace}", "{serviceAccount}", "{username}", "{label:"].iter().any(|word| text.contains(word))
}

/// A user becomes a directory and an environment variable: one path element.
fn username(text: &str) -> Result<(), &'static str> {
    // It also stands inside a JSON text (`dirsToCreate`), so quotes and backslashes stay out.
    let odd = |c: char| c.is_control() || matches!(c, '/' | '"' | '\\');
    if text.is_empty() || text == "." || text == ".." || text.chars().any(odd) {
        return Err(
            "must be one path element: not empty, not '.' or '..', without '/', quotes, backslashes and control characters",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Owner(&'static str);

    impl Labels for Owner {
        fn label(&self, key: &str) -> Option<&str> {
            (key == "mlrun/owner").then_some(self.0)
        }

        fn each<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s str)) {
            visit("mlrun/owner", self.0);
        }
    }

    fn resolve(text: &str, kind: Kind, owner: &'static str) -> Result<String, String> {
        let labels = Owner(owner);
        let facts = PlaceholderValues { namespace: "ns", service_account: "sa", username: Some("u"), labels: &labels };
        Template::parse(text, kind)?.resolve(&facts).map(Cow::into_owned).map_err(|e| e.to_string())
    }

    #[test]
    fn puts_every_placeholder_in() {
        let text = "{namespace}-{serviceAccount}-{username}-{label:mlrun/owner}";
        assert_eq!(resolve(text, Kind::Secret, "iris").unwrap(), "ns-sa-u-iris");
    }

    #[test]
    fn does_not_resolve_what_is_absent_empty_or_not_a_name() {
        assert!(resolve("a-{label:nope}", Kind::Secret, "x").unwrap_err().contains("label nope"));
        assert!(resolve("a-{label:mlrun/owner}", Kind::Secret, "").unwrap_err().contains("absent or empty"));
        assert!(resolve("v3io-{label:mlrun/owner}", Kind::Secret, "Iris_B").unwrap_err().contains("not valid"));
    }

    #[test]
    fn a_value_that_the_api_server_refuses_walks_out_of_no_folder() {
        for value in ["bob/private", "..", "a/../../etc", "a\nb", "a\"b", "-a", "ä"] {
            for kind in [Kind::SubPath, Kind::Bucket, Kind::Username, Kind::Secret] {
                let refused = resolve("users-{label:mlrun/owner}", kind, value).unwrap_err();
                assert!(refused.contains("label mlrun/owner"), "{value}: {refused}");
            }
        }
        let labels = Owner("x");
        let facts =
            PlaceholderValues { namespace: "ns", service_account: "ann/private", username: None, labels: &labels };
        let template = Template::parse("{serviceAccount}", Kind::SubPath).unwrap();
        assert_eq!(template.resolve(&facts), Err(Unresolved::NotAccepted("the service account".into())));
    }

    #[test]
    fn refuses_unknown_placeholders_and_lonely_braces() {
        assert!(Template::parse("{user}", Kind::Secret).unwrap_err().contains("unknown placeholder {user}"));
        for text in ["a{namespace", "a}b", "{namespace}}"] {
            assert!(Template::parse(text, Kind::Secret).is_err(), "{text}");
        }
        assert!(Template::parse("Bad_Name", Kind::Claim).unwrap_err().contains("claim name"));
    }
}
