//! A receiver of events, which verifies their signatures.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;

use crate::support::eventually;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";
pub(crate) const FAILED: &str = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";
pub(crate) const REDIRECT: &str =
    "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
/// The connection is closed without an answer.
pub(crate) const CLOSED: &str = "";

/// A delivery as the receiver got it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) body: Value,
}

impl Delivery {
    pub(crate) fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    /// Returns the id of the draft or photo.
    pub(crate) fn subject(&self) -> u64 {
        self.body["data"]["id"].as_u64().unwrap()
    }
}

/// A receiver that answers each delivery as a function of it and of the number of deliveries before says. The function may block: other
/// connections are answered meanwhile.
pub(crate) struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Delivery>>>,
}

impl Receiver {
    pub(crate) fn start(answer: impl Fn(&Delivery, usize) -> &'static str + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    pub(crate) fn on(
        listener: TcpListener,
        answer: impl Fn(&Delivery, usize) -> &'static str + Send + Sync + 'static,
    ) -> Self {
        let (address, got) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let seen = Arc::clone(&got);
        serve(listener, move |request| {
            let delivery = verified(request);
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push(delivery.clone());
                seen.len() - 1
            };
            answer(&delivery, number)
        });
        Self { address, got }
    }

    pub(crate) fn settings(&self) -> [(String, String); 2] {
        settings(self.address)
    }

    pub(crate) fn got(&self) -> Vec<Delivery> {
        self.got.lock().unwrap().clone()
    }

    pub(crate) async fn got_all(&self, count: usize) -> Vec<Delivery> {
        eventually("the events are delivered", || self.got().len() >= count).await;
        self.got()
    }
}

pub(crate) fn settings(address: SocketAddr) -> [(String, String); 2] {
    [("WEBHOOK_URL".into(), format!("http://{address}/hook?a=b")), ("WEBHOOK_SECRET".into(), SECRET.into())]
}

/// A request as a receiver got it: its first line, its headers with names in lower case, and its body.
pub(crate) type Got = (String, BTreeMap<String, String>, Vec<u8>);

/// Answers all requests on threads of their own, each connection on one.
pub(crate) fn serve(listener: TcpListener, answer: impl Fn(Got) -> &'static str + Send + Sync + 'static) {
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while let Some(request) = read_request(&mut reader) {
                    let answer = answer(request);
                    if (&stream).write_all(answer.as_bytes()).is_err() || answer == CLOSED {
                        return;
                    }
                }
            });
        }
    });
}

/// Reads one request. Returns `None` if there is no whole one, as from a killed server.
fn read_request(reader: &mut impl BufRead) -> Option<Got> {
    let mut next_line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|_| line.ends_with('\n'))?;
        Some(line.trim_end().to_owned())
    };
    let (first, mut head) = (next_line()?, BTreeMap::new());
    while let Some((name, value)) = next_line()?.split_once(": ") {
        head.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; head.get("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some((first, head, body))
}

/// Returns the delivery of a request, whose signature it checks.
fn verified((first, head, body): Got) -> Delivery {
    assert_eq!(first, "POST /hook?a=b HTTP/1.1");
    assert_eq!(head["content-type"], "application/json");
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed =
        [format!("{}.{}.", head["webhook-id"], head["webhook-timestamp"]).as_bytes(), &body].concat();
    let signature = STANDARD.decode(head["webhook-signature"].strip_prefix("v1,").unwrap()).unwrap();
    hmac::verify(&key, &signed, &signature).expect("the signature is right");
    Delivery { id: head["webhook-id"].clone(), body: serde_json::from_slice(&body).unwrap() }
}
