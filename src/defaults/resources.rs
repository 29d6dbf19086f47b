//! Default requests and limits for containers that say nothing.
//!
//! Before a webhook is called the API server has copied limits to missing requests and applied the
//! namespace's LimitRange; both count as the container's own word. After the patch it copies
//! limits to missing requests again, so a request is only set where there is something to say.
//! Extended resources (GPUs of any name) and huge pages cannot be overcommitted: their request
//! equals their limit, so whatever a container says of one is left whole, limits only included.

use serde_json::Value;

use crate::{
    field_error::{FieldError, Problems, field},
    names,
    quantity::Quantity,
    reason::{Note, Reason},
};

/// One of these must stand beside huge pages.
const COMPANIONS: [&str; 2] = ["cpu", "memory"];

/// Checked default requests and limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    requests: Vec<Amount>,
    limits: Vec<Amount>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Amount {
    resource: String,
    text: String,
    quantity: Quantity,
}

impl Resources {
    /// Checks a policy's default requests and limits, given as name and quantity.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path below `resources`: unknown resource names,
    /// quantities that do not parse or are negative, requests over their limit, and extended
    /// resources or huge pages that are fractional, without a limit, or with a request that differs.
    pub fn compile<'a>(
        requests: impl IntoIterator<Item = (&'a str, &'a str)>,
        limits: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let requests = amounts("requests", requests, &mut problems);
        let limits = amounts("limits", limits, &mut problems);
        for request in &requests {
            check_request(request, find(&limits, &request.resource), &mut problems);
        }
        let all = || requests.iter().chain(&limits);
        if all().any(|one| names::is_hugepages(&one.resource))
            && !all().any(|one| COMPANIONS.contains(&one.resource.as_str()))
        {
            let message = "must have cpu or memory where it has huge pages";
            problems.push(FieldError::new("limits", message));
        }
        if problems.is_empty() { Ok(Self { requests, limits }) } else { Err(problems) }
    }

    /// Whether it sets something of this resource.
    #[must_use]
    pub fn sets(&self, resource: &str) -> bool {
        self.requests.iter().chain(&self.limits).any(|amount| amount.resource == resource)
    }

    /// Whether there is nothing to default.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }

    /// What of it one container gets.
    ///
    /// `own` is the container's `resources` and `container` its name, for the notes. A resource that `pod_level`, the
    /// pod's own `spec.resources`, speaks of is left to it: the API server bounds the containers' sum by it.
    #[must_use]
    pub fn missing<'d>(
        &'d self,
        own: Option<&Value>,
        pod_level: Option<&Value>,
        container: &str,
    ) -> MissingResources<'d> {
        let mut missing = MissingResources::default();
        // A container with huge pages must have cpu or memory itself, and a pod that says those as a whole leaves none of
        // ours to it.
        let no_pages = COMPANIONS.iter().all(|name| !says(own, name))
            && !COMPANIONS.iter().any(|name| self.sets(name) && !says(pod_level, name));
        for (list, amounts) in [("requests", &self.requests), ("limits", &self.limits)] {
            let is_wanted = if list == "requests" { wants_request } else { wants_limit };
            for amount in amounts {
                let name = amount.resource.as_str();
                let is_of_pod = says(pod_level, name) || no_pages && names::is_hugepages(name);
                let own_amount = said(own, list, name);
                if !is_of_pod && is_wanted(amount, own, container, &mut missing.notes) {
                    missing.amounts.push((list, name, amount.text.as_str()));
                } else if own_amount.is_some_and(|own| parsed(own) == Some(amount.quantity)) {
                    missing.equal.push((list, name));
                } else if own_amount.is_some() {
                    missing.different.push((list, name));
                }
            }
        }
        missing
    }
}

/// What of a policy's default resources a container gets.
#[derive(Debug, Default)]
pub struct MissingResources<'d> {
    /// What it gets: `limits` or `requests`, the resource, and how much.
    pub amounts: Vec<(&'static str, &'d str, &'d str)>,
    /// What it has in the same amount.
    pub equal: Vec<(&'static str, &'d str)>,
    /// What it has in another amount.
    pub different: Vec<(&'static str, &'d str)>,
    /// What is left out, and why.
    pub notes: Vec<Note>,
}

