//! Limits the number of uploads in flight, and shares it among clients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::ClientKey;

/// Counts uploads in flight. Up to the limit, any client may begin uploads. Beyond it, only clients may that have fewer
/// than their share: the limit divided by the number of clients. So there are never more than twice the limit.
#[derive(Debug)]
pub(super) struct Admission {
    limit: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    by_client: HashMap<ClientKey, usize>,
    all: usize,
}

/// One upload in flight. Dropping it ends the upload.
#[derive(Debug)]
pub(super) struct InFlight {
    uploads: Arc<Admission>,
    client: ClientKey,
}

impl Admission {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, open: Mutex::default() })
    }

    /// Begins an upload of `client`. Returns `None` if the client has its share already.
    pub(super) fn begin(self: &Arc<Self>, client: ClientKey) -> Option<InFlight> {
        let mut open = self.lock();
        let own = open.by_client.get(&client).copied().unwrap_or(0);
        let clients = open.by_client.len() + usize::from(own == 0);
        if open.all >= self.limit && own >= self.limit / clients {
            return None;
        }
        open.all += 1;
        open.by_client.insert(client, own + 1);
        Some(InFlight { uploads: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut open = self.uploads.lock();
        open.all -= 1;
        if let Some(own) = open.by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn one_client_may_use_the_whole_limit_until_another_comes() {
        let client = |n| IpAddr::from(Ipv4Addr::new(10, 0, 0, n)).into();
        let uploads = Admission::new(10);
        let mut greedy: Vec<InFlight> = (0..10).map(|_| uploads.begin(client(1)).unwrap()).collect();
        assert!(uploads.begin(client(1)).is_none());
        let others: Vec<InFlight> = std::iter::from_fn(|| uploads.begin(client(2))).collect();
        assert_eq!(others.len(), 5);
        greedy.truncate(4);
        assert_eq!(
            std::iter::from_fn(|| uploads.begin(client(1))).take(9).count(),
            9,
            "each is dropped at once"
        );
        let _one = uploads.begin(client(1)).unwrap();
        assert!(uploads.begin(client(1)).is_none(), "it holds its half");
        drop((greedy, others, _one));
        assert!(uploads.lock().by_client.is_empty() && uploads.lock().all == 0);
    }
}
