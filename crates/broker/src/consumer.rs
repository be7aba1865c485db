//! Consuming. Invariant: a consumer never ends but at shutdown, and never trusts a channel that
//! reported anything unusual: it drops it and makes a new one.

use std::future::Future;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    BasicRejectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection};
use serde::de::DeserializeOwned;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Broker, pause, topology};

/// Between two looks at a channel that is quiet. A look asks the broker one cheap question.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// So many looks in a row that found work waiting for an idle consumer prove it deaf. One or two
/// may fall between the arrival of a job and its delivery.
const DEAF_AFTER: u32 = 3;
/// A channel that held for this many looks had come up for good.
const LOOKS_TO_SETTLE: u32 = 5;
/// How long making or leaving a channel may take.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(10);
/// More than this brings nothing on a quorum queue, and RabbitMQ caps it at 2,000.
const PREFETCH_MAX: u16 = 300;

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Done with it: forget it.
    Ack,
    /// Cannot take it now: bring it again, to anybody, after a wait that grows each time.
    Requeue,
    /// Will never be able to take it: put it aside for people.
    DeadLetter,
}

/// Takes jobs from the queue and hands each to a handler.
#[derive(Debug)]
pub struct Consumer {
    broker: Broker,
    prefetch: u16,
}

/// Why a channel is not used any longer.
enum Ended {
    Shutdown,
    /// `settled`: it worked for a while, so the next attempt need not wait long.
    Lost {
        cause: String,
        settled: bool,
    },
}

impl Consumer {
    /// At most `prefetch` (1 to 300) jobs are held at once. Needs [`Broker::keep`] to run.
    #[must_use]
    pub fn new(broker: Broker, prefetch: u16) -> Self {
        Self {
            broker,
            prefetch: prefetch.clamp(1, PREFETCH_MAX),
        }
    }

    /// Handles jobs, up to the prefetch at once, until `shutdown`; then takes no more and finishes
    /// what is held. A job may come twice, so `handle` must be idempotent; one that cannot be read
    /// is put aside without asking it.
    pub async fn run<T, H, F>(&self, shutdown: CancellationToken, handle: H)
    where
        T: DeserializeOwned,
        H: Fn(T) -> F,
        F: Future<Output = Disposition>,
    {
        let _in_use = self.broker.in_use();
        let mut attempt = 0;
        while !shutdown.is_cancelled() {
            let connection = tokio::select! {
                () = shutdown.cancelled() => return,
                connection = self.broker.connected() => connection,
            };
            let ended = match self.subscribe(&connection).await {
                Ok(subscription) => subscription.work(&shutdown, &handle).await,
                Err(cause) => Ended::Lost {
                    cause,
                    settled: false,
                },
            };
            if let Ended::Lost { cause, settled } = ended {
                attempt = if settled { 0 } else { attempt };
                tracing::warn!(attempt, "the job consumer lost its channel, anew: {cause}");
                pause::unless(&shutdown, pause::after(attempt)).await;
                attempt = attempt.saturating_add(1);
            }
        }
    }

    async fn subscribe(&self, connection: &Connection) -> Result<Subscription, String> {
        let made = timeout(CHANNEL_TIMEOUT, async {
            let channel = connection.create_channel().await?;
            topology::declare(&channel).await?;
            // Per consumer: quorum queues refuse a prefetch for the channel, and close everything.
            channel
                .basic_qos(self.prefetch, BasicQosOptions { global: false })
                .await?;
            let (queue, options) = (topology::JOBS.into(), BasicConsumeOptions::default());
            let stream = channel
                .basic_consume(queue, "".into(), options, FieldTable::default())
                .await?;
            Ok::<_, lapin::Error>(Subscription { channel, stream })
        });
        match made.await {
            Ok(made) => made.map_err(|cause| cause.to_string()),
            Err(_) => Err(format!("no answer within {} s", CHANNEL_TIMEOUT.as_secs())),
        }
    }
}

struct Subscription {
    channel: Channel,
    stream: lapin::Consumer,
}

