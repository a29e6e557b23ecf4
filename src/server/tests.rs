//! Interim responses over sockets: what a client receives, byte by byte.

use std::ops::Range;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{DATE, HeaderMap, HeaderName, HeaderValue};
use hyper::{StatusCode, Version};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::*;
use crate::web;
use crate::web::interim::Interim;

/// Longest wait for anything that must happen.
const SOON: Duration = Duration::from_secs(20);
/// Longest time for which a client of these tests need not read its response.
const WRITE_GRACE: Duration = Duration::from_secs(1);
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const PADDING: HeaderName = HeaderName::from_static("padding");

/// Serves requests with `handler`, and runs `client` with the server's address.
async fn serve<H, F, C>(handler: H, client: impl FnOnce(SocketAddr) -> C) -> C::Output
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Unpin + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
    C: Future,
{
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits {
        connections: 64,
        head_timeout: SOON,
        write_rate: MinRate { bytes_per_second: 0, grace: WRITE_GRACE },
        drain_time: Duration::ZERO,
        shutdown_timeout: Duration::ZERO,
    };
    let (ended, end) = oneshot::channel();
    let shutdown = async { end.await.unwrap() };
    let handler = move |request, _| handler(request);
    let server = run(listener, handler, limits, Vec::new(), Connections::default(), shutdown);
    let client = async {
        let output = timeout(SOON, client(address)).await.expect("the test takes too long");
        ended.send(()).unwrap();
        output
    };
    tokio::join!(server, client).1
}

/// Returns the headers of an interim response with this offset, of about `bytes` bytes.
fn offset(offset: usize, bytes: usize) -> HeaderMap {
    let padding = HeaderValue::from_maybe_shared(Bytes::from(vec![b'-'; bytes])).unwrap();
    HeaderMap::from_iter([(UPLOAD_OFFSET, offset.into()), (PADDING, padding)])
}

/// Returns the interim response that a client receives for [`offset`].
fn interim_bytes(offset: usize, bytes: usize) -> String {
    let padding = "-".repeat(bytes);
    format!(
        "HTTP/1.1 104 Upload Resumption Supported\r\nupload-offset: {offset}\r\npadding: {padding}\r\n\r\n"
    )
}

/// Returns a response that hyper sends as [`final_bytes`].
fn response(body: impl Into<Bytes>) -> Response<Body> {
    let mut response = web::full(StatusCode::CREATED, "text/plain", body);
    response.headers_mut().insert(DATE, HeaderValue::from_static("now"));
    response
}

fn final_bytes(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 201 Created\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\ndate: now\r\n\r\n{body}"
    )
}

fn head(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
}

fn interim_of(request: &Request<Incoming>) -> Option<Interim> {
    request.extensions().get().cloned()
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

async fn write(client: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    client.write_all(bytes.as_ref()).await.unwrap();
}

/// Reads exactly what is expected, and nothing more.
async fn expect(client: &mut TcpStream, expected: &str) {
    let mut received = vec![0; expected.len()];
    let mut length = 0;
    while length < received.len() && expected.as_bytes().starts_with(&received[..length]) {
        let read = client.read(&mut received[length..]).await.unwrap();
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&received[..length]));
        length += read;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
    assert_eq!(text(&received[..length]), text(expected.as_bytes()));
    assert!(received == expected.as_bytes());
}

async fn expect_nothing(client: &mut TcpStream) {
    let read = timeout(Duration::from_millis(50), client.read(&mut [0; 4000])).await;
    assert!(read.is_err(), "unexpected {read:?}");
}

