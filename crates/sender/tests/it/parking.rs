//! Lanes that wait for long are parked, and come back for whatever concerns them; lanes of a
//! replica that died are adopted by those that live.

use std::sync::Arc;
use std::time::Duration;

use chassis::{Chance, Clock, Shutdown, Supervisor};
use models::delays::{DelayOverrides, Delays};
use models::ids::{CampaignId, ReplicaId, TraceId};
use models::job::Job;
use models::phone::PhoneNumber;
use sender::context::Context;
use sender::lease::{self, Lease};
use sender::moments::Moments;
use sender::table::Table;
use sender::{consume, writer};
use store::{GenericClient as _, delays};
use testkit::eventually;
use tokio::sync::{Semaphore, watch};

use crate::scene::{BOUND, Scene, phone};
use crate::sending::{check_gaps, check_once, options};

const HOUR_MS: i64 = 3_600_000;
const EVERY: Duration = Duration::from_millis(100);

/// A replica without a consumer: jobs come when the test says so, and its table can be looked at.
struct Hand {
    context: Arc<Context>,
    table: Arc<Table>,
    supervisor: Supervisor,
    retired: Shutdown,
    living: Option<tokio::task::JoinHandle<()>>,
    writing: tokio::task::JoinHandle<()>,
}

impl Hand {
    /// Lanes are parked if nobody may speak for as many seconds.
    fn new(scene: &Scene, name: &str, park_after: &str) -> Self {
        Self::with(scene, name, &[("LANE_PARK_SECONDS", park_after)])
    }

    fn with(scene: &Scene, name: &str, settings: &[(&str, &str)]) -> Self {
        let process = scene.process(name, settings);
        let (clock, chance) = (Clock::system(), Chance::system());
        let (writer, mut queues) = writer::queues(1);
        let (delays, delays_seen) = watch::channel(Delays::default());
        let context = Arc::new(Context {
            replica: ReplicaId::new(process.replica.id),
            rests: process.settings.rests(),
            store: scene.db.store.clone(),
            writer,
            lease: Arc::new(Lease::default()),
            moments: Moments::new(clock.clone()),
            clock: clock.clone(),
            chance: chance.clone(),
            delays: delays_seen,
            http: waha::http_client().unwrap(),
            sends: Semaphore::new(99),
            settings: process.settings,
        });
        let supervisor = Supervisor::new(Shutdown::new());
        let table = Table::new(Arc::clone(&context), supervisor.clone(), delays);
        let (store, replica) = (scene.db.store.clone(), context.replica);
        let writes = writer::run(
            store,
            replica,
            queues.remove(0),
            (clock, chance),
            Shutdown::new(),
        );
        let mut hand = Self {
            table,
            supervisor,
            context,
            retired: Shutdown::new(),
            living: None,
            writing: tokio::spawn(writes),
        };
        hand.live(name.to_owned());
        hand
    }

    /// Beats and looks, as often as a replica does.
    fn live(&mut self, name: String) {
        let (context, table) = (Arc::clone(&self.context), Arc::clone(&self.table));
        let retired = self.retired.clone();
        self.living = Some(tokio::spawn(async move {
            while !retired.is_requested() {
                let lease = (&*context.lease, context.settings.dead_after);
                let replica = (context.replica, name.as_str());
                lease::beat(&context.store, replica, lease, &context.moments)
                    .await
                    .unwrap();
                table.look().await.unwrap();
                context.clock.sleep(EVERY).await;
            }
        }));
    }

    /// A job comes.
    async fn job(&self, campaign: CampaignId, sender: &PhoneNumber) {
        let job = Job {
            campaign_id: campaign,
            sender: sender.clone(),
            trace_id: TraceId::new(campaign.uuid()),
        };
        consume::on_job(&self.context, &self.table, job).await;
    }

    /// Waits until so many lanes are here and so many of them parked.
    async fn has(&self, lanes: usize, parked: usize) {
        let what = format!("{parked} of {lanes} lanes to be parked");
        eventually(&what, BOUND, async || {
            (self.table.count() == (lanes, parked)).then_some(())
        })
        .await;
    }

