//! The wish to stop, as a value that is passed down.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status after a second signal: 128 + SIGINT, what shells expect of an interrupted process.
const INTERRUPTED: i32 = 130;

/// Raised once, never lowered. Clones share it; children can be raised on their own.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A wish that nobody has had yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything that holds this value, or a child of it, to stop.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Returns when stopping was asked for; at once if it already was.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Whether stopping was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// A wish that is raised with this one, and can be raised alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
        }
    }

    /// The same wish for crates that do not know this one.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Raises this at the first SIGINT or SIGTERM; a second one ends the process at once.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    #[expect(
        clippy::disallowed_methods,
        reason = "must outlive the supervisor's tasks"
    )]
    pub fn listen_for_signals(&self) -> io::Result<()> {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = interrupts.recv() => "SIGINT",
                    _ = terminations.recv() => "SIGTERM",
                };
                if shutdown.is_requested() {
                    tracing::warn!("{name} while stopping, leaving at once");
                    std::process::exit(INTERRUPTED);
                }
                tracing::info!("{name}: taking no new work and finishing what is held");
                shutdown.request();
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_is_raised_with_its_parent_and_can_be_raised_alone() {
        let parent = Shutdown::new();
        let (one, two) = (parent.child(), parent.child());
        one.request();
        assert!(one.is_requested() && !parent.is_requested());
        parent.request();
        two.requested().await;
        assert!(parent.token().is_cancelled());
    }
}
