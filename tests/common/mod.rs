//! What the unit tests and the tests against the running server have in common.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// Reports a skipped test. With `CI=true` the test fails instead.
#[track_caller]
pub(crate) fn skip(reason: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no test may be skipped in CI: {reason}");
    report_skipped(reason);
}

/// Reports a skipped test on the real stderr, which the test harness does not capture.
pub(crate) fn report_skipped(reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}

/// A port on 127.0.0.1 for a server that cannot tell which one it got from the kernel. The kernel gives a reserved port to no
/// other socket. A server may listen on it, and again after its end: this socket does not listen, and both set `SO_REUSEADDR`.
pub(crate) struct ReservedPort(Socket);

impl ReservedPort {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        Self(socket)
    }

    pub(crate) fn number(&self) -> u16 {
        self.0.local_addr().unwrap().as_socket_ipv4().unwrap().port()
    }
}
