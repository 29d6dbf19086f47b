//! Which policies match: those for the pod as it was before Stowage.

use std::{borrow::Cow, cell::LazyCell, sync::Arc};

use crate::{
    inject::{
        PodContext,
        claims::EarlierPass,
        marker::{Marker, OriginalPod},
    },
    pod::PodView,
    policy::{
        Policy,
        snapshot::Snapshot,
        template::{PlaceholderValues, Template},
    },
};

/// The policies that match the pod as it was before Stowage.
///
/// What the marker says of our own labels is believed as far as the policies that match without them do set them.
/// Every round that changes its mind believes less, so this ends.
pub(super) fn select<'a, 'p>(
    pod: &'a PodView<'a>,
    context: &PodContext<'_>,
    snapshot: &'p Snapshot,
    marker: Option<&Marker>,
    earlier: &EarlierPass,
) -> (OriginalPod<'a>, Vec<&'p Policy>) {
    let mut original =
        marker.map_or_else(|| OriginalPod::as_it_stands(pod), |marker| OriginalPod::without(pod, marker));
    // Of a pod that is too large not everything is read, and what is left out may ask for a resource.
    let is_whole = LazyCell::new(|| pod.bounded().is_ok());
    loop {
        let labels = snapshot.namespace(context.namespace);
        let found = snapshot.policies.matching(context.namespace, &labels, &original);
        let is_asked =
            |policy: &&Policy| policy.requests.is_empty() || !*is_whole || pod.requests_any(&policy.requests);
        let policies: Vec<&Policy> = found.into_iter().map(Arc::as_ref).filter(is_asked).collect();
        if marker.is_none() || !original.distrust(&policies, earlier) {
            return (original, policies);
        }
    }
}

/// The user of a policy's v3io block, where that resolves.
pub(super) fn username<'a>(
    policy: &'a Policy,
    context: &PodContext<'a>,
    original: &'a OriginalPod<'a>,
) -> Option<Cow<'a, str>> {
    let template: &Template = policy.username.as_ref()?;
    let (namespace, service_account) = (context.namespace, original.service_account());
    template.resolve(&PlaceholderValues { namespace, service_account, username: None, labels: original }).ok()
}
