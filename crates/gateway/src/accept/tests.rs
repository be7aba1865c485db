//! What is accepted, and every fault of what is not.

use chassis::config::{Settings, Source};

use super::*;

fn limits() -> LimitSettings {
    let pairs = [
        ("MAX_RECIPIENTS", "5"),
        ("MAX_VARIABLES", "2"),
        ("MAX_ERRORS_LISTED", "3"),
    ];
    LimitSettings::from_source(&Source::from_pairs(pairs)).unwrap()
}

fn submit(body: &str) -> Result<Submission, Problem> {
    let limits = limits();
    let mut fields = Fields::parse(body.as_bytes())?;
    let mut draft = Draft::new(&mut fields, &limits);
    if let Some(raw) = fields.raw("recipients") {
        let entries: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap();
        for entry in entries {
            draft.recipient(entry)?;
        }
    }
    draft.finish(fields)
}

/// A campaign with these recipients and this template, and more fields.
fn body(recipients: &str, template: &str, more: &str) -> String {
    format!(
        r#"{{"sender_number": "42108077", "recipients": {recipients},
            "template": {template}{more}}}"#
    )
}

fn faults(body: &str) -> Vec<String> {
    let problem = submit(body).unwrap_err();
    let errors = problem.errors.iter();
    errors
        .map(|fault| format!("{} {}", fault.pointer, fault.detail))
        .collect()
}

fn numbers(submission: &Submission) -> Vec<&str> {
    submission
        .messages
        .iter()
        .map(|message| message.recipient.digits())
        .collect()
}

#[test]
fn the_example_of_the_guide() {
    let submission = submit(
        r#"{"sender_number": "42108077", "recipients": ["21642108101"],
            "template": "Hello, this is a test message!", "media_url": null}"#,
    )
    .unwrap();
    assert_eq!(submission.sender.digits(), "42108077");
    assert_eq!(numbers(&submission), ["21642108101"]);
    assert_eq!(
        (submission.duplicates_removed, submission.media_url),
        (0, None)
    );
}

#[test]
fn repeated_numbers_are_kept_once_however_they_are_written() {
    let recipients = r#"["21642108101", "+216 42 108 101", "0021642108101", {"number": "123456"}]"#;
    let submission = submit(&body(recipients, r#""x""#, "")).unwrap();
    assert_eq!(numbers(&submission), ["21642108101", "123456"]);
    assert_eq!(submission.duplicates_removed, 2);
}

#[test]
fn leading_zeros_make_other_numbers() {
    let submission = submit(&body(r#"["0123456", "123456"]"#, r#""x""#, "")).unwrap();
    assert_eq!(numbers(&submission), ["0123456", "123456"]);
}

#[test]
fn every_bad_recipient_is_named() {
    let recipients = r#"["12a456", 123456, null, {"number": "1", "colour": 2}]"#;
    assert_eq!(
        faults(&body(recipients, r#""x""#, "")),
        [
            "/recipients/0 \"12a456\" has a letter in it",
            "/recipients/1 is a JSON number; write it as a string, \"123456\", \
             so that no digit is lost",
            "/recipients/2 must be a number in a string, or an object with a number, not null",
            " 2 more faults are not listed",
        ]
    );
}

#[test]
fn bad_recipients_can_be_left_out() {
    let more = r#", "on_invalid": "skip""#;
    let submission = submit(&body(r#"["12a456", "123456", 7]"#, r#""x""#, more)).unwrap();
    assert_eq!(numbers(&submission), ["123456"]);
    assert_eq!(submission.skipped_count, 2);
    assert_eq!(submission.skipped[0].index, 0);
    assert_eq!(
        submission.skipped[0].detail,
        "\"12a456\" has a letter in it"
    );
    let nobody = faults(&body(r#"["x"]"#, r#""x""#, more));
    assert_eq!(
        nobody,
        ["/recipients has nobody left in it: every entry is bad"]
    );
}

#[test]
fn recipients_must_be_there_and_not_too_many() {
    assert_eq!(
        faults(&body("[]", r#""x""#, "")),
        ["/recipients has nobody in it"]
    );
    let six = r#"["1000001","1000002","1000003","1000004","1000005","1000006"]"#;
    assert_eq!(
        faults(&body(six, r#""x""#, "")),
        ["/recipients has more than 5 recipients"]
    );
}

#[test]
fn missing_variables_are_named_where_they_would_stand() {
    let recipients = r#"["1000001", {"number": "1000002", "variables": {"name": "A"}}]"#;
    let template = r#""{{name}} {{code}} {{name}}""#;
    let given = "is given neither for the recipient nor for the campaign";
    assert_eq!(
        faults(&body(recipients, template, "")),
        [
            format!("/recipients/1/variables the template's {{{{code}}}} {given}"),
            format!("/variables the template's {{{{code}}}} {given}"),
            format!("/variables the template's {{{{name}}}} {given}"),
        ]
    );
    let more = r#", "variables": {"code": 7, "name": true}"#;
    let submission = submit(&body(recipients, template, more)).unwrap();
    assert_eq!(submission.variables["code"], "7");
    assert_eq!(submission.variables["name"], "true");
    assert_eq!(submission.messages[0].variables, None);
    assert_eq!(
        submission.messages[1].variables.as_deref(),
        Some(r#"{"name":"A"}"#)
    );
}

#[test]
fn all_faults_of_the_campaign_itself() {
    let found = faults(
        r#"{"recipients": ["1000001"], "template": "{{", "media_url": "cat.jpg",
            "variables": {"a b": 1, "c": [], "d": null}, "scheduled_at": "2026-01-01T00:00:00Z"}"#,
    );
    let pointers: Vec<_> = found
        .iter()
        .map(|fault| fault.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        pointers,
        [
            "/sender_number",
            "/media_url",
            "/variables",
            "/template",
            "/scheduled_at"
        ]
    );
}

#[test]
fn texts_that_postgresql_cannot_hold() {
    let nul = "has the character U+0000 in it";
    assert_eq!(
        faults(&body(r#"["1000001"]"#, r#""a\u0000""#, "")),
        [format!("/template {nul}")]
    );
    let more = r#", "variables": {"a": "\u0000"}"#;
    assert_eq!(
        faults(&body(r#"["1000001"]"#, r#""x""#, more)),
        [format!("/variables \"a\" {nul}")]
    );
}

#[test]
fn a_file_needs_no_text() {
    let more = r#", "media_url": "https://example.com/cat.jpg""#;
    let submission = submit(&body(r#"["1000001"]"#, "null", more)).unwrap();
    assert_eq!(submission.template, "");
    assert_eq!(
        submission.media_url.as_deref(),
        Some("https://example.com/cat.jpg")
    );
    assert_eq!(
        faults(&body(r#"["1000001"]"#, "null", "")),
        ["/template is missing"]
    );
    assert_eq!(
        faults(&body(r#"["1000001"]"#, "7", more)),
        ["/template must be a string, not a number"]
    );
}
