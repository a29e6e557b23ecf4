//! File descriptors, which connections and photos share.
//!
//! A spilled photo, a staged one and one that is read back are a descriptor each, and so is every connection. Were
//! connections to take them all, no upload could be finished and no connection would ever become free by it.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Takes all descriptors that the system grants, and gives how many those are.
///
/// # Errors
/// The limit can be neither asked nor raised.
pub fn raise_limit() -> std::io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// How many connections of `wanted` leave enough of the descriptors that this process may have: a quarter of them, and
/// those that are open whatever happens.
pub fn connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    let allowed = usize::try_from(within(limit)).unwrap_or(usize::MAX);
    if allowed < wanted {
        tracing::warn!(
            files = limit,
            connections = allowed,
            "MAX_CONNECTIONS={wanted} is lowered: the limit of open files must leave some for photos"
        );
    }
    wanted.min(allowed)
}

/// Open all the time: the database, directories, the event queue, standard streams, the listener.
const ALWAYS_OPEN: u64 = 32;

fn within(limit: u64) -> u64 {
    (limit - limit / 4).saturating_sub(ALWAYS_OPEN).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_left_for_photos() {
        assert_eq!(within(1024), 736);
        assert_eq!(within(16), 1);
        assert!(within(65_536) > 16_384, "the limit of the systemd unit is enough for the default");
        assert!(within(u64::MAX) > 1 << 62);
    }
}