#[tokio::test]
async fn interim_responses_arrive_while_the_body_is_read() {
    let handler = |mut request: Request<Incoming>| async move {
        let interim = interim_of(&request).unwrap();
        let mut received = 0;
        interim.send(104, &offset(received, 1));
        while let Some(frame) = request.body_mut().frame().await {
            received += frame.unwrap().data_ref().map_or(0, Bytes::len);
            interim.send(104, &offset(received, 1));
        }
        response("done")
    };
    let client = async |address| {
        let client = &mut connect(address).await;
        // The second request finds the connection as the first one did.
        for _ in 0..2 {
            write(client, head("/", 300)).await;
            expect(client, &interim_bytes(0, 1)).await;
            write(client, [0; 100]).await;
            expect(client, &interim_bytes(100, 1)).await;
            write(client, [0; 150]).await;
            expect(client, &interim_bytes(250, 1)).await;
            write(client, [0; 50]).await;
            // The end of the body and the answer come at the same time, so the last interim response may be dropped.
            let (offsets, body) = Responses::new(&mut *client, 1000).next().await;
            assert!(offsets.iter().all(|offset| *offset == 300), "{offsets:?}");
            assert_eq!(body, "done");
        }
    };
    serve(handler, client).await;
}

#[tokio::test]
async fn interim_response_of_another_task_is_sent_while_the_connection_is_silent() {
    let handler = |mut request: Request<Incoming>| async move {
        let interim = interim_of(&request).unwrap();
        tokio::spawn(async move {
            sleep(Duration::from_millis(100)).await;
            interim.send(104, &offset(7, 1));
        });
        while let Some(frame) = request.body_mut().frame().await {
            frame.unwrap();
        }
        response("done")
    };
    let client = async |address| {
        let client = &mut connect(address).await;
        write(client, head("/", 1)).await;
        expect(client, &interim_bytes(7, 1)).await;
        write(client, "x").await;
        expect(client, &final_bytes("done")).await;
    };
    serve(handler, client).await;
}

#[tokio::test]
async fn interim_response_and_100_continue_are_both_whole() {
    let handler = |mut request: Request<Incoming>| async move {
        let interim = interim_of(&request).unwrap();
        if request.uri().path() == "/before" {
            interim.send(104, &offset(0, 1));
            sleep(Duration::from_millis(100)).await;
        }
        let body = request.body_mut();
        let reading = body.frame();
        let (frame, ()) = tokio::join!(reading, async {
            sleep(Duration::from_millis(100)).await;
            interim.send(104, &offset(1, 1));
        });
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap().len(), 1);
        response("done")
    };
    let client = async |address| {
        let client = &mut connect(address).await;
        let head = |path| {
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        };
        let proceed = "HTTP/1.1 100 Continue\r\n\r\n";
        write(client, head("/before")).await;
        expect(client, &[&interim_bytes(0, 1), proceed, &interim_bytes(1, 1)].concat()).await;
        write(client, "x").await;
        expect(client, &final_bytes("done")).await;
        write(client, head("/after")).await;
        expect(client, &[proceed, &interim_bytes(1, 1)].concat()).await;
        write(client, "x").await;
        expect(client, &final_bytes("done")).await;
    };
    serve(handler, client).await;
}

#[tokio::test]
async fn interim_response_of_a_pipelined_request_follows_the_previous_response() {
    const LENGTH: usize = 8 << 20;
    let large = || "y".repeat(LENGTH);
    let handler = move |mut request: Request<Incoming>| async move {
        if request.uri().path() == "/large" {
            // hyper has the whole response, and reads on while the client does not read it.
            return response(large());
        }
        interim_of(&request).unwrap().send(104, &offset(0, 1));
        while let Some(frame) = request.body_mut().frame().await {
            frame.unwrap();
        }
        response("done")
    };
    let client = async |address| {
        let client = &mut connect(address).await;
        write(client, [&head("/large", 3), "abc", &head("/", 1)].concat()).await;
        sleep(WRITE_GRACE / 4).await;
        expect(client, &final_bytes(&large())).await;
        expect(client, &interim_bytes(0, 1)).await;
        expect_nothing(client).await;
        write(client, "x").await;
        expect(client, &final_bytes("done")).await;
    };
    serve(handler, client).await;
}

#[tokio::test]
async fn interim_response_after_the_answer_is_dropped() {
    let (answered, mut interims) = mpsc::unbounded_channel();
    let handler = move |request: Request<Incoming>| {
        let interim = interim_of(&request).unwrap();
        answered.send(interim.clone()).unwrap();
        async move {
            interim.send(104, &offset(0, 1));
            response("done")
        }
    };
    let client = async |address| {
        let client = &mut connect(address).await;
        let mut late = Vec::new();
        for _ in 0..3 {
            write(client, head("/", 0)).await;
            expect(client, &final_bytes("done")).await;
            late.push(interims.recv().await.unwrap());
            for interim in &late {
                interim.send(104, &offset(9, 1));
            }
            expect_nothing(client).await;
        }
    };
    serve(handler, client).await;
}

