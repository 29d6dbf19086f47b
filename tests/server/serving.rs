//! The server over real sockets and real TLS.

use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use stowage::admission::Outcome;
use stowage::metrics::{HandshakeFailure, RequestEnd, Undecided};
use stowage::server::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::https::{BOTH, Client, H1, H2, Server, exchange, head, limits, read_until, tcp, within};

#[tokio::test]
async fn answers_over_both_protocols_and_both_versions_of_tls() {
    let server = Server::start(limits()).await;
    for protocol in [H1, H2] {
        for version in [&TLS12, &TLS13] {
            let stream = server.tls(protocol, &[version], "127.0.0.1").await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(version.version));
            assert_eq!(session.alpn_protocol(), Some(protocol));
            let mut client = Client::on(stream, protocol).await;
            for body in ["1", "22"] {
                let reply = client.post(body).await;
                assert_eq!(reply.status, StatusCode::OK);
                assert_eq!(reply.headers["content-type"], "application/json");
                assert_eq!(reply.text, body.len().to_string());
                assert!(client.is_open(), "not kept alive");
            }
        }
    }
    assert_eq!(server.metrics.requests.total(RequestEnd::Decided(Outcome::NoMatch)), 8);
    assert_eq!(server.metrics.request_seconds.get_sample_count(), 8);
}

#[tokio::test]
async fn refuses_other_paths_methods_and_types_with_one_line_that_says_why() {
    let server = Server::start(limits()).await;
    let json = "application/json";
    for protocol in [H1, H2] {
        let mut client = server.client(protocol).await;
        for (method, path, content_type, status, says) in [
            (Method::POST, "/", json, 404, "/mutate"),
            (Method::POST, "/mutate/", json, 404, "/mutate"),
            (Method::GET, "/mutate", json, 405, "POST only"),
            (Method::PUT, "/mutate", json, 405, "POST only"),
            (Method::POST, "/mutate", "text/plain", 415, json),
        ] {
            let reply = client.send(method, path, content_type, "{}").await.unwrap();
            assert_eq!(reply.status.as_u16(), status);
            assert!(reply.text.contains(says), "{}", reply.text);
            assert_eq!(reply.text.matches('\n').count(), 1);
            assert!(reply.text.ends_with('\n'));
            let allowed = reply.headers.get("allow");
            assert_eq!(allowed.is_some_and(|allow| allow == "POST"), status == 405);
        }
        let reply = client.post("unreadable").await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert_eq!(reply.text, "this is no AdmissionReview\n");
        assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
    }
    assert_eq!(server.metrics.requests.total(RequestEnd::Undecided(Undecided::NotFound)), 4);
    assert_eq!(server.metrics.requests.total(RequestEnd::Undecided(Undecided::Unreadable)), 2);
}

#[tokio::test]
async fn a_panic_costs_one_request_and_not_its_connection() {
    let server = Server::start(limits()).await;
    for protocol in [H1, H2] {
        let mut client = server.client(protocol).await;
        let reply = client.post("panic").await;
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(client.post("1").await.status, StatusCode::OK);
    }
    assert_eq!(server.metrics.requests.total(RequestEnd::Undecided(Undecided::Failed)), 2);
}

#[tokio::test]
async fn refuses_a_body_over_the_limit_before_it_is_sent() {
    let server = Server::start(limits()).await;
    let mut stream = server.raw().await;
    let length = limits().body_bytes + 1;
    let declared = head(&format!("content-length: {length}\r\nexpect: 100-continue\r\n"));
    let reply = exchange(&mut stream, &declared, "bytes\n").await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    assert!(reply.ends_with("the body is over the limit of 1048576 bytes\n"));
}

#[tokio::test]
async fn a_client_that_sends_its_whole_body_first_still_learns_that_it_is_too_long() {
    let server = Server::start(limits()).await;
    let body = vec![b'x'; 5 * limits().body_bytes];
    for more in [format!("content-length: {}\r\n", body.len()), "transfer-encoding: chunked\r\n".to_owned()] {
        let mut stream = server.raw().await;
        stream.write_all(head(&more).as_bytes()).await.unwrap();
        if more.starts_with("transfer") {
            let size = format!("{:x}\r\n", body.len());
            stream.write_all(size.as_bytes()).await.unwrap();
        }
        within(stream.write_all(&body)).await.unwrap();
        let reply = read_until(&mut stream, "bytes\n").await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    }
    assert_eq!(server.metrics.requests.total(RequestEnd::Undecided(Undecided::TooLarge)), 2);
}

