//! A campaign's recipients on their way into the ledger: binary COPY, the fastest door there is.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use models::ids::CampaignId;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::spool::{Rows, Spool, SpooledRow};
use crate::{StoreError, Transaction};

const COPY: &str = "COPY messages (campaign_id, ordinal, recipient, variables) FROM STDIN BINARY";
/// What every binary COPY begins with: a signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with: minus one fields.
const TRAILER: i16 = -1;
/// Bytes that are gathered before they leave: some thousand rows, so that changing threads for
/// each costs nothing beside them.
const CHUNK: usize = 256 * 1_024;
/// Room for the row that crosses the chunk's end.
const ROW: usize = 4 * 1_024;
/// The version byte of the binary form of jsonb.
const JSONB_VERSION: u8 = 1;

/// Copies all recipients. Invariant: at most two chunks are in memory, however many there are;
/// one leaves while the next is read, on a thread that may wait for the disk.
pub(super) async fn messages(
    tx: &Transaction<'_>,
    campaign: CampaignId,
    recipients: Spool,
) -> Result<(), StoreError> {
    let sink = tx.copy_in(COPY).await?;
    futures_util::pin_mut!(sink);
    let mut reading = begin(campaign, recipients);
    loop {
        let (chunk, encoder) = reading.await.map_err(lost)??;
        let Some(encoder) = encoder else {
            sink.send(chunk).await?;
            break;
        };
        reading = go_on(encoder);
        sink.send(chunk).await?;
    }
    sink.finish().await?;
    Ok(())
}

/// A chunk, and what encodes the next unless it was the last.
type Encoded = Result<(Bytes, Option<Encoder>), StoreError>;

fn begin(campaign: CampaignId, recipients: Spool) -> JoinHandle<Encoded> {
    spawn_blocking(move || {
        let rows = recipients.into_rows()?;
        let encoder = Encoder {
            campaign,
            rows,
            ordinal: 0,
        };
        let mut buffer = BytesMut::with_capacity(CHUNK + ROW);
        buffer.put_slice(HEADER);
        encoder.fill(buffer)
    })
}

fn go_on(encoder: Encoder) -> JoinHandle<Encoded> {
    spawn_blocking(move || encoder.fill(BytesMut::with_capacity(CHUNK + ROW)))
}

/// The reader's thread is gone only when the process is ending.
fn lost(error: tokio::task::JoinError) -> StoreError {
    StoreError::Spool(std::io::Error::other(error))
}

struct Encoder {
    campaign: CampaignId,
    rows: Rows,
    ordinal: i32,
}

impl Encoder {
    /// Adds rows up to a chunk's size, or all that are left and the trailer.
    fn fill(mut self, mut buffer: BytesMut) -> Encoded {
        while buffer.len() < CHUNK {
            let Some(message) = self.rows.take_next()? else {
                buffer.put_i16(TRAILER);
                return Ok((buffer.freeze(), None));
            };
            row(&mut buffer, self.campaign, self.ordinal, message);
            self.ordinal += 1;
        }
        Ok((buffer.freeze(), Some(self)))
    }
}

fn row(buffer: &mut BytesMut, campaign: CampaignId, ordinal: i32, message: SpooledRow<'_>) {
    buffer.put_i16(4);
    field(buffer, campaign.uuid().as_bytes());
    field(buffer, &ordinal.to_be_bytes());
    field(buffer, message.number.digits().as_bytes());
    match message.variables {
        None => buffer.put_i32(-1),
        Some(json) => {
            buffer.put_i32(length(json.len() + 1));
            buffer.put_u8(JSONB_VERSION);
            buffer.put_slice(json.as_bytes());
        }
    }
}

fn field(buffer: &mut BytesMut, bytes: &[u8]) {
    buffer.put_i32(length(bytes.len()));
    buffer.put_slice(bytes);
}

/// No field comes near 2 GiB: the gateway bounds bodies far below.
fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_laid_out_as_postgresql_reads_it() {
        let mut buffer = BytesMut::new();
        let campaign = CampaignId::new(uuid::Uuid::from_u128(1));
        let message = SpooledRow {
            number: "123456".parse().unwrap(),
            variables: Some("{}"),
        };
        row(&mut buffer, campaign, 7, message);
        let mut wanted = vec![0, 4, 0, 0, 0, 16];
        wanted.extend([0; 15]);
        wanted.extend([1, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 6]);
        wanted.extend(b"123456");
        wanted.extend([0, 0, 0, 3, 1, b'{', b'}']);
        assert_eq!(&buffer[..], &wanted[..]);
    }

    #[test]
    fn chunks_stay_near_their_size_and_lose_no_row() {
        let mut spool = Spool::new(1_000_000, &crate::spool::default_directory());
        let rows = 20_000;
        for n in 0..rows {
            spool
                .push(format!("216{n:08}").parse().unwrap(), None)
                .unwrap();
        }
        let (campaign, rows_of) = (CampaignId::new(uuid::Uuid::from_u128(1)), spool.into_rows());
        let mut encoder = Some(Encoder {
            campaign,
            rows: rows_of.unwrap(),
            ordinal: 0,
        });
        let mut bytes = 0;
        while let Some(some) = encoder {
            let (chunk, next) = some.fill(BytesMut::new()).unwrap();
            assert!(chunk.len() < CHUNK + ROW, "{}", chunk.len());
            (bytes, encoder) = (bytes + chunk.len(), next);
        }
        let row = 2 + (4 + 16) + (4 + 4) + (4 + 11) + 4;
        assert_eq!(bytes, rows * row + 2);
    }
}
