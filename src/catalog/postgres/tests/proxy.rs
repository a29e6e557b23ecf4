//! A network that fails at a chosen moment, between the catalog and the database.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of bytes on their way to the database. Texts are looked for in what is sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Through,
    /// Neither these bytes nor anything behind them arrives, and the connection ends.
    CutBefore(&'static str),
    /// These bytes arrive, and the connection ends without an answer.
    CutBehind(&'static str),
    /// These bytes arrive, and no answer does.
    StallBehind(&'static str),
    /// Nothing arrives and nothing ends, on new connections neither.
    Stall,
}

pub(super) struct Proxy {
    pub(super) port: u16,
    way: Arc<Mutex<Way>>,
}

impl Proxy {
    pub(super) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::new(Mutex::new(Way::Through));
        tokio::spawn({
            let way = Arc::clone(&way);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    tokio::spawn(carry(client, server, Arc::clone(&way)));
                }
            }
        });
        Self { port, way }
    }

    pub(super) fn go(&self, way: Way) {
        *self.way.lock().unwrap() = way;
    }
}

async fn carry(client: TcpStream, server: TcpStream, way: Arc<Mutex<Way>>) {
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
        let way = *way.lock().unwrap();
        match way {
            Way::Stall => {
                silence.send_replace(true);
                continue;
            }
            Way::CutBefore(text) if has(text) => break,
            Way::CutBehind(text) | Way::StallBehind(text) if has(text) => {
                silence.send_replace(true);
            }
            _ => {}
        }
        to_server.write_all(&bytes[..read]).await.unwrap();
        if matches!(way, Way::CutBehind(text) if has(text)) {
            // The database works on.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            break;
        }
    }
    answers.abort();
}