    /// Neither beats nor looks any more, until [`live`](Self::live).
    async fn lose_the_ledger(&mut self) {
        self.retired.request();
        if let Some(living) = self.living.take() {
            living.await.unwrap();
        }
        self.retired = Shutdown::new();
    }

    async fn gets(&self, what: &str, holds: impl Fn(&Context) -> bool) {
        eventually(what, BOUND, async || holds(&self.context).then_some(())).await;
    }

    /// Ends in order.
    async fn stop(mut self) {
        self.retired.request();
        if let Some(living) = self.living.take() {
            living.await.unwrap();
        }
        self.table.drain(BOUND).await.unwrap();
        let gone = lease::leave(&self.context.store, self.context.replica).await;
        gone.unwrap();
    }

    /// Is not heard of any more, as when its process is killed: nothing that it does reaches the
    /// ledger.
    fn kill(self) {
        self.writing.abort();
        self.living.iter().for_each(tokio::task::JoinHandle::abort);
        drop(self.supervisor);
    }
}

async fn heard(scene: &Scene, messages: usize) {
    eventually("messages to be heard", BOUND, async || {
        (scene.heard().await.len() >= messages).then_some(())
    })
    .await;
}

async fn epochs(scene: &Scene) -> Vec<i64> {
    let client = scene.db.store.client().await.unwrap();
    let sql = "SELECT epoch FROM lanes WHERE owner IS NOT NULL ORDER BY worker_id";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// A sender that has said one of two messages, and whose lane is parked for an hour.
async fn waiting(scene: &Scene, hand: &Hand, worker: usize) -> CampaignId {
    let sender = phone(worker);
    scene.session(worker, &sender).await;
    let first = 49_000_000_000 + 1_000 * worker as i64;
    let campaign = scene.campaign(&sender, first, 2).await;
    hand.job(campaign, &sender).await;
    campaign
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_lane_comes_back_for_its_moment_and_not_before() {
    let scene = Scene::new(options(1), 3_000, 0).await;
    let hand = Hand::new(&scene, "one", "1");
    waiting(&scene, &hand, 1).await;
    hand.has(1, 1).await;
    assert_eq!(scene.heard().await.len(), 1);
    scene.all_ended().await;
    let heard = scene.heard().await;
    assert_eq!(check_once(&heard), 2);
    check_gaps(&heard, Duration::from_secs(3), Duration::ZERO);
    hand.has(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_lane_speaks_for_another_sender_at_once_and_waits_on() {
    let scene = Scene::new(options(1), HOUR_MS, 0).await;
    let hand = Hand::new(&scene, "one", "60");
    waiting(&scene, &hand, 1).await;
    hand.has(1, 1).await;
    scene.session(1, &phone(7)).await;
    let campaign = scene.campaign(&phone(7), 49_000_009_000, 2).await;
    hand.job(campaign, &phone(7)).await;
    heard(&scene, 2).await;
    hand.has(1, 1).await;
    assert_eq!(check_once(&scene.heard().await), 2);
    assert_eq!(epochs(&scene).await, [1], "it was ours all the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_lane_is_woken_in_the_ledger_by_whatever_changes_its_wait() {
    let scene = Scene::new(options(3), HOUR_MS, 0).await;
    let hand = Hand::new(&scene, "one", "60");
    for worker in 1..=3 {
        waiting(&scene, &hand, worker).await;
    }
    hand.has(3, 3).await;
    let mut client = scene.db.store.client().await.unwrap();
    let none = DelayOverrides {
        message: Some(Duration::ZERO),
        ..DelayOverrides::default()
    };
    delays::set_of_sender(&mut client, &phone(1), none)
        .await
        .unwrap();
    heard(&scene, 4).await;
    hand.has(2, 2).await;
    let sql = "UPDATE campaigns SET status = 'CANCELLED', completed_at = now() WHERE sender = $1";
    client.execute(sql, &[&phone(2).digits()]).await.unwrap();
    store::sessions::wake_lane(&client, &phone(2))
        .await
        .unwrap();
    hand.has(1, 1).await;
    assert_eq!(scene.heard().await.len(), 4);

    delays::set_global(&client, none).await.unwrap();
    scene.all_ended().await;
    assert_eq!(check_once(&scene.heard().await), 5);
    hand.has(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_lanes_are_shared_and_handed_over_without_a_word() {
    let scene = Scene::new(options(4), HOUR_MS, 0).await;
    let first = Hand::new(&scene, "first", "60");
    for worker in 1..=4 {
        waiting(&scene, &first, worker).await;
    }
    first.has(4, 4).await;
    let second = Hand::new(&scene, "second", "60");
    second.has(2, 2).await;
    first.has(2, 2).await;
    first.stop().await;
    second.has(4, 4).await;
    assert_eq!(epochs(&scene).await, [2; 4]);
    assert_eq!(scene.heard().await.len(), 4);

    let client = scene.db.store.client().await.unwrap();
    let none = DelayOverrides {
        message: Some(Duration::ZERO),
        ..DelayOverrides::default()
    };
    delays::set_global(&client, none).await.unwrap();
    scene.all_ended().await;
    assert_eq!(check_once(&scene.heard().await), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_of_a_killed_replica_are_adopted_by_all_that_live() {
    let scene = Scene::new(options(6), 400, 0).await;
    let first = Hand::new(&scene, "first", "60");
    for worker in 1..=6 {
        let sender = phone(worker);
        scene.session(worker, &sender).await;
        let recipients = 49_000_000_000 + 1_000 * worker as i64;
        // Enough that nobody is done before all were seen to have been adopted.
        let campaign = scene.campaign(&sender, recipients, 25).await;
        first.job(campaign, &sender).await;
    }
    heard(&scene, 12).await;
    first.kill();
    let others = [
        Hand::new(&scene, "second", "60"),
        Hand::new(&scene, "third", "60"),
    ];
    others[0].has(3, 0).await;
    others[1].has(3, 0).await;
    assert_eq!(epochs(&scene).await, [2; 6]);
    scene.all_ended().await;
    let heard = scene.heard().await;
    check_once(&heard);
    check_gaps(&heard, Duration::from_millis(400), Duration::ZERO);
    let (sent, unknown) = (scene.messages_with(2).await, scene.messages_with(8).await);
    assert_eq!(sent + unknown, 150, "each is SENT or UNKNOWN");
    assert!(
        unknown <= 6,
        "{unknown} UNKNOWN, but one a sender was on the wire"
    );
}

fn has_lease(context: &Context) -> bool {
    context.lease.holds(context.moments.now())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_the_ledger_again_first_does_not_take_the_others_lanes() {
    let scene = Scene::new(options(2), HOUR_MS, 0).await;
    // Long enough that the second is not found dead because the machine is busy.
    let settings = [("REPLICA_DEAD_AFTER_SECONDS", "4")];
    let mut first = Hand::with(&scene, "first", &settings);
    let mut second = Hand::with(&scene, "second", &settings);
    waiting(&scene, &first, 1).await;
    let of_second = waiting(&scene, &second, 2).await;
    for hand in [&first, &second] {
        hand.gets("to judge", Context::may_judge).await;
    }
    tokio::join!(first.lose_the_ledger(), second.lose_the_ledger());
    for hand in [&first, &second] {
        hand.gets("to lose its lease", |context| !has_lease(context))
            .await;
    }
    let client = scene.db.store.client().await.unwrap();
    let old = "UPDATE replicas SET seen_at = now() - interval '1 day'";
    client.execute(old, &[]).await.unwrap();
    first.job(of_second, &phone(2)).await;
    first.live("first".to_owned());
    first.gets("its lease back", has_lease).await;
    first.table.look().await.unwrap();
    first.job(of_second, &phone(2)).await;
    assert_eq!(epochs(&scene).await, [1, 1], "the second may come back too");

    second.live("second".to_owned());
    for hand in [&first, &second] {
        hand.gets("to judge again", Context::may_judge).await;
    }
    first.table.look().await.unwrap();
    first.job(of_second, &phone(2)).await;
    assert_eq!(epochs(&scene).await, [1, 1], "and it did");
    second.kill();
    eventually("the lane to be adopted", BOUND, async || {
        (epochs(&scene).await == [1, 2]).then_some(())
    })
    .await;
}
