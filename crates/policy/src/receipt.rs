//! What WhatsApp's reports on a message prove.
//!
//! Reports (acks) repeat, skip and come out of order, and one may come before anybody knows whose
//! it is. -1 error, 0 made by the worker, 1 server, 2 device, 3 read, 4 played (WAHA contract,
//! section 10.4). The ledger carries both rules out in SQL and is tested against these.

use models::message::MessageStatus;

/// The report that stands when `new` comes after `old`: the highest. An error stands only while
/// nothing says that WhatsApp took the message.
pub const fn merge(old: Option<i16>, new: i16) -> i16 {
    let Some(old) = old else { return new };
    let (low, high) = if old < new { (old, new) } else { (new, old) };
    if high >= 1 { high } else { low }
}

/// Where a report moves a message; `None` where it stays. Proof beats belief, also of a message
/// that was held for unsaid. What is `SENDING` waits for its conclusion, which looks again.
pub const fn status_after(status: MessageStatus, ack: i16) -> Option<MessageStatus> {
    use MessageStatus as S;
    let proved = match ack {
        ..=-1 => S::Failed,
        0 | 1 => S::Sent,
        2 => S::Delivered,
        3.. => S::Read,
    };
    match (status, proved) {
        (S::Sending | S::Suppressed | S::Read, _)
        | (S::Delivered, S::Sent | S::Delivered | S::Failed)
        | (S::Sent, S::Sent)
        | (S::Pending | S::Cancelled | S::Failed, S::Failed) => None,
        // That a worker made a message says nothing against WhatsApp's refusal of it.
        (S::Failed, S::Sent) if ack == 0 => None,
        (_, proved) => Some(proved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MessageStatus as S;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_of_reports_does_not_matter(
            acks in proptest::collection::vec(-1_i16..=4, 1..6),
        ) {
            let in_order =
                |acks: &[i16]| acks.iter().fold(None, |old, new| Some(merge(old, *new)));
            let mut sorted = acks.clone();
            sorted.sort_unstable();
            prop_assert_eq!(in_order(&acks), in_order(&sorted));
            sorted.reverse();
            prop_assert_eq!(in_order(&acks), in_order(&sorted));
            let highest = acks.iter().copied().max().unwrap_or_default();
            let wanted = if highest >= 1 || !acks.contains(&-1) { highest } else { -1 };
            prop_assert_eq!(in_order(&acks), Some(wanted));
        }
    }

    #[test]
    fn a_report_moves_a_message_up_and_never_down() {
        for (status, ack, after) in [
            (S::Sent, 0, None),
            (S::Sent, 1, None),
            (S::Sent, 2, Some(S::Delivered)),
            (S::Sent, 4, Some(S::Read)),
            (S::Sent, -1, Some(S::Failed)),
            (S::Delivered, 1, None),
            (S::Delivered, 3, Some(S::Read)),
            (S::Delivered, -1, None),
            (S::Read, 2, None),
            (S::Read, -1, None),
            (S::Unknown, 0, Some(S::Sent)),
            (S::Unknown, 2, Some(S::Delivered)),
            (S::Unknown, -1, Some(S::Failed)),
            (S::Pending, 0, Some(S::Sent)),
            (S::Pending, 3, Some(S::Read)),
            (S::Pending, -1, None),
            (S::Cancelled, 1, Some(S::Sent)),
            (S::Failed, 0, None),
            (S::Failed, 1, Some(S::Sent)),
            (S::Failed, -1, None),
            (S::Sending, 3, None),
            (S::Suppressed, 3, None),
        ] {
            assert_eq!(status_after(status, ack), after, "{status} and {ack}");
        }
    }
}
