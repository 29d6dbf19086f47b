//! Who may connect when many do.

use stowage::metrics::ConnectionRefusal;
use stowage::server::Limits;

use crate::https::{BOTH, Client, H1, H2, Server, exchange, head, limits, read_until};

async fn capped(connections: usize) -> Server {
    Server::start(Limits { connections, ..limits() }).await
}

async fn from(server: &Server, address: &str, protocol: &[u8]) -> std::io::Result<Client> {
    let stream = server.tls(protocol, &BOTH, address).await?;
    Ok(Client::on(stream, protocol).await)
}

#[tokio::test]
async fn the_connection_idle_longest_is_closed_for_a_newcomer() {
    for protocol in [H1, H2] {
        let server = capped(4).await;
        let mut clients = Vec::new();
        for last in 1..=4 {
            let address = format!("127.0.0.{last}");
            let mut client = from(&server, &address, protocol).await.unwrap();
            client.post("1").await;
            clients.push(client);
        }
        // The first was idle longest; now the second is.
        clients[0].post("1").await;
        let mut newcomer = from(&server, "127.0.0.5", protocol).await.unwrap();
        newcomer.post("1").await;
        assert!(clients[1].closed().await);
        for open in [0, 2, 3] {
            assert_eq!(clients[open].post("1").await.text, "1");
        }
        let refused = &server.metrics.connections_refused;
        assert_eq!(refused.total(ConnectionRefusal::Evicted), 1);
    }
}

#[tokio::test]
async fn an_unfinished_body_gives_way_to_another_address_and_not_to_its_own() {
    let server = capped(2).await;
    let refused = &server.metrics.connections_refused;
    let asked = head("content-length: 2\r\nexpect: 100-continue\r\n");
    let mut busy = Vec::new();
    for address in ["127.0.0.1", "127.0.0.2"] {
        let mut stream = server.tls(H1, &BOTH, address).await.unwrap();
        exchange(&mut stream, &asked, "100 Continue\r\n\r\n").await.unwrap();
        busy.push(stream);
    }
    assert!(from(&server, "127.0.0.2", H1).await.is_err());
    assert_eq!(refused.total(ConnectionRefusal::Address), 1);
    assert_eq!(from(&server, "127.0.0.3", H1).await.unwrap().post("1").await.text, "1");
    let [oldest, younger] = busy.as_mut_slice() else { unreachable!() };
    assert!(exchange(oldest, "{}", "\r\n\r\n2").await.is_err());
    let reply = exchange(younger, "{}", "\r\n\r\n2").await.unwrap();
    assert!(reply.contains("200 OK"), "{reply}");
}

#[tokio::test]
async fn one_address_gets_a_quarter_and_cannot_push_others_out() {
    let server = capped(8).await;
    let refused = &server.metrics.connections_refused;
    let mut other = from(&server, "127.0.0.9", H1).await.unwrap();
    other.post("1").await;
    let asked = head("content-length: 2\r\nexpect: 100-continue\r\n");
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = server.raw().await;
        exchange(&mut stream, &asked, "100 Continue\r\n\r\n").await.unwrap();
        busy.push(stream);
    }
    for _ in 0..3 {
        assert!(from(&server, "127.0.0.1", H1).await.is_err());
    }
    assert_eq!(refused.total(ConnectionRefusal::Address), 3);
    assert_eq!(refused.total(ConnectionRefusal::Evicted), 0);
    assert_eq!(other.post("1").await.text, "1");
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end_and_a_used_one_is_not() {
    let server = Server::start(Limits { idle: limits().header, ..limits() }).await;
    let mut stream = server.raw().await;
    let whole = head("content-length: 1\r\n") + "x";
    for _ in 0..5 {
        tokio::time::sleep(limits().header / 3).await;
        exchange(&mut stream, &whole, "\r\n\r\n1").await.unwrap();
    }
    let rest = read_until(&mut stream, "").await.unwrap();
    assert_eq!(rest, "", "closed without a word");
    server.until("closed", |metrics| metrics.connections.get() == 0).await;
}
