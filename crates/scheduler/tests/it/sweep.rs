//! Lanes that want an owner are called for through the broker.

use std::sync::{Arc, Mutex};

use broker::{Consumer, Disposition};
use models::job::Job;
use store::GenericClient as _;
use uuid::Uuid;

use crate::world::{BOUND, fleet, phone, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_with_work_and_no_owner_gets_a_job() {
    let world = world(&[(2, 2), (2, 2)]).await;
    let vhost = testkit::vhost().await;
    let replica = fleet(&world.db, &vhost.amqp_url);
    let client = world.client().await;
    let (sender, campaign) = (phone(1), Uuid::from_u128(7));
    for sql in [
        "INSERT INTO senders (phone) VALUES ('21600000001')",
        "INSERT INTO sessions (phone, worker_id, generation, waha_name, status)
            SELECT '21600000001', id, 1, '21600000001', 'WORKING' FROM workers ORDER BY id LIMIT 1",
        "UPDATE lanes SET wake = 3",
    ] {
        client.execute(sql, &[]).await.unwrap();
    }
    let sql = "INSERT INTO campaigns (id, sender, template, total, trace_id)
        VALUES ($1, $2, 'hello', 1, $1)";
    client
        .execute(sql, &[&campaign, &sender.digits()])
        .await
        .unwrap();

    // The broker is not there yet: nothing is called for, and no lane's back-off grows.
    scheduler::sweep::lanes_once(&replica.fleet).await.unwrap();
    let sql = "SELECT calls, served FROM lanes ORDER BY worker_id";
    let lanes = async || -> Vec<(i32, i64)> {
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    assert_eq!(lanes().await, [(0, 0), (0, 0)]);

    let (broker, stop) = (replica.fleet.broker.clone(), replica.shutdown.token());
    replica.fleet.supervisor.spawn("broker", {
        let (broker, stop) = (broker.clone(), stop.clone());
        async move { broker.keep(stop).await }
    });
    let heard = Arc::new(Mutex::new(Vec::new()));
    replica.fleet.supervisor.spawn("consumer", {
        let heard = Arc::clone(&heard);
        async move {
            let consumer = Consumer::new(broker, 10);
            let handle = move |job: Job| {
                heard.lock().unwrap().push(job);
                async { Disposition::Ack }
            };
            consumer.run(stop, handle).await;
        }
    });
    testkit::eventually("the broker is there", BOUND, async || {
        replica.fleet.broker.state().ok()
    })
    .await;
    scheduler::sweep::lanes_once(&replica.fleet).await.unwrap();
    let job = testkit::eventually("the job", BOUND, async || {
        heard.lock().unwrap().first().cloned()
    })
    .await;
    assert_eq!((job.campaign_id.uuid(), job.sender), (campaign, sender));
    // The one with work is called for again later; the one without is put to sleep.
    assert_eq!(lanes().await, [(1, 0), (1, 3)]);
    scheduler::sweep::lanes_once(&replica.fleet).await.unwrap();
    assert_eq!(lanes().await, [(1, 0), (1, 3)]);
    assert_eq!(heard.lock().unwrap().len(), 1);
}
