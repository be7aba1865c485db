//! A campaign's recipients on their way into the ledger: binary COPY, the fastest door there is.

use bytes::{BufMut, BytesMut};
use futures_util::SinkExt;
use models::ids::CampaignId;

use super::NewMessage;
use crate::{StoreError, Transaction};

const COPY: &str = "COPY messages (campaign_id, ordinal, recipient, variables) FROM STDIN BINARY";
/// What every binary COPY begins with: a signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with: minus one fields.
const TRAILER: i16 = -1;
/// Bytes that are gathered before they leave.
const CHUNK: usize = 64 * 1_024;
/// The version byte of the binary form of jsonb.
const JSONB_VERSION: u8 = 1;

/// Copies all messages. Invariant: the buffer never grows much beyond one chunk, however many
/// there are.
pub(super) async fn messages(
    tx: &Transaction<'_>,
    campaign: CampaignId,
    messages: &[NewMessage],
) -> Result<(), StoreError> {
    let sink = tx.copy_in(COPY).await?;
    futures_util::pin_mut!(sink);
    let mut buffer = BytesMut::with_capacity(2 * CHUNK);
    buffer.put_slice(HEADER);
    for (ordinal, message) in (0_i32..).zip(messages) {
        row(&mut buffer, campaign, ordinal, message);
        if buffer.len() >= CHUNK {
            sink.send(buffer.split().freeze()).await?;
        }
    }
    buffer.put_i16(TRAILER);
    sink.send(buffer.freeze()).await?;
    sink.finish().await?;
    Ok(())
}

fn row(buffer: &mut BytesMut, campaign: CampaignId, ordinal: i32, message: &NewMessage) {
    buffer.put_i16(4);
    field(buffer, campaign.uuid().as_bytes());
    field(buffer, &ordinal.to_be_bytes());
    field(buffer, message.recipient.digits().as_bytes());
    match &message.variables {
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
        let message = NewMessage {
            recipient: "123456".parse().unwrap(),
            variables: Some("{}".into()),
        };
        row(&mut buffer, campaign, 7, &message);
        let mut wanted = vec![0, 4, 0, 0, 0, 16];
        wanted.extend([0; 15]);
        wanted.extend([1, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 6]);
        wanted.extend(b"123456");
        wanted.extend([0, 0, 0, 3, 1, b'{', b'}']);
        assert_eq!(&buffer[..], &wanted[..]);
    }
}
