//! Clients that want nothing but to keep others from being served.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use stowage::metrics::ConnectionRefusal;
use stowage::server::Limits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use crate::drain::Piecewise;
use crate::https::{BOTH, Client, H1, H2, SLOW, Server, head, limits, read_until, tcp, within};

async fn client(server: &Server, from: &str) -> Client {
    Client::on(server.tls(H1, &BOTH, from).await.unwrap(), H1).await
}

/// A body that is announced, of which some bytes come.
async fn begun(server: &Server, from: &str, length: usize, comes: usize) -> TlsStream<TcpStream> {
    let mut stream = server.tls(H1, &BOTH, from).await.unwrap();
    stream.write_all(head(&format!("content-length: {length}\r\n")).as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; comes]).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

#[tokio::test]
async fn half_open_connections_of_four_sources_shut_nobody_out() {
    let patient = Limits { handshake: Duration::from_secs(30), connections: 16, ..limits() };
    let server = Server::start(patient).await;
    let mut old = client(&server, "127.0.0.8").await;
    assert_eq!(old.post("1").await.text, "1");
    let mut held = Vec::new();
    for round in 0..8 {
        for source in 20..24 {
            held.push(tcp(server.address, &format!("127.0.0.{source}")).await);
        }
        let mut new = client(&server, &format!("127.0.0.{}", 40 + round)).await;
        assert_eq!(new.post("1").await.text, "1");
        assert_eq!(old.post("1").await.text, "1");
    }
}

#[tokio::test]
async fn bodies_that_trickle_from_five_sources_shut_nobody_out() {
    let patient = Limits { body: Duration::from_secs(30), connections: 16, ..limits() };
    let server = Server::start(patient).await;
    let mut old = client(&server, "127.0.0.8").await;
    assert_eq!(old.post("1").await.text, "1");
    let mut held = Vec::new();
    for round in 0..4 {
        for source in 20..25 {
            if let Ok(mut stream) = server.tls(H1, &BOTH, &format!("127.0.0.{source}")).await {
                let _ = stream.write_all((head("content-length: 1000\r\n") + "{").as_bytes()).await;
                held.push(stream);
            }
        }
        let mut new = client(&server, &format!("127.0.0.{}", 40 + round)).await;
        assert_eq!(new.post("1").await.text, "1");
        assert_eq!(old.post("1").await.text, "1");
    }
}

#[tokio::test]
async fn large_bodies_that_never_end_hold_no_room_that_another_needs() {
    let tight = Limits { body: Duration::from_secs(30), pool_bytes: 1 << 20, ..limits() };
    let server = Server::start(tight).await;
    let mut held = Vec::new();
    for source in ["127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3", "127.0.0.3"] {
        held.push(begun(&server, source, 1 << 20, 160 << 10).await);
    }
    let mut other = client(&server, "127.0.0.9").await;
    for _ in 0..4 {
        let large = within(other.post(vec![b'x'; 400 << 10])).await;
        assert_eq!(large.text, (400 << 10).to_string());
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_holds_its_room_for_a_moment_only() {
    let server = Server::start(limits()).await;
    let mut silent = begun(&server, "127.0.0.2", 4, 0).await;
    silent.write_all(b"much").await.unwrap();
    silent.flush().await.unwrap();
    let refused = &server.metrics.connections_refused;
    server.until("closed", |_| refused.total(ConnectionRefusal::SlowReader) == 1).await;
    server.until("gone", |metrics| metrics.connections.get() == 0).await;
    // The same, read, by whom a slow machine gives time.
    let server = Server::start(Limits { answer: Duration::from_secs(30), ..limits() }).await;
    let mut reader = client(&server, "127.0.0.3").await;
    assert_eq!(reader.post("much").await.text.len(), crate::https::MUCH);
}

#[tokio::test]
async fn a_large_decision_holds_up_nobody_and_one_source_does_not_take_all_turns() {
    // One thread serves here, as all of them would be busy there.
    let server = Server::start(limits()).await;
    let mut slow = b"slow".to_vec();
    slow.resize(70 << 10, b' ');
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let mut hostile = client(&server, "127.0.0.2").await;
        let body = slow.clone();
        asking.spawn(async move { hostile.post(body).await.status });
    }
    sleep(SLOW / 4).await;
    let mut usual = client(&server, "127.0.0.9").await;
    let started = Instant::now();
    assert_eq!(usual.post("1").await.text, "1");
    assert!(started.elapsed() < SLOW / 4, "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(usual.post(vec![b'x'; 70 << 10]).await.status, StatusCode::OK);
    assert!(started.elapsed() < SLOW / 2, "{:?}", started.elapsed());
    for status in asking.join_all().await {
        assert!([StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&status), "{status}");
    }
}

#[tokio::test]
async fn of_many_small_bodies_on_one_connection_one_is_free() {
    const STREAMS: usize = 16;
    let tight = Limits { pool_bytes: 512 << 10, ..limits() };
    let server = Server::start(tight).await;
    let stream = server.tls(H2, &BOTH, "127.0.0.2").await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut bodies = Vec::new();
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..STREAMS {
        let (pieces, body) = mpsc::channel(1);
        pieces.send(Bytes::from(vec![b' '; 50 << 10])).await.unwrap();
        bodies.push(pieces);
        let request = Request::post("https://localhost/mutate")
            .header("content-type", "application/json")
            .body(Piecewise(body))
            .unwrap();
        sender.ready().await.unwrap();
        let answer = sender.send_request(request);
        answers.spawn(async move {
            let answer = within(answer).await.unwrap();
            let status = answer.status();
            answer.into_body().collect().await.unwrap();
            status
        });
    }
    let mut usual = client(&server, "127.0.0.9").await;
    assert_eq!(usual.post("1").await.text, "1");
    // Half the pool is what one address gets, in steps of 64 KiB, and none of them ends.
    server.until("full", |metrics| metrics.pool_bytes.get() == 256 << 10).await;
    for status in answers.join_all().await {
        assert!([StatusCode::REQUEST_TIMEOUT, StatusCode::SERVICE_UNAVAILABLE].contains(&status), "{status}");
    }
    server.until("given back", |metrics| metrics.pool_bytes.get() == 0).await;
    drop(bodies);
}

#[tokio::test]
async fn a_client_that_is_cut_off_leaves_no_place_taken() {
    let server = Server::start(Limits { connections: 64, ..limits() }).await;
    for _ in 0..8 {
        drop(begun(&server, "127.0.0.2", 1000, 10).await);
    }
    let mut stream = begun(&server, "127.0.0.3", 1, 1).await;
    let reply = timeout(Duration::from_secs(5), read_until(&mut stream, "\r\n\r\n1")).await.unwrap().unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    drop(stream);
    server.until("gone", |metrics| metrics.connections.get() == 0).await;
}
