//! What goes wrong, and when: decided by a seed alone.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde::Serialize;

/// The services of which there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Service {
    Gateway,
    Scheduler,
    Sender,
}

/// The parts that a link can fail between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Link {
    /// A service and PostgreSQL.
    Postgresql,
    /// A service and RabbitMQ.
    Rabbitmq,
    /// All services and one worker.
    Worker,
    /// All workers and the gateways.
    Webhooks,
}

/// How a link fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trouble {
    Cut,
    Stall,
    Slow,
}

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill(Service),
    /// SIGSTOP, and SIGCONT before anybody takes it for dead.
    Pause(Service),
    /// SIGSTOP for so long that the sender's lanes move on, then SIGCONT: the fence must hold.
    FenceSender,
    /// SIGTERM: it gives its lanes away.
    DrainSender,
    StopRabbitmq,
    KillRabbitmq,
    RestartPostgresql,
    KillPostgresql,
    /// RabbitMQ believes its disk to be full, and blocks publishers.
    DiskAlarm,
    Link(Link, Trouble),
    /// A worker goes away and comes back, its sessions with it.
    RestartWorker,
    /// A session loses WhatsApp and does not notice at first.
    DropLink,
    /// The phone unlinks a session; a person links it again.
    LogOut,
    /// WhatsApp keeps a worker's numbers from starting chats (463).
    TimeLock,
    /// 500s of a worker, delivered or not.
    ServerErrors,
    /// Delivered, and the connection closes without an answer.
    LostAnswers,
    SlowAnswers,
    MissingAcks,
    /// Twice, and out of order.
    DoubledAcks,
}

impl Fault {
    /// The stable name in tables.
    pub(crate) fn name(self) -> String {
        let service = |service: Service| format!("{service:?}").to_lowercase();
        match self {
            Self::Kill(who) => format!("kill_{}", service(who)),
            Self::Pause(who) => format!("pause_{}", service(who)),
            Self::Link(link, trouble) => format!("{trouble:?}_{link:?}").to_lowercase(),
            other => format!("{other:?}")
                .chars()
                .fold(String::new(), |mut name, c| {
                    if c.is_uppercase() && !name.is_empty() {
                        name.push('_');
                    }
                    name.extend(c.to_lowercase());
                    name
                }),
        }
    }

    /// How long it lasts. A stall stays shorter than the senders' own patience, as only then it
    /// ends in an answer; a fenced sender sleeps longer than it is held for alive.
    const fn lasts(self) -> Duration {
        Duration::from_millis(match self {
            Self::Kill(_) | Self::DrainSender => 1_500,
            Self::Pause(_) => 1_200,
            Self::FenceSender => 5_500,
            Self::StopRabbitmq | Self::KillRabbitmq => 1_000,
            Self::RestartPostgresql | Self::KillPostgresql => 700,
            Self::DiskAlarm => 2_500,
            Self::Link(_, Trouble::Cut) => 1_800,
            Self::Link(_, Trouble::Stall) => 2_500,
            Self::Link(_, Trouble::Slow) => 3_000,
            Self::RestartWorker | Self::DropLink | Self::LogOut => 500,
            Self::TimeLock => 3_000,
            Self::ServerErrors | Self::LostAnswers | Self::SlowAnswers => 4_000,
            Self::MissingAcks | Self::DoubledAcks => 4_000,
        })
    }

    /// Those that hit machines, processes and links.
    pub(crate) fn of_parts() -> Vec<Self> {
        use Service as S;
        let services = [S::Gateway, S::Scheduler, S::Sender];
        let links = [
            Link::Postgresql,
            Link::Rabbitmq,
            Link::Worker,
            Link::Webhooks,
        ];
        let troubles = [Trouble::Cut, Trouble::Stall, Trouble::Slow];
        let mut all = vec![
            Self::FenceSender,
            Self::DrainSender,
            Self::StopRabbitmq,
            Self::KillRabbitmq,
            Self::RestartPostgresql,
            Self::KillPostgresql,
            Self::DiskAlarm,
        ];
        for service in services {
            all.extend([Self::Kill(service), Self::Pause(service)]);
        }
        for link in links {
            all.extend(troubles.map(|trouble| Self::Link(link, trouble)));
        }
        all
    }

