//! The private PostgreSQL and RabbitMQ of one directory.
//!
//! What always holds: they listen on 127.0.0.1 only, on ports of their own, with data and logs
//! of their own, and never as root; the machine's own servers are not touched. A server whose
//! URL is given is used instead and left alone.

pub(crate) mod account;
mod install;
pub(crate) mod leftovers;
mod pgbouncer;
pub(crate) mod ports;
mod postgres;
mod rabbitmq;

use anyhow::Context;

pub(crate) use postgres::{
    beside as database_beside, empty as empty_database, remove as remove_database,
};
pub(crate) use rabbitmq::control as rabbitmq_control;

use self::install::Package;
use crate::supervise::Crew;
use crate::workdir::WorkDir;

/// Where the two servers are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Urls {
    /// `postgres://user:password@host:port/database`.
    pub(crate) database: String,
    /// The same past the pooler, where there is one.
    pub(crate) direct: Option<String>,
    /// `amqp://user:password@host:port/vhost`.
    pub(crate) amqp: String,
    /// The base of RabbitMQ's management interface, where known.
    pub(crate) management: Option<String>,
}

/// Servers that exist already and are to be used; what is `None` is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    /// `DATABASE_URL`.
    pub(crate) database: Option<String>,
    /// `DATABASE_DIRECT_URL`; says nothing where the former is not given.
    pub(crate) direct: Option<String>,
    /// `AMQP_URL`.
    pub(crate) amqp: Option<String>,
    /// `RABBITMQ_MANAGEMENT_URL`.
    pub(crate) management: Option<String>,
}

impl Given {
    /// Reads the settings by name; an empty one counts as absent.
    pub(crate) fn from(setting: impl Fn(&str) -> Option<String>) -> Self {
        let find = |name| setting(name).filter(|value: &String| !value.is_empty());
        Self {
            database: find("DATABASE_URL"),
            direct: find("DATABASE_DIRECT_URL"),
            amqp: find("AMQP_URL"),
            management: find("RABBITMQ_MANAGEMENT_URL"),
        }
    }
}

/// What `start` has to see to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Servers that are there already.
    pub(crate) given: Given,
    /// Programs that must be there besides; the package of the same name is installed.
    pub(crate) programs: Vec<String>,
    /// Whether a pooler is to stand before the database.
    pub(crate) pooler: bool,
}

impl From<Given> for Wanted {
    fn from(given: Given) -> Self {
        Self {
            given,
            ..Self::default()
        }
    }
}

impl Wanted {
    fn packages(&self) -> Vec<Package> {
        let servers = [
            (self.given.database.is_none(), Package::Postgres),
            (self.given.amqp.is_none(), Package::Rabbitmq),
            (self.pooler, Package::Program("pgbouncer".to_owned())),
        ];
        let servers = servers.into_iter().filter(|(needed, _)| *needed);
        let programs = self.programs.iter().cloned().map(Package::Program);
        servers
            .map(|(_, package)| package)
            .chain(programs)
            .collect()
    }
}

/// Starts, under `crew`, whichever server is not given, both at once, and waits for them.
/// What is missing is installed first where that is allowed.
///
/// # Errors
/// A server can neither be found nor installed, or does not start; `crew` then still holds
/// what has been started.
pub(crate) async fn start(
    work: &WorkDir,
    crew: &Crew,
    wanted: impl Into<Wanted>,
) -> anyhow::Result<Urls> {
    let wanted = wanted.into();
    install::ensure(work, &wanted.packages()).await?;
    let given = wanted.given;
    let mut urls = Urls {
        direct: given.direct.filter(|_| given.database.is_some()),
        management: given.management,
        ..Urls::default()
    };
    let database = async {
        match given.database {
            Some(url) => Ok(url),
            None => postgres::start(work, crew)
                .await
                .context("PostgreSQL did not start"),
        }
    };
    let broker = async {
        match given.amqp {
            Some(url) => Ok((url, None)),
            None => rabbitmq::start(work, crew)
                .await
                .context("RabbitMQ did not start"),
        }
    };
    let (database, (amqp, management)) = tokio::try_join!(database, broker)?;
    urls.database = database;
    if wanted.pooler {
        let pooled = pgbouncer::start(work, crew, &urls.database).await;
        let pooled = pooled.context("PgBouncer did not start")?;
        urls.direct = Some(std::mem::replace(&mut urls.database, pooled));
    }
    urls.amqp = amqp;
    urls.management = management.or(urls.management);
    Ok(urls)
}
