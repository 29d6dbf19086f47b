//! The desk before an API server that answers as each test wants it, on a clock that the test moves.

use std::cell::Cell;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::{
    cluster::{
        events,
        lease::Leadership,
        mock::{MockReply as Said, server},
        removals::Removals,
    },
    metrics::{ActionTaken, Metrics, WatcherMetrics},
    policy::loaded::Loaded,
    reaper::{
        options::WatcherOptions,
        step::{ActKind, Answer},
    },
    threshold::WatchedPod,
};

/// Second 0 of every test.
const BEGIN: i64 = 1_767_225_600;

thread_local! {
    /// When the test of this thread began, by tokio's clock, which stands still but for sleeps.
    static BEGUN: Cell<Option<Moment>> = const { Cell::new(None) };
}

fn clock() -> Timestamp {
    let begun = BEGUN.get().expect("the test has begun");
    Timestamp::from_second(BEGIN).unwrap() + begun.elapsed()
}

fn pod() -> Value {
    let made = Timestamp::from_second(BEGIN).unwrap().to_string();
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "stuck", "namespace": "team", "uid": "11111111-2222-3333-4444-555555555555",
                     "resourceVersion": "7", "creationTimestamp": made},
        "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": "Pending"},
    })
}

struct Stage {
    /// When removals were asked for, in seconds.
    removals: UnboundedReceiver<u64>,
    metrics: Arc<WatcherMetrics>,
    stop: oneshot::Sender<oneshot::Sender<()>>,
    _ends: (mpsc::Sender<PodNews>, mpsc::UnboundedSender<News>, mpsc::Sender<Question>, watch::Sender<()>),
}

impl Stage {
    /// One pod that is due 10 s after its creation, and a server that answers removals so.
    async fn set(mut answer: impl FnMut(usize) -> Said + Send + 'static) -> Self {
        let begun = Moment::now();
        BEGUN.set(Some(begun));
        let (asked, removals) = mpsc::unbounded_channel();
        let mut tries = 0;
        let client = server(move |request| {
            if request.path.contains("/events") {
                return Said::Json(request.body.clone());
            }
            assert_eq!(request.path, "/api/v1/namespaces/team/pods/stuck");
            if request.method == "GET" {
                return Said::Json(pod());
            }
            asked.send(begun.elapsed().as_secs()).unwrap();
            tries += 1;
            answer(tries)
        });
        let mut loaded = Loaded::default();
        loaded.add(
            "policy.yaml",
            "{apiVersion: stowage.dev/v1alpha1, kind: ClusterInjectionPolicy, metadata: {name: p}, \
             spec: {match: {podSelector: {}}, stateThresholds: {pendingNotScheduled: 10s}}}",
        );
        let all = Arc::new(Metrics::new("1").unwrap());
        let metrics = Arc::new(all.watcher().unwrap());
        let (notices, waiting) = events::queue(Arc::clone(&all), events::ADVICE);
        tokio::spawn(events::deliver(client.clone(), None, waiting, Arc::clone(&all)));
        let desk = Desk {
            watcher: Watcher::new(WatcherOptions::default()),
            hands: Hands { removals: Removals::new(client), leadership: Leadership::undisputed(), clock },
            told: Told { notices, metrics: Arc::clone(&metrics), own: None },
            readiness: Arc::new(Readiness::awaiting(&["nodes", "pods"])),
            snapshot: Arc::new(ArcSwap::from_pointee(loaded.snapshot())),
            relist: Arc::new(Notify::new()),
            state: DeskState::default(),
        };
        let (pods, pod_news) = mpsc::channel(8);
        let (others, other_news) = mpsc::unbounded_channel();
        let (questions, asked_questions) = mpsc::channel(1);
        let (published, receiver) = watch::channel(());
        let (stop, stopped) = oneshot::channel();
        let readiness = Arc::clone(&desk.readiness);
        let heard = Heard {
            pods: pod_news,
            others: other_news,
            questions: asked_questions,
            published: receiver,
            stop: stopped,
        };
        tokio::spawn(desk.run(heard));
        others.send(News::Nodes(Box::new(WatchNews::Relisted(Vec::new())))).map_err(|_| ()).unwrap();
        let seen: WatchedPod = serde_json::from_value(pod()).unwrap();
        for news in [PodNews::ListBegins, PodNews::Pod(Box::new(seen)), PodNews::ListEnds] {
            pods.send(news).await.unwrap();
        }
        sleep(Duration::from_secs(1)).await;
        assert!(readiness.report(clock()).ready);
        Self { removals, metrics, stop, _ends: (pods, others, questions, published) }
    }