    /// Those that are lies of the fleet.
    pub(crate) fn of_fleet() -> Vec<Self> {
        vec![
            Self::RestartWorker,
            Self::DropLink,
            Self::LogOut,
            Self::TimeLock,
            Self::ServerErrors,
            Self::LostAnswers,
            Self::SlowAnswers,
            Self::MissingAcks,
            Self::DoubledAcks,
        ]
    }
}

/// One fault of the script.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Planned {
    /// Since the beginning of the load.
    pub(crate) at: Duration,
    /// What.
    pub(crate) fault: Fault,
    /// For how long.
    pub(crate) lasts: Duration,
    /// Chooses among processes, workers and sessions.
    pub(crate) pick: u64,
}

/// Two rows of faults that run side by side; within a row one follows the other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Script {
    /// What repeats it.
    pub(crate) seed: u64,
    /// Of machines, processes and links.
    pub(crate) parts: Vec<Planned>,
    /// Of the fleet.
    pub(crate) fleet: Vec<Planned>,
}

/// The load runs undisturbed for so long at first.
const WARM_UP: Duration = Duration::from_secs(8);
/// A round of all faults of parts takes at least this long.
const ROUND: Duration = Duration::from_secs(100);

impl Script {
    /// The script of a seed for a load of `lasts`. Every kind comes once a round, in an order of
    /// its own; a run has as many rounds as fit, and at least one.
    pub(crate) fn new(seed: u64, lasts: Duration) -> Self {
        let active = lasts.saturating_sub(WARM_UP);
        let rounds = u32::try_from(active.as_secs() / ROUND.as_secs())
            .unwrap_or(u32::MAX)
            .clamp(1, 3);
        let mut chance = StdRng::seed_from_u64(seed);
        let parts = row(&Fault::of_parts(), rounds, active, &mut chance);
        let fleet = row(&Fault::of_fleet(), rounds, active, &mut chance);
        Self { seed, parts, fleet }
    }
}

fn row(kinds: &[Fault], rounds: u32, active: Duration, chance: &mut StdRng) -> Vec<Planned> {
    let mut faults = Vec::new();
    for _ in 0..rounds {
        let mut round = kinds.to_vec();
        round.shuffle(chance);
        faults.extend(round);
    }
    let every = active / u32::try_from(faults.len()).unwrap_or(u32::MAX).max(1);
    let planned = (0..).zip(faults).map(|(place, fault)| Planned {
        at: WARM_UP + every * place + every.mul_f64(chance.random_range(0.0..0.3)),
        fault,
        lasts: fault.lasts().mul_f64(chance.random_range(0.8..1.2)),
        pick: chance.random(),
    });
    planned.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const MINUTES: Duration = Duration::from_secs(600);

    #[test]
    fn a_seed_is_a_script() {
        assert_eq!(Script::new(7, MINUTES), Script::new(7, MINUTES));
        assert_ne!(Script::new(7, MINUTES).parts, Script::new(8, MINUTES).parts);
    }

    #[test]
    fn every_kind_comes_equally_often_and_in_time() {
        for (lasts, times) in [(MINUTES, 3), (Duration::from_secs(120), 1)] {
            let script = Script::new(3, lasts);
            let mut count = BTreeMap::new();
            for planned in script.parts.iter().chain(&script.fleet) {
                *count.entry(planned.fault.name()).or_insert(0) += 1;
                assert!(planned.at >= WARM_UP && planned.at < lasts, "{planned:?}");
            }
            assert_eq!(count.len(), 34);
            assert!(count.values().all(|of_kind| *of_kind == times), "{count:?}");
            assert!(script.parts.is_sorted_by_key(|planned| planned.at));
        }
    }

    #[test]
    fn names_are_stable() {
        for (fault, name) in [
            (Fault::Kill(Service::Gateway), "kill_gateway"),
            (
                Fault::Link(Link::Webhooks, Trouble::Stall),
                "stall_webhooks",
            ),
            (Fault::FenceSender, "fence_sender"),
            (Fault::DiskAlarm, "disk_alarm"),
        ] {
            assert_eq!(fault.name(), name);
        }
    }
}
