//! What came of handing one message to a worker.

/// The answer to one send, classified once, by the WAHA adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// The worker took it. Some engines answer without an id.
    Accepted {
        /// WhatsApp's bare message id.
        message_id: Option<String>,
    },
    /// Provably not sent.
    Refused(Refusal),
    /// The request may have left and no answer says what became of it.
    Lost {
        /// A stable word for tables and metrics.
        code: &'static str,
        /// For people; carries no numbers and no message text.
        detail: String,
    },
}

/// A send that provably did not happen, and who has to pay for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who pays.
    pub blame: Blame,
    /// A stable word for tables and metrics.
    pub code: &'static str,
    /// For people; carries no numbers and no message text.
    pub detail: String,
}

/// The codes of refusals by which WhatsApp keeps a number from starting chats (errors 463 and 475).
/// They are about the number, not its session: a restart does not lift them.
pub const RESTRICTED: [&str; 2] = ["time_locked", "quota_used_up"];

/// The codes of lost answers that never came at all: the worker may still be at the request.
pub const UNANSWERED: [&str; 2] = ["answer_timed_out", "answer_lost"];

/// Whose fault a refusal is; decides the cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// This recipient can never be reached: FAILED for good.
    Recipient,
    /// The sender's number cannot send now: it rests, no recipient pays.
    Number,
    /// The worker cannot serve now: its lane backs off, nobody pays.
    Worker,
    /// Our request was wrong: FAILED with the cause.
    Ours,
}
