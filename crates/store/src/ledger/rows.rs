//! The columns of a group of writes, as the arrays that its statement takes.

use models::message::MessageKey;
use models::phone::PhoneNumber;
use tokio_postgres::types::ToSql;

use crate::lanes::Tenure;

/// `WITH ORDINALITY` counts from 1.
pub(super) fn place(ordinality: i64) -> usize {
    usize::try_from(ordinality).map_or(0, |place| place.saturating_sub(1))
}

/// A column of which most groups say nothing. Left out then, it is NULL for every row, at no cost
/// for each.
pub(super) fn sparse<T>(column: impl Iterator<Item = Option<T>>) -> Vec<Option<T>> {
    let column: Vec<_> = column.collect();
    if column.iter().any(Option::is_some) {
        column
    } else {
        Vec::new()
    }
}

/// The columns that claims and conclusions share, as arrays.
pub(super) struct Rows<'a> {
    workers: Vec<uuid::Uuid>,
    epochs: Vec<i64>,
    phones: Vec<&'a str>,
    campaigns: Vec<uuid::Uuid>,
    ordinals: Vec<i32>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(rows: impl Iterator<Item = (Tenure, &'a PhoneNumber, MessageKey)>) -> Self {
        let (mut workers, mut epochs, mut phones) = (Vec::new(), Vec::new(), Vec::new());
        let (mut campaigns, mut ordinals) = (Vec::new(), Vec::new());
        for (tenure, phone, key) in rows {
            workers.push(tenure.worker.uuid());
            epochs.push(tenure.epoch);
            phones.push(phone.digits());
            campaigns.push(key.campaign.uuid());
            ordinals.push(key.ordinal);
        }
        Self {
            workers,
            epochs,
            phones,
            campaigns,
            ordinals,
        }
    }

    pub(super) fn parameters<'b>(
        &'b self,
        replica: &'b uuid::Uuid,
        more: &[&'b (dyn ToSql + Sync)],
    ) -> Vec<&'b (dyn ToSql + Sync)> {
        let mut all: Vec<&(dyn ToSql + Sync)> = vec![
            replica,
            &self.workers,
            &self.epochs,
            &self.phones,
            &self.campaigns,
            &self.ordinals,
        ];
        all.extend_from_slice(more);
        all
    }
}
