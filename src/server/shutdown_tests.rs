//! What clients see of a shutdown.

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::web;

/// Longest wait for anything that must happen.
const SOON: Duration = Duration::from_secs(20);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Runs a server with this drain time, and `client` with its address and what begins the shutdown.
async fn shut_down<C: Future<Output = ()>>(
    drain_time: Duration,
    client: impl FnOnce(SocketAddr, oneshot::Sender<()>) -> C,
) -> Stopped {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits {
        connections: 64,
        head_timeout: SOON,
        write_rate: MinRate { bytes_per_second: 0, grace: SOON },
        drain_time,
        shutdown_timeout: SOON,
    };
    let (begin, begun) = oneshot::channel();
    let shutdown = async { begun.await.unwrap() };
    let handler = |_, _| async { web::full(StatusCode::OK, "text/plain", "done") };
    let server = run(listener, handler, limits, Vec::new(), Connections::default(), shutdown);
    let both = async { tokio::join!(server, client(address, begin)).0 };
    timeout(SOON, both).await.expect("the test takes too long")
}

/// Sends a request and reads its answer. Returns whether it closes the connection.
async fn is_last(client: &mut TcpStream) -> bool {
    client.write_all(GET).await.unwrap();
    read_answer(client).await
}

async fn read_answer(client: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    while !answer.ends_with(b"done") {
        assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "{:?}", String::from_utf8_lossy(&answer));
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.contains("\r\nconnection: close\r\n")
}

async fn expect_end(client: &mut TcpStream) {
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "the connection must end, and not by a reset");
}

#[tokio::test]
async fn requests_during_the_drain_are_answered_and_close_their_connections() {
    let client = async |address, begin: oneshot::Sender<()>| {
        let connect = async || TcpStream::connect(address).await.unwrap();
        let (mut kept, mut silent) = (connect().await, connect().await);
        assert!(!is_last(&mut kept).await);
        begin.send(()).unwrap();
        while !is_last(&mut kept).await {}
        let mut new = connect().await;
        assert!(is_last(&mut silent).await && is_last(&mut new).await);
        for mut socket in [kept, silent, new] {
            expect_end(&mut socket).await;
        }
    };
    // The drain ends with the last connection.
    assert_eq!(shut_down(SOON * 2, client).await, Stopped::Drained);
}

#[tokio::test]
async fn after_the_drain_idle_connections_end_and_a_request_that_began_is_answered() {
    let client = async |address, begin: oneshot::Sender<()>| {
        let connect = async || TcpStream::connect(address).await.unwrap();
        let (mut idle, mut silent, mut partial) = (connect().await, connect().await, connect().await);
        assert!(!is_last(&mut idle).await);
        assert!(!is_last(&mut partial).await);
        partial.write_all(&GET[..9]).await.unwrap();
        begin.send(()).unwrap();
        expect_end(&mut idle).await;
        expect_end(&mut silent).await;
        partial.write_all(&GET[9..]).await.unwrap();
        assert!(read_answer(&mut partial).await);
        expect_end(&mut partial).await;
    };
    assert_eq!(shut_down(Duration::from_millis(50), client).await, Stopped::Drained);
}

#[tokio::test]
async fn connections_in_the_queue_of_a_bound_listener_are_served_and_those_of_an_inherited_one_are_kept() {
    let bound = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let _client = TcpStream::connect(bound.local_addr().unwrap()).await.unwrap();
    assert_eq!(bound.close().len(), 1);
    let owner = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let inherited = Listener::inherit(owner.try_clone().unwrap()).unwrap();
    let mut client = TcpStream::connect(inherited.local_addr().unwrap()).await.unwrap();
    assert_eq!(inherited.close().len(), 0);
    // The next process answers.
    let next = Listener::inherit(owner).unwrap();
    let (mut accepted, _) = next.accept().await;
    accepted.write_all(b"x").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
}
