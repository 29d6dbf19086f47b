//! Service accounts that policies give to pods: asked for one by one, and remembered for a moment.
//!
//! The API server refuses a pod whose account is not there. Nobody watches accounts, of which every namespace has one at
//! least: a watch would hold them all for the few that policies name, and one that lags would take its account from a pod
//! that was made together with it. So the account that a decision would set is asked for, as the API server asks.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::metrics::{Call, Metrics};

/// How long a decision waits for what is known of service accounts, of however many.
pub const PATIENCE: Duration = Duration::from_millis(200);
/// Accounts asked for at once; a decision that comes beyond them goes without.
const AT_ONCE: usize = 8;
/// How long it is remembered that an account is there.
const REMEMBERED: Duration = Duration::from_secs(30);
/// How long it is remembered that there is none: whoever makes one makes pods for it next.
const REMEMBERED_ABSENT: Duration = Duration::from_secs(1);
/// Answers remembered at most.
const ANSWERS: usize = 1024;

/// Asks for single service accounts.
#[derive(Clone)]
pub struct Accounts {
    client: Client,
    room: Arc<Semaphore>,
    answers: Arc<Mutex<Answers>>,
    metrics: Arc<Metrics>,
}

/// What was answered lately, by namespace and name: whether it is there, and until when that counts.
#[derive(Debug, Default)]
struct Answers {
    by_account: HashMap<(String, String), (bool, Instant)>,
}

impl Accounts {
    /// By this client.
    #[must_use]
    pub fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { client, room: Arc::new(Semaphore::new(AT_ONCE)), answers: Arc::default(), metrics }
    }

    /// Whether the namespace has the service account `name`; `None` where nothing answers before the deadline, and the
    /// policy's word stands.
    pub async fn has(&self, namespace: &str, name: &str, deadline: Instant) -> Option<bool> {
        let account = (namespace.to_owned(), name.to_owned());
        if let Some(is_there) = self.with(|answers| answers.of(&account, Instant::now())) {
            return Some(is_there);
        }
        let is_there = self.ask(namespace, name, deadline).await;
        self.metrics.cluster.account_lookups.count(if is_there.is_some() { Call::Done } else { Call::Failed });
        if let Some(is_there) = is_there {
            self.with(|answers| answers.remember(account, is_there, Instant::now()));
        }
        is_there
    }

    async fn ask(&self, namespace: &str, name: &str, deadline: Instant) -> Option<bool> {
        let _place = self.room.try_acquire().ok()?;
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        match timeout_at(deadline, api.get_metadata_opt(name)).await {
            Ok(Ok(found)) => Some(found.is_some()),
            Ok(Err(error)) => {
                warn!(namespace, name, error = &error as &dyn StdError, "asking for a service account");
                None
            }
            Err(_) => {
                warn!(namespace, name, patience = ?PATIENCE, "no answer about a service account");
                None
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Answers) -> T) -> T {
        act(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Answers {
    fn of(&self, account: &(String, String), now: Instant) -> Option<bool> {
        let (is_there, until) = self.by_account.get(account)?;
        (now < *until).then_some(*is_there)
    }

    fn remember(&mut self, account: (String, String), is_there: bool, now: Instant) {
        if self.by_account.len() >= ANSWERS {
            self.by_account.retain(|_, (_, until)| now < *until);
        }
        if self.by_account.len() >= ANSWERS {
            self.by_account.clear();
        }
        let until = now + if is_there { REMEMBERED } else { REMEMBERED_ABSENT };
        self.by_account.insert(account, (is_there, until));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use tokio::time::advance;

    use super::*;
    use crate::cluster::mock::{MockReply, server};

    fn there() -> MockReply {
        MockReply::Json(json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                            "metadata": {"name": "runner", "namespace": "team"}}))
    }

    /// What asks, and how often the API server was asked.
    fn asking(answer: impl Fn(&str) -> MockReply + Send + 'static) -> (Accounts, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let client = server(move |request| {
            counted.fetch_add(1, Ordering::Relaxed);
            answer(&request.path)
        });
        (Accounts::new(client, Arc::new(Metrics::new("test").unwrap())), asked)
    }

    async fn has(accounts: &Accounts, name: &str) -> Option<bool> {
        accounts.has("team", name, Instant::now() + PATIENCE).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_remembered_longer_where_the_account_is_there() {
        let (accounts, asked) = asking(|path| match path.trim_end_matches('?') {
            "/api/v1/namespaces/team/serviceaccounts/runner" => there(),
            _ => MockReply::Status(404, "NotFound"),
        });
        for _ in 0..3 {
            assert_eq!((has(&accounts, "runner").await, has(&accounts, "gone").await), (Some(true), Some(false)));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        advance(REMEMBERED_ABSENT).await;
        assert_eq!((has(&accounts, "runner").await, has(&accounts, "gone").await), (Some(true), Some(false)));
        assert_eq!(asked.load(Ordering::Relaxed), 3, "only the absent one is asked for again");
        advance(REMEMBERED).await;
        assert_eq!(has(&accounts, "runner").await, Some(true));
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_nothing_is_known_and_nothing_is_remembered() {
        for (hangs, wait) in [(true, PATIENCE), (false, Duration::ZERO)] {
            let (accounts, asked) =
                asking(move |_| if hangs { MockReply::Hang } else { MockReply::Status(403, "Forbidden") });
            let start = Instant::now();
            assert_eq!((has(&accounts, "runner").await, has(&accounts, "runner").await), (None, None));
            assert_eq!((start.elapsed(), asked.load(Ordering::Relaxed)), (wait * 2, 2));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        for index in 0..ANSWERS * 3 {
            answers.remember(("team".to_owned(), index.to_string()), index % 2 == 0, now);
            assert!(answers.by_account.len() <= ANSWERS);
        }
        let newest = ("team".to_owned(), (ANSWERS * 3 - 1).to_string());
        assert_eq!(answers.of(&newest, now), Some(false));
        assert_eq!(answers.of(&newest, now + REMEMBERED_ABSENT), None);
    }
}
