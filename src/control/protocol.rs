//! Requests, answers, and the place of the socket.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backup::Summary;

/// Longest request in bytes.
pub(super) const MAX_REQUEST_BYTES: u64 = 4 << 10;
/// Longest path of a socket, of which the system keeps the bytes and a zero in 108 bytes.
const MAX_PATH_BYTES: usize = 107;

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// The lines of the catalog.
    Export,
    /// The lines of the catalog. No photo that they name is removed before the client closes the connection.
    Backup,
    /// A check without a repair.
    Fsck {
        /// See [`Checks`](crate::backup::Checks).
        quick: bool,
    },
    /// Remarks about the stores and the process.
    Examine,
}

impl Request {
    /// Returns a word for the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Backup => "backup",
            Self::Fsck { .. } => "fsck",
            Self::Examine => "doctor",
        }
    }
}

/// A line of the server that is none of the catalog. No line of the catalog begins with one of these names.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// A line for stdout.
    Say(String),
    /// The check ended.
    Checked(Summary),
    /// All lines of the catalog were sent.
    Done(()),
    /// The request failed. The text is a sentence for the operator.
    Failed(String),
}

impl Answer {
    /// Returns the answer in `line`, or `None` if it is a line of the catalog.
    pub(super) fn read(line: &[u8]) -> Option<serde_json::Result<Self>> {
        let names: [&[u8]; 4] = [b"{\"say\":", b"{\"checked\":", b"{\"done\":", b"{\"failed\":"];
        names.iter().any(|name| line.starts_with(name)).then(|| serde_json::from_slice(line))
    }

    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// Returns the path of the socket of the catalog in directory `catalog`.
pub(super) fn path(catalog: &Path) -> PathBuf {
    catalog.join("control.sock")
}

/// Returns the name that a new socket has until only its user may connect.
pub(super) fn new_path(catalog: &Path) -> PathBuf {
    catalog.join("control.new")
}

/// Returns what to do if the paths of sockets in directory `catalog` are too long, or `None` if they are not.
pub(crate) fn advice(catalog: &Path) -> Option<String> {
    let path = path(catalog);
    let length = path.as_os_str().len();
    (length > MAX_PATH_BYTES).then(|| {
        format!(
            "the path of the control socket, {}, has {length} bytes, and a socket can have {MAX_PATH_BYTES}: name a shorter \
             directory in DATABASE_URL, such as one relative to the working directory",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_lines_of_the_catalog() {
        let checked = Summary { problems: 3, ..Summary::default() };
        for answer in [
            Answer::Say("draft-unlisted draft 7: …".to_owned()),
            Answer::Checked(checked),
            Answer::Done(()),
            Answer::Failed("it is full".to_owned()),
        ] {
            assert_eq!(Answer::read(&answer.bytes().unwrap()).unwrap().unwrap(), answer);
        }
        for line in ["{\"draft\":{\"id\":1}}\n", "{\"export\":{}}\n", "{}\n", ""] {
            assert!(Answer::read(line.as_bytes()).is_none(), "{line}");
        }
        assert!(Answer::read(b"{\"say\":7}").unwrap().is_err());
    }

    #[test]
    fn request_with_more_than_is_known_is_refused() {
        let read = |line: &str| serde_json::from_str::<Request>(line).ok();
        assert_eq!(read(r#"{"fsck":{"quick":true}}"#), Some(Request::Fsck { quick: true }));
        assert_eq!(read("\"export\""), Some(Request::Export));
        assert_eq!(read(r#"{"fsck":{"quick":true,"repair":true}}"#), None);
        assert_eq!(read("\"erase\""), None);
    }

    #[test]
    fn long_path_has_advice() {
        assert_eq!(advice(Path::new("data/db")), None);
        let longest = "d".repeat(MAX_PATH_BYTES - "/control.sock".len());
        assert_eq!(advice(Path::new(&longest)), None);
        let said = advice(Path::new(&format!("{longest}d"))).unwrap();
        assert!(said.contains("has 108 bytes") && said.contains("DATABASE_URL"), "{said}");
    }
}
