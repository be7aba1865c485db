//! Which worker the next queued session gets: the rule that `store::placement` runs as SQL.

use models::ids::WorkerId;
use models::worker::{WorkerHealth, WorkerState};

/// What placing must know of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The worker.
    pub id: WorkerId,
    /// What its operator wants.
    pub state: WorkerState,
    /// What its last check found.
    pub health: WorkerHealth,
    /// Sessions that have a place on it.
    pub placed: i32,
    /// Sessions that may have one.
    pub slots: i32,
    /// Sessions on it that may run now.
    pub live: i32,
    /// How many may.
    pub max_live: i32,
}

impl Room {
    /// Whether it may take one more session, and run it.
    pub fn has_room(&self) -> bool {
        self.state == WorkerState::Active
            && self.health == WorkerHealth::Up
            && self.placed < self.slots
            && self.live < self.max_live
    }

    /// The share of its slots that is taken.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the database's index computes it in single precision too"
    )]
    pub fn load(&self) -> f32 {
        self.placed as f32 / self.slots.max(1) as f32
    }
}

/// The worker for the next session: the least loaded one with room; among equals the lowest id.
pub fn choose(workers: &[Room]) -> Option<usize> {
    (0..workers.len())
        .filter(|&at| workers[at].has_room())
        .min_by(|&a, &b| {
            let (a, b) = (&workers[a], &workers[b]);
            a.load().total_cmp(&b.load()).then(a.id.cmp(&b.id))
        })
}

/// Places `queue`, whose first entry has waited longest, until no worker has room. The answer
/// names each placed entry's worker, in the queue's order; entries beyond it stay queued.
pub fn place(queue: usize, workers: &mut [Room]) -> Vec<WorkerId> {
    let mut placed = Vec::new();
    while placed.len() < queue {
        let Some(at) = choose(workers) else { break };
        workers[at].placed += 1;
        workers[at].live += 1;
        placed.push(workers[at].id);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn worker(
        id: u128,
        (active, up): (bool, bool),
        (placed, slots): (i32, i32),
        (live, max_live): (i32, i32),
    ) -> Room {
        // An id is 16 bytes; the test's crate needs no uuid for that.
        let text = format!("{id:032x}");
        Room {
            id: text.parse().unwrap(),
            state: if active {
                WorkerState::Active
            } else {
                WorkerState::Cordoned
            },
            health: if up {
                WorkerHealth::Up
            } else {
                WorkerHealth::Down
            },
            placed,
            slots,
            live,
            max_live,
        }
    }

    prop_compose! {
        fn any_worker()(
            id: u128, active in prop::bool::weighted(0.8), up in prop::bool::weighted(0.8),
            placed in 0..8_i32, slots in 0..8_i32, live in 0..8_i32, max_live in 0..8_i32,
        ) -> Room {
            worker(id, (active, up), (placed, slots), (live, max_live))
        }
    }

    #[test]
    fn the_least_loaded_share_wins_then_the_lowest_id() {
        let fine = (true, true);
        let fleet = [
            worker(3, fine, (1, 2), (1, 9)),
            worker(2, fine, (3, 10), (3, 9)),
            worker(1, fine, (3, 10), (3, 9)),
            worker(0, (false, true), (0, 10), (0, 9)),
            worker(4, (true, false), (0, 10), (0, 9)),
            worker(5, fine, (0, 10), (9, 9)),
            worker(6, fine, (0, 0), (0, 9)),
        ];
        assert_eq!(choose(&fleet), Some(2));
        assert_eq!(choose(&fleet[3..]), None);
        assert_eq!(choose(&[]), None);
    }

    proptest! {
        #[test]
        fn never_over_capacity_never_without_room_and_never_fewer_than_possible(
            fleet in prop::collection::vec(any_worker(), 0..12), queue in 0..60_usize,
        ) {
            let mut after = fleet.clone();
            let placed = place(queue, &mut after);
            prop_assert!(placed.len() <= queue);
            for (before, after) in fleet.iter().zip(&after) {
                let took = after.placed - before.placed;
                prop_assert_eq!(took, after.live - before.live);
                prop_assert!(took == 0 || before.has_room());
                prop_assert!(took == 0
                    || after.placed <= after.slots && after.live <= after.max_live);
            }
            // Whoever waits still, waits because nobody has room.
            prop_assert!(placed.len() == queue || !after.iter().any(Room::has_room));
        }

        #[test]
        fn equal_workers_share_evenly(
            workers in 1..20_usize, slots in 1..20_i32, queue in 0..400_usize,
        ) {
            let mut fleet: Vec<_> = (0..workers)
                .map(|id| worker(id as u128, (true, true), (0, slots), (0, slots)))
                .collect();
            place(queue, &mut fleet);
            let most = fleet.iter().map(|w| w.placed).max().unwrap();
            let least = fleet.iter().map(|w| w.placed).min().unwrap();
            prop_assert!(most - least <= 1);
        }

        #[test]
        fn one_at_a_time_is_the_same_as_all_at_once(
            fleet in prop::collection::vec(any_worker(), 0..8), queue in 0..20_usize,
        ) {
            let (mut all, mut single) = (fleet.clone(), fleet);
            let wanted = place(queue, &mut all);
            let got: Vec<_> = (0..queue).flat_map(|_| place(1, &mut single)).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}
