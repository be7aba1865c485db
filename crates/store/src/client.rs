//! The one door to PostgreSQL: every statement of the ledger goes through here.
//!
//! Statements are named: prepared once a connection, planned once, run by name. Behind a pooler
//! that gives each transaction another of its connections (PgBouncer in transaction mode) a name
//! is unknown wherever it was not prepared, so there they are unnamed: text, types and values in
//! one round trip, and nothing of ours stays behind on the pooler's connection. Which of the two,
//! the database's URL says ([`Statements`]).
//!
//! Always true: nothing here outlives its transaction where statements are unnamed, other than the
//! values that came back. Absent on purpose: session state of any kind (`SET`, advisory locks,
//! `LISTEN`, temporary tables), which no pooler of this kind keeps.

mod types;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use deadpool_postgres::{Object, StatementCache};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CopyInSink, Error, IsolationLevel, Row};

pub(crate) use types::Types;

/// Values for a statement's parameters.
type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How statements run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Statements {
    /// Prepared once a connection and run by name.
    #[default]
    Named,
    /// Sent whole each time: behind a pooler in transaction mode.
    Unnamed,
}

/// A statement that is known: by its name, or by the types of its parameters.
#[derive(Debug, Clone)]
pub struct Statement(Known);

#[derive(Debug, Clone)]
enum Known {
    Named(tokio_postgres::Statement),
    Unnamed(&'static str, Arc<[Type]>),
}

/// What can be run: a [`Statement`], or a text that is run once.
pub trait Runnable: Sync {
    #[doc(hidden)]
    fn form(&self) -> Form<'_>;
}

#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Form<'a> {
    Known(&'a Statement),
    Text(&'a str),
}

impl Runnable for Statement {
    fn form(&self) -> Form<'_> {
        Form::Known(self)
    }
}

impl Runnable for str {
    fn form(&self) -> Form<'_> {
        Form::Text(self)
    }
}

impl Runnable for String {
    fn form(&self) -> Form<'_> {
        Form::Text(self)
    }
}

/// A connection as this module sees it.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Door<'a> {
    client: &'a tokio_postgres::Client,
    names: &'a StatementCache,
    /// `None`: statements are named.
    types: Option<&'a Types>,
}

/// Whatever statements can be run on: a [`Client`], or a [`Transaction`] of it.
pub trait GenericClient: Send + Sync {
    #[doc(hidden)]
    fn door(&self) -> Door<'_>;

    /// Makes a statement known that is run often. Costs a round trip the first time alone.
    fn prepare_cached(
        &self,
        sql: &'static str,
    ) -> impl Future<Output = Result<Statement, Error>> + Send {
        self.door().know(sql)
    }

    /// Runs a statement; its rows.
    fn query<S: Runnable + ?Sized>(
        &self,
        statement: &S,
        parameters: Parameters<'_>,
    ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send {
        self.door().query(statement.form(), parameters)
    }

    /// Runs a statement; its only row. Another number of rows is an error.
    fn query_one<S: Runnable + ?Sized>(
        &self,
        statement: &S,
        parameters: Parameters<'_>,
    ) -> impl Future<Output = Result<Row, Error>> + Send {
        self.door().query_one(statement.form(), parameters)
    }

    /// Runs a statement; its row, if there is one. More than one is an error.
    fn query_opt<S: Runnable + ?Sized>(
        &self,
        statement: &S,
        parameters: Parameters<'_>,
    ) -> impl Future<Output = Result<Option<Row>, Error>> + Send {
        self.door().query_opt(statement.form(), parameters)
    }

    /// Runs a statement; how many rows it wrote.
    fn execute<S: Runnable + ?Sized>(
        &self,
        statement: &S,
        parameters: Parameters<'_>,
    ) -> impl Future<Output = Result<u64, Error>> + Send {
        self.door().execute(statement.form(), parameters)
    }

    /// Runs statements without parameters, one after the other.
    fn batch_execute(&self, sql: &str) -> impl Future<Output = Result<(), Error>> + Send {
        self.door().client.batch_execute(sql)
    }
}

/// Values beside their types, as unnamed statements take them.
fn typed<'a>(values: Parameters<'a>, types: &[Type]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let values = values.iter().copied();
    values.zip(types.iter().cloned()).collect()
}

/// A statement as it is about to run.
enum Ready<'a> {
    Named(tokio_postgres::Statement),
    Unnamed(&'a str, Arc<[Type]>),
}

