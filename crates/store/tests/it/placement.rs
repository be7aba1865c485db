//! Placing by SQL is placing by `policy::placement`, at a cost that fleets do not change.

use models::ids::WorkerId;
use models::worker::{WorkerHealth, WorkerState};
use policy::placement::{self as rule, Room};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store::GenericClient as _;
use store::placement::{place_oldest, queue};
use uuid::Uuid;

const ROUNDS: usize = 60;

async fn fleet(db: &store::Client, rng: &mut StdRng) -> Vec<Room> {
    let mut rooms = Vec::new();
    for _ in 0..rng.random_range(0..9) {
        let (multi, capacity) = (rng.random_bool(0.8), rng.random_range(0..6));
        let slots = if multi { capacity } else { capacity.min(1) };
        let max_live = rng.random_range(0..6);
        let room = Room {
            id: WorkerId::new(Uuid::from_u128(rng.random())),
            state: WorkerState::ALL[rng.random_range(0..2) * rng.random_range(0..2)],
            health: WorkerHealth::ALL[1 + rng.random_range(0..2) * rng.random_range(0..2)],
            placed: rng.random_range(0..=slots),
            slots,
            live: rng.random_range(0..=max_live),
            max_live,
        };
        let sql = "INSERT INTO workers (id, url, name, api_key, capacity, capacity_inherited,
                max_live, max_live_inherited, placed, live, state, health, multi_session)
            VALUES ($1, $1::uuid::text, 'w', 'k', $2, false, $3, false, $4, $5, $6, $7, $8)";
        let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
            &room.id.uuid(),
            &capacity,
            &room.max_live,
            &room.placed,
            &room.live,
            &room.state.name(),
            &room.health.name(),
            &multi,
        ];
        db.execute(sql, parameters).await.unwrap();
        rooms.push(room);
    }
    rooms
}

/// Queues `count` numbers; gives them oldest first.
async fn queued(db: &store::Client, rng: &mut StdRng, count: usize) -> Vec<String> {
    let mut queue = Vec::new();
    for number in 0..count {
        let phone = format!("216{number:08}");
        let waited: i32 = rng.random_range(0..5);
        let sender = "INSERT INTO senders (phone) VALUES ($1) ON CONFLICT DO NOTHING";
        db.execute(sender, &[&phone]).await.unwrap();
        let sql = "INSERT INTO sessions (phone, queued_at)
            VALUES ($1, '2026-01-01'::timestamptz - make_interval(hours => $2))";
        db.execute(sql, &[&phone, &waited]).await.unwrap();
        queue.push((-waited, phone));
    }
    queue.sort();
    queue.into_iter().map(|(_, phone)| phone).collect()
}

#[tokio::test]
async fn sql_and_rule_choose_alike() {
    let db = testkit::database().await;
    let db = db.store.client().await.unwrap();
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    for _ in 0..ROUNDS {
        db.batch_execute("DELETE FROM sessions; DELETE FROM workers")
            .await
            .unwrap();
        let mut rooms = fleet(&db, &mut rng).await;
        let count = rng.random_range(0..15);
        let waiting = queued(&db, &mut rng, count).await;
        let workers = rule::place(waiting.len(), &mut rooms);
        let wanted: Vec<_> = waiting.iter().cloned().zip(workers).collect();
        let mut got = Vec::new();
        let mut generation = 0;
        while let Some(placed) = place_oldest(&db).await.unwrap() {
            assert!(placed.generation > generation, "generations grow");
            generation = placed.generation;
            got.push((placed.phone.digits().to_owned(), placed.worker));
        }
        assert_eq!(got, wanted, "{rooms:?}");
        let left = queue(&db).await.unwrap();
        assert_eq!(left.length as usize, waiting.len() - wanted.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn placers_at_once_never_overfill() {
    let db = testkit::database().await;
    let client = db.store.client().await.unwrap();
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let waiting = queued(&client, &mut rng, 40).await;
    let sql = "INSERT INTO workers (id, url, name, api_key, capacity, capacity_inherited,
            max_live, max_live_inherited, health)
        SELECT gen_random_uuid(), n::text, 'w', 'k', 5, false, 9, false, 'up'
        FROM generate_series(1, 6) n";
    client.execute(sql, &[]).await.unwrap();
    let mut placers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = db.store.clone();
        placers.spawn(async move {
            let client = store.client().await.unwrap();
            let mut placed = Vec::new();
            // A placer that finds a worker's row held goes away empty-handed; it comes back.
            for _ in 0..40 {
                let place = place_oldest(&client).await.unwrap();
                placed.extend(place.map(|place| place.phone.digits().to_owned()));
            }
            placed
        });
    }
    let mut placed = placers.join_all().await.concat();
    placed.sort();
    let mut first = waiting[..30].to_vec();
    first.sort();
    assert_eq!(placed, first, "the oldest thirty, each once");
    let sql = "SELECT bool_and(placed = 5 AND live = 5) FROM workers";
    assert!(client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn the_cost_does_not_follow_the_fleet() {
    let db = testkit::database().await;
    let db = db.store.client().await.unwrap();
    let sql = "
        INSERT INTO workers (id, url, name, api_key, capacity, capacity_inherited,
            max_live, max_live_inherited, health, placed)
        SELECT gen_random_uuid(), n::text, 'w', 'k', 50, false, 50, false, 'up', n % 60
        FROM generate_series(1, 5000) n WHERE n % 60 <= 50;
        INSERT INTO senders (phone) SELECT (21600000000 + n)::text FROM generate_series(1, 5000) n;
        INSERT INTO sessions (phone) SELECT phone FROM senders;
        ANALYZE";
    db.batch_execute(sql).await.unwrap();
    let read = async || {
        db.batch_execute("SELECT pg_stat_force_next_flush()")
            .await
            .unwrap();
        let sql = "SELECT
            (SELECT sum(seq_scan) FROM pg_stat_user_tables
                WHERE relname IN ('workers', 'sessions'))::bigint,
            (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
                WHERE relname IN ('workers', 'sessions'))::bigint,
            (SELECT idx_scan FROM pg_stat_user_indexes
                WHERE indexrelname = 'workers_with_room'),
            (SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'sessions_queued')";
        let row = db.query_one(sql, &[]).await.unwrap();
        [0, 1, 2, 3].map(|at| row.get::<_, i64>(at))
    };
    let before = read().await;
    for _ in 0..20 {
        assert!(place_oldest(&db).await.unwrap().is_some());
    }
    let after = read().await;
    let [whole, entries, room, queue] = [0, 1, 2, 3].map(|at| after[at] - before[at]);
    assert_eq!(whole, 0, "a table was read from end to end");
    assert!(room >= 20 && queue >= 20, "{room} and {queue} index scans");
    assert!(entries < 2_000, "{entries} index entries for 20 places");
}
