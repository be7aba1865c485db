//! The query of a request, read one parameter at a time, with all faults kept.

use std::collections::BTreeMap;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use models::phone::PhoneNumber;
use url::form_urlencoded;

use super::fields::Faults;
use super::values;
use crate::cursor::{self, Place};
use crate::problem::Problem;

/// Faults of a query that are listed.
const LISTED_MAX: usize = 100;
/// Entries of a page unless the client says otherwise.
const LIMIT_DEFAULT: i64 = 100;
/// The most entries of a page.
const LIMIT_MAX: i64 = 1_000;

/// The parameters of a query. Of a repeated one the last counts; unknown ones are passed over.
#[derive(Debug)]
pub struct Params {
    values: BTreeMap<String, String>,
    /// What is wrong so far.
    pub faults: Faults,
}

impl Params {
    /// Reads a query string.
    pub fn parse(query: &str) -> Self {
        Self {
            values: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            faults: Faults::new(LISTED_MAX),
        }
    }

    /// A parameter.
    pub fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.values.get(name)?;
        self.faults.keep(format!("?{name}"), read(value))
    }

    /// A phone number.
    pub fn phone(&mut self, name: &str) -> Option<PhoneNumber> {
        self.read(name, values::phone)
    }

    /// A parameter that must be there, as a phone number.
    pub fn need_phone(&mut self, name: &str) -> Option<PhoneNumber> {
        if !self.values.contains_key(name) {
            self.faults.push(format!("?{name}"), "is missing");
        }
        self.phone(name)
    }

    /// `true` or `false`, in whatever case; absent is false.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        self.read(name, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("{} is neither true nor false", values::shown(text))),
        })
    }

    /// A delay in seconds.
    pub fn seconds(&mut self, name: &str) -> Option<std::time::Duration> {
        self.read(name, |text| {
            let secs = text
                .parse()
                .map_err(|_| format!("{} is not a number", values::shown(text)));
            values::seconds(secs?)
        })
    }

    /// Which part of a list.
    pub fn page<P: Place>(&mut self) -> Page<P> {
        let limit = self.read("limit", |text| {
            let limit = text
                .parse()
                .ok()
                .filter(|limit| (1..=LIMIT_MAX).contains(limit));
            limit.ok_or_else(|| format!("must be a whole number from 1 to {LIMIT_MAX}"))
        });
        let after = self.read("cursor", |text| {
            cursor::decode(text).ok_or_else(|| {
                "is not a cursor of this list; take it from a Link header".to_owned()
            })
        });
        Page {
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            after,
        }
    }
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Page<P> {
    /// At most this many entries.
    pub limit: i64,
    /// Behind this place.
    pub after: Option<P>,
}

impl<P> Page<P> {
    /// What to ask the ledger for: one entry more tells whether there is a next page.
    pub fn limit_and_one(&self) -> i64 {
        self.limit + 1
    }

    /// Takes the entry too many away again; the last of the others is where the next page begins.
    pub fn cut<T, Q: Place>(&self, rows: &mut Vec<T>, place: impl Fn(&T) -> Q) -> Option<String> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if rows.len() <= limit {
            return None;
        }
        rows.truncate(limit);
        rows.last().map(|last| cursor::encode(&place(last)))
    }
}

/// What a query can become.
pub trait FromParams: Sized {
    /// Reads the parameters; what is wrong with them is kept there.
    fn from_params(params: &mut Params) -> Option<Self>;
}

/// The query as one value.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: FromParams> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let mut params = Params::parse(req.query_string());
        let value = T::from_params(&mut params);
        ready(
            params
                .faults
                .refuse()
                .and_then(|()| value.map(Self).ok_or_else(|| Problem::invalid(Vec::new()))),
        )
    }
}

impl<P: Place> FromParams for Page<P> {
    fn from_params(params: &mut Params) -> Option<Self> {
        Some(params.page())
    }
}

/// The sender that a call is about, by `?sender_number=`.
#[derive(Debug)]
pub struct Whose(pub PhoneNumber);

impl FromParams for Whose {
    fn from_params(params: &mut Params) -> Option<Self> {
        params.need_phone("sender_number").map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Ordinal;

    #[test]
    fn pages() {
        let mut params = Params::parse("limit=2&x=1");
        let page: Page<Ordinal> = params.page();
        assert!(params.faults.is_empty());
        let mut rows = vec![1, 2, 3];
        let next = page.cut(&mut rows, |row| Ordinal(*row));
        assert_eq!(
            (rows, next),
            (vec![1, 2], Some(cursor::encode(&Ordinal(2))))
        );
        assert_eq!(page.cut(&mut vec![1, 2], |row| Ordinal(*row)), None);
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let mut params = Params::parse("limit=0&cursor=x&details=maybe&n=%00&d=inf");
        let _page: Page<Ordinal> = params.page();
        params.flag("details");
        params.phone("n");
        params.seconds("d");
        params.need_phone("sender_number");
        let faults = params.faults.refuse().unwrap_err().errors;
        let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "?limit",
                "?cursor",
                "?details",
                "?n",
                "?d",
                "?sender_number"
            ]
        );
    }
}
