//! Limits the number of uploads in flight, and shares it among clients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::ClientKey;

/// Counts uploads in flight. Below the limit, any client may begin one. At the limit, only clients below their share may: the
/// limit divided by the number of clients that have uploads in flight.
///
/// Each new client makes the shares smaller, but no upload that has begun is stopped. So the total can exceed the limit: if
/// each client takes its whole share before the next one comes, it is the sum of `limit / n` over all clients `n`, which is
/// 8.5 times a limit of 4096. There is no cap on the total: four clients could fill twice the limit, and a cap there would
/// refuse everyone else. Connections and memory have limits of their own.
#[derive(Debug)]
pub(crate) struct Admission {
    limit: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    by_client: HashMap<ClientKey, usize>,
    total: usize,
}

/// One upload in flight. Dropping it ends the upload.
#[derive(Debug)]
pub(crate) struct InFlight {
    uploads: Arc<Admission>,
    client: ClientKey,
}

impl Admission {
    /// Creates the counts, with this limit.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, counts: Mutex::default() })
    }

    /// Begins an upload of `client`. Returns `None` if the client has its share already.
    pub(crate) fn begin(self: &Arc<Self>, client: ClientKey) -> Option<InFlight> {
        let mut counts = self.lock();
        let own = counts.by_client.get(&client).copied().unwrap_or(0);
        let clients = counts.by_client.len() + usize::from(own == 0);
        if counts.total >= self.limit && own >= self.limit / clients {
            return None;
        }
        counts.total += 1;
        counts.by_client.insert(client, own + 1);
        Some(InFlight { uploads: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut counts = self.uploads.lock();
        counts.total -= 1;
        if let Some(own) = counts.by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                counts.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn client(n: u8) -> ClientKey {
        IpAddr::from(Ipv4Addr::new(10, 0, 0, n)).into()
    }

    #[test]
    fn one_client_may_use_the_whole_limit_until_another_comes() {
        let uploads = Admission::new(10);
        let mut greedy: Vec<InFlight> = (0..10).map(|_| uploads.begin(client(1)).unwrap()).collect();
        assert!(uploads.begin(client(1)).is_none());
        let others: Vec<InFlight> = std::iter::from_fn(|| uploads.begin(client(2))).collect();
        assert_eq!(others.len(), 5);
        greedy.truncate(4);
        assert_eq!(
            std::iter::from_fn(|| uploads.begin(client(1))).take(9).count(),
            9,
            "each is dropped before the next"
        );
        let _one = uploads.begin(client(1)).unwrap();
        assert!(uploads.begin(client(1)).is_none(), "it holds its half");
        drop((greedy, others, _one));
        assert!(uploads.lock().by_client.is_empty() && uploads.lock().total == 0);
    }

    #[test]
    fn each_new_client_gets_its_share_although_the_total_exceeds_the_limit() {
        let uploads = Admission::new(12);
        let begin_all = |n| std::iter::from_fn(|| uploads.begin(client(n))).collect::<Vec<InFlight>>();
        let by_client: Vec<Vec<InFlight>> = (1..=14).map(begin_all).collect();
        let taken: Vec<usize> = by_client.iter().map(Vec::len).collect();
        assert_eq!(taken, [12, 6, 4, 3, 2, 2, 1, 1, 1, 1, 1, 1, 0, 0]);
    }
}
