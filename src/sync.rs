//! The threads, locks and clock of code that is checked under all kinds of schedules.
//!
//! The test build compiles such a file twice: as part of the server, where it uses this module, and in its shuttle test, where
//! `sync` is `model` and shuttle decides which thread runs next. So the file imports these names from `super::sync`. See CONTRIBUTING.md.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::thread;
use std::time::Instant;

pub(crate) use tokio::sync::oneshot;
pub(crate) use tokio::time::timeout;

/// Returns the time of the monotonic clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The same names for shuttle's scheduler, and the schedules themselves.
#[cfg(test)]
pub(crate) mod model {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;
    use std::time::{Duration, Instant};

    use shuttle::rand::{Rng, thread_rng};
    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    use shuttle::sync::atomic::{AtomicBool, Ordering};
    use shuttle::{Config, MaxSteps, Runner};

    pub(crate) use shuttle::future::block_on;
    use shuttle::future::yield_now;
    pub(crate) use shuttle::sync::{Barrier, Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread;

    /// Schedules of each kind that one check runs.
    const SCHEDULES: usize = 3000;

    /// Runs `scenario` under random schedules, then under schedules with few preemptions, which find other faults. It must panic
    /// if a rule is broken; a schedule in which no thread can continue fails by itself. The failed schedule is printed, and
    /// [`shuttle::replay`] runs it again.
    pub(crate) fn check(scenario: fn()) {
        let mut config = Config::new();
        config.stack_size = 256 << 10;
        config.max_steps = MaxSteps::FailAfter(10_000);
        Runner::new(RandomScheduler::new(SCHEDULES), config.clone()).run(scenario);
        Runner::new(PctScheduler::new(3, SCHEDULES), config).run(scenario);
    }

    /// Lets the schedule run another thread here. shuttle does so before it locks or unlocks, but not after.
    fn step() {
        AtomicBool::new(false).load(Ordering::SeqCst);
    }

    /// tokio's channel, with a step before each operation.
    pub(crate) mod oneshot {
        use std::pin::Pin;
        use std::task::{Context, Poll};

        use tokio::sync::oneshot;

        use super::step;

        pub(crate) struct Sender<T>(oneshot::Sender<T>);
        pub(crate) struct Receiver<T>(oneshot::Receiver<T>);

        pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
            let (sender, receiver) = oneshot::channel();
            (Sender(sender), Receiver(receiver))
        }

        impl<T> Sender<T> {
            pub(crate) fn send(self, value: T) -> Result<(), T> {
                step();
                self.0.send(value)
            }

            pub(crate) fn is_closed(&self) -> bool {
                step();
                self.0.is_closed()
            }
        }

        impl<T> Future for Receiver<T> {
            type Output = Result<T, oneshot::error::RecvError>;

            fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                step();
                Pin::new(&mut self.0).poll(context)
            }
        }

        impl<T> Drop for Receiver<T> {
            fn drop(&mut self) {
                step();
            }
        }
    }

    /// Returns one of `choices`. The schedule decides which.
    pub(crate) fn any_of<T: Copy>(choices: &[T]) -> T {
        choices[thread_rng().gen_range(0..choices.len())]
    }

    /// Returns a later time at each call. All threads of a schedule run on one thread of the system, which has the clock.
    pub(crate) fn now() -> Instant {
        thread_local!(static CLOCK: Cell<Instant> = Cell::new(Instant::now()));
        let now = CLOCK.get() + Duration::from_millis(any_of(&[0, 1, 100, 2000]));
        CLOCK.set(now);
        now
    }

    /// Ends with an error at any moment before `future` ends, or never if `wait` is [`Duration::MAX`].
    pub(crate) async fn timeout<F: Future>(wait: Duration, future: F) -> Result<F::Output, ()> {
        if wait == Duration::MAX {
            return Ok(future.await);
        }
        let mut future = pin!(future);
        loop {
            let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
            if let Poll::Ready(output) = polled {
                return Ok(output);
            }
            // Some schedules run a thread as long as it does not yield.
            yield_now().await;
            if any_of(&[true, false, false, false]) {
                return Err(());
            }
        }
    }
}
