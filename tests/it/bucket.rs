//! A bucket on a real S3 server with signatures, and a proxy in front of it that can fail. The unit tests of the stores
//! include this file, too.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

pub(crate) const BUCKET: &str = "photos";
pub(crate) const ACCESS_KEY: &str = "test-access-key";
pub(crate) const SECRET_KEY: &str = "test-secret-key";

/// State of the network between client and S3 server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// Bytes are forwarded.
    Open,
    /// All connections are closed, existing and new ones.
    Refusing,
    /// Bytes are delayed until the state is `Open` again.
    Stalled,
}

/// An S3 server on its own threads, because tests block theirs. Stops on drop.
pub(crate) struct Bucket {
    pub(crate) address: SocketAddr,
    dir: TempDir,
    line: watch::Sender<Line>,
    _stop: oneshot::Sender<()>,
}

impl Bucket {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(BUCKET)).unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(dir.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();
        let (line, switch) = watch::channel(Line::Open);
        let (stop, stopped) = oneshot::channel();
        let (say, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                say.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = serve(listener, service, switch) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address: said.recv().unwrap(), dir, line, _stop: stop }
    }

    pub(crate) fn switch(&self, line: Line) {
        self.line.send_replace(line);
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the files of the objects below a prefix of the bucket.
    pub(crate) fn objects(&self, prefix: &str) -> Vec<PathBuf> {
        let dir = self.dir.path().join(BUCKET).join(prefix);
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

async fn serve(listener: TcpListener, service: S3Service, switch: watch::Receiver<Line>) {
    let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = inner.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = inner.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                let _client_gone = http.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let switch = switch.clone();
        tokio::spawn(async move {
            if *switch.borrow() == Line::Refusing {
                return;
            }
            let far = TcpStream::connect(address).await.unwrap();
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let (mut near_read, mut near_write) = near.into_split();
            let (mut far_read, mut far_write) = far.into_split();
            tokio::select! {
                () = copy(&mut near_read, &mut far_write, switch.clone()) => {}
                () = copy(&mut far_read, &mut near_write, switch) => {}
            }
        });
    }
}

async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut switch: watch::Receiver<Line>,
) {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut chunk) => read.unwrap_or(0),
            _ = switch.wait_for(|line| *line == Line::Refusing) => return,
        };
        let Ok(line) = switch.wait_for(|line| *line != Line::Stalled).await.map(|line| *line) else { return };
        if read == 0 || line == Line::Refusing || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}
