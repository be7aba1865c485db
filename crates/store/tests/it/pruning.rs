//! No statement looks into months that it has no business with, whatever the planner believes of
//! the tables' sizes. The server itself reports the plans of what the functions really ran.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use store::GenericClient;
use store::ledger::Outcome;
use store::unknown::{Resolution, settle};
use store::{campaigns, receipts, reconcile, roster, story};

use crate::fixture::DEAD_AFTER;
use crate::ledger::{Scene, again, cause, scene};
use crate::unnamed::accept;

/// What the server said to connections that were told to listen.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Ear;

impl log::Log for Ear {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "tokio_postgres::connection"
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
            said.push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

static EAR: Ear = Ear;

/// The plans that were reported since the last look.
fn plans() -> Vec<Value> {
    let said = std::mem::take(&mut *SAID.lock().unwrap_or_else(PoisonError::into_inner));
    let plans = said.iter().filter_map(|text| {
        let json = text.split_once("plan:\n")?.1;
        Some(serde_json::from_str(json).unwrap())
    });
    plans.collect()
}

/// Every table of messages that a plan names, and how often it was looked into.
fn looked_into(node: &Value, found: &mut Vec<(String, u64)>) {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let table = node["Relation Name"].as_str().unwrap_or_default();
    if kind.ends_with("Scan") && table.starts_with("messages") {
        // Every node was run and measured: one that never was has no loops.
        found.push((table.to_owned(), node["Actual Loops"].as_u64().unwrap()));
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        looked_into(child, found);
    }
}

/// Fails when a statement since the last look went into another table than `month`, or none into
/// that.
fn only(month: &str, what: &str) {
    let mut at_all = false;
    for plan in plans() {
        let mut found = Vec::new();
        looked_into(&plan["Plan"], &mut found);
        let strange = found
            .iter()
            .find(|(table, loops)| table != month && *loops > 0);
        assert_eq!(strange, None, "{what}: {plan:#}");
        at_all |= found
            .iter()
            .any(|(table, loops)| table == month && *loops > 0);
    }
    assert!(at_all, "{what} did not look into {month}");
}

/// Nothing was read of messages at all.
fn none(what: &str) {
    let plans = plans();
    assert!(!plans.is_empty(), "{what} was not seen");
    for plan in plans {
        let mut found = Vec::new();
        looked_into(&plan["Plan"], &mut found);
        assert_eq!(found, [], "{what}: {plan:#}");
    }
}

/// A ledger whose connections report their plans, which are made once for all parameters, with
/// three months before this one; `full`: each with messages of its own.
async fn reporting(full: bool) -> (Scene, String) {
    let scene = scene(9).await;
    let setup = scene.db.client().await;
    let months = "SELECT make_messages_partition((date_trunc('month', now() AT TIME ZONE 'UTC')
        - make_interval(months => n))::date) FROM generate_series(1, 3) n";
    setup.execute(months, &[]).await.unwrap();
    if full {
        let fill = "INSERT INTO messages (campaign_id, ordinal, recipient, status)
            SELECT since_id, n, '49', 2 FROM message_partitions, generate_series(1, 3000) n
            UNION ALL SELECT '00000000-0000-0000-0000-000000000007', n, '49', 2
            FROM generate_series(1, 3000) n";
        setup.execute(fill, &[]).await.unwrap();
        setup.batch_execute("ANALYZE").await.unwrap();
    }
    let report = "DO $$ DECLARE setting text; BEGIN
        FOREACH setting IN ARRAY ARRAY['session_preload_libraries = ''auto_explain''',
            'auto_explain.log_min_duration = 0', 'auto_explain.log_analyze = on',
            'auto_explain.log_timing = off', 'auto_explain.log_format = json',
            'client_min_messages = log', 'plan_cache_mode = force_generic_plan'] LOOP
            EXECUTE format('ALTER DATABASE %I SET ', current_database()) || setting;
        END LOOP; END $$";
    // A setting of a library that is not there yet is taken on trust.
    setup.batch_execute("LOAD 'auto_explain'").await.unwrap();
    setup.batch_execute(report).await.unwrap();
    let month = "SELECT tableoid::regclass::text FROM messages WHERE campaign_id = $1";
    let campaign = scene.campaign.uuid();
    let rows = setup.query(month, &[&campaign]).await.unwrap();
    // Those that the scene has used already do not report, and a pooler keeps them.
    let store = store::Store::new(&scene.db.direct_url, 4).unwrap();
    let mut scene = scene;
    scene.db.store = store;
    (scene, rows[0].get(0))
}

