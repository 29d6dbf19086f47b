//! No pod creation fails while a replica goes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame};
use hyper::client::conn::http2;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use stowage::shutdown::ShutdownPhase;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::https::{BOTH, H1, H2, Server, exchange, head, limits, read_until, tcp, within};

#[tokio::test]
async fn a_request_that_began_before_the_stop_is_answered() {
    let server = Server::start(limits()).await;
    let mut stream = server.raw().await;
    let asked = head("content-length: 4\r\nexpect: 100-continue\r\n");
    exchange(&mut stream, &asked, "100 Continue\r\n\r\n").await.unwrap();
    let address = server.address;
    server.phase.send_replace(ShutdownPhase::Stopped);
    // The socket closes at once, the request goes on.
    within(async {
        while tcp(address, "127.0.0.1").await.is_ok() {
            sleep(limits().linger / 100).await;
        }
    })
    .await;
    let reply = exchange(&mut stream, "{  }", "\r\n\r\n4").await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    assert!(reply.contains("connection: close\r\n"), "{reply}");
    drop(stream);
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn a_request_in_flight_on_h2_is_answered_after_the_stop() {
    let server = Server::start(limits()).await;
    let stream = server.tls(H2, &BOTH, "127.0.0.1").await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let (body, pieces) = mpsc::channel(1);
    let request = Request::post("https://localhost/mutate")
        .header("content-type", "application/json")
        .body(Piecewise(pieces))
        .unwrap();
    let answered = tokio::spawn(sender.send_request(request));
    body.send(Bytes::from_static(b"{")).await.unwrap();
    // The test has one thread: when it runs again, the server has run.
    sleep(limits().body / 4).await;
    server.phase.send_replace(ShutdownPhase::Stopped);
    within(async {
        while tcp(server.address, "127.0.0.1").await.is_ok() {
            sleep(limits().linger / 100).await;
        }
    })
    .await;
    body.send(Bytes::from_static(b"}")).await.unwrap();
    drop(body);
    let response = within(answered).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "2");
    assert_eq!(server.stop().await, 0);
    within(connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn while_leaving_answers_ask_for_a_new_connection_and_new_ones_are_served() {
    let server = Server::start(limits()).await;
    let mut old = server.client(H1).await;
    assert!(old.post("1").await.headers.get("connection").is_none());
    server.phase.send_replace(ShutdownPhase::Leaving);
    let told = async {
        loop {
            let mut client = server.client(H1).await;
            let reply = client.post("1").await;
            assert_eq!(reply.status, StatusCode::OK);
            if reply.headers.contains_key("connection") {
                assert_eq!(reply.headers["connection"], "close");
                assert!(client.closed().await);
                return;
            }
        }
    };
    within(told).await;
    // An idle one is left open for a request that may be on its way.
    assert_eq!(old.post("1").await.headers["connection"], "close");
    let mut h2 = server.client(H2).await;
    assert_eq!(h2.post("1").await.status, StatusCode::OK);
    assert!(h2.is_open());
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn a_connection_made_just_before_the_stop_still_gets_one_answer() {
    let server = Server::start(limits()).await;
    let mut stream = server.raw().await;
    server.until("open", |metrics| metrics.connections.get() == 1).await;
    server.phase.send_replace(ShutdownPhase::Stopped);
    within(async {
        while tcp(server.address, "127.0.0.1").await.is_ok() {
            sleep(limits().linger / 100).await;
        }
    })
    .await;
    let whole = head("content-length: 1\r\n") + "x";
    let reply = exchange(&mut stream, &whole, "\r\n\r\n1").await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    assert_eq!(read_until(&mut stream, "").await.unwrap(), "");
    drop(stream);
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn idle_connections_do_not_hold_the_stop_up() {
    let server = Server::start(limits()).await;
    let mut clients = [server.client(H1).await, server.client(H2).await];
    for client in &mut clients {
        client.post("1").await;
    }
    // One that never sends anything, and never goes away by itself.
    let _silent = server.tls(H1, &BOTH, "127.0.0.1").await.unwrap();
    let started = std::time::Instant::now();
    assert_eq!(server.stop().await, 0);
    assert!(started.elapsed() < limits().drain);
    for client in &mut clients {
        assert!(client.closed().await);
    }
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_off() {
    let mut limits = limits();
    limits.body = limits.drain * 2;
    limits.drain = limits.linger;
    let server = Server::start(limits).await;
    let mut stream = server.raw().await;
    let asked = head("content-length: 4\r\nexpect: 100-continue\r\n");
    exchange(&mut stream, &asked, "100 Continue\r\n\r\n").await.unwrap();
    assert_eq!(server.stop().await, 1);
}

/// A body that comes when the test sends it.
pub(crate) struct Piecewise(pub(crate) mpsc::Receiver<Bytes>);

impl Body for Piecewise {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.get_mut().0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
