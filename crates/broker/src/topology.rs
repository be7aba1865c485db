//! Every exchange and queue there is, declared so that RabbitMQ 3.10 and 4.x behave alike.
//!
//! Both queues are durable quorum queues. The delivery limit is set because 4.x has one of 20 when
//! nothing is said and 3.x has none; the dead-letter exchange, because without one a message over
//! the limit is dropped in silence.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

/// Campaign jobs, one message a campaign and never one a recipient. Depth above 0 for long means
/// that there are too few senders.
pub const JOBS: &str = "campaign.jobs";
/// Jobs that could not be read, or came back too often. For people to look at.
pub const JOBS_DEAD: &str = "campaign.jobs.dead";
/// Where a queue sends what it gives up on.
const DEAD_EXCHANGE: &str = "campaign.dead";

/// How often a job may come back. With the growing wait before each return this is more than
/// twenty minutes of a database being away, after which the ledger's sweep makes the job anew.
const DELIVERY_LIMIT: i32 = 50;

/// Makes what is not there. Changes nothing that is; refused by the broker if that differs.
pub(crate) async fn declare(channel: &Channel) -> lapin::Result<()> {
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let none = FieldTable::default();
    channel
        .exchange_declare(
            DEAD_EXCHANGE.into(),
            ExchangeKind::Direct,
            durable,
            none.clone(),
        )
        .await?;
    queue(channel, JOBS_DEAD, quorum()).await?;
    let bind = QueueBindOptions::default();
    channel
        .queue_bind(
            JOBS_DEAD.into(),
            DEAD_EXCHANGE.into(),
            JOBS_DEAD.into(),
            bind,
            none,
        )
        .await?;
    let mut jobs = quorum();
    jobs.insert(
        "x-delivery-limit".into(),
        AMQPValue::LongInt(DELIVERY_LIMIT),
    );
    jobs.insert("x-dead-letter-exchange".into(), text(DEAD_EXCHANGE));
    jobs.insert("x-dead-letter-routing-key".into(), text(JOBS_DEAD));
    queue(channel, JOBS, jobs).await
}

async fn queue(channel: &Channel, name: &str, arguments: FieldTable) -> lapin::Result<()> {
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare(name.into(), durable, arguments)
        .await
        .map(|_| ())
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