#[tokio::test]
async fn only_http_1_1_has_interim_responses() {
    let handler = async |request: Request<Incoming>| {
        response(format!("{:?} {}", request.version(), interim_of(&request).is_some()))
    };
    let client = async |address| {
        let client = &mut connect(address).await;
        write(client, "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n").await;
        let mut received = Vec::new();
        while !received.ends_with(b"HTTP/1.0 false") {
            assert_ne!(client.read_buf(&mut received).await.unwrap(), 0);
        }
        write(client, head("/", 0)).await;
        expect(client, &final_bytes("HTTP/1.1 true")).await;
        let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
        let response = http2.post(format!("http://{address}/")).body("x").send().await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(response.text().await.unwrap(), "HTTP/2.0 false");
    };
    serve(handler, client).await;
}

/// Reads responses from a connection, in pieces of at most `piece` bytes.
struct Responses<R> {
    reader: R,
    piece: usize,
    received: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Responses<R> {
    fn new(reader: R, piece: usize) -> Self {
        Self { reader, piece, received: Vec::new() }
    }

    async fn read(&mut self) {
        let length = self.received.len();
        self.received.resize(length + self.piece, 0);
        let read = self.reader.read(&mut self.received[length..]).await.unwrap();
        self.received.truncate(length + read);
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&self.received));
    }

    async fn take(&mut self, length: usize) -> String {
        while self.received.len() < length {
            self.read().await;
        }
        let rest = self.received.split_off(length);
        String::from_utf8(std::mem::replace(&mut self.received, rest)).unwrap()
    }

    async fn head(&mut self) -> String {
        let end = b"\r\n\r\n";
        loop {
            match self.received.windows(end.len()).position(|bytes| bytes == end) {
                Some(at) => return self.take(at + end.len()).await,
                None => self.read().await,
            }
        }
    }

    /// Reads up to the end of the next final response. Returns its body, and the offsets of the interim responses before it.
    async fn next(&mut self) -> (Vec<usize>, String) {
        let mut offsets = Vec::new();
        loop {
            let head = self.head().await;
            let field = |name| head.split_once(name)?.1.split_once("\r\n")?.0.parse().ok();
            if let Some(offset) = field("upload-offset: ") {
                let padding = head.bytes().rev().skip(4).take_while(|byte| *byte == b'-').count();
                assert_eq!(head, interim_bytes(offset, padding));
                offsets.push(offset);
            } else if let Some(length) = field("content-length: ") {
                let body = self.take(length).await;
                assert_eq!(head + &body, final_bytes(&body));
                return (offsets, body);
            } else {
                panic!("{head}");
            }
        }
    }
}

/// Connects with a small buffer for what the server sends.
async fn connect_narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).await.unwrap()
}

