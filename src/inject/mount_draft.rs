//! A mount that a policy adds: made once, and shared by the containers that get it.

use std::{borrow::Cow, cell::OnceCell};

use crate::{
    json::{Json, Str, Text, push_escaped},
    pod::MountView,
    policy::{
        modifier::MountUnit,
        template::{PlaceholderValues, Unresolved},
    },
};

/// A mount that a policy adds, or puts in place of the pod's.
#[derive(Debug)]
pub(super) struct NewMount<'a> {
    /// Cleaned path.
    pub path: Cow<'a, str>,
    /// Path within the volume; never empty.
    pub sub_path: Option<Cow<'a, str>>,
    /// The path is a `subPathExpr`.
    pub expands: bool,
    /// `mountPropagation`, where it is not `None`.
    pub propagation: Option<&'static str>,
    /// Volume.
    pub volume: Cow<'a, str>,
    /// `readOnly`.
    pub read_only: bool,
    content: Text<'a>,
    json: OnceCell<Json<'a>>,
}

impl<'a> NewMount<'a> {
    /// The mount of `unit`, of the volume of that name.
    pub(super) fn new(
        unit: &'a MountUnit,
        volume: Cow<'a, str>,
        facts: &PlaceholderValues<'a>,
    ) -> Result<Self, Unresolved> {
        let path = match &unit.tail {
            None => Cow::Borrowed(&*unit.path),
            Some(tail) => Cow::Owned(format!("{}/{}", unit.path, tail.resolve(facts)?)),
        };
        let sub_path = unit.sub_path.as_ref().map(|template| template.resolve(facts)).transpose()?;
        let sub_path = sub_path.filter(|path| !path.is_empty());
        let MountUnit { expands, read_only, propagation, .. } = *unit;
        let within = sub_path.as_deref().unwrap_or_default();
        let (plain, expr) = if expands { ("", within) } else { (within, "") };
        let content = content_of(&volume, plain, expr, read_only, propagation.unwrap_or_default()).into();
        Ok(Self { path, sub_path, expands, propagation, volume, read_only, content, json: OnceCell::new() })
    }

    /// Whether the pod's mount says the same.
    pub(super) fn is(&self, own: &MountView<'_>) -> bool {
        self.content.as_str() == mount_content(own)
    }

    /// How a digest names it, its path aside.
    pub(super) const fn content(&self) -> &Text<'a> {
        &self.content
    }

    /// As a container carries it.
    pub(super) fn json(&self) -> &Json<'a> {
        self.json.get_or_init(|| self.to_json())
    }

    fn to_json(&self) -> Json<'static> {
        let mut json = String::with_capacity(96);
        let mut member = |name: &str, value: &str| {
            json.push_str(if json.is_empty() { "{\"" } else { ",\"" });
            json.push_str(name);
            json.push_str("\":\"");
            push_escaped(&mut json, value);
            json.push('"');
        };
        member("name", &self.volume);
        member("mountPath", &self.path);
        if let Some(sub_path) = &self.sub_path {
            member(if self.expands { "subPathExpr" } else { "subPath" }, sub_path);
        }
        if let Some(propagation) = self.propagation {
            member("mountPropagation", propagation);
        }
        json.push_str(if self.read_only { ",\"readOnly\":true}" } else { "}" });
        Json::made(json)
    }
}

/// How a digest names a mount of the pod's, its path aside.
pub(super) fn mount_content(own: &MountView<'_>) -> String {
    let text = |text: &Option<Str<'_>>| text.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default();
    let propagation = text(&own.mount_propagation);
    let propagation = if propagation == "None" { "" } else { &propagation };
    content_of(
        &text(&own.name),
        &text(&own.sub_path),
        &text(&own.sub_path_expr),
        own.read_only.unwrap_or(false),
        propagation,
    )
}

fn content_of(volume: &str, sub_path: &str, sub_path_expr: &str, read_only: bool, propagation: &str) -> String {
    let read_only = if read_only { "ro" } else { "" };
    [volume, sub_path, sub_path_expr, read_only, propagation].join("\0")
}
