//! A server of photos that misbehaves as its paths say.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::photo_numbered;

/// Photos that the server has: `/photo/0` and so on.
pub(super) const PHOTOS: usize = 6;

pub(super) fn photo(number: usize) -> Vec<u8> {
    photo_numbered(320, 240, number)
}

/// Listens on a free port of 127.0.0.1.
pub(super) struct Origin {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || {
                    let head = read_head(&stream);
                    seen.lock().unwrap().push(head.clone());
                    let target = head.split(' ').nth(1).unwrap_or_default();
                    let _gone = answer(target, &stream);
                });
            }
        });
        Self { address, heads }
    }

    pub(super) fn name(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The heads of all requests so far.
    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn read_head(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
    head
}

fn answer(target: &str, mut stream: &TcpStream) -> std::io::Result<()> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let steps: Vec<&str> = path.split('/').skip(1).collect();
    let number = steps.last().and_then(|step| step.parse().ok()).unwrap_or(0);
    let photo = photo(number);
    let whole = |fields: &str, bytes: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n", bytes.len());
        [head.as_bytes(), bytes].concat()
    };
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = |bytes: &[u8]| [format!("{:x};a=b\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    match steps[0] {
        // The declared type is wrong, and means nothing.
        "photo" => stream.write_all(&whole("Content-Type: text/html\r\nSet-Cookie: a=b\r\n", &photo)),
        "redirect" if steps[1] == "0" => stream.write_all(&whole("", &photo)),
        "redirect" => {
            let left = steps[1].parse::<usize>().unwrap() - 1;
            let status = [301, 302, 303, 307, 308][left % 5];
            // Relative, as most are.
            let location = format!("../{left}/{number}#fragment");
            write!(stream, "HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
        }
        "accent" => {
            write!(stream, "HTTP/1.1 302 Found\r\nLocation: /photo/{number}?é\r\nContent-Length: 0\r\n\r\n")
        }
        "to" => {
            write!(stream, "HTTP/1.1 {} Moved\r\nLocation: {query}\r\nContent-Length: 0\r\n\r\n", steps[1])
        }
        "chunked" => {
            stream.write_all(chunked)?;
            photo.chunks(1000).try_for_each(|bytes| stream.write_all(&chunk(bytes)))?;
            stream.write_all(b"0\r\nTrailer: x\r\n\r\n")
        }
        "close" => stream.write_all(&[b"HTTP/1.0 200 OK\r\n\r\n", photo.as_slice()].concat()),
        "slow" => whole("", &photo).chunks(2000).try_for_each(|bytes| {
            std::thread::sleep(Duration::from_millis(5));
            stream.write_all(bytes)
        }),
        "cut" => stream.write_all(&whole("", &photo)[..photo.len() / 2]),
        "cut-chunked" => stream.write_all(&[chunked, chunk(&photo).as_slice()].concat()),
        "half" => stream.write_all(&whole("", &photo[..photo.len() / 2])),
        "declared" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n")?;
            stream.write_all(&photo)?;
            wait_for_end(stream)
        }
        "endless" => {
            stream.write_all(chunked)?;
            stream.write_all(&chunk(&photo))?;
            loop {
                stream.write_all(&chunk(&[0; 16 << 10]))?;
            }
        }
        "empty" => stream.write_all(&whole("", b"")),
        "page" => stream.write_all(&whole("Content-Type: image/jpeg\r\n", b"<!doctype html><p>Sign in")),
        "gzip" => stream.write_all(&whole("Content-Encoding: gzip\r\n", &photo)),
        "hang" => wait_for_end(stream),
        "no-http" => stream.write_all(b"220 mail.example ESMTP\r\n"),
        status => write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n"),
    }
}

/// Returns when the peer closes the connection.
fn wait_for_end(stream: &TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut &*stream, &mut std::io::sink()).map(|_| ())
}
