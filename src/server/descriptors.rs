//! Divides the process's file descriptors between connections and photos.
//!
//! Each connection uses one descriptor, and so does each photo that is spilled to disk, staged or read back. If connections
//! could take all descriptors, no upload could finish, and no connection would become free.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard limit and returns it.
///
/// # Errors
/// The limit cannot be read or raised.
pub fn raise_limit() -> std::io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// Returns the number of connections to allow: `wanted`, or fewer (with a warning) if the limit of open files requires it. A
/// quarter of the descriptors and `ALWAYS_OPEN` stay reserved.
pub fn limit_connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    let allowed = usize::try_from(connections_for(limit)).unwrap_or(usize::MAX);
    if allowed < wanted {
        tracing::warn!(
            files = limit,
            connections = allowed,
            "MAX_CONNECTIONS={wanted} is too high for the limit of open files and was lowered; raise the limit to allow more"
        );
    }
    wanted.min(allowed)
}

/// Descriptors that are open all the time: database, directories, event queue, standard streams, listener.
const ALWAYS_OPEN: u64 = 32;

/// Returns how many connections this limit of open files allows.
pub(crate) fn connections_for(limit: u64) -> u64 {
    (limit - limit / 4).saturating_sub(ALWAYS_OPEN).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_limit_leaves_a_quarter_for_photos() {
        assert_eq!(connections_for(1024), 736);
        assert_eq!(connections_for(16), 1);
        assert!(
            connections_for(65_536) > 16_384,
            "the systemd unit's limit must allow the default of MAX_CONNECTIONS"
        );
        assert!(connections_for(u64::MAX) > 1 << 62);
    }
}
