//! The parts of a path.

use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::web::Path;
use actix_web::{FromRequest, HttpRequest};
use models::ids::{CampaignId, WorkerId};
use models::phone::PhoneNumber;

use super::values;
use crate::problem::{Kind, Problem};

/// A path's phone number. One that cannot be one is a fault: nobody can have it.
#[derive(Debug)]
pub struct PhonePath(pub PhoneNumber);

/// A path's campaign. An id that cannot be one is unknown like any other.
#[derive(Debug)]
pub struct CampaignPath(pub CampaignId);

/// A path's campaign and recipient.
#[derive(Debug)]
pub struct MessagePath {
    /// The campaign.
    pub campaign: CampaignId,
    /// Who was to hear the message.
    pub recipient: PhoneNumber,
}

/// A path's worker. An id that cannot be one is unknown like any other.
#[derive(Debug)]
pub struct WorkerPath(pub WorkerId);

fn segment(req: &HttpRequest) -> Result<String, Problem> {
    Path::<String>::from_request(req, &mut Payload::None)
        .into_inner()
        .map(Path::into_inner)
        .map_err(|_| Problem::new(Kind::RouteUnknown, "the path cannot be read"))
}

fn id<T: FromStr>(req: &HttpRequest, unknown: Kind, noun: &str) -> Result<T, Problem> {
    parse(&segment(req)?, unknown, noun)
}

fn parse<T: FromStr>(text: &str, unknown: Kind, noun: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| {
        Problem::new(
            unknown,
            format!("there is no {noun} {}", values::shown(text)),
        )
    })
}

impl FromRequest for MessagePath {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(message(req))
    }
}

fn message(req: &HttpRequest) -> Result<MessagePath, Problem> {
    let parts = Path::<(String, String)>::from_request(req, &mut Payload::None).into_inner();
    let (campaign, recipient) = parts
        .map(Path::into_inner)
        .map_err(|_| Problem::new(Kind::RouteUnknown, "the path cannot be read"))?;
    Ok(MessagePath {
        campaign: parse(&campaign, Kind::CampaignUnknown, "campaign")?,
        recipient: values::phone(&recipient)
            .map_err(|detail| Problem::fault("{recipient}", detail))?,
    })
}

impl FromRequest for PhonePath {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let phone = segment(req).and_then(|text| {
            values::phone(&text).map_err(|detail| Problem::fault("{phone_number}", detail))
        });
        ready(phone.map(Self))
    }
}

impl FromRequest for CampaignPath {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(id(req, Kind::CampaignUnknown, "campaign").map(Self))
    }
}

impl FromRequest for WorkerPath {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(id(req, Kind::WorkerUnknown, "worker").map(Self))
    }
}
