//! Ways to break the code on purpose: a judge that finds none of them proves nothing.

/// One of them; the judges must find each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Writes of former owners count.
    NoFence,
    /// A replica whose heartbeat is late goes on speaking.
    NoLease,
    /// A lost answer is taken for a message that did not leave.
    ResendOnTimeout,
    /// Absence is believed while the worker may still be at it.
    NoHorizon,
    /// An answer is taken for as new as the moment in which it is read.
    BelieveLateAnswers,
    /// Absence is believed of a worker that was killed meanwhile.
    TrustTheForgetful,
    /// What a dead owner left SENDING is taken for unsaid.
    ResendAfterDeath,
    /// A message leaves before its claim is written.
    SpeakBeforeClaim,
    /// A conclusion that is not written is forgotten, and what left with it.
    ForgetWhatLeft,
    /// R1, R2 and R3 are skipped.
    NoMessageDelay,
    NoSwitchDelay,
    NoCampaignDelay,
    /// A successor does not keep the gaps that it found.
    ForgetGaps,
    /// Counters move twice.
    CountTwice,
    /// A report that comes before the id is known is dropped.
    DropEarlyReports,
    /// Nothing brings a message back that is PENDING again.
    ForgetRetries,
}

impl Mutation {
    pub(crate) const ALL: [Self; 16] = [
        Self::NoFence,
        Self::NoLease,
        Self::ResendOnTimeout,
        Self::NoHorizon,
        Self::BelieveLateAnswers,
        Self::TrustTheForgetful,
        Self::ResendAfterDeath,
        Self::SpeakBeforeClaim,
        Self::ForgetWhatLeft,
        Self::NoMessageDelay,
        Self::NoSwitchDelay,
        Self::NoCampaignDelay,
        Self::ForgetGaps,
        Self::CountTwice,
        Self::DropEarlyReports,
        Self::ForgetRetries,
    ];
}
