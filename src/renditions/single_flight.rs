//! Shares the result of one computation among all who ask for it at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

type Flights<K, T> = Arc<Mutex<Register<K, T>>>;

/// The computations in progress, by what they compute.
pub(super) struct SingleFlight<K, T: Clone>(Flights<K, T>);

struct Register<K, T: Clone> {
    /// The number and the future of each computation.
    flights: HashMap<K, (u64, WeakShared<BoxFuture<'static, T>>)>,
    next: u64,
}

/// Removes a computation from the register when it ends, or when nobody waits for it any more.
struct Entry<K: Eq + Hash + Copy, T: Clone> {
    key: K,
    number: u64,
    flights: Flights<K, T>,
}

impl<K: Eq + Hash + Copy, T: Clone> Drop for Entry<K, T> {
    fn drop(&mut self) {
        let mut register = lock(&self.flights);
        if register.flights.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            register.flights.remove(&self.key);
        }
    }
}

fn lock<K, T: Clone>(flights: &Flights<K, T>) -> MutexGuard<'_, Register<K, T>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K, T: Clone> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Register { flights: HashMap::new(), next: 0 })))
    }
}

impl<K: Eq + Hash + Copy + Send + 'static, T: Clone + Send + Sync + 'static> SingleFlight<K, T> {
    /// Returns the computation of `key` that is in progress, or begins `compute`. The flag says whether it was begun.
    ///
    /// The computation advances while somebody waits for it, whoever began it, and ends when nobody does.
    pub(super) fn join(
        &self,
        key: K,
        compute: impl FnOnce() -> BoxFuture<'static, T>,
    ) -> (Shared<BoxFuture<'static, T>>, bool) {
        let mut register = lock(&self.0);
        if let Some(flight) = register.flights.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return (flight, false);
        }
        register.next += 1;
        let entry = Entry { key, number: register.next, flights: Arc::clone(&self.0) };
        let computation = compute();
        let flight = async move {
            let _entry = entry;
            computation.await
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            let number = register.next;
            register.flights.insert(key, (number, weak));
        }
        (flight, true)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.0).flights.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_who_ask_at_the_same_time_share_one_computation() {
        let (flights, started) =
            (Arc::new(SingleFlight::<u8, usize>::default()), Arc::new(AtomicUsize::new(0)));
        let go = Arc::new(Notify::new());
        let asking = (0..64).map(|_| {
            let (started, go) = (Arc::clone(&started), Arc::clone(&go));
            let compute = move || {
                async move {
                    let number = started.fetch_add(1, Ordering::SeqCst);
                    go.notified().await;
                    number
                }
                .boxed()
            };
            flights.join(7, compute)
        });
        let (waiting, begun): (Vec<_>, Vec<_>) = asking.unzip();
        assert_eq!(begun.iter().filter(|is_own| **is_own).count(), 1);
        go.notify_one();
        assert_eq!(join_all(waiting).await, [0; 64]);
        assert_eq!((started.load(Ordering::SeqCst), flights.len()), (1, 0));
    }

    #[tokio::test]
    async fn computation_goes_on_for_others_and_ends_when_nobody_waits() {
        let flights = SingleFlight::<u8, u8>::default();
        let go = Arc::new(Notify::new());
        let compute = || {
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                1
            }
            .boxed()
        };
        let (first, _) = flights.join(7, compute);
        let (second, is_own) = flights.join(7, compute);
        assert!(!is_own);
        drop(first);
        go.notify_one();
        assert_eq!(second.await, 1);
        let (abandoned, _) = flights.join(7, compute);
        drop(abandoned);
        assert_eq!(flights.len(), 0);
        assert!(flights.join(7, compute).1);
    }
}
