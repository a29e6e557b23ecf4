//! The supervisor that started this process, such as systemd: the listener that it passes, what it hears of the process, and its
//! watchdog.
//!
//! The protocols are those of systemd's `sd_listen_fds(3)` and `sd_notify(3)`, which other supervisors and tools speak too. A
//! process without a supervisor finds no variable of theirs in its environment, and nothing happens.

mod listener;
mod notify;
mod watchdog;

pub use self::listener::{PassedError, passed_listener};
pub use self::notify::{extend_start, ready, reloading, stopping};
pub use self::watchdog::start_watchdog;