/// Whether a default limit may be set; a note where the container's request forbids it.
fn wants_limit(limit: &Amount, own: Option<&Value>, container: &str, notes: &mut Vec<Note>) -> bool {
    let name = &limit.resource;
    if said(own, "limits", name).is_some() {
        return false;
    }
    let Some(request) = said(own, "requests", name) else {
        return true;
    };
    if is_fixed(name) {
        return false;
    }
    let fits = parsed(request).is_some_and(|request| request <= limit.quantity);
    if !fits {
        notes.push(Reason::LimitUnderRequest.note(&[name, &limit.text, &container]));
    }
    fits
}

/// Whether a default request may be set; a note where the container's limit forbids it.
fn wants_request(request: &Amount, own: Option<&Value>, container: &str, notes: &mut Vec<Note>) -> bool {
    let name = &request.resource;
    if said(own, "requests", name).is_some() {
        return false;
    }
    let Some(limit) = said(own, "limits", name) else {
        return true;
    };
    if is_fixed(name) {
        return false;
    }
    let fits = parsed(limit).is_some_and(|limit| request.quantity <= limit);
    if !fits {
        notes.push(Reason::RequestOverLimit.note(&[name, &request.text, &container]));
    }
    fits
}

fn amounts<'a>(
    list: &str,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    problems: &mut Problems,
) -> Vec<Amount> {
    let mut amounts = Vec::new();
    for (resource, text) in pairs {
        let path = field(list, resource);
        if let Err(allowed) = names::container_resource(resource) {
            problems.push(FieldError::new(path.as_str(), format!("{resource:?} {allowed}")));
        }
        match text.parse::<Quantity>() {
            Err(error) => problems.push(FieldError::new(path, format!("{text:?} {error}"))),
            Ok(quantity) if quantity.is_negative() => {
                problems.push(FieldError::new(path, format!("{text:?} must not be negative")));
            }
            Ok(quantity) if is_fixed(resource) && !quantity.is_whole() => {
                problems.push(FieldError::new(path, format!("{text:?} must be a whole number")));
            }
            Ok(quantity) if !is_of_whole_pages(resource, quantity) => {
                problems.push(FieldError::new(path, format!("{text:?} must be a multiple of the size of the page")));
            }
            Ok(quantity) => amounts.push(Amount { resource: resource.to_owned(), text: text.to_owned(), quantity }),
        }
    }
    amounts
}

fn check_request(request: &Amount, limit: Option<&Amount>, problems: &mut Problems) {
    let allowed = match limit {
        None if is_fixed(&request.resource) => "must come with an equal limit: this resource cannot be overcommitted",
        Some(limit) if is_fixed(&request.resource) && limit.quantity != request.quantity => {
            "must equal its limit: this resource cannot be overcommitted"
        }
        Some(limit) if request.quantity > limit.quantity => "must not be over its limit",
        _ => return,
    };
    let path = field("requests", &request.resource);
    problems.push(FieldError::new(path, format!("{:?} {allowed}", request.text)));
}

fn find<'a>(amounts: &'a [Amount], resource: &str) -> Option<&'a Amount> {
    amounts.iter().find(|one| one.resource == resource)
}

/// Whether an amount of huge pages is one of whole pages (`IsHugePageResourceValueDivisible`); of other resources always.
fn is_of_whole_pages(resource: &str, quantity: Quantity) -> bool {
    let size = resource.strip_prefix("hugepages-").map(str::parse::<Quantity>);
    size.is_none_or(|size| size.is_ok_and(|size| size.is_whole() && quantity.is_multiple_of(size)))
}

/// Whether request and limit of a resource are one.
fn is_fixed(resource: &str) -> bool {
    names::is_extended_resource(resource) || names::is_hugepages(resource)
}

/// Whether requests or limits speak of a resource.
fn says(resources: Option<&Value>, resource: &str) -> bool {
    ["requests", "limits"].iter().any(|list| said(resources, list, resource).is_some())
}

fn said<'a>(resources: Option<&'a Value>, list: &str, resource: &str) -> Option<&'a Value> {
    let value = resources?.get(list)?.get(resource)?;
    (!value.is_null()).then_some(value)
}

/// A quantity in a pod; YAML may hold it as a number.
fn parsed(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}
