//! A database for each test, copied from one that was migrated once.

use std::fmt;

use store::Store;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};
use url::Url;

use crate::{cleanup, fresh_name, url_from_env};

/// Taken alone to migrate the template, and together with others to copy it: a database that
/// somebody is connected to cannot be copied.
const TEMPLATE_LOCK: i64 = 0x7465_7374;
/// Connections of a test's own pool. Enough for two replicas; all tests share the server's.
const CONNECTIONS_MAX: usize = 8;

/// An empty database of the current schema. Dropped with this value, connections or not.
pub struct TestDatabase {
    /// Where it is for services and pools, with credentials: through the pooler, if there is one.
    pub url: String,
    /// Where it is past any pooler.
    pub direct_url: String,
    /// A small pool of connections to it.
    pub store: Store,
    name: String,
    admin: Url,
}

impl fmt::Debug for TestDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDatabase")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl TestDatabase {
    /// A connection of its own, beside the pool and past any pooler.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn client(&self) -> Client {
        connect(self.direct_url.as_str()).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (admin, name) = (self.admin.to_string(), self.name.clone());
        cleanup::now(&format!("database {name}"), async move {
            let (client, connection) = tokio_postgres::connect(&admin, NoTls).await?;
            let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            tokio::select! {
                dropped = client.batch_execute(&statement) => dropped,
                lost = connection => lost,
            }
        });
    }
}

/// Makes a database of the current schema, on the server that `DATABASE_URL` names; its role must
/// be allowed to create databases. Where that leads through a pooler, `DATABASE_DIRECT_URL` must
/// name the server itself.
///
/// # Panics
/// When that cannot be done; the message says how to run tests.
pub async fn database() -> TestDatabase {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    let pooled = url_from_env("DATABASE_URL");
    let admin = match std::env::var_os("DATABASE_DIRECT_URL") {
        Some(_) => url_from_env("DATABASE_DIRECT_URL"),
        None => pooled.clone(),
    };
    let client = connect(admin.as_str()).await;
    let template = TEMPLATE
        .get_or_init(|| migrated_template(&client, &admin))
        .await;
    let name = fresh_name();
    run(
        &client,
        &format!("SELECT pg_advisory_lock_shared({TEMPLATE_LOCK})"),
    )
    .await;
    run(
        &client,
        &format!("CREATE DATABASE {name} TEMPLATE {template}"),
    )
    .await;
    run(
        &client,
        &format!("SELECT pg_advisory_unlock_shared({TEMPLATE_LOCK})"),
    )
    .await;
    let (url, direct_url) = (named(&pooled, &name), named(&admin, &name));
    let store = Store::new(&url, CONNECTIONS_MAX)
        .unwrap_or_else(|cause| panic!("no pool for the test database: {cause}"));
    TestDatabase {
        url,
        direct_url,
        store,
        name,
        admin,
    }
}

/// The name of a database of the current schema. One of the same version that does not take the
/// migrations (they were edited) is made anew.
async fn migrated_template(client: &Client, admin: &Url) -> String {
    let name = format!("wahacast_template_{}", store::migrate::needed());
    run(client, &format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await;
    let found = client
        .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name])
        .await;
    let found = found.unwrap_or_else(|cause| panic!("cannot look for the template: {cause}"));
    let url = named(admin, &name);
    let usable = found.is_some() && store::migrate::run(&url).await.is_ok();
    if !usable {
        run(
            client,
            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        )
        .await;
        run(client, &format!("CREATE DATABASE {name}")).await;
        let migrated = store::migrate::run(&url).await;
        migrated.unwrap_or_else(|cause| panic!("the migrations fail: {cause:?}"));
    }
    run(
        client,
        &format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})"),
    )
    .await;
    name
}

fn named(admin: &Url, database: &str) -> String {
    let mut url = admin.clone();
    url.set_path(database);
    url.to_string()
}

async fn connect(url: &str) -> Client {
    let connected = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) = connected.unwrap_or_else(|cause| {
        panic!(
            "cannot connect to PostgreSQL: {cause}: {}",
            crate::HOW_TO_RUN
        )
    });
    tokio::spawn(connection);
    client
}

async fn run(client: &Client, statement: &str) {
    let done = client.batch_execute(statement).await;
    done.unwrap_or_else(|cause| panic!("`{statement}` failed: {cause:?}"));
}
