//! Sends the requests that docs/api.md shows, over sockets, and compares the responses with those that it shows.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::support::{Server, read_all};

/// The id of the upload in docs/api.md.
const ID: &str = "6f1d…";

/// Sends the requests of a block with the bytes of `photo`. Returns the path of the upload.
pub(super) fn replay(server: &Server, block: &str, photo: &[u8]) -> String {
    let mut path = String::new();
    let mut socket = server.connect();
    for text in block.split("\n\n") {
        let text = text.trim();
        if text == "[the connection breaks]" {
            socket.shutdown(Shutdown::Write).unwrap();
            // Returns once the server has all that was sent.
            read_all(&mut socket);
            socket = server.connect();
        } else if let Some(range) = text.strip_prefix("[bytes ") {
            let (first, rest) = range.split_once(" to ").unwrap();
            let last = rest.split(' ').next().unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            socket.write_all(&photo[first..=last]).unwrap();
        } else if text.starts_with("HTTP/1.1 ") {
            let mut head = read_head(&mut socket);
            // A request may get more interim responses than are shown.
            while head.starts_with("HTTP/1.1 1") && !text.starts_with("HTTP/1.1 1") {
                head = read_head(&mut socket);
            }
            compare(text, &head, &mut path);
        } else {
            let head = text.replace(&format!("/api/v1/uploads/{ID}"), &path).replace('\n', "\r\n");
            socket.write_all(format!("{head}\r\n\r\n").as_bytes()).unwrap();
        }
    }
    path
}

/// Asserts that a response has the status and the headers of `shown`. Learns the path of the upload from it.
fn compare(shown: &str, head: &str, path: &mut String) {
    let field = |text: &str| {
        let (name, value) = text.split_once(": ")?;
        Some((name.to_lowercase(), value.to_owned()))
    };
    let status = |head: &str| head.split(' ').nth(1).map(str::to_owned);
    assert_eq!(status(head), status(shown), "{head}");
    let fields: Vec<_> = head.lines().filter_map(field).collect();
    for (name, value) in shown.lines().filter_map(field) {
        let sent = fields.iter().find(|(sent, _)| *sent == name).map(|(_, sent)| sent.as_str());
        if value.contains(ID) && path.is_empty() {
            sent.expect("the response has the path").clone_into(path);
        }
        let value = value.replace(&format!("/api/v1/uploads/{ID}"), path);
        assert_eq!(sent, Some(value.as_str()), "{name} in {head}");
    }
}

/// Reads to the end of the head of a response.
fn read_head(socket: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}
