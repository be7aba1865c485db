//! The `file` of a media send: where it may come from, and fetching it (contract section 7.2).

use std::error::Error as _;

use serde_json::{Value, json};

use crate::about;
use crate::answer::{Failure, exception};
use crate::heard::Media;
use crate::hooks::is_loopback;
use crate::sim::Cx;

/// Bytes read of a file before the rest is ignored.
const DOWNLOAD_MAX: usize = 64 << 20;
/// WAHA asks a server that answers 5xx so many times in all.
const TRIES: u32 = 4;

/// Whether sending this `file` means asking another server first.
pub(crate) fn needs_download(file: &Value) -> bool {
    file["url"].as_str().is_some_and(is_loopback)
}

/// The media part of a send of `kind`, None for kinds without one.
pub(crate) fn of(cx: &Cx, kind: &str, file: &Value) -> Result<Option<Media>, Failure> {
    if !matches!(kind, "image" | "file" | "voice" | "video") {
        return Ok(None);
    }
    if !cx.profile().many_sessions() {
        return Err(match (kind, cx.profile().ancient()) {
            ("video", false) => {
                let engine = cx.profile().engine.name();
                let text = format!("The method is not implemented by '{engine}' engine");
                Failure::nest(501, text)
            }
            _ => about::plus_only(),
        });
    }
    if file.is_null() {
        let text = "Cannot read properties of undefined (reading 'url')";
        return Err(Failure::type_error(text));
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let url = text(&file["url"]);
    // Padding counts for too much here; three bytes in a file do not matter to anyone.
    let data = file["data"].as_str().map(|data| data.len() / 4 * 3);
    if url.is_none() && data.is_none() {
        let text = "Either \"file.url\" or \"file.data\" must be specified.";
        return Err(Failure::nest(422, text));
    }
    let mimetype = text(&file["mimetype"]).unwrap_or_else(|| "application/octet-stream".into());
    Ok(Some(Media {
        mimetype,
        filename: text(&file["filename"]),
        url,
        size: data,
    }))
}

/// Fetches `file.url` as WAHA does, once per send, if its host is a loopback one; others are
/// taken as fetched, because a simulator calls nobody outside.
pub(crate) async fn download(cx: &Cx, file: &Value) -> Result<(), Failure> {
    let Some(url) = file["url"].as_str().filter(|url| is_loopback(url)) else {
        return Ok(());
    };
    for attempt in 1..=TRIES {
        let answer = cx.sim.http.get(url).send().await;
        let mut answer = answer.map_err(|error| not_reached(&error))?;
        let status = answer.status();
        if status.is_server_error() && attempt < TRIES {
            tokio::time::sleep(cx.wait(100 * u64::from(attempt))).await;
            continue;
        }
        if !status.is_success() {
            return Err(refused(status.as_u16()));
        }
        let mut size = 0;
        while let Some(chunk) = answer.chunk().await.map_err(|error| not_reached(&error))? {
            size += chunk.len();
            if size > DOWNLOAD_MAX {
                break;
            }
        }
        return Ok(());
    }
    Ok(())
}

fn refused(status: u16) -> Failure {
    let text = format!("Request failed with status code {status}");
    let mut exception = exception("AxiosError", &text);
    exception["status"] = json!(status);
    Failure::Uncaught(exception)
}

fn not_reached(error: &reqwest::Error) -> Failure {
    let mut refused = false;
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            refused |= io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = inner.source();
    }
    let code = if refused {
        "ECONNREFUSED"
    } else {
        "ECONNRESET"
    };
    let mut exception = exception("AxiosError", &format!("connect {code}"));
    exception["code"] = json!(code);
    Failure::Uncaught(exception)
}