async fn sending(scene: &Scene, month: &str) {
    let client = scene.db.store.client().await.unwrap();
    let worker = scene.tenure.worker;
    scene.claim_by(0, "A").await;
    only(month, "claim");
    roster::all(&scene.db.store.client().await.unwrap(), worker)
        .await
        .unwrap();
    only(month, "roster of a lane");
    let key = scene.claim(0).key;
    roster::said(&client, key).await.unwrap();
    only(month, "said");
    scene.write(&[scene.conclusion(0, again(true))], &[]).await;
    only(month, "conclude");
    scene.speaker().await.unwrap();
    only(month, "roster of a number");
    scene.accepted_by(1, "B").await;
    only(month, "claim and conclude");
    scene.ack("B", 2).await;
    only(month, "receipts");
    scene.accepted_by(2, "C").await;
    scene.ack("C", -1).await;
    assert!(scene.restrict(None).await);
    only(month, "restrict");
    scene.sql("UPDATE senders SET resting_until = now()").await;
    scene.claim_by(3, "D").await;
    scene.ack("D", 1).await;
    let unknown = Outcome::Unknown(cause("owner_died"));
    scene.write(&[scene.conclusion(3, unknown)], &[]).await;
    only(month, "conclude what was reported before");
    scene.accepted_by(4, "E").await;
    scene
        .sql("UPDATE receipts SET created_at = created_at - interval '1 hour'")
        .await;
    scene
        .sql("UPDATE ask_mark SET until = until - interval '2 hours'")
        .await;
    plans();
    let mut noting = scene.db.store.client().await.unwrap();
    let noted = receipts::note_unheard(&mut noting, Duration::from_secs(60)).await;
    assert_ne!(noted.unwrap(), 0);
    let asks = receipts::claim_due_asks(&noting, Duration::from_secs(60), 9).await;
    assert!(!asks.unwrap().is_empty());
    only(month, "asks");
}

async fn looking(scene: &Scene, month: &str) {
    let client = scene.db.store.client().await.unwrap();
    let campaign = scene.campaign;
    let listed = campaigns::messages(&client, campaign, None, -1, 99).await;
    assert_eq!(listed.unwrap().len(), 9);
    only(month, "list");
    let recipient = "49000000001".parse().unwrap();
    let story = story::story(&client, campaign, &recipient).await;
    assert!(story.unwrap().is_some());
    only(month, "story");
    let row = campaigns::one(&client, campaign).await.unwrap().unwrap();
    let situations = campaigns::situations(&client, &[&row], DEAD_AFTER).await;
    assert_eq!(situations.unwrap().len(), 1);
    none("situation");
    store::audit::held(&client, campaign.uuid()).await.unwrap();
    only(month, "audit of one campaign");
}

/// What a campaign, and a session, can end by.
async fn ending(scene: &Scene, month: &str) {
    let mut client = scene.db.store.client().await.unwrap();
    scene.claim_by(5, "F").await;
    let unknown = Outcome::Unknown(cause("owner_died"));
    scene.write(&[scene.conclusion(5, unknown)], &[]).await;
    plans();
    settle(&mut client, scene.campaign, None, Resolution::Sent)
        .await
        .unwrap();
    only(month, "settle");
    scene.claim_by(6, "G").await;
    scene.write(&[scene.conclusion(6, again(true))], &[]).await;
    plans();
    campaigns::cancel(&mut client, scene.campaign)
        .await
        .unwrap();
    only(month, "cancel");
}

