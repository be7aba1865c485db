//! What happens to jobs while the broker is well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use broker::topology::{JOBS, JOBS_DEAD};
use broker::{Disposition, PublishError};
use testkit::eventually;
use tokio::sync::Semaphore;

use crate::support::{BOUND, Bench, Job, jobs};

#[tokio::test]
async fn every_job_is_stored_heard_once_and_forgotten() {
    let bench = Bench::start().await;
    let jobs = jobs(500);
    let results = bench.publisher.publish_all(&jobs).await;
    assert_eq!(results.len(), jobs.len());
    assert!(results.iter().all(Result::is_ok));
    let heard = bench.consume(20, async |_| Disposition::Ack);
    heard.every(&jobs).await;
    let mut all = heard.all();
    all.sort();
    assert_eq!(all, jobs);
    bench.stop().await;
}

#[tokio::test]
async fn a_job_that_no_queue_takes_is_an_error_and_the_queue_comes_back() {
    let bench = Bench::start().await;
    bench.publish(&jobs(1)).await;
    bench.vhost.delete_queue(JOBS).await;
    let results = bench.publisher.publish_all(&jobs(1)).await;
    assert!(
        matches!(results[..], [Err(PublishError::Unroutable)]),
        "{results:?}"
    );
    bench.publish(&jobs(1)).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_job_that_cannot_be_read_is_put_aside_and_the_next_is_heard() {
    let bench = Bench::start().await;
    let heard = bench.consume(1, async |_| Disposition::Ack);
    for body in [
        &b"{\"number\":"[..],
        b"",
        b"{\"number\":\"no\"}",
        b"\xff\xfe",
    ] {
        bench.publish_raw(body).await;
        assert_eq!(bench.take(JOBS_DEAD).await, body);
    }
    bench.publish(&jobs(1)).await;
    heard.every(&jobs(1)).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_job_given_back_comes_again_and_one_given_up_is_put_aside() {
    let bench = Bench::start().await;
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let heard = bench.consume(1, move |_| {
        let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if first {
                Disposition::Requeue
            } else {
                Disposition::DeadLetter
            }
        }
    });
    let job = Job { number: 7 };
    bench.publish(&[job]).await;
    assert_eq!(bench.take(JOBS_DEAD).await, br#"{"number":7}"#);
    assert_eq!(heard.all(), [job, job]);
    bench.stop().await;
}

#[tokio::test]
async fn shutdown_finishes_what_is_held_and_takes_no_more() {
    let bench = Bench::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let heard = bench.consume(2, move |_| {
        let held = Arc::clone(&held);
        async move {
            held.acquire().await.unwrap().forget();
            Disposition::Ack
        }
    });
    bench.publish(&jobs(5)).await;
    eventually("two held jobs", BOUND, async || {
        (heard.all().len() == 2).then_some(())
    })
    .await;
    bench.shutdown.cancel();
    gate.add_permits(5);
    let vhost = {
        let (broker, amqp) = (bench.broker.clone(), bench.vhost.amqp_url.clone());
        eventually("the connection to be closed", BOUND, async || {
            broker
                .state()
                .is_err_and(|why| why == "closed")
                .then_some(())
        })
        .await;
        amqp
    };
    assert_eq!(heard.all().len(), 2, "no job was taken after the shutdown");
    // The acks of the two arrived: exactly the other three are left.
    let options = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(&vhost, options).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    eventually("three jobs left", BOUND, async || {
        let passive = lapin::options::QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let queue = channel
            .queue_declare(JOBS.into(), passive, Default::default())
            .await
            .unwrap();
        (queue.message_count() == 3).then_some(())
    })
    .await;
    bench.stop().await;
}
