//! The values that labels can have.

use crate::{admission::Outcome, reason::Reason};

/// A closed set of label values.
pub trait Label: Copy + 'static {
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];

    /// The value as Prometheus shows it.
    fn text(self) -> &'static str;

    /// The value's place in [`Label::ALL`].
    fn index(self) -> usize;
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn text(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

/// What became of one request to the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestEnd {
    /// A review was answered.
    Decided(Outcome),
    /// It never came to that.
    Undecided(Undecided),
}

label! {
    /// Why a request got no answer to a review.
    Undecided {
        /// The body is no AdmissionReview: 400.
        Unreadable = "unreadable",
        /// Another path: 404.
        NotFound = "not_found",
        /// Another method: 405.
        MethodNotAllowed = "method_not_allowed",
        /// Another content type: 415.
        UnsupportedMediaType = "unsupported_media_type",
        /// The body is over the limit: 413.
        TooLarge = "too_large",
        /// The body did not come in time: 408.
        TimedOut = "timed_out",
        /// No room for a large body came free in time: 503.
        Overloaded = "overloaded",
        /// The client went away while its body was read.
        Disconnected = "disconnected",
        /// The decision panicked: 500.
        Failed = "failed",
    }
}

impl Label for Reason {
    const ALL: &'static [Self] = Self::ALL;

    fn text(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        self.index()
    }
}

impl Label for RequestEnd {
    const ALL: &'static [Self] = &[
        Self::Decided(Outcome::Patched),
        Self::Decided(Outcome::Unchanged),
        Self::Decided(Outcome::NoMatch),
        Self::Decided(Outcome::OptedOut),
        Self::Decided(Outcome::Excluded),
        Self::Decided(Outcome::Refused),
        Self::Undecided(Undecided::Unreadable),
        Self::Undecided(Undecided::NotFound),
        Self::Undecided(Undecided::MethodNotAllowed),
        Self::Undecided(Undecided::UnsupportedMediaType),
        Self::Undecided(Undecided::TooLarge),
        Self::Undecided(Undecided::TimedOut),
        Self::Undecided(Undecided::Overloaded),
        Self::Undecided(Undecided::Disconnected),
        Self::Undecided(Undecided::Failed),
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Decided(outcome) => outcome.word(),
            Self::Undecided(why) => why.text(),
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Decided(outcome) => outcome as usize,
            Self::Undecided(why) => Self::ALL.len() - Undecided::ALL.len() + why.index(),
        }
    }
}

label! {
    /// Why a connection was closed on arrival, or before its time.
    ConnectionRefusal {
        /// All connections allowed are open and busy.
        Total = "total",
        /// All connections allowed for one source address are open and busy.
        Address = "address",
        /// One that was closed to let another in.
        Evicted = "evicted",
        /// A request's head did not come in time.
        SlowHeader = "slow_header",
        /// An answer was not read in time.
        SlowReader = "slow_reader",
    }
}

label! {
    /// Why a TLS handshake failed.
    HandshakeFailure {
        /// It took too long.
        TimedOut = "timed_out",
        /// The client went away, as TCP probes do.
        Closed = "closed",
        /// The client refused our certificate: its `caBundle` or the name it
        /// calls us by does not fit.
        Rejected = "rejected",
        /// What came is not TLS: plain HTTP, say.
        NotTls = "not_tls",
        /// No version, cipher suite or protocol in common.
        Incompatible = "incompatible",
        /// Anything else.
        Other = "other",
    }
}

label! {
    /// What reading policies or certificates again gave.
    Reload {
        /// Something new is in force.
        Accepted = "accepted",
        /// Something new is wrong, and the old stays in force.
        Refused = "refused",
        /// Reading takes too long, and the old stays in force.
        TimedOut = "timed_out",
    }
}

label! {
    /// What is watched in a cluster.
    Watching {
        /// InjectionPolicies.
        Policies = "injectionpolicies",
        /// ClusterInjectionPolicies.
        ClusterPolicies = "clusterinjectionpolicies",
        /// Namespaces, for their labels.
        Namespaces = "namespaces",
        /// Priority classes.
        PriorityClasses = "priorityclasses",
        /// Runtime classes.
        RuntimeClasses = "runtimeclasses",
        /// The webhook's own registration.
        Registration = "registration",
        /// The Secret with the certificates.
        Certificates = "certificates",
        /// Pods, as the watcher reads them.
        Pods = "pods",
        /// Nodes, for their readiness.
        Nodes = "nodes",
    }
}

label! {
    /// What became of a call to the API server.
    Call {
        /// It did what was asked.
        Done = "done",
        /// Somebody else was first.
        Conflict = "conflict",
        /// It was refused, or did not come through.
        Failed = "failed",
    }
}

label! {
    /// What became of an event.
    Delivery {
        /// The API server has it.
        Sent = "sent",
        /// More came than are sent; it was left out.
        Dropped = "dropped",
        /// The API server did not take it.
        Failed = "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_index_is_its_place<L: Label>() {
        for (place, value) in L::ALL.iter().enumerate() {
            assert_eq!(value.index(), place, "{}", value.text());
        }
    }

    #[test]
    fn every_value_stands_at_its_index() {
        each_index_is_its_place::<RequestEnd>();
        each_index_is_its_place::<Undecided>();
        each_index_is_its_place::<ConnectionRefusal>();
        each_index_is_its_place::<HandshakeFailure>();
        each_index_is_its_place::<Reload>();
        each_index_is_its_place::<Watching>();
        each_index_is_its_place::<Call>();
        each_index_is_its_place::<Delivery>();
    }
}
