//! What happens to jobs when connection, channel or queue go.

use broker::topology::JOBS;
use broker::{Broker, Disposition, Publisher};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::support::{BOUND, Bench, jobs};

#[tokio::test]
async fn a_closed_connection_is_made_anew_and_work_goes_on() {
    let bench = Bench::start().await;
    let heard = bench.consume(10, async |_| Disposition::Ack);
    let jobs = jobs(300);
    let (before, after) = jobs.split_at(100);
    bench.publish(before).await;
    heard.every(before).await;
    let mut states = bench.broker.states();
    states.mark_unchanged();
    eventually("the connection to be closed", BOUND, async || {
        (bench.vhost.close_connections().await > 0).then_some(())
    })
    .await;
    let lost = tokio::time::timeout(BOUND, states.wait_for(Result::is_err)).await;
    assert!(lost.unwrap().is_ok(), "the loss must show in the state");
    bench.publish(after).await;
    heard.every(after).await;
    bench.ready().await;
    bench.stop().await;
}

#[tokio::test]
async fn a_cancelled_consumer_comes_back_with_its_queue() {
    let bench = Bench::start().await;
    let heard = bench.consume(10, async |_| Disposition::Ack);
    bench.publish(&jobs(1)).await;
    heard.every(&jobs(1)).await;
    // RabbitMQ cancels the consumer, while channel and connection stay up.
    bench.vhost.delete_queue(JOBS).await;
    let jobs = jobs(20);
    bench.publish(&jobs[1..]).await;
    heard.every(&jobs).await;
    assert!(bench.broker.state().is_ok());
    bench.stop().await;
}

#[tokio::test]
async fn what_was_held_when_the_connection_went_comes_again() {
    let bench = Bench::start().await;
    let heard = bench.consume(1, async |_| Disposition::Requeue);
    bench.publish(&jobs(1)).await;
    heard.every(&jobs(1)).await;
    let first = heard.all().len();
    eventually("the connection to be closed", BOUND, async || {
        (bench.vhost.close_connections().await > 0).then_some(())
    })
    .await;
    eventually("the job to come again", BOUND, async || {
        (heard.all().len() > first + 1).then_some(())
    })
    .await;
    bench.stop().await;
}

#[tokio::test]
async fn without_a_broker_publishing_fails_at_once() {
    let port = testkit::free_port();
    let broker = Broker::new(&format!("amqp://127.0.0.1:{port}"), "broker test").unwrap();
    let publisher = Publisher::new(broker.clone());
    let shutdown = CancellationToken::new();
    let asking = async {
        let results = publisher.publish_all(&jobs(1_000)).await;
        assert_eq!(results.len(), 1_000);
        assert!(results.iter().all(Result::is_err));
        assert!(broker.state().is_err());
        shutdown.cancel();
    };
    tokio::join!(broker.keep(shutdown.clone()), asking);
}