#[tokio::test]
async fn bodies_at_the_limit_are_taken_over_both_protocols_and_a_byte_more_is_not() {
    let limit = limits().body_bytes;
    let server = Server::start(Limits { body: Duration::from_secs(5), ..limits() }).await;
    for protocol in [H1, H2] {
        let mut client = server.client(protocol).await;
        let reply = client.post(vec![b'x'; limit]).await;
        assert_eq!(reply.text, limit.to_string());
        let reply = client.post(vec![b'x'; limit + 1]).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}

#[tokio::test]
async fn a_chunked_body_is_read_to_its_end() {
    let server = Server::start(limits()).await;
    let mut stream = server.raw().await;
    let request = head("transfer-encoding: chunked\r\n") + "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let reply = exchange(&mut stream, &request, "\r\n\r\n7").await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
}

#[tokio::test]
async fn a_slow_handshake_ends_in_time() {
    let server = Server::start(limits()).await;
    let started = Instant::now();
    let mut stream = tcp(server.address, "127.0.0.1").await.unwrap();
    // The beginning of a TLS record.
    stream.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let end = within(stream.read(&mut [0; 16])).await;
    assert!(matches!(end, Ok(0) | Err(_)));
    assert!(started.elapsed() >= limits().handshake);
    let failures = &server.metrics.handshake_failures;
    assert_eq!(failures.total(HandshakeFailure::TimedOut), 1);
}

#[tokio::test]
async fn a_slow_head_ends_in_time_however_it_trickles() {
    let server = Server::start(limits()).await;
    let mut stream = server.raw().await;
    // Not on the first request only.
    let whole = head("content-length: 1\r\n") + "x";
    exchange(&mut stream, &whole, "\r\n\r\n1").await.unwrap();
    let started = Instant::now();
    let trickle = async {
        stream.write_all(b"POST /mutate HTTP/1.1\r\nx: ").await?;
        loop {
            stream.write_all(b"y").await?;
            stream.flush().await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended: std::io::Result<()> = within(trickle).await;
    ended.unwrap_err();
    assert!(started.elapsed() >= limits().header);
    assert!(started.elapsed() < limits().header * 5);
}

#[tokio::test]
async fn a_slow_body_ends_in_time_with_an_answer() {
    let server = Server::start(limits()).await;
    let mut stream = server.raw().await;
    let request = head("content-length: 100\r\n") + "{";
    let reply = exchange(&mut stream, &request, "400ms\n").await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
    assert!(reply.ends_with("the body did not come within 400ms\n"));
}

#[tokio::test]
async fn counts_handshakes_that_fail_by_reason() {
    let server = Server::start(limits()).await;
    let failures = |reason| server.metrics.handshake_failures.total(reason);
    let mut plain = tcp(server.address, "127.0.0.1").await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let _ = within(plain.read(&mut [0; 16])).await;
    assert_eq!(failures(HandshakeFailure::NotTls), 1);
    drop(tcp(server.address, "127.0.0.1").await.unwrap());
    server.until("closed", |_| failures(HandshakeFailure::Closed) == 1).await;
    let stranger = Server::start(limits()).await;
    let misled = Server { address: server.address, ..stranger };
    misled.tls(H1, &BOTH, "127.0.0.1").await.unwrap_err();
    server.until("rejected", |_| failures(HandshakeFailure::Rejected) == 1).await;
    let mut client = server.client(H1).await;
    assert_eq!(client.post("1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn resumes_a_session_with_a_ticket() {
    let server = Server::start(limits()).await;
    let connector = server.connector(H1);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut stream = server.tls_by(&connector, "127.0.0.1").await.unwrap();
        let whole = head("content-length: 1\r\n") + "x";
        exchange(&mut stream, &whole, "\r\n\r\n1").await.unwrap();
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}
