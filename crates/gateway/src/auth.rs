//! Who is asking.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use subtle::ConstantTimeEq;

use crate::problem::{Kind, Problem};
use crate::settings::AdminKey;

/// The header that carries the admin key.
pub const KEY_HEADER: &str = "X-Admin-API-Key";

/// What the request showed; put there once, by the boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// No key.
    Nothing,
    /// The right one.
    RightKey,
}

/// Looks at the key of a request. Takes the same time wherever a wrong one differs.
///
/// # Errors
/// A key that is shown and wrong is refused, also where none is needed: whoever shows one believes
/// to be an operator.
pub fn look(headers: &HeaderMap, key: &AdminKey) -> Result<Shown, Problem> {
    match headers.get(KEY_HEADER) {
        None => Ok(Shown::Nothing),
        Some(shown) if bool::from(shown.as_bytes().ct_eq(key.bytes())) => Ok(Shown::RightKey),
        Some(_) => Err(Problem::new(
            Kind::KeyWrong,
            format!("the key in {KEY_HEADER} is not the one of this installation"),
        )),
    }
}

/// An operator: the call needs the key.
#[derive(Debug, Clone, Copy)]
pub struct Admin;

/// Whether an operator asks.
#[derive(Debug, Clone, Copy)]
pub struct MaybeAdmin(pub bool);

fn is_admin(req: &HttpRequest) -> bool {
    req.extensions().get::<Shown>() == Some(&Shown::RightKey)
}

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(if is_admin(req) {
            Ok(Self)
        } else {
            let detail = format!("this call needs the admin key in the header {KEY_HEADER}");
            Err(Problem::new(Kind::KeyMissing, detail))
        })
    }
}

impl FromRequest for MaybeAdmin {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(is_admin(req))))
    }
}
