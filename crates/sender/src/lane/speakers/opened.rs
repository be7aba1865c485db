//! What the ledger does not know of senders, when their lane is opened: jitter.

use std::time::Duration;

use models::delays::Delays;
use policy::lane::Moment;

use super::Speakers;

impl Speakers {
    /// Gives everybody who was just read the jitter that belongs to the gap it is in. Who may speak
    /// by `soon` as far as the ledger tells has waited for it already where the lane was parked,
    /// and nobody that the lane was parked for may speak before `held_until`; all others draw anew.
    pub(in crate::lane) fn opened(
        &mut self,
        (held_until, soon): (Option<Moment>, Moment),
        global: &Delays,
        mut jitter: impl FnMut() -> Duration,
    ) {
        for number in self.all() {
            let ready = self.ready(number, global);
            let Some(speaker) = self.speakers.get_mut(&number) else {
                continue;
            };
            speaker.held_until = held_until;
            let spoke = speaker.pace.last_answer.is_some();
            if spoke && ready.is_some_and(|(at, _)| at > soon) {
                speaker.pace.jitter = jitter();
            }
        }
    }

    /// Whether anything of somebody was read and not taken over, because it moved on meanwhile.
    pub(in crate::lane) fn any_stale(&self) -> bool {
        self.speakers.values().any(|speaker| speaker.stale)
    }
}
