//! A broker with its keeper, and a consumer that remembers what it got.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{Broker, Consumer, Disposition, Publisher};
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde::{Deserialize, Serialize};
use testkit::{TestVhost, eventually, vhost};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Long against anything RabbitMQ does on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// Stands for the campaign job; this crate carries anything that has a JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) number: u32,
}

pub(crate) fn jobs(count: u32) -> Vec<Job> {
    (0..count).map(|number| Job { number }).collect()
}

pub(crate) struct Bench {
    pub(crate) vhost: TestVhost,
    pub(crate) broker: Broker,
    pub(crate) publisher: Publisher,
    pub(crate) shutdown: CancellationToken,
    keeper: JoinHandle<()>,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let vhost = vhost().await;
        let broker = Broker::new(&vhost.amqp_url, "broker test").unwrap();
        let shutdown = CancellationToken::new();
        let (kept, stop) = (broker.clone(), shutdown.clone());
        let keeper = spawn(async move { kept.keep(stop).await });
        let publisher = Publisher::new(broker.clone());
        let bench = Self {
            vhost,
            broker,
            publisher,
            shutdown,
            keeper,
        };
        bench.ready().await;
        bench
    }

    pub(crate) async fn ready(&self) {
        eventually("a connection", BOUND, async || self.broker.state().ok()).await;
    }

    /// Publishes until all are stored, as the relay does.
    pub(crate) async fn publish(&self, jobs: &[Job]) {
        let mut left = jobs.to_vec();
        eventually("every job to be stored", BOUND, async || {
            let results = self.publisher.publish_all(&left).await;
            if let Some(Err(cause)) = results.iter().find(|result| result.is_err()) {
                println!("publishing again: {cause:?}");
            }
            let paired = left.iter().zip(&results);
            left = paired
                .filter(|(_, result)| result.is_err())
                .map(|(job, _)| *job)
                .collect();
            left.is_empty().then_some(())
        })
        .await;
    }

    /// A consumer that answers with what `decide` says of a job.
    pub(crate) fn consume<F>(
        &self,
        prefetch: u16,
        decide: impl Fn(Job) -> F + Send + Sync + 'static,
    ) -> Heard
    where
        F: Future<Output = Disposition> + Send,
    {
        let heard = Heard::default();
        let kept = heard.clone();
        let consumer = Consumer::new(self.broker.clone(), prefetch);
        let stop = self.shutdown.clone();
        spawn(async move {
            let handle = |job: Job| {
                kept.0.lock().unwrap().push(job);
                decide(job)
            };
            consumer.run(stop, handle).await;
        });
        heard
    }

    /// Puts a body on the jobs queue as it is, beside our own publisher.
    pub(crate) async fn publish_raw(&self, body: &[u8]) {
        let channel = self.own_connection().await.create_channel().await.unwrap();
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let queue = broker::topology::JOBS.into();
        let sent = channel
            .basic_publish("".into(), queue, options, body, properties)
            .await;
        sent.unwrap().await.unwrap();
        channel.close(200, "done".into()).await.unwrap();
    }

    /// Takes the next message off a queue, waiting for it.
    pub(crate) async fn take(&self, queue: &str) -> Vec<u8> {
        let connection = self.own_connection().await;
        let channel = connection.create_channel().await.unwrap();
        eventually(&format!("a message in {queue}"), BOUND, async || {
            let taken = channel
                .basic_get(queue.into(), BasicGetOptions { no_ack: true })
                .await;
            taken.unwrap().map(|message| message.delivery.data)
        })
        .await
    }

    async fn own_connection(&self) -> Connection {
        let options = ConnectionProperties::default();
        Connection::connect(&self.vhost.amqp_url, options)
            .await
            .unwrap()
    }

    /// Stops everything; the keeper ends only when nobody uses the connection any longer.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(BOUND, self.keeper)
            .await
            .expect("the keeper ends")
            .unwrap();
    }
}

/// What a consumer got, in order.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<Job>>>);

impl Heard {
    pub(crate) fn all(&self) -> Vec<Job> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until each of `jobs` was heard at least once.
    pub(crate) async fn every(&self, jobs: &[Job]) {
        eventually("every job to be heard", BOUND, async || {
            let heard = self.all();
            jobs.iter().all(|job| heard.contains(job)).then_some(())
        })
        .await;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test ends with its runtime, and its tasks too"
)]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}
