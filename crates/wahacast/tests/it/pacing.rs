//! Pacing at the simulator's arrival clock: 2 sender replicas (and 2 schedulers), 3 workers, 12
//! senders, 24 campaigns, 600 messages, delays 0.2 s (message), 0.5 s (switch) and 10 s
//! (campaign), while lanes move between replicas because each replica in turn is told to end and
//! comes back. R1, R2 and R3 are never broken, by not even a nanosecond, and every recipient
//! hears its message exactly once.
//!
//! Figures: `cargo test -p wahacast --test it pacing -- --nocapture` (servers as in `main.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::checks::{self, Delays, Ordered};
use crate::system::{Plan, System, signal};

const DELAYS: Delays = Delays {
    message: Duration::from_millis(200),
    switch: Duration::from_millis(500),
    // Longer than what the turns of the others keep two campaigns apart anyway, so that it is felt.
    campaign: Duration::from_secs(10),
};
/// Four senders of 50 messages share a lane: 40 s of message delays, and the switches.
const BOUND: Duration = Duration::from_secs(150);
const SENDERS: usize = 12;
/// A sender's two campaigns: the first is longer than a turn, so that R4 has its say.
const CAMPAIGNS: [usize; 2] = [35, 15];

/// Who owned each lane, in the order seen, with the lane's epoch.
type Owners = BTreeMap<Uuid, Vec<(i64, Option<Uuid>)>>;

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_messages_keep_their_gaps_while_lanes_move() {
    let mut plan = Plan::new(3)
        .with("MAX_SESSIONS_PER_WORKER", "4")
        .with("MAX_LIVE_SESSIONS", "4")
        .with("MESSAGE_DELAY", "0.2")
        .with("SENDER_SWITCH_DELAY", "0.5")
        .with("CAMPAIGN_DELAY", "10");
    plan.senders = 2;
    plan.schedulers = 2;
    let system = System::start(plan).await;
    let phones: Vec<String> = (0..SENDERS).map(|n| format!("216421080{n:02}")).collect();
    system.link_all(&phones).await;
    let owners = Arc::new(Mutex::new(Owners::new()));
    let watch = watch_lanes(system.ledger().await, Arc::clone(&owners));
    let began = Instant::now();
    let ordered = submit_all(&system, &phones).await;
    let total: usize = ordered.iter().map(|one| one.recipients.len()).sum();
    assert_eq!(total, 600);
    system.heard_at_least(total / 4, BOUND).await;
    system.lanes_stay().await;
    for share in [total / 4, total / 2] {
        system.heard_at_least(share, BOUND).await;
        end_the_busier_replica(&system).await;
    }
    let ended = join_all(ordered.iter().map(|one| system.ended(one, BOUND))).await;
    let took = began.elapsed();
    watch.abort();
    for status in ended {
        assert_eq!(status["status"], "COMPLETED", "{status}");
        assert_eq!(
            status["sent_messages"], status["total_messages"],
            "{status}"
        );
    }
    let heard = system.fleet.heard().await;
    let gaps = checks::gaps(&heard, &ordered, DELAYS);
    println!("{}", checks::table(&gaps));
    println!(
        "{} messages of {SENDERS} senders in {:.1} s; longest turn {} messages",
        heard.len(),
        took.as_secs_f64(),
        checks::longest_turn(&heard)
    );
    let moved = moved_lanes(&owners.lock().unwrap());
    checks::all_heard_once(&heard, &ordered);
    assert!(moved >= 2, "only {moved} lanes changed hands in mid-run");
    for gaps in &gaps {
        assert!(
            gaps.count() >= SENDERS,
            "too few gaps to judge by: {gaps:?}"
        );
        assert_eq!(gaps.violations(), 0, "{gaps:?}");
    }
}

async fn submit_all(system: &System, phones: &[String]) -> Vec<Ordered> {
    let mut ordered = Vec::new();
    for (round, count) in CAMPAIGNS.into_iter().enumerate() {
        let submits = phones
            .iter()
            .enumerate()
            .map(|(n, phone)| system.submit(phone, checks::recipients(round * SENDERS + n, count)));
        ordered.extend(join_all(submits).await);
    }
    ordered
}

/// Looks at the lanes ten times a second until aborted.
fn watch_lanes(ledger: Client, owners: Arc<Mutex<Owners>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(100));
        loop {
            every.tick().await;
            let sql = "SELECT worker_id, epoch, owner FROM lanes";
            let rows = ledger.query(sql, &[]).await.unwrap();
            let mut owners = owners.lock().unwrap();
            for row in rows {
                let lane = owners.entry(row.get(0)).or_default();
                let state = (row.get(1), row.get(2));
                if lane.last() != Some(&state) {
                    lane.push(state);
                }
            }
        }
    })
}

/// SIGTERM to the replica that owns the most lanes; `wahacast up` starts it again.
async fn end_the_busier_replica(system: &System) {
    let sql = "SELECT replicas.name, count(*) FROM lanes JOIN replicas ON replicas.id = lanes.owner
        GROUP BY replicas.name ORDER BY count(*) DESC, replicas.name";
    let ledger = system.ledger().await;
    let (name, lanes) = testkit::eventually("one to own two lanes", BOUND, async || {
        let owners = ledger.query(sql, &[]).await.unwrap();
        let (name, lanes): (String, i64) = (owners.first()?.get(0), owners.first()?.get(1));
        (lanes >= 2).then_some((name, lanes))
    })
    .await;
    let number = name.strip_prefix("sender-").unwrap().parse().unwrap();
    let process = system.process("sender", number);
    println!(
        "SIGTERM to {name} (process {}), which owns {lanes} lanes",
        process.pid
    );
    signal(&process, Signal::SIGTERM);
    testkit::eventually("the replica to end and come back", BOUND, async || {
        let now = system.processes("sender");
        let other = now.iter().find(|one| one.replica == number)?;
        (other.pid != process.pid).then_some(())
    })
    .await;
}

/// How many lanes had more than one owner; prints who had which.
fn moved_lanes(owners: &Owners) -> usize {
    let mut moved = 0;
    for (lane, states) in owners {
        let named: BTreeSet<Uuid> = states.iter().filter_map(|(_, owner)| *owner).collect();
        moved += usize::from(named.len() > 1);
        let epochs: Vec<i64> = states.iter().map(|(epoch, _)| *epoch).collect();
        println!(
            "lane {lane}: {} owners, epochs seen {epochs:?}",
            named.len()
        );
    }
    moved
}
