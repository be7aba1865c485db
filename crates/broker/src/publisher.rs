//! Publishing. Invariant: `Ok` means that the broker has stored the message in a queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::{Broker, topology};

/// Messages on their way at once. A rolling window of this size was the fastest that we measured;
/// a larger one only adds latency.
const WINDOW: usize = 100;
/// A quorum queue confirms within a second under load; this is for a broker that hangs or blocks.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// Persistent, in AMQP's numbers.
const PERSISTENT: u8 = 2;

/// Why a message must be published again.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There is no connection, or an earlier message of the same call lost it.
    #[error("RabbitMQ is not there")]
    Disconnected,
    /// No queue took the message: somebody deleted it.
    #[error("no queue takes {}", topology::JOBS)]
    Unroutable,
    /// The broker said no.
    #[error("RabbitMQ refused the message")]
    Refused,
    /// The broker said nothing. The message may have been stored.
    #[error("no confirm within {} s", CONFIRM_TIMEOUT.as_secs())]
    Timeout,
    /// The channel was lost. The message may have been stored.
    #[error("the channel was lost")]
    Lost(#[source] Box<lapin::Error>),
    /// The message has no JSON form.
    #[error("the message cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
}

/// Publishes jobs over one channel, which is made when needed and again when it was lost.
#[derive(Debug)]
pub struct Publisher {
    broker: Broker,
    channel: Mutex<Option<Channel>>,
}

impl Publisher {
    /// Needs [`Broker::keep`] to run somewhere.
    #[must_use]
    pub fn new(broker: Broker) -> Self {
        Self {
            broker,
            channel: Mutex::new(None),
        }
    }

    /// Publishes `jobs`, persistent and mandatory, and says for each whether it is stored; same
    /// order, same length. What failed may be stored all the same, so a repetition can double it.
    pub async fn publish_all<T: Serialize>(&self, jobs: &[T]) -> Vec<Result<(), PublishError>> {
        let _in_use = self.broker.in_use();
        let Some(channel) = self.channel().await else {
            return jobs
                .iter()
                .map(|_| Err(PublishError::Disconnected))
                .collect();
        };
        let broken = AtomicBool::new(false);
        // Made before the stream, or the compiler cannot see that this future may change threads.
        let calls: Vec<_> = jobs
            .iter()
            .map(|job| publish(&channel, job, &broken))
            .collect();
        let results: Vec<_> = stream::iter(calls).buffered(WINDOW).collect().await;
        if broken.load(Ordering::Relaxed) {
            *self.channel.lock().await = None;
        }
        results
    }

    async fn channel(&self) -> Option<Channel> {
        let mut kept = self.channel.lock().await;
        if let Some(channel) = kept.as_ref().filter(|channel| channel.status().connected()) {
            return Some(channel.clone());
        }
        let connection = self.broker.connection()?;
        let made = timeout(CONFIRM_TIMEOUT, async {
            let channel = connection.create_channel().await?;
            topology::declare(&channel).await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            Ok::<_, lapin::Error>(channel)
        });
        *kept = made.await.ok()?.ok();
        kept.clone()
    }
}

/// `broken` makes the rest of a call fail at once, or each would wait its own time-out.
async fn publish<T: Serialize>(
    channel: &Channel,
    job: &T,
    broken: &AtomicBool,
) -> Result<(), PublishError> {
    let body = serde_json::to_vec(job)?;
    if broken.load(Ordering::Relaxed) {
        return Err(PublishError::Disconnected);
    }
    let told = timeout(CONFIRM_TIMEOUT, confirmed(channel, &body)).await;
    let result = match told {
        // Confirmed and not returned: the only success. An unroutable message is confirmed too.
        Ok(Ok(Confirmation::Ack(None))) => return Ok(()),
        // The next call makes the channel anew, and with it the queue.
        Ok(Ok(Confirmation::Ack(Some(_)))) => PublishError::Unroutable,
        Ok(Ok(Confirmation::Nack(_) | Confirmation::NotRequested)) => {
            return Err(PublishError::Refused);
        }
        Ok(Err(cause)) => PublishError::Lost(Box::new(cause)),
        Err(_) => PublishError::Timeout,
    };
    broken.store(true, Ordering::Relaxed);
    Err(result)
}

async fn confirmed(channel: &Channel, body: &[u8]) -> lapin::Result<Confirmation> {
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into());
    let exchange = "".into();
    let queue = topology::JOBS.into();
    channel
        .basic_publish(exchange, queue, mandatory, body, properties)
        .await?
        .await
}
