//! `kill -9` of one of two sender replicas in mid-campaign: every campaign completes on the other,
//! nobody hears a message twice, and what was on the wire at the kill is SENT or UNKNOWN, listed.
//! Prints the time from the kill to the next message of each orphaned lane.
//!
//! Figures: `cargo test -p wahacast --test it killed -- --nocapture` (servers as in `main.rs`).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use testkit::eventually;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::checks::{self, Delays, Ordered};
use crate::fleet::Heard;
use crate::system::{Plan, System, signal};

const DELAYS: Delays = Delays {
    message: Duration::from_millis(100),
    switch: Duration::from_millis(100),
    campaign: Duration::ZERO,
};
const BOUND: Duration = Duration::from_secs(120);
const SENDERS: usize = 8;
const MESSAGES: usize = 25;

/// A message that was claimed and not concluded when its replica died.
#[derive(Debug)]
struct OnTheWire {
    campaign: Uuid,
    recipient: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_of_a_killed_replica_complete_on_the_other() {
    let mut plan = Plan::new(4)
        .with("MAX_SESSIONS_PER_WORKER", "2")
        .with("MAX_LIVE_SESSIONS", "2");
    plan.senders = 2;
    plan.restart = false;
    // A send takes longer than the gap before it, so that the kill meets messages on the wire.
    plan.simulator = "--send-delay-ms 150..300";
    let system = System::start(plan).await;
    let phones: Vec<String> = (0..SENDERS).map(|n| format!("216421080{n:02}")).collect();
    system.link_all(&phones).await;
    let submits = phones
        .iter()
        .enumerate()
        .map(|(n, phone)| system.submit(phone, checks::recipients(n, MESSAGES)));
    let ordered = join_all(submits).await;
    system.heard_at_least(SENDERS * MESSAGES / 4, BOUND).await;
    system.lanes_stay().await;
    let ledger = system.ledger().await;
    let (replica, lanes) = kill_with_messages_on_the_wire(&system, &ledger).await;
    let killed_at = SystemTime::now();
    let wire = on_the_wire(&ledger, replica).await;
    let ended = join_all(ordered.iter().map(|one| system.ended(one, BOUND))).await;
    assert_eq!(
        system.processes("sender").len(),
        1,
        "the killed replica stays down"
    );
    let heard = system.fleet.heard().await;
    assert_eq!(checks::heard_twice(&heard), [], "heard twice");
    for status in &ended {
        let count = |field: &str| status[field].as_u64().unwrap();
        let settled = count("sent_messages") + count("unknown_messages");
        assert_eq!(settled, count("total_messages"), "{status}");
    }
    say_when_lanes_went_on(&heard, &lanes, killed_at);
    check_the_wire(&system, &ordered, &wire).await;
    let gaps = checks::gaps(&heard, &ordered, DELAYS);
    println!("{}", checks::table(&gaps[..2]));
    assert!(gaps.iter().all(|gaps| gaps.violations() == 0), "{gaps:?}");
}

/// Waits until the replica with the most lanes has just handed messages to their workers, and
/// kills it. Returns the replica and the numbers of its workers.
async fn kill_with_messages_on_the_wire(system: &System, ledger: &Client) -> (Uuid, Vec<usize>) {
    let sql = "SELECT owner FROM lanes WHERE owner IS NOT NULL GROUP BY owner
        HAVING count(*) >= 2 ORDER BY count(*) DESC, owner";
    let replica: Uuid = eventually("a replica to own two lanes", BOUND, async || {
        ledger
            .query(sql, &[])
            .await
            .unwrap()
            .first()
            .map(|row| row.get(0))
    })
    .await;
    let sql = "SELECT name FROM replicas WHERE id = $1";
    let name: String = ledger.query_one(sql, &[&replica]).await.unwrap().get(0);
    let number = name.strip_prefix("sender-").unwrap().parse().unwrap();
    let process = system.process("sender", number);
    // The send takes at least 150 ms, so a claim of the last 100 ms is still on its way.
    let sql =
        "SELECT count(*) FROM senders JOIN lanes ON lanes.worker_id = senders.in_flight_worker
        WHERE lanes.owner = $1 AND in_flight_at BETWEEN now() - interval '100 ms'
            AND now() - interval '10 ms'";
    eventually("two messages on the wire", BOUND, async || {
        let fresh: i64 = ledger.query_one(sql, &[&replica]).await.unwrap().get(0);
        (fresh >= 2).then_some(())
    })
    .await;
    signal(&process, Signal::SIGKILL);
    let sql = "SELECT url FROM lanes JOIN workers ON workers.id = lanes.worker_id WHERE owner = $1";
    let urls = ledger.query(sql, &[&replica]).await.unwrap();
    let numbers = urls.iter().map(|row| {
        let url: &str = row.get(0);
        url.rsplit('/').next().unwrap().parse().unwrap()
    });
    let lanes: Vec<usize> = numbers.collect();
    println!(
        "kill -9 of {name} (process {}), which owned the lanes of {lanes:?}",
        process.pid
    );
    (replica, lanes)
}

async fn on_the_wire(ledger: &Client, replica: Uuid) -> Vec<OnTheWire> {
    let sql = "SELECT messages.campaign_id, messages.recipient FROM senders
        JOIN lanes ON lanes.worker_id = senders.in_flight_worker
        JOIN messages ON messages.campaign_id = senders.in_flight_campaign
            AND messages.ordinal = senders.in_flight_ordinal
        WHERE lanes.owner = $1";
    let rows = ledger.query(sql, &[&replica]).await.unwrap();
    let wire: Vec<OnTheWire> = rows
        .iter()
        .map(|row| OnTheWire {
            campaign: row.get(0),
            recipient: row.get(1),
        })
        .collect();
    assert!(!wire.is_empty(), "nothing was on the wire at the kill");
    wire
}

/// Each is SENT (or further) or UNKNOWN, and a SENT one was heard.
async fn check_the_wire(system: &System, ordered: &[Ordered], wire: &[OnTheWire]) {
    let heard = system.fleet.heard().await;
    let mut known: BTreeMap<String, (String, String)> = BTreeMap::new();
    for one in ordered {
        let path = format!("/api/status/{}?details=true&limit=1000", one.id);
        let status = system.api.get(&path).await.expect(200);
        for message in status["messages"].as_array().unwrap() {
            let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
            known.insert(text("recipient"), (text("status"), text("error_code")));
        }
    }
    println!("on the wire at the kill:");
    for message in wire {
        let (status, code) = &known[&message.recipient];
        let times = heard
            .iter()
            .filter(|one| one.recipient() == message.recipient)
            .count();
        println!(
            "  campaign {} recipient {}: {status} {code}, heard {times} times",
            message.campaign, message.recipient
        );
        assert!(
            ["SENT", "DELIVERED", "READ", "UNKNOWN"].contains(&status.as_str()),
            "{message:?} is {status}"
        );
        assert!(
            status == "UNKNOWN" || times == 1,
            "{message:?} is {status}, heard {times} times"
        );
    }
    let unheard = |to: &&String| !heard.iter().any(|one| one.recipient() == **to);
    for to in ordered
        .iter()
        .flat_map(|one| &one.recipients)
        .filter(unheard)
    {
        assert_eq!(known[to].0, "UNKNOWN", "{to} heard nothing");
    }
}

fn say_when_lanes_went_on(heard: &[Heard], lanes: &[usize], killed_at: SystemTime) {
    for lane in lanes {
        let of_lane = heard.iter().filter(|one| one.worker == *lane);
        let next = of_lane
            .filter_map(|one| one.arrived().duration_since(killed_at).ok())
            .min();
        match next {
            Some(after) => println!(
                "worker {lane}: {:.2} s from kill to next",
                after.as_secs_f64()
            ),
            None => panic!("worker {lane} had campaigns left and never spoke again"),
        }
    }
}