#[tokio::test]
async fn client_that_reads_only_after_its_body_gets_the_newest_interim_responses() {
    const LENGTH: usize = 8 << 20;
    let handler = |mut request: Request<Incoming>| async move {
        let interim = interim_of(&request).unwrap();
        let (mut received, mut sent) = (0, 0);
        while let Some(frame) = request.body_mut().frame().await {
            received += frame.unwrap().data_ref().map_or(0, Bytes::len);
            interim.send(104, &offset(received, 900));
            sent += 1;
        }
        assert_eq!(received, LENGTH);
        response(sent.to_string())
    };
    let client = async |address| {
        let client = &mut connect_narrow(address).await;
        write(client, head("/", LENGTH)).await;
        for n in 0..LENGTH / 8192 {
            write(client, [0; 8192]).await;
            if n % 16 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        let (offsets, sent) = Responses::new(client, 8192).next().await;
        assert!(offsets.is_sorted_by(|earlier, later| earlier < later), "{offsets:?}");
        let sent: usize = sent.parse().unwrap();
        assert!((8..sent / 2).contains(&offsets.len()), "{} of {sent} arrived", offsets.len());
    };
    serve(handler, client).await;
}

#[tokio::test]
async fn blocked_interim_response_does_not_use_up_the_time_of_the_client() {
    let (ready, mut interims) = mpsc::unbounded_channel();
    let handler = move |mut request: Request<Incoming>| {
        ready.send(interim_of(&request).unwrap()).unwrap();
        async move {
            while let Some(frame) = request.body_mut().frame().await {
                frame.unwrap();
            }
            response("done")
        }
    };
    let client = async |address| {
        let client = &mut connect_narrow(address).await;
        write(client, head("/", 1)).await;
        let interim = interims.recv().await.unwrap();
        for n in 0..2000 {
            interim.send(104, &offset(n, 900));
            if n % 4 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        sleep(WRITE_GRACE * 2).await;
        write(client, "x").await;
        let (offsets, body) = Responses::new(client, 8192).next().await;
        assert!(offsets.is_sorted_by(|earlier, later| earlier < later), "{offsets:?}");
        assert!((8..400).contains(&offsets.len()), "{} arrived", offsets.len());
        assert_eq!(body, "done");
    };
    serve(handler, client).await;
}

/// One of several requests that a client pipelines.
#[derive(Debug, Clone)]
struct Pipelined {
    body: usize,
    response: usize,
    /// Interim responses that the handler sends before it reads, and that another task sends meanwhile and later.
    interims: (usize, usize),
    /// Bytes of the body that the handler reads before it answers.
    reads: usize,
}

fn pipelined() -> impl Strategy<Value = Pipelined> {
    let sizes = |small: Range<usize>| prop_oneof![small, 0..200_000_usize];
    // hyper puts the length of an empty response elsewhere.
    let response = sizes(0..20).prop_map(|bytes| bytes + 1);
    (sizes(0..20), response, (0..3_usize, 0..6_usize), sizes(0..20))
        .prop_map(|(body, response, interims, reads)| Pipelined { body, response, interims, reads })
}

async fn answer(planned: Pipelined, number: usize, mut request: Request<Incoming>) -> Response<Body> {
    let interim = interim_of(&request).unwrap();
    for _ in 0..planned.interims.0 {
        interim.send(104, &offset(number, 300));
    }
    tokio::spawn(async move {
        for _ in 0..planned.interims.1 {
            interim.send(104, &offset(number, 300));
            tokio::task::yield_now().await;
        }
    });
    let mut received = 0;
    while received < planned.reads {
        let Some(frame) = request.body_mut().frame().await else { break };
        received += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    // The whole body is read, so that the connection stays open.
    tokio::spawn(request.into_body().collect());
    response("z".repeat(planned.response))
}

async fn check_pipeline(plan: Vec<Pipelined>, writes: usize, reads: usize) {
    let planned = plan.clone();
    let handler = move |request: Request<Incoming>| {
        let number: usize = request.uri().path()[1..].parse().unwrap();
        answer(planned[number].clone(), number, request)
    };
    let client = async |address| {
        let client = &mut connect(address).await;
        let (reader, mut writer) = client.split();
        let write = async {
            for (n, planned) in plan.iter().enumerate() {
                let request = head(&format!("/{n}"), planned.body) + &"b".repeat(planned.body);
                for piece in request.as_bytes().chunks(writes) {
                    writer.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        };
        let read = async {
            let mut responses = Responses::new(reader, reads);
            for (n, planned) in plan.iter().enumerate() {
                let (offsets, body) = responses.next().await;
                assert!(offsets.iter().all(|offset| *offset == n), "{n}: {offsets:?}");
                assert_eq!(body.len(), planned.response);
            }
            assert!(responses.received.is_empty());
        };
        tokio::join!(write, read);
    };
    serve(handler, client).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pipelined_requests_get_their_own_interim_responses_before_their_own_answer(
        plan in proptest::collection::vec(pipelined(), 1..6),
        writes in prop_oneof![30..300_usize, 1000..100_000_usize],
        reads in prop_oneof![10..200_usize, 1000..100_000_usize],
    ) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check_pipeline(plan, writes, reads));
    }
}
