//! A private PgBouncer before PostgreSQL: every transaction gets another server connection.
//!
//! It takes any database name and passes the name on, so that tests can make databases of their
//! own behind it; and it hands out few connections to each, so that what needs a connection of
//! its own is found out.

use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::account::{self, Home};
use super::{install, ports};
use crate::process::{Program, Ready};
use crate::supervise::Crew;
use crate::workdir::{WorkDir, write_private};

/// What the pooler must know of the server behind it.
struct Server {
    host: String,
    port: u16,
    user: String,
    password: String,
}

/// Starts it before the database of `url`, and returns the URL that leads through it.
pub(super) async fn start(work: &WorkDir, crew: &Crew, url: &str) -> anyhow::Result<String> {
    let executable = install::on_path("pgbouncer").context("PgBouncer is not installed")?;
    let server = Server::of(url)?;
    let home = account::home(work.path(), "pgbouncer", &["postgres"])?;
    let port = ports::choose(work, &["pgbouncer"])?["pgbouncer"];
    write_configuration(&home, &server, port)?;
    let pooled = server.through(url, port)?;
    let program = Program {
        role: "pgbouncer",
        replica: None,
        executable,
        arguments: vec![home.path.join("pgbouncer.ini").into()],
        inherits: false,
        environment: vec![("LC_ALL".to_owned(), "C.UTF-8".to_owned())],
        account: home.account,
        directory: home.path,
        log: work.log("pgbouncer"),
        ready: Ready::Postgres(pooled.clone()),
        ready_within: Duration::from_secs(20),
        stop: Signal::SIGTERM,
        grace: Duration::from_secs(5),
    };
    crew.add(program).start().await?;
    let more = if pooled.contains('?') { '&' } else { '?' };
    Ok(format!("{pooled}{more}statements=unnamed"))
}

impl Server {
    fn of(url: &str) -> anyhow::Result<Self> {
        let config: Config = url.parse().context("the database's URL cannot be read")?;
        let [Host::Tcp(host)] = config.get_hosts() else {
            bail!("the database's URL must name one host");
        };
        let password = config.get_password().unwrap_or_default();
        Ok(Self {
            host: host.clone(),
            port: config.get_ports().first().copied().unwrap_or(5432),
            user: config.get_user().unwrap_or("postgres").to_owned(),
            password: String::from_utf8(password.to_owned())?,
        })
    }

    /// The same URL with the pooler's address. Rewritten as text: the rest stays as it is encoded.
    fn through(&self, url: &str, port: u16) -> anyhow::Result<String> {
        let behind = format!("@{}:{}/", self.host, self.port);
        if !url.contains(&behind) {
            bail!("the database's URL must name user, host, port and database");
        }
        Ok(url.replacen(&behind, &format!("@127.0.0.1:{port}/"), 1))
    }
}

fn write_configuration(home: &Home, server: &Server, port: u16) -> anyhow::Result<()> {
    let users = format!("\"{}\" \"{}\"\n", server.user, server.password);
    let settings = configuration(&home.path.join("users.txt").display(), server, port);
    for (name, text) in [("users.txt", users), ("pgbouncer.ini", settings)] {
        let path = home.path.join(name);
        write_private(&path, &text)?;
        account::give(&path, home.account)?;
    }
    Ok(())
}

/// The bounds that a connection past the pooler brings with it are set by the pooler.
fn configuration(users: &impl std::fmt::Display, server: &Server, port: u16) -> String {
    let Server {
        host, port: behind, ..
    } = server;
    format!(
        "[databases]\n\
         * = host={host} port={behind} connect_query='SET statement_timeout = 60000; \
         SET idle_in_transaction_session_timeout = 15000'\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = scram-sha-256\n\
         auth_file = {users}\n\
         pool_mode = transaction\n\
         default_pool_size = 6\n\
         max_client_conn = 2000\n\
         server_idle_timeout = 30\n\
         autodb_idle_timeout = 60\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_is_read_from_the_url() {
        let url = "postgres://u:p%40w@10.0.0.7:5433/ledger";
        let server = Server::of(url).unwrap();
        let text = configuration(&"/x/users.txt", &server, 6543);
        assert_eq!(
            (server.user.as_str(), server.password.as_str()),
            ("u", "p@w")
        );
        let pooled = server.through(url, 6543).unwrap();
        assert_eq!(pooled, "postgres://u:p%40w@127.0.0.1:6543/ledger");
        assert!(text.contains("* = host=10.0.0.7 port=5433 "));
        assert!(text.contains("listen_port = 6543\n"));
        assert!(Server::of("postgres://u@a,b/d").is_err());
    }
}
