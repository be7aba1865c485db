//! Schedulers against simulated workers, a real PostgreSQL and a real RabbitMQ; run by `make test`.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod lifecycle;
mod proof;
mod replicas;
mod room;
mod storage;
mod sweep;
mod trouble;
mod world;
