//! Sends parts of files over HTTP/1.1 without copying them through this process (`sendfile(2)`).
//!
//! hyper writes bytes in memory only. So a body gives it [`placeholder`] bytes of the right length, and queues the part of the
//! file that they stand for. hyper passes the addresses of body bytes on unchanged, so the [`Socket`](super::socket::Socket)
//! recognises placeholders by their address, and sends the next bytes of the queue in their place.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::blocking::blocking;
use crate::page_cache;
use crate::web::body::FileRange;

/// Longest piece of a file. A photo of 300 kB with pieces of 64 KiB takes a fifth more processor time.
const PIECE: usize = 256 * 1024;

/// Most bytes that are copied at a time where the kernel cannot send them itself.
const COPIED: usize = 64 * 1024;

/// Never sent. Only the addresses of these bytes have a meaning.
static PLACEHOLDER: [u8; PIECE] = [0; PIECE];

/// Returns whether these are bytes of [`placeholder`].
pub(super) fn is_placeholder(bytes: &[u8]) -> bool {
    !bytes.is_empty() && PLACEHOLDER.as_ptr_range().contains(&bytes.as_ptr())
}

/// The parts of files for which one connection has placeholders to send, in the order of the placeholders.
#[derive(Debug, Default)]
pub(super) struct FileQueue(Mutex<VecDeque<FileRange>>);

impl FileQueue {
    /// Queues a piece of at most [`PIECE`] bytes, and returns as many bytes to give to hyper.
    fn placeholder(&self, piece: FileRange) -> Bytes {
        let length = usize::try_from(piece.range.end - piece.range.start).unwrap_or(PIECE);
        self.lock().push_back(piece);
        Bytes::from_static(&PLACEHOLDER[..length])
    }

    /// Sends what the next `length` placeholders stand for, or as much of it as the kernel accepts. They must be of one piece.
    pub(super) fn poll_send(
        &self,
        stream: &TcpStream,
        length: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut queue = self.lock();
        let Some(FileRange { file, range }) = queue.front_mut() else {
            return Poll::Ready(Err(io::Error::other("a placeholder without a file")));
        };
        loop {
            ready!(stream.poll_write_ready(cx))?;
            let pass = || match rustix::fs::sendfile(stream, &*file, Some(&mut range.start), length) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                    copy(stream, file, &mut range.start, length)
                }
                sent => Ok(sent?),
            };
            match stream.try_io(Interest::WRITABLE, pass) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => {
                    if range.is_empty() {
                        queue.pop_front();
                    }
                    return Poll::Ready(sent);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<FileRange>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends bytes of a file from `start` on as `sendfile` does, for file systems and sandboxes that refuse it.
fn copy(stream: &TcpStream, file: &File, start: &mut u64, length: usize) -> io::Result<usize> {
    let mut bytes = vec![0; length.min(COPIED)];
    let read = file.read_at(&mut bytes, *start)?;
    let sent = send(stream, &bytes[..read], SendFlags::NOSIGNAL)?;
    *start += sent as u64;
    Ok(sent)
}

/// Divides a part of a file into pieces that are in memory, so that sending them does not wait for the disk.
pub(super) struct FilePieces {
    file: Arc<File>,
    rest: Range<u64>,
    /// Reads the next piece from the disk.
    loading: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send>>>,
}

impl FilePieces {
    pub(super) fn new(FileRange { file, range }: FileRange) -> Self {
        Self { file, rest: range, loading: None }
    }

    /// Returns the number of bytes that are left.
    pub(super) fn remaining(&self) -> u64 {
        self.rest.end - self.rest.start
    }

    /// Returns the placeholder of the next piece, which is queued in `queue`.
    pub(super) fn poll_next(
        &mut self,
        queue: &FileQueue,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let range = self.rest.start..self.rest.end.min(self.rest.start + PIECE as u64);
        if self.loading.is_none() && !page_cache::holds(&self.file, &range) {
            let (file, range) = (Arc::clone(&self.file), range.clone());
            self.loading = Some(Box::pin(blocking(move || page_cache::load(&file, &range))));
        }
        if let Some(loading) = &mut self.loading {
            let loaded = ready!(loading.as_mut().poll(cx));
            self.loading = None;
            if let Err(error) = loaded {
                return Poll::Ready(Some(Err(error)));
            }
        }
        self.rest.start = range.end;
        Poll::Ready(Some(Ok(queue.placeholder(FileRange { file: Arc::clone(&self.file), range }))))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, client)
    }

    fn file(bytes: &[u8]) -> Arc<File> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        Arc::new(file)
    }

    #[tokio::test]
    async fn placeholders_are_sent_as_the_parts_of_files_that_were_queued() {
        let (server, mut client) = pair().await;
        let bytes: Vec<u8> = (0..2 * PIECE + 5).map(|at| (at * 7 % 253).to_le_bytes()[0]).collect();
        let queue = FileQueue::default();
        let parts = [0..bytes.len() as u64, 3..4, 7..7];
        let sending = async {
            for range in parts.clone() {
                let mut pieces = FilePieces::new(FileRange { file: file(&bytes), range });
                while let Some(piece) = std::future::poll_fn(|cx| pieces.poll_next(&queue, cx)).await {
                    let piece = piece.unwrap();
                    assert!(is_placeholder(&piece) && is_placeholder(&piece[piece.len() - 1..]));
                    let mut left = piece.len();
                    while left > 0 {
                        left -= std::future::poll_fn(|cx| queue.poll_send(&server, left, cx)).await.unwrap();
                    }
                }
            }
            drop(server);
        };
        let mut received = Vec::new();
        let (_, read) = tokio::join!(sending, client.read_to_end(&mut received));
        read.unwrap();
        assert!(received == [&bytes[..], &bytes[3..4]].concat());
        assert!(!is_placeholder(&received) && !is_placeholder(&[]));
        assert!(queue.lock().is_empty());
    }

    #[tokio::test]
    async fn bytes_are_copied_where_the_kernel_refuses_to_send_a_file() {
        let (server, mut client) = pair().await;
        let bytes = vec![7; COPIED + 1];
        let (file, mut start) = (file(&bytes), 1);
        server.writable().await.unwrap();
        assert_eq!(copy(&server, &file, &mut start, bytes.len() - 1).unwrap(), COPIED);
        assert_eq!(start, COPIED as u64 + 1);
        let mut received = vec![0; COPIED];
        client.read_exact(&mut received).await.unwrap();
        assert!(received == bytes[1..]);
    }

    #[tokio::test]
    async fn file_that_became_shorter_is_an_error_before_it_is_sent() {
        let file = file(b"12345");
        let mut pieces = FilePieces::new(FileRange { file: Arc::clone(&file), range: 0..5 });
        file.set_len(2).unwrap();
        let queue = FileQueue::default();
        let piece = std::future::poll_fn(|cx| pieces.poll_next(&queue, cx)).await;
        assert_eq!(piece.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(queue.lock().is_empty());
    }
}
