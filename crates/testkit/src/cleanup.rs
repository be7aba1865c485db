//! Giving things back from `drop`, where nothing can be awaited.

use std::future::Future;
use std::time::Duration;

/// Longer than any of our clean-ups takes on a busy machine; a test must not hang on it.
const BOUND: Duration = Duration::from_secs(20);

/// Runs `work` to its end on a runtime of its own, whatever the caller's is doing. What cannot be
/// given back is said and left: the test's own result matters more.
pub(crate) fn now<E: std::fmt::Display>(
    what: &str,
    work: impl Future<Output = Result<(), E>> + Send,
) {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|cause| cause.to_string())?;
        runtime.block_on(async {
            match tokio::time::timeout(BOUND, work).await {
                Ok(done) => done.map_err(|cause| cause.to_string()),
                Err(_) => Err(format!("not done within {} s", BOUND.as_secs())),
            }
        })
    };
    let done = std::thread::scope(|scope| scope.spawn(run).join());
    if let Ok(Err(cause)) = done {
        eprintln!("testkit could not remove {what}: {cause}");
    }
}
