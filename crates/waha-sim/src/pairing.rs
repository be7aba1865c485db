//! Pairing: QR codes in three forms, pairing codes, and the person who scans (section 6).

use actix_web::web::Bytes;
use base64::Engine as _;
use qrcode::{Color, QrCode};
use serde_json::{Value, json};

use crate::answer::{Answer, Failure};
use crate::profile::Engine;
use crate::route::Req;
use crate::sim::Cx;
use crate::status::Status;
use crate::wait;

/// Pixels per module, and modules of white around the code.
const MODULE_PIXELS: usize = 4;
const QUIET_MODULES: usize = 4;

pub(crate) async fn qr(cx: &Cx, name: &str, req: &Req) -> Result<Answer, Failure> {
    wait::for_status(cx, name, Status::ScanQrCode)
        .await
        .map_err(|failure| match failure {
            Failure::NotInStatus {
                session, status, ..
            } => Failure::NotInStatus {
                session,
                status,
                expected: Status::ScanQrCode,
            },
            other => other,
        })?;
    let value = cx
        .lock()
        .sessions
        .get(name)
        .map(|session| session.qr.clone())
        .unwrap_or_default();
    if req.query("format") == Some("raw") {
        return Ok(Answer::Json(200, json!({"value": value})));
    }
    let png = render(&value).map_err(|reason| Failure::uncaught("Error", &reason))?;
    if req.wants_json {
        let data = base64::engine::general_purpose::STANDARD.encode(png);
        return Ok(Answer::Json(
            200,
            json!({"mimetype": "image/png", "data": data}),
        ));
    }
    Ok(Answer::Raw(200, "image/png", Bytes::from(png)))
}

/// A QR code of `text` as a grey PNG.
fn render(text: &str) -> Result<Vec<u8>, String> {
    let code = QrCode::new(text).map_err(|error| error.to_string())?;
    let modules = code.width();
    let side = (modules + 2 * QUIET_MODULES) * MODULE_PIXELS;
    let colors = code.to_colors();
    let mut pixels = vec![0xFF_u8; side * side];
    for (index, color) in colors.iter().enumerate() {
        if *color == Color::Light {
            continue;
        }
        let left = (index % modules + QUIET_MODULES) * MODULE_PIXELS;
        let top = (index / modules + QUIET_MODULES) * MODULE_PIXELS;
        for row in top..top + MODULE_PIXELS {
            pixels[row * side + left..row * side + left + MODULE_PIXELS].fill(0);
        }
    }
    let mut png = Vec::new();
    let edge = u32::try_from(side).map_err(|error| error.to_string())?;
    let mut encoder = png::Encoder::new(&mut png, edge, edge);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
    writer
        .write_image_data(&pixels)
        .map_err(|error| error.to_string())?;
    writer.finish().map_err(|error| error.to_string())?;
    Ok(png)
}

pub(crate) async fn request_code(cx: &Cx, name: &str, body: &Value) -> Result<Answer, Failure> {
    let status = wait::for_running(cx, name).await?;
    if status != Status::ScanQrCode {
        let text = format!(
            "Can request code only in SCAN_QR_CODE status. The current status is {}",
            status.name()
        );
        return Err(Failure::nest(422, text));
    }
    let engine = cx.profile().engine;
    if engine == Engine::Noweb && crate::lifecycle::truthy(&body["method"]) {
        let text = "NOWEB engine doesn't support any 'method', remove it and try again";
        return Err(Failure::nest(422, text));
    }
    let Some(phone) = body["phoneNumber"].as_str() else {
        let text = "Cannot read properties of undefined (reading 'replace')";
        return Err(Failure::type_error(text));
    };
    let mut state = cx.lock();
    let letters = state.rng.text(b"ABCDEFGHJKLMNPQRSTVWXYZ", 4);
    let digits = state.rng.text(b"123456789", 4);
    if let Some(session) = state.sessions.get_mut(name) {
        session.code_for = Some(digits_of(phone));
    }
    Ok(Answer::Json(
        201,
        json!({"code": format!("{letters}-{digits}")}),
    ))
}

/// The digits of a text.
pub(crate) fn digits_of(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qr_is_a_square_png_with_its_finder_pattern() {
        let bytes = render("2@abc,def=,ghi=,jkl=").unwrap();
        assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(info.width, info.height);
        let at = |x: usize, y: usize| pixels[y * info.width as usize + x];
        let edge = QUIET_MODULES * MODULE_PIXELS;
        assert_eq!(
            (
                at(0, 0),
                at(edge, edge),
                at(edge + MODULE_PIXELS, edge + MODULE_PIXELS)
            ),
            (255, 0, 255)
        );
    }
}
