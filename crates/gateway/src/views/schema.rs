//! Schemas that cannot be derived: texts of a known form, and enums made by macros (the derive
//! does not see a name that a macro passes on).

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A phone number as [`models::phone::PhoneNumber`] reads it: 6 to 15 digits behind a plus sign or
/// two zeros, if they are there, with the separators that people use.
const PHONE: &str =
    "^(\\+|[ .()-]*0[ .()-]*0)?(?![ .()-]*0[ .()-]*0)[ .()-]*([0-9][ .()-]*){6,15}$";

/// A phone number, as people write it.
#[derive(Debug)]
pub struct PhoneText;

impl PartialSchema for PhoneText {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .description(Some(
                "A phone number: 6 to 15 digits. A leading + or 00, spaces, dots, dashes and \
                 parentheses are taken and removed.",
            ))
            .pattern(Some(PHONE))
            .max_length(Some(64));
        text.examples(["42108077", "+216 42 108 101"]).into()
    }
}

impl ToSchema for PhoneText {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("PhoneNumber")
    }
}

/// The schema of a text that is one of some names.
pub fn one_of(description: &'static str, names: &[&'static str]) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some(description))
        .enum_values(Some(names.iter().copied()))
        .into()
}

#[cfg(test)]
mod tests {
    use models::phone::PhoneNumber;

    #[test]
    fn the_pattern_is_published() {
        let schema = serde_json::to_value(<super::PhoneText as utoipa::PartialSchema>::schema());
        assert_eq!(schema.unwrap()["pattern"], super::PHONE);
        assert!("+216 42 108 101".parse::<PhoneNumber>().is_ok());
    }
}
