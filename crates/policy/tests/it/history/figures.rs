//! What happened, to see that enough did.

/// Counts over one history, or many.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) messages: u64,
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    pub(crate) kills: u64,
    pub(crate) stops: u64,
    pub(crate) drains: u64,
    pub(crate) outages: u64,
    pub(crate) restarts: u64,
    pub(crate) takeovers: u64,
    pub(crate) fenced: u64,
    pub(crate) stale: u64,
    pub(crate) settled: u64,
    pub(crate) sent_again: u64,
    pub(crate) early_reports: u64,
}

impl Figures {
    fn fields(&mut self) -> [&mut u64; 15] {
        [
            &mut self.messages,
            &mut self.sent,
            &mut self.failed,
            &mut self.unknown,
            &mut self.kills,
            &mut self.stops,
            &mut self.drains,
            &mut self.outages,
            &mut self.restarts,
            &mut self.takeovers,
            &mut self.fenced,
            &mut self.stale,
            &mut self.settled,
            &mut self.sent_again,
            &mut self.early_reports,
        ]
    }

    pub(crate) fn add(&mut self, mut other: Self) {
        for (sum, more) in self.fields().into_iter().zip(other.fields()) {
            *sum += *more;
        }
    }

    /// Whether everything happened that can.
    pub(crate) fn is_varied(&mut self) -> bool {
        self.fields().into_iter().all(|field| *field > 100)
    }
}
