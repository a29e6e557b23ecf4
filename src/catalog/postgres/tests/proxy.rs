//! A TCP proxy between catalog and database that fails at a chosen moment.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the proxy treats bytes on their way to the database. The texts are searched in each chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Forwards everything.
    Through,
    /// Drops these bytes and all that follow, and closes the connection.
    CutBefore(&'static str),
    /// Forwards these bytes and closes the connection without an answer.
    CutAfter(&'static str),
    /// Forwards these bytes and drops the answer.
    StallAfter(&'static str),
    /// Drops everything and keeps connections open, including new ones.
    Stall,
}

pub(super) struct Proxy {
    pub(super) port: u16,
    fault: Arc<Mutex<Fault>>,
}

impl Proxy {
    pub(super) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fault = Arc::new(Mutex::new(Fault::Through));
        tokio::spawn({
            let fault = Arc::clone(&fault);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    tokio::spawn(carry(client, server, Arc::clone(&fault)));
                }
            }
        });
        Self { port, fault }
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }
}

async fn carry(client: TcpStream, server: TcpStream, fault: Arc<Mutex<Fault>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (silence, silenced) = watch::channel(false);
    let answers = tokio::spawn(async move {
        let mut bytes = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
            if !*silenced.borrow() && to_client.write_all(&bytes[..read]).await.is_err() {
                break;
            }
        }
    });
    let mut bytes = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
        let has = |text: &str| bytes[..read].windows(text.len()).any(|part| part == text.as_bytes());
        let fault = *fault.lock().unwrap();
        match fault {
            Fault::Stall => {
                silence.send_replace(true);
                continue;
            }
            Fault::CutBefore(text) if has(text) => break,
            Fault::CutAfter(text) | Fault::StallAfter(text) if has(text) => {
                silence.send_replace(true);
            }
            _ => {}
        }
        to_server.write_all(&bytes[..read]).await.unwrap();
        if matches!(fault, Fault::CutAfter(text) if has(text)) {
            // Time for the database to execute the statement.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            break;
        }
    }
    answers.abort();
}
