//! Every lane is told what concerns it, whatever state it is in.

use std::time::Duration;

use uuid::Uuid;

use super::*;

const NOW: Moment = Duration::from_secs(100);
const FAR: Moment = Duration::from_secs(9_000);

fn tenure(lane: u128, epoch: i64) -> Tenure {
    Tenure {
        worker: WorkerId::new(Uuid::from_u128(lane)),
        epoch,
    }
}

fn sender() -> PhoneNumber {
    "21642108077".parse().unwrap()
}

/// A list with one lane, which is being read.
fn reading(tenure: Tenure) -> Entries {
    let mut entries = Entries::default();
    assert!(entries.serve(tenure, NOW));
    assert_eq!(entries.take_queued(9).len(), 1);
    entries
}

/// A list with one lane that was parked at wake number 7.
fn parked(tenure: Tenure) -> Entries {
    let mut entries = reading(tenure);
    assert!(entries.park(tenure, (FAR, 7), false));
    assert_eq!(entries.parked(), 1);
    entries
}

fn open(tenure: Tenure) -> (Entries, mpsc::Receiver<Command>) {
    let mut entries = reading(tenure);
    let (commands, received) = mpsc::channel(2);
    assert!(entries.open(tenure, 7, commands));
    (entries, received)
}

/// What is opened next, and until when it was parked.
fn next(entries: &mut Entries) -> Vec<(Tenure, Option<Moment>)> {
    let taken = entries.take_queued(9).into_iter();
    taken.map(|o| (o.tenure, o.parked_until)).collect()
}

#[test]
fn a_later_tenure_takes_the_place_of_an_earlier_one_and_never_the_other_way() {
    let mut entries = Entries::default();
    assert!(entries.serve(tenure(1, 6), NOW));
    assert!(!entries.serve(tenure(1, 5), NOW), "it was read before");
    assert_eq!(entries.tenures(), [tenure(1, 6)]);
    assert!(entries.serve(tenure(1, 7), NOW));
    assert_eq!(entries.tenures(), [tenure(1, 7)]);
}

#[test]
fn a_parked_lane_is_opened_for_its_moment_and_not_before() {
    let lane = tenure(1, 1);
    let mut entries = parked(lane);
    entries.open_due(FAR - Duration::from_millis(1));
    assert_eq!(next(&mut entries), []);
    entries.open_due(FAR);
    assert_eq!(next(&mut entries), [(lane, Some(FAR))]);
    assert_eq!(entries.parked(), 0);
}

#[test]
fn a_parked_lane_is_opened_by_what_it_did_not_see_and_only_by_that() {
    let lane = tenure(1, 1);
    let mut entries = parked(lane);
    assert!(entries.woken(lane, 7), "it was parked at that");
    assert!(entries.woken(tenure(1, 2), 8), "that is another tenure");
    assert!(!entries.serve(lane, NOW), "it is here");
    assert_eq!(next(&mut entries), []);
    assert!(entries.woken(lane, 8));
    assert_eq!(next(&mut entries), [(lane, None)]);

    let mut entries = parked(lane);
    entries.look_at(lane.worker, sender());
    assert_eq!(next(&mut entries), [(lane, None)]);

    let mut entries = parked(lane);
    entries.open_all();
    entries.open_due(FAR);
    assert_eq!(next(&mut entries), [(lane, None)], "and it is opened once");
}

#[test]
fn what_comes_while_a_lane_is_read_keeps_it_open() {
    let lane = tenure(1, 1);
    for tell in [
        |entries: &mut Entries, lane: Tenure| entries.look_at(lane.worker, sender()),
        |entries: &mut Entries, lane: Tenure| assert!(entries.woken(lane, 8)),
    ] {
        let mut entries = reading(lane);
        tell(&mut entries, lane);
        assert!(!entries.park(lane, (FAR, 7), false));
        let (commands, mut received) = mpsc::channel(2);
        assert!(entries.open(lane, 7, commands));
        assert!(matches!(received.try_recv(), Ok(Command::Look)));
    }
}

#[test]
fn an_open_lane_is_parked_unless_it_was_told_something() {
    let lane = tenure(1, 1);
    let (mut entries, _received) = open(lane);
    assert!(!entries.park(lane, (FAR, 7), true));
    assert!(matches!(entries.leave(lane.worker), Leaves::ByAndBy));
    assert_eq!(entries.leaving(), 1);
    assert!(!entries.park(lane, (FAR, 7), false), "it is to leave");

    let (mut entries, _received) = open(lane);
    assert!(entries.park(lane, (FAR, 7), false));
    assert_eq!((entries.len(), entries.parked()), (1, 1));
}

#[test]
fn a_lane_that_is_not_open_leaves_at_once() {
    let lane = tenure(1, 1);
    let mut queued = Entries::default();
    queued.serve(lane, NOW);
    for mut entries in [queued, reading(lane), parked(lane)] {
        assert!(matches!(entries.leave(lane.worker), Leaves::AtOnce(left) if left == lane));
        assert!(entries.is_empty());
        assert_eq!((entries.parked(), next(&mut entries)), (0, vec![]));
        let (commands, _received) = mpsc::channel(2);
        assert!(!entries.open(lane, 7, commands), "nor is it opened after");
        assert!(!entries.park(lane, (FAR, 7), false));
    }
}

#[test]
fn a_lane_that_cannot_be_told_is_told_later() {
    let lane = tenure(1, 1);
    let (mut entries, mut received) = open(lane);
    assert!(entries.woken(lane, 8) && entries.woken(lane, 9));
    assert!(!entries.woken(lane, 10), "its channel is full");
    assert!(matches!(entries.leave(lane.worker), Leaves::NotYet));
    while received.try_recv().is_ok() {}
    assert!(entries.woken(lane, 10));
    assert!(matches!(received.try_recv(), Ok(Command::Look)));
}

#[test]
fn lanes_that_were_lost_end_and_new_ones_do_not() {
    let (lost, kept, new) = (tenure(1, 1), tenure(2, 1), tenure(3, 1));
    let mut entries = parked(lost);
    entries.serve(kept, NOW);
    entries.serve(new, NOW + Duration::from_secs(2));
    let looked_at = NOW + Duration::from_secs(1);
    entries.serve(kept, looked_at);
    entries.end_others(looked_at);
    assert!(!entries.is_ours(lost));
    assert!(entries.is_ours(kept) && entries.is_ours(new));
    assert_eq!(entries.parked(), 0);

    let (mut entries, mut received) = open(lost);
    entries.end_others(looked_at);
    assert!(matches!(received.try_recv(), Ok(Command::Lost)));
    assert!(entries.is_ours(lost), "until its task has ended");
    entries.end(lost);
    assert!(entries.is_empty());
}

#[test]
fn a_new_tenure_takes_the_place_of_a_former_one() {
    let (former, lane) = (tenure(1, 1), tenure(1, 2));
    let (mut entries, mut received) = open(former);
    assert!(entries.serve(lane, NOW));
    assert!(matches!(received.try_recv(), Ok(Command::Lost)));
    entries.end(former);
    assert_eq!(next(&mut entries), [(lane, None)]);
    entries.put_back(&[Opening {
        tenure: lane,
        parked_until: None,
    }]);
    assert_eq!(next(&mut entries), [(lane, None)], "it is read again");

    let mut entries = parked(former);
    assert!(entries.serve(lane, NOW));
    assert_eq!((entries.len(), entries.parked()), (1, 0));
}
