//! The image pull policy of containers, which is set whatever the pod says: the API server has filled it in before us.
//!
//! What somebody sets back after an earlier pass stays: the admission plugin AlwaysPullImages does so, and refuses a pod
//! that comes out otherwise.

use crate::{
    inject::{
        Injection,
        claims::{Existing, Subject, Thing},
        report::StepOutcome,
    },
    json::{Json, Str},
    policy::spec::ImagePullPolicy,
    reason::Reason,
};

impl<'a, 'p: 'a> Injection<'a, 'p> {
    pub(super) fn image_pull_policy(&mut self) {
        for policy in self.policies {
            let Some(wanted) = policy.image_pull_policy.map(ImagePullPolicy::as_str) else { continue };
            let step = self.report.begin(policy, "imagePullPolicy");
            let targets = self.targets(policy);
            self.say_no_container(&targets, step);
            for target in targets {
                let Some(container) = self.draft.containers.get(target) else { continue };
                let (own, subject) =
                    (container.view.image_pull_policy.as_ref().map(Str::as_str), Subject::PullPolicy(container.name));
                let first = self.claims.take(Thing::PullPolicy(target), step).err();
                let first =
                    first.and_then(|first| Some((first, self.report.policy(first)?.image_pull_policy?.as_str())));
                match first {
                    Some((first, other)) if other != wanted => {
                        let first = self.report.name(first);
                        self.report.tell(step, Reason::PullPolicyOfPolicy, &[&container.name, &first]);
                    }
                    None if own != Some(wanted) && self.claims.was_put_for(policy, subject, wanted) => {
                        self.report.tell(step, Reason::PullPolicySetBack, &[&container.name, &own.unwrap_or_default()]);
                    }
                    None if own != Some(wanted) => {
                        let at = format!("/spec/{}/{}/imagePullPolicy", container.list, container.index);
                        self.patch.set(&at, &Json::string(wanted));
                        self.claims.record(policy, subject, wanted, Existing::Nothing);
                        self.report.came_of(step, StepOutcome::Applied);
                    }
                    _ => self.report.came_of(step, StepOutcome::Present),
                }
            }
        }
    }
}
