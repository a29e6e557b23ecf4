//! The control socket: what the operator's commands ask of a server that has the embedded catalog open.
//!
//! Only one process can open the embedded catalog. So a command asks the server for the rows, and does the rest itself: it writes
//! the files of a backup with its own rights, at its own priority, and reads the photos beside the server.
//!
//! The socket is in the directory of the catalog, for the user of the server and root. A connection carries one request, a line of
//! JSON, and the answer, lines of JSON. Nothing that is asked changes the catalog or the photos.

mod client;
mod examine;
mod protocol;
mod server;

pub(crate) use self::client::{Client, Received};
pub(crate) use self::examine::{Level, Remark, examine, remark};
pub(crate) use self::protocol::{Request, advice};
pub(crate) use self::server::{ControlSocket, Served};
