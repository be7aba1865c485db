//! Linking a session to a phone: QR code or pairing code.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use models::phone::PhoneNumber;
use reqwest::Method;
use reqwest::header::ACCEPT;

use crate::client::Waha;
use crate::dto::answers;
use crate::dto::requests::RequestCode;
use crate::error::{CallError, call};

/// What every PNG begins with.
const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A QR code to be scanned within seconds: the first lives 60 s, later ones 20 s. Whoever scans
/// it owns the session, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct QrCode {
    /// The picture.
    pub png: Vec<u8>,
}

impl QrCode {
    /// The picture in base64, without a `data:` prefix.
    pub fn base64(&self) -> String {
        BASE64.encode(&self.png)
    }

    fn read(body: &[u8]) -> Option<Self> {
        let png = if body.starts_with(PNG_MAGIC) {
            body.to_vec()
        } else {
            BASE64.decode(answers::wrapped_qr(body)?).ok()?
        };
        png.starts_with(PNG_MAGIC).then_some(Self { png })
    }
}

impl std::fmt::Debug for QrCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QrCode({} bytes)", self.png.len())
    }
}

impl Waha {
    /// The QR code that a session shows now. WAHA waits up to 15 s for the session to show one.
    ///
    /// # Errors
    /// [`CallError::WrongStatus`] when the session shows none; see [`CallError`].
    pub async fn qr(&self, session: &str) -> Result<QrCode, CallError> {
        let request = self.read(&["api", session, "auth", "qr"], &[]);
        call(request.header(ACCEPT, "image/png"), QrCode::read).await
    }

    /// A code to be typed on the phone of that number instead of scanning.
    ///
    /// # Errors
    /// [`CallError::WrongStatus`] when the session does not wait to be linked; see [`CallError`].
    pub async fn pairing_code(
        &self,
        session: &str,
        phone: &PhoneNumber,
    ) -> Result<String, CallError> {
        let path = ["api", session, "auth", "request-code"];
        let body = RequestCode {
            phone_number: phone.digits(),
        };
        let request = self.request(Method::POST, &path, &[], self.timeouts.read);
        call(request.json(&body), answers::pairing_code).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_read_bare_and_wrapped() {
        let png = [PNG_MAGIC, b"rest"].concat();
        let code = QrCode::read(&png).unwrap();
        assert_eq!(format!("{code:?}"), "QrCode(12 bytes)");
        let wrapped = format!(r#"{{"mimetype":"image/png","data":"{}"}}"#, code.base64());
        assert_eq!(QrCode::read(wrapped.as_bytes()), Some(code));
        for wrong in [&b""[..], b"{}", b"<svg/>", br#"{"data":"aGVsbG8="}"#] {
            assert_eq!(QrCode::read(wrong), None);
        }
    }
}
