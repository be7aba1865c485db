//! Media by link: what kind of message a file becomes.

use std::borrow::Cow;

use crate::campaign::states;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use url::Url;

states! {
    /// How a file is shown in the chat.
    MediaKind {
        /// A picture.
        Image = "image",
        /// A film.
        Video = "video",
        /// A voice note.
        Voice = "voice",
        /// A document.
        File = "file",
    }
}

/// A file that the worker downloads and sends. Invariant: an http or https URL with a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Where the worker finds it.
    pub url: Url,
    /// How it is shown.
    pub kind: MediaKind,
    /// Its MIME type, by the ending of its name.
    pub mimetype: &'static str,
    /// The name the recipient sees.
    pub filename: String,
}

/// Why a text is not a media URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// Not a URL.
    #[error("is not a URL: {0}")]
    NotUrl(String),
    /// Another scheme.
    #[error("must begin with http:// or https://, not {0}:")]
    Scheme(String),
    /// User and password in the URL would be shown in answers and logs.
    #[error("must not carry a user name or password")]
    Credentials,
    /// Longer than any server takes.
    #[error("is longer than 2,048 bytes")]
    Long,
}

/// Endings, their kinds and MIME types; what is not listed goes out as a document.
const ENDINGS: &[(&[&str], MediaKind, &str)] = &[
    (&["jpg", "jpeg"], MediaKind::Image, "image/jpeg"),
    (&["png"], MediaKind::Image, "image/png"),
    (&["webp"], MediaKind::Image, "image/webp"),
    (&["gif"], MediaKind::Image, "image/gif"),
    (&["mp4", "m4v"], MediaKind::Video, "video/mp4"),
    (&["mov"], MediaKind::Video, "video/quicktime"),
    (&["webm"], MediaKind::Video, "video/webm"),
    (&["3gp"], MediaKind::Video, "video/3gpp"),
    (
        &["ogg", "opus", "oga"],
        MediaKind::Voice,
        "audio/ogg; codecs=opus",
    ),
    (&["mp3"], MediaKind::Voice, "audio/mpeg"),
    (&["m4a"], MediaKind::Voice, "audio/mp4"),
    (&["wav"], MediaKind::Voice, "audio/wav"),
    (&["pdf"], MediaKind::File, "application/pdf"),
    (&["txt"], MediaKind::File, "text/plain"),
    (&["csv"], MediaKind::File, "text/csv"),
    (&["zip"], MediaKind::File, "application/zip"),
];

impl Media {
    /// Parses a link and decides by its ending how the file is shown.
    pub fn parse(text: &str) -> Result<Self, MediaError> {
        if text.len() > 2_048 {
            return Err(MediaError::Long);
        }
        let url = Url::parse(text).map_err(|error| MediaError::NotUrl(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(MediaError::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(MediaError::Credentials);
        }
        let name = url.path().rsplit('/').next().unwrap_or_default().to_owned();
        let ending = name
            .rsplit_once('.')
            .map(|(_, ending)| ending.to_ascii_lowercase());
        let known = ending.and_then(|ending| {
            ENDINGS
                .iter()
                .find(|(endings, ..)| endings.contains(&ending.as_str()))
        });
        let (kind, mimetype) = known.map_or((MediaKind::File, "application/octet-stream"), |k| {
            (k.1, k.2)
        });
        let filename = match shown(&name) {
            shown if shown.is_empty() => "file".to_owned(),
            shown => shown,
        };
        Ok(Self {
            url,
            kind,
            mimetype,
            filename,
        })
    }
}

/// The last part of a URL's path as people wrote it, without what is no part of a file's name.
fn shown(name: &str) -> String {
    let decoded = percent_decode_str(name).decode_utf8();
    let decoded = decoded.unwrap_or(Cow::Borrowed(name));
    let named = |c: &char| !c.is_control() && !matches!(c, '/' | '\\');
    decoded.chars().filter(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_decides() {
        for (link, kind) in [
            ("https://example.com/a/cat.JPG?size=2", MediaKind::Image),
            ("http://127.0.0.1:9/film.mp4", MediaKind::Video),
            ("https://example.com/note.ogg", MediaKind::Voice),
            ("https://example.com/price-list.pdf", MediaKind::File),
            ("https://example.com/", MediaKind::File),
        ] {
            assert_eq!(Media::parse(link).map(|m| m.kind), Ok(kind), "{link}");
        }
        for (link, name) in [
            (
                "https://x.example/Liste des prix é.pdf",
                "Liste des prix é.pdf",
            ),
            ("https://x.example/a%2Fb%0A%5c.pdf?x=1", "ab.pdf"),
            ("https://x.example/%ff.pdf", "%ff.pdf"),
            ("https://x.example/%2F", "file"),
        ] {
            assert_eq!(Media::parse(link).unwrap().filename, name, "{link}");
        }
        assert_eq!(
            Media::parse("ftp://x/y"),
            Err(MediaError::Scheme("ftp".to_owned()))
        );
        assert_eq!(
            Media::parse("https://a:b@x/y"),
            Err(MediaError::Credentials)
        );
        assert!(matches!(
            Media::parse("cat.jpg"),
            Err(MediaError::NotUrl(_))
        ));
    }
}
