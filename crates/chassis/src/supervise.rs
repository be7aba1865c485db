//! Tasks that somebody answers for. Invariant: no task of ours runs outside a [`Supervisor`], so
//! none can die unseen and none outlives the drain unnamed.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use crate::{BoxError, Shutdown};

/// How a task may end: with nothing, or with a result.
pub trait TaskEnd: Send {
    /// The failure that ended the task, if one did.
    ///
    /// # Errors
    /// What the task returned as its error.
    fn into_result(self) -> Result<(), BoxError>;
}

impl TaskEnd for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError> + Send> TaskEnd for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// Starts tasks, notices how they end, and waits for them at the end. Clones share everything.
#[derive(Debug, Clone)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tracker: TaskTracker,
    shutdown: Shutdown,
    live: Mutex<BTreeMap<u64, &'static str>>,
    next: AtomicU64,
    failed: AtomicBool,
}

/// Takes a task off the list of the living however it ends, also when it is aborted.
struct Alive {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.shared
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.number);
    }
}

impl Supervisor {
    /// `shutdown` is raised by the first task that fails.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        let shared = Shared {
            tracker: TaskTracker::new(),
            shutdown,
            live: Mutex::default(),
            next: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Starts a task whose failure ends the process: an error or a panic is logged once and raises
    /// the shutdown. Ending without an error is fine at any time.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> AbortHandle
    where
        F: Future<Output: TaskEnd> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        self.track(name, async move {
            if let Err(failure) = outcome(task).await {
                tracing::error!(task = name, "task {name} failed, stopping: {failure}");
                shared.failed.store(true, Ordering::Release);
                shared.shutdown.request();
            }
        })
    }

    /// The wish to stop that this supervisor raises when a task fails.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shared.shutdown
    }

    /// Whether a task that must not fail did.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Acquire)
    }

    /// Waits until every task has ended, at most for `grace`, and names those that have not.
    pub async fn drain(&self, grace: Duration) -> Vec<&'static str> {
        self.shared.tracker.close();
        let _in_time = tokio::time::timeout(grace, self.shared.tracker.wait()).await;
        let live = self
            .shared
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut late: Vec<_> = live.values().copied().collect();
        late.sort_unstable();
        late
    }

    fn track(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&self.shared);
        shared
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, name);
        let alive = Alive { shared, number };
        let task = self.shared.tracker.track_future(async move {
            let _alive = alive;
            task.await;
        });
        spawn(task)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(task).abort_handle()
}

/// Runs a task to its end; a panic becomes an error that carries its words.
async fn outcome<F: Future<Output: TaskEnd>>(task: F) -> Result<(), BoxError> {
    match AssertUnwindSafe(task).catch_unwind().await {
        Ok(end) => end.into_result(),
        Err(panic) => Err(format!("panic: {}", words(panic.as_ref())).into()),
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_task_raises_the_shutdown() {
        let supervisor = Supervisor::new(Shutdown::new());
        supervisor.spawn("fine", async {});
        supervisor.spawn("broken", async { Err::<(), _>("no luck") });
        supervisor.shutdown().requested().await;
        assert!(supervisor.has_failed());
        assert!(supervisor.drain(Duration::from_secs(5)).await.is_empty());
    }

    async fn burst() {
        panic!("arithmetic");
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let supervisor = Supervisor::new(Shutdown::new());
        supervisor.spawn("broken", burst());

        supervisor.shutdown().requested().await;
        assert!(supervisor.has_failed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_late_are_named_and_the_aborted_are_not() {
        let supervisor = Supervisor::new(Shutdown::new());
        supervisor.spawn("slow", std::future::pending::<()>());
        supervisor
            .spawn("ended", std::future::pending::<()>())
            .abort();
        assert_eq!(supervisor.drain(Duration::from_secs(3)).await, ["slow"]);
    }
}