impl Door<'_> {
    async fn know(self, sql: &'static str) -> Result<Statement, Error> {
        let known = match self.types {
            None => Known::Named(self.names.prepare(self.client, sql).await?),
            Some(types) => Known::Unnamed(sql, types.of(self.client, sql).await?),
        };
        Ok(Statement(known))
    }

    async fn ready(self, form: Form<'_>) -> Result<Ready<'_>, Error> {
        Ok(match (form, self.types) {
            (Form::Known(Statement(Known::Named(name))), _) => Ready::Named(name.clone()),
            (Form::Known(Statement(Known::Unnamed(sql, types))), _) => {
                Ready::Unnamed(sql, Arc::clone(types))
            }
            (Form::Text(sql), None) => Ready::Named(self.client.prepare(sql).await?),
            (Form::Text(sql), Some(_)) => {
                Ready::Unnamed(sql, types::learn(self.client, sql).await?)
            }
        })
    }

    async fn query(self, form: Form<'_>, values: Parameters<'_>) -> Result<Vec<Row>, Error> {
        match self.ready(form).await? {
            Ready::Named(name) => self.client.query(&name, values).await,
            Ready::Unnamed(sql, types) => {
                self.client.query_typed(sql, &typed(values, &types)).await
            }
        }
    }

    async fn query_one(self, form: Form<'_>, values: Parameters<'_>) -> Result<Row, Error> {
        match self.ready(form).await? {
            Ready::Named(name) => self.client.query_one(&name, values).await,
            Ready::Unnamed(sql, types) => {
                let typed = typed(values, &types);
                self.client.query_typed_one(sql, &typed).await
            }
        }
    }

    async fn query_opt(self, form: Form<'_>, values: Parameters<'_>) -> Result<Option<Row>, Error> {
        match self.ready(form).await? {
            Ready::Named(name) => self.client.query_opt(&name, values).await,
            Ready::Unnamed(sql, types) => {
                let typed = typed(values, &types);
                self.client.query_typed_opt(sql, &typed).await
            }
        }
    }

    async fn execute(self, form: Form<'_>, values: Parameters<'_>) -> Result<u64, Error> {
        match self.ready(form).await? {
            Ready::Named(name) => self.client.execute(&name, values).await,
            Ready::Unnamed(sql, types) => {
                self.client.execute_typed(sql, &typed(values, &types)).await
            }
        }
    }
}

/// A connection of the pool's, for as long as it is held.
pub struct Client {
    object: Object,
    types: Option<Arc<Types>>,
}

impl Client {
    pub(crate) const fn new(object: Object, types: Option<Arc<Types>>) -> Self {
        Self { object, types }
    }

    /// Ends the connection instead of giving it back.
    pub fn close(self) {
        drop(Object::take(self.object));
    }

    /// Begins a transaction; dropped without [`Transaction::commit`], it is rolled back.
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        Ok(Transaction {
            inner: self.object.transaction().await?,
            types: self.types.as_deref(),
        })
    }

    /// Begins a transaction that only reads, and sees the ledger as it is at its first statement.
    pub(crate) async fn snapshot(&mut self) -> Result<Transaction<'_>, Error> {
        let builder = self.object.build_transaction().read_only(true);
        let builder = builder.isolation_level(IsolationLevel::RepeatableRead);
        Ok(Transaction {
            inner: builder.start().await?,
            types: self.types.as_deref(),
        })
    }
}

impl GenericClient for Client {
    fn door(&self) -> Door<'_> {
        Door {
            client: &self.object,
            names: &self.object.statement_cache,
            types: self.types.as_deref(),
        }
    }
}

/// A transaction.
pub struct Transaction<'a> {
    inner: deadpool_postgres::Transaction<'a>,
    types: Option<&'a Types>,
}

impl Transaction<'_> {
    /// Makes what it did last.
    pub async fn commit(self) -> Result<(), Error> {
        self.inner.commit().await
    }

    /// Undoes what it did.
    pub async fn rollback(self) -> Result<(), Error> {
        self.inner.rollback().await
    }

    /// Begins a COPY. The driver gives it a name wherever it runs, and takes that back before the
    /// transaction ends; without one around it, a pooler might hand out the connection in between.
    pub(crate) async fn copy_in(&self, sql: &'static str) -> Result<CopyInSink<Bytes>, Error> {
        self.inner.copy_in(sql).await
    }
}

impl GenericClient for Transaction<'_> {
    fn door(&self) -> Door<'_> {
        Door {
            client: self.inner.client(),
            names: &self.inner.statement_cache,
            types: self.types,
        }
    }
}
