//! The supervisor's watchdog: it ends the process and starts it again if the process does not report for a while that it works.
//!
//! The reports come from a task of the runtime, so they stop by themselves when no thread of the runtime is free any more. They
//! also stop while a check finds a part that makes no progress.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use super::notify::send;

/// Reports within the time of the watchdog. One report may be late or lost.
const REPORTS: u32 = 3;

/// Reports to the watchdog of the supervisor, if there is one, as long as `check` returns no problem. Called inside a tokio runtime.
pub fn start_watchdog(check: impl Fn() -> Result<(), String> + Send + 'static) {
    if let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) {
        tokio::spawn(report(limit, check, || send(&[NotifyState::Watchdog])));
    }
}

/// Calls `report` several times in each `limit`, except while `check` returns a problem, which is logged when it begins.
async fn report(limit: Duration, check: impl Fn() -> Result<(), String>, mut report: impl FnMut()) {
    let mut ticks = tokio::time::interval(limit / REPORTS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_problem = false;
    loop {
        ticks.tick().await;
        match check() {
            Ok(()) => {
                has_problem = false;
                report();
            }
            Err(problem) if !has_problem => {
                has_problem = true;
                tracing::error!("{problem}; the watchdog of the supervisor gets no reports until that ends");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reports_stop_while_a_part_is_stuck_and_come_back_after() {
        let (is_stuck, reports) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stuck, counted) = (Arc::clone(&is_stuck), Arc::clone(&reports));
        let check = move || if stuck.load(Ordering::Relaxed) { Err("stuck".to_owned()) } else { Ok(()) };
        let limit = Duration::from_secs(60);
        let task = tokio::spawn(report(limit, check, move || _ = counted.fetch_add(1, Ordering::Relaxed)));
        let reports_in = async |time| {
            let before = reports.load(Ordering::Relaxed);
            tokio::time::sleep(time).await;
            reports.load(Ordering::Relaxed) - before
        };
        // Not at the moment of a tick.
        let within = limit - Duration::from_millis(10);
        assert_eq!(reports_in(within).await, 3);
        is_stuck.store(true, Ordering::Relaxed);
        assert_eq!(reports_in(limit * 10).await, 0);
        is_stuck.store(false, Ordering::Relaxed);
        assert_eq!(reports_in(within).await, 3);
        task.abort();
    }

    #[test]
    fn reports_stop_while_no_thread_of_the_runtime_is_free() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (reported, reports) = std::sync::mpsc::channel();
        let limit = Duration::from_millis(30);
        runtime.spawn(report(limit, || Ok(()), move || _ = reported.send(())));
        let soon = Duration::from_secs(10);
        reports.recv_timeout(soon).expect("the runtime is free");
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (taken, is_taken) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            taken.send(()).unwrap();
            released.recv()
        });
        is_taken.recv_timeout(soon).unwrap();
        while reports.try_recv().is_ok() {}
        assert!(reports.recv_timeout(limit * 10).is_err(), "a report while the only thread is blocked");
        drop(release);
        reports.recv_timeout(soon).expect("the runtime is free again");
    }
}