impl Subscription {
    async fn work<T, H, F>(mut self, shutdown: &CancellationToken, handle: &H) -> Ended
    where
        T: DeserializeOwned,
        H: Fn(T) -> F,
        F: Future<Output = Disposition>,
    {
        // Raised when no wait before a return makes sense any longer.
        let hurry = CancellationToken::new();
        let mut held = FuturesUnordered::new();
        let mut looks: u32 = 0;
        let mut idle_beside_work: u32 = 0;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let lost = loop {
            tokio::select! {
                () = shutdown.cancelled() => break None,
                next = self.stream.next() => match next {
                    Some(Ok(delivery)) => {
                        idle_beside_work = 0;
                        held.push(settle(delivery, handle, &hurry));
                    }
                    // After an error the stream may stay silent for ever: never ask it again.
                    Some(Err(cause)) => break Some(cause.to_string()),
                    None => break Some("the broker cancelled the consumer".to_owned()),
                },
                Some(()) = held.next(), if !held.is_empty() => {}
                _ = look.tick() => {
                    looks = looks.saturating_add(1);
                    if !self.channel.status().connected() {
                        break Some("the channel closed".to_owned());
                    }
                    if held.is_empty() {
                        match self.work_waits().await {
                            Ok(true) => idle_beside_work += 1,
                            Ok(false) => idle_beside_work = 0,
                            Err(cause) => break Some(cause),
                        }
                    }
                    if idle_beside_work >= DEAF_AFTER {
                        break Some("jobs wait, and none is delivered".to_owned());
                    }
                }
            }
        };
        hurry.cancel();
        self.leave(lost.is_none(), held).await;
        match lost {
            None => Ended::Shutdown,
            Some(cause) => Ended::Lost {
                cause,
                settled: looks > LOOKS_TO_SETTLE,
            },
        }
    }

    /// Whether the queue has jobs that nobody holds. The broker can lose sight of a consumer, for
    /// instance when its queue is deleted and made anew at once, and says nothing then.
    async fn work_waits(&self) -> Result<bool, String> {
        let passive = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let asked =
            self.channel
                .queue_declare(topology::JOBS.into(), passive, FieldTable::default());
        match timeout(CHANNEL_TIMEOUT, asked).await {
            Ok(Ok(queue)) => Ok(queue.message_count() > 0),
            Ok(Err(cause)) => Err(cause.to_string()),
            Err(_) => Err(format!("no answer within {} s", CHANNEL_TIMEOUT.as_secs())),
        }
    }

    /// Finishes what is held, and gives back what was prefetched and not yet taken.
    async fn leave<F: Future<Output = ()>>(self, orderly: bool, mut held: FuturesUnordered<F>) {
        if orderly {
            let cancel = self
                .channel
                .basic_cancel(self.stream.tag(), BasicCancelOptions::default());
            let _told = timeout(CHANNEL_TIMEOUT, cancel).await;
        }
        while held.next().await.is_some() {}
        let closing = self.channel.close(200, "done".into());
        let _told = timeout(CHANNEL_TIMEOUT, closing).await;
    }
}

/// Handles one delivery and tells the broker. A broker that cannot be told brings it again.
async fn settle<T, H, F>(delivery: Delivery, handle: &H, hurry: &CancellationToken)
where
    T: DeserializeOwned,
    H: Fn(T) -> F,
    F: Future<Output = Disposition>,
{
    let disposition = match serde_json::from_slice(&delivery.data) {
        Ok(job) => handle(job).await,
        Err(fault) => {
            // Where and what kind, not the text: a job names a phone number.
            let (at, kind) = (fault.column(), fault.classify());
            tracing::error!(
                at,
                ?kind,
                "a job cannot be read, it goes to {}",
                topology::JOBS_DEAD
            );
            Disposition::DeadLetter
        }
    };
    let acker = &delivery.acker;
    let told = match disposition {
        Disposition::Ack => acker.ack(BasicAckOptions::default()).boxed(),
        Disposition::DeadLetter => acker.reject(BasicRejectOptions { requeue: false }).boxed(),
        Disposition::Requeue => {
            pause::unless(hurry, pause::after(returns(&delivery))).await;
            acker
                .nack(BasicNackOptions {
                    requeue: true,
                    multiple: false,
                })
                .boxed()
        }
    };
    match told.await {
        Ok(true) => {}
        Ok(false) => tracing::debug!(?disposition, "the channel is gone, the job comes again"),
        Err(cause) => tracing::debug!(?disposition, "the job comes again: {cause}"),
    }
}

/// How often this delivery came back before; the broker counts.
fn returns(delivery: &Delivery) -> u32 {
    let headers = delivery.properties.headers().as_ref();
    let count = headers.and_then(|headers| headers.inner().get("x-delivery-count"));
    let count = match count {
        Some(AMQPValue::LongLongInt(count)) => u32::try_from(*count).ok(),
        Some(AMQPValue::LongInt(count)) => u32::try_from(*count).ok(),
        Some(AMQPValue::LongUInt(count)) => Some(*count),
        Some(AMQPValue::ShortInt(count)) => u32::try_from(*count).ok(),
        Some(AMQPValue::ShortUInt(count)) => Some(u32::from(*count)),
        Some(AMQPValue::ShortShortInt(count)) => u32::try_from(*count).ok(),
        Some(AMQPValue::ShortShortUInt(count)) => Some(u32::from(*count)),
        _ => None,
    };
    count.unwrap_or(u32::from(delivery.redelivered))
}