/// Another number of the worker's, with a message on its way, loses its session.
async fn losing(scene: &Scene, month: &str, by_force: bool) {
    let mut client = scene.db.store.client().await.unwrap();
    scene.claim_by(0, "A").await;
    let sql = "UPDATE workers SET placed = 1;
        UPDATE sessions SET wanted = 'GONE', due_at = now();
        UPDATE receipts SET ack = 2, ack_at = now()";
    client.batch_execute(sql).await.unwrap();
    let due = reconcile::claim_due(&client, 9, DEAD_AFTER).await.unwrap();
    plans();
    if by_force {
        let worker = scene.tenure.worker;
        let gone = store::workers::delete_by_force(&mut client, worker).await;
        gone.unwrap();
        only(month, "a worker's removal");
    } else {
        assert!(reconcile::forget(&mut client, &due[0]).await.unwrap());
        only(month, "a session's removal");
    }
}

/// Most rows of campaigns that one node of these plans read at once.
fn most_campaigns_read(node: &Value) -> u64 {
    let number = |name: &str| node[name].as_u64().unwrap_or_default();
    let read = match node["Relation Name"].as_str() {
        Some("campaigns") => number("Actual Rows") + number("Rows Removed by Filter"),
        _ => 0,
    };
    let below = node["Plans"].as_array().into_iter().flatten();
    below.map(most_campaigns_read).fold(read, u64::max)
}

/// The same of all plans since the last look.
fn campaigns_read() -> u64 {
    let plans = plans();
    let read = plans.iter().map(|plan| most_campaigns_read(&plan["Plan"]));
    read.max().unwrap_or_default()
}

/// A few numbers have hundreds of open campaigns each: what lies before a new one is read from
/// those of its own number, and no more of them than are counted; how it stands, from all of those.
async fn crowded(scene: &Scene) {
    let crowd =
        "INSERT INTO senders (phone) SELECT (490000 + n)::text FROM generate_series(1, 32) n;
        INSERT INTO campaigns (id, sender, template, total, trace_id)
        SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, phone, '', 1,
            gen_random_uuid()
        FROM (SELECT phone, row_number() OVER (ORDER BY phone) AS place FROM senders) d,
            generate_series(0, 9000) n
        WHERE n % (SELECT count(*) FROM senders) = place - 1;
        ANALYZE";
    let mut client = scene.db.store.client().await.unwrap();
    client.batch_execute(crowd).await.unwrap();
    plans();
    let id = accept(&mut client, 1).await;
    let read = campaigns_read();
    assert!((20..60).contains(&read), "{read} campaigns were read");
    let row = campaigns::one(&client, id).await.unwrap().unwrap();
    plans();
    let looked = campaigns::situations(&client, &[&row], DEAD_AFTER).await;
    let before = looked.unwrap()[&id].earlier.unwrap().campaigns;
    assert!(before > 200, "a number of the crowd");
    let (read, own) = (campaigns_read(), u64::try_from(before).unwrap() + 1);
    assert!(
        (own..own + 60).contains(&read),
        "{read} campaigns were read, {own} are its number's"
    );
    let removed = store::sessions::remove(&mut client, &row.sender).await;
    assert_eq!(removed.unwrap(), Some(own));
    let read = campaigns_read();
    assert!(read <= 4 * own, "{read} read to cancel {own}");
}

#[tokio::test]
async fn other_months_are_not_looked_into() {
    log::set_logger(&EAR).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    for full in [true, false] {
        let (scene, month) = reporting(full).await;
        sending(&scene, &month).await;
        looking(&scene, &month).await;
        ending(&scene, &month).await;
        crowded(&scene).await;
        scene.sql("SELECT count(*) FROM messages").await;
        let mut found = Vec::new();
        for plan in plans() {
            looked_into(&plan["Plan"], &mut found);
        }
        let others = found.iter().filter(|(table, _)| *table != month);
        assert!(others.count() >= 4, "looking everywhere is seen: {found:?}");
        for by_force in [true, false] {
            let (scene, month) = reporting(full).await;
            losing(&scene, &month, by_force).await;
        }
    }
}
