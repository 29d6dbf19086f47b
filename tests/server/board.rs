//! The board over a real socket, and in a real browser where there is one.
//!
//! Chromium is looked for in `PATH`; without it the tests in a browser pass and say on stderr that they were skipped.
//! With `STOWAGE_SCREENSHOTS=FOLDER` what it shows is kept there, to be looked at.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use stowage::server::board::{self, Question};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::https::within;

/// What somebody asked for.
type Asked = (Option<String>, Option<String>, usize);

/// A board whose rows `tell` knows; counts questions.
async fn start(tell: impl Fn(usize, &Question) -> Value + Send + 'static) -> (SocketAddr, Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (questions, mut asked) = mpsc::channel::<Question>(4);
    let record = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&record);
    tokio::spawn(board::serve(listener, questions));
    tokio::spawn(async move {
        let count = AtomicUsize::new(0);
        while let Some(question) = asked.recv().await {
            heard.lock().unwrap().push((question.namespace.clone(), question.state.clone(), question.limit));
            let text = tell(count.fetch_add(1, Ordering::Relaxed), &question).to_string();
            let _ = question.answer.send(text);
        }
    });
    (address, record)
}

/// Status, head in lower case, and body.
async fn ask(address: SocketAddr, line: &str, host: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    within(stream.read_to_string(&mut reply)).await.unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (reply[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}

/// A moment that many seconds from now.
#[expect(clippy::disallowed_methods, reason = "the page counts down by the browser's clock")]
fn from_now(seconds: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

fn row(namespace: &str, name: &str, state: &str, left: i64, threshold: i64, action: &str, held: Option<&str>) -> Value {
    json!({
        "namespace": namespace, "name": name, "uid": name, "state": state, "since": from_now(left - threshold),
        "threshold": threshold, "word": if name.ends_with("own") { "pod" } else { "policy" }, "policy": "mlrun",
        "deadline": from_now(left), "action": action, "held": held,
    })
}

fn page(rows: Vec<Value>) -> Value {
    json!({
        "now": from_now(0), "leader": true, "dryRun": false, "synced": true, "tracked": 1284,
        "states": [["running", 1200], ["image_pull_backoff", 60], ["pending_scheduled", 24], ["failed", 0]],
        "breaker": ["image_pull_backoff"], "forbidden": [], "nextDeadline": from_now(60), "more": false, "rows": rows,
    })
}

fn rows() -> Vec<Value> {
    let breaker = "the circuit breaker holds image_pull_backoff: 60 of 84 pods came due within 10m";
    vec![
        row(
            "team-vision",
            "train-resnet-mlrun-worker-0",
            "image_pull_backoff",
            -1500,
            3600,
            "delete-owner",
            Some(breaker),
        ),
        row(
            "team-vision",
            "train-resnet-mlrun-worker-1",
            "image_pull_backoff",
            -1500,
            3600,
            "delete-owner",
            Some(breaker),
        ),
        row(
            "team-nlp",
            "finetune-7b-launcher-x7k2p",
            "container_error",
            -20,
            3600,
            "delete-owner",
            Some("3 others come first"),
        ),
        row("team-nlp", "notebook-of-ann-own", "running", 95, 5400, "delete", None),
        row(
            "team-data",
            "ingest-2026-11-27-0800-a-name-as-long-as-names-of-jobs-sometimes-are-4xw7z",
            "pending_scheduled",
            3000,
            3600,
            "delete",
            None,
        ),
        row("team-data", "sweep-19-own", "running", 5 * 3600, 86_400, "report", None),
        row("team-vision", "eval-nightly", "running", 71_000, 86_400, "evict", None),
    ]
}

#[tokio::test]
async fn the_rows_are_asked_for_by_namespace_state_and_number() {
    let (address, asked) = start(|_, _| page(rows())).await;
    let (status, head, body) =
        ask(address, "GET /pods.json?namespace=team-nlp&state=running&limit=7", "localhost").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json") && head.contains("cache-control: no-store"), "{head}");
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["rows"].as_array().unwrap().len(), rows().len());
    ask(address, "GET /pods.json", "127.0.0.1:8090").await;
    ask(address, "GET /pods.json?limit=0&namespace=", "[::1]:1").await;
    assert_eq!(ask(address, "GET /pods.json?limit=many", "localhost").await.0, 400);
    assert_eq!(
        *asked.lock().unwrap(),
        [(Some("team-nlp".to_owned()), Some("running".to_owned()), 7), (None, None, 500), (None, None, 1)]
    );
}

#[tokio::test]
async fn nobody_elses_page_can_ask_and_nothing_can_be_sent() {
    let (address, asked) = start(|_, _| page(rows())).await;
    for path in ["/", "/pods.json"] {
        let (status, _, body) = ask(address, &format!("GET {path}"), "evil.example:8090").await;
        assert_eq!((status, body.as_str()), (421, "this board answers to localhost only\n"));
    }
    assert_eq!(ask(address, "POST /pods.json", "localhost").await.0, 405);
    assert_eq!(ask(address, "GET /metrics", "localhost").await.0, 404);
    assert!(asked.lock().unwrap().is_empty());
    let (status, head, body) = ask(address, "GET /?namespace=a", "localhost").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-security-policy: default-src 'none'; script-src 'nonce-"), "{head}");
    assert!(!head.contains("access-control"), "{head}");
    assert!(!body.contains("{{nonce}}"));
}

#[tokio::test]
async fn a_watcher_that_does_not_answer_is_said_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (questions, asked) = mpsc::channel::<Question>(4);
    drop(asked);
    tokio::spawn(board::serve(listener, questions));
    let (status, _, body) = ask(address, "GET /pods.json", "localhost").await;
    assert_eq!((status, body.as_str()), (503, "the watcher does not answer\n"));
}

/// What chromium shows of that address; `None`, said once for each test, where there is none.
async fn shown(address: SocketAddr, path: &str, size: &str, picture: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut chromium = Command::new("chromium");
    chromium
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--hide-scrollbars", "--virtual-time-budget=9000", "--dump-dom"])
        .arg(format!("--window-size={size}"))
        .arg(format!("--user-data-dir={}", folder.path().display()));
    if let Some(pictures) = std::env::var_os("STOWAGE_SCREENSHOTS") {
        std::fs::create_dir_all(&pictures).unwrap();
        chromium.arg(format!("--screenshot={}", PathBuf::from(pictures).join(picture).display()));
    }
    chromium.arg(format!("http://{address}{path}"));
    let output = tokio::task::spawn_blocking(move || {
        let _folder = folder;
        chromium.output()
    });
    match output.await.unwrap() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "skipped: no chromium in PATH ({error}): the board was not looked at");
            None
        }
    }
}