    /// When removals were asked for in the first two minutes.
    async fn asked(&mut self) -> Vec<u64> {
        sleep(Duration::from_secs(119)).await;
        std::iter::from_fn(|| self.removals.try_recv().ok()).collect()
    }

    fn counted(&self, answer: Answer) -> u64 {
        self.metrics.actions.total(ActionTaken::By(ActKind::DeletePod), answer)
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_done_or_was_gone_is_not_done_again() {
    for (said, answer) in [(Said::Json(pod()), Answer::Done), (Said::Status(404, "NotFound"), Answer::NotFound)] {
        let mut said = Some(said);
        let mut stage = Stage::set(move |_| said.take().expect("it is asked for once")).await;
        assert_eq!(stage.asked().await, [10], "{answer:?}");
        assert_eq!(stage.counted(answer), 1);
        assert_eq!(stage.metrics.lateness.get_sample_count(), u64::from(answer == Answer::Done));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_reported_and_not_tried_again() {
    let mut stage = Stage::set(|_| Said::Status(403, "Forbidden")).await;
    assert_eq!(stage.asked().await, [10]);
    assert_eq!(stage.counted(Answer::Forbidden), 1);
    assert_eq!(stage.metrics.forbidden.number(ActKind::DeletePod), 1);
    assert_eq!(stage.metrics.actions.total(ActionTaken::Report, Answer::Done), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_changed_meanwhile_is_read_and_judged_anew_at_once() {
    let mut stage =
        Stage::set(|tries| if tries == 1 { Said::Status(409, "Conflict") } else { Said::Json(pod()) }).await;
    let asked = stage.asked().await;
    assert!(asked.len() == 2 && asked[1] - asked[0] <= 2, "{asked:?}");
    assert_eq!((stage.counted(Answer::Conflict), stage.counted(Answer::Done)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_in_trouble_is_asked_ever_more_rarely() {
    let cases: [(fn() -> Said, Answer); 3] = [
        (|| Said::Status(500, "InternalError"), Answer::Failed),
        (|| Said::Hang, Answer::Failed),
        (|| Said::Status(429, "TooManyRequests"), Answer::TooMany(None)),
    ];
    for (said, answer) in cases {
        let mut stage = Stage::set(move |_| said()).await;
        let asked = stage.asked().await;
        assert!((3..=8).contains(&asked.len()), "{answer:?}: {asked:?}");
        let pauses: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{answer:?}: {asked:?}");
        assert!(stage.counted(answer) as usize >= asked.len() - 1);
        assert_eq!(stage.counted(Answer::Done), 0);
    }
    let mut stage = Stage::set(|tries| if tries == 1 { Said::RetryAfter(40) } else { Said::Json(pod()) }).await;
    let asked = stage.asked().await;
    assert!(asked.len() == 2 && asked[1] - asked[0] >= 40, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn once_told_to_stop_it_waits_for_what_is_in_hand_and_begins_nothing() {
    let stage = Stage::set(|_| Said::Hang).await;
    let Stage { mut removals, stop, _ends, .. } = stage;
    assert_eq!(removals.recv().await, Some(10));
    let (stopped, has_stopped) = oneshot::channel();
    stop.send(stopped).unwrap();
    let told = Moment::now();
    has_stopped.await.unwrap();
    assert!((1..=4).contains(&told.elapsed().as_secs()), "{:?}", told.elapsed());
    sleep(Duration::from_secs(300)).await;
    assert!(removals.try_recv().is_err(), "something was begun after it");
}