#[tokio::test]
async fn a_browser_shows_every_row_as_text_and_runs_nothing_of_it() {
    let hostile = "<img src=x onerror=\"document.title='broken'\">";
    let (address, _) = start(move |_, _| {
        let mut rows = rows();
        rows[2]["held"] = json!(hostile);
        rows[3]["policy"] = json!("</td><script>document.title='broken'</script>");
        page(rows)
    })
    .await;
    let Some(dom) = shown(address, "/", "1280,800", "board.png").await else { return };
    for row in rows() {
        assert!(dom.contains(row["name"].as_str().unwrap()), "{dom}");
    }
    assert!(
        dom.contains("this replica acts") && dom.contains("1284 pods watched") && dom.contains(">7 pods<"),
        "{dom}"
    );
    assert!(dom.contains("The circuit breaker holds image_pull_backoff"), "{dom}");
    assert!(dom.contains("due since 25m") && dom.contains("the pod’s own word, under"), "{dom}");
    assert!(dom.contains("&lt;img src=x") && dom.contains("&lt;script&gt;"), "{dom}");
    assert!(!dom.contains("<title>broken"), "a row ran");
    shown(address, "/", "390,1200", "board-phone.png").await;
}

#[tokio::test]
async fn a_browser_goes_by_the_filter_of_its_address_and_follows_what_changes() {
    let (address, asked) = start(|count, question| {
        let all =
            rows().into_iter().filter(|row| question.namespace.as_deref().is_none_or(|ns| row["namespace"] == ns));
        let mut told = page(all.skip(usize::from(count > 0)).collect());
        told["leader"] = json!(count == 0);
        told
    })
    .await;
    let Some(dom) = shown(address, "/?namespace=team-nlp&state=running", "1280,800", "board-filtered.png").await else {
        return;
    };
    let asked = asked.lock().unwrap().clone();
    assert!(asked.len() >= 2, "it asks again by itself");
    assert!(asked.iter().all(|asked| *asked == (Some("team-nlp".to_owned()), Some("running".to_owned()), 500)));
    assert!(dom.contains("standby: another replica acts"), "{dom}");
    assert!(!dom.contains("finetune-7b") && dom.contains("notebook-of-ann-own"), "{dom}");
}

#[tokio::test]
async fn a_browser_says_that_nothing_is_there_and_that_nobody_answers() {
    let (address, _) = start(|_, _| page(Vec::new())).await;
    let Some(dom) = shown(address, "/", "1280,800", "board-empty.png").await else { return };
    assert!(dom.contains("No pod has a deadline here.") && dom.contains("id=\"table\" hidden"), "{dom}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (questions, _) = mpsc::channel::<Question>(1);
    tokio::spawn(board::serve(listener, questions));
    let dom = shown(address, "/", "1280,800", "board-trouble.png").await.unwrap();
    assert!(dom.contains("The watcher does not answer."), "{dom}");
}
