//! What is accepted, and every fault of what is not.

use chassis::config::{Settings, Source};
use proptest::prelude::*;

use super::*;

fn limits() -> Arc<LimitSettings> {
    let pairs = [
        ("MAX_RECIPIENTS", "5"),
        ("MAX_VARIABLES", "2"),
        ("MAX_ERRORS_LISTED", "3"),
    ];
    Arc::new(LimitSettings::from_source(&Source::from_pairs(pairs)).unwrap())
}

/// Reads a campaign; recipients the way a request's are read, or each with care.
fn submit_by(body: &str, plainly: bool) -> Result<Submission, Problem> {
    let mut fields = Fields::parse(body.as_bytes())?;
    let mut draft = Draft::new(&mut fields, &limits());
    if let Some(raw) = fields.raw("recipients") {
        let entries: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap();
        for entry in entries {
            if !plainly || !draft.plain(entry.get())? {
                draft.recipient(entry)?;
            }
        }
    }
    draft.finish(faults_of(fields.finish()))
}

/// Both ways, which must come to the same.
fn submit(body: &str) -> Result<Submission, Problem> {
    let shown = |submission: Submission| {
        let duplicates = submission.duplicates_removed;
        (
            spooled(submission.recipients),
            duplicates,
            submission.left_out.listed,
        )
    };
    let told = |problem: Problem| (problem.kind, problem.detail, problem.errors);
    let careful = submit_by(body, false).map(shown).map_err(told);
    let plain = submit_by(body, true).map(shown).map_err(told);
    assert_eq!(plain, careful, "{body}");
    submit_by(body, true)
}

/// What a spool holds.
fn spooled(spool: Spool) -> Vec<(String, Option<String>)> {
    let (mut rows, mut found) = (spool.into_rows().unwrap(), Vec::new());
    while let Some(row) = rows.take_next().unwrap() {
        let number = row.number.number().digits().to_owned();
        found.push((number, row.variables.map(str::to_owned)));
    }
    found
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

fn numbers(submission: Submission) -> Vec<String> {
    let recipients = spooled(submission.recipients);
    recipients.into_iter().map(|(number, _)| number).collect()
}

#[test]
fn the_example_of_the_guide() {
    let submission = submit(
        r#"{"sender_number": "42108077", "recipients": ["21642108101"],
            "template": "Hello, this is a test message!", "media_url": null}"#,
    )
    .unwrap();
    assert_eq!(submission.sender.digits(), "42108077");
    assert_eq!(
        (submission.duplicates_removed, &submission.media_url),
        (0, &None)
    );
    assert_eq!(numbers(submission), ["21642108101"]);
}

#[test]
fn repeated_numbers_are_kept_once_however_they_are_written() {
    let recipients = r#"["21642108101", "+216 42 108 101", "0021642108101", {"number": "123456"}]"#;
    let submission = submit(&body(recipients, r#""x""#, "")).unwrap();
    assert_eq!(submission.duplicates_removed, 2);
    assert_eq!(numbers(submission), ["21642108101", "123456"]);
}

#[test]
fn leading_zeros_make_other_numbers() {
    let submission = submit(&body(r#"["0123456", "123456"]"#, r#""x""#, "")).unwrap();
    assert_eq!(numbers(submission), ["0123456", "123456"]);
}

/// Both are of bounded length, what they make together is not.
#[test]
fn a_text_that_nobody_could_be_sent_is_refused() {
    let template = format!("\"{}\"", "{{a}}".repeat(13_000));
    let shared = r#", "variables": {"a": "123456"}"#;
    let long = "make a text of 78000 bytes; at most 65536 are sent";
    assert_eq!(
        faults(&body(r#"["123456", "123457"]"#, &template, shared)),
        [format!("/variables {long}")]
    );
    let recipients = r#"[{"number": "123456", "variables": {"a": "12345"}},
        {"number": "123457", "variables": {"a": "123456"}},
        {"number": "123458", "variables": {"a": "1", "b": "a long one that is not said"}}]"#;
    assert_eq!(
        faults(&body(recipients, &template, "")),
        [format!("/recipients/1/variables {long}")]
    );
    let skip = r#", "on_invalid": "skip""#;
    let submission = submit(&body(recipients, &template, skip)).unwrap();
    assert_eq!(numbers(submission), ["123456", "123458"]);
    let blank = "make an empty text; a message needs one, or a media_url";
    let recipients = r#"[{"number": "123456", "variables": {"a": " "}},
        {"number": "123457", "variables": {"a": "x"}}]"#;
    assert_eq!(
        faults(&body(recipients, r#"" {{a}}""#, "")),
        [format!("/recipients/0/variables {blank}")]
    );
    // An own variable takes the place of the campaign's, also to say nothing.
    let recipients = r#"[{"number": "123456", "variables": {"a": ""}}, "123457",
        {"number": "123458", "variables": {"b": ""}}]"#;
    let shared = r#", "variables": {"a": "x"}"#;
    assert_eq!(
        faults(&body(recipients, r#"" {{a}}""#, shared)),
        [format!("/recipients/0/variables {blank}")]
    );
    let recipients = r#"[{"number": "123456", "variables": {"a": " "}}]"#;
    let media = r#", "media_url": "https://example.com/a.pdf""#;
    assert!(submit(&body(recipients, r#"" {{a}}""#, media)).is_ok());
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
    assert_eq!(submission.left_out.count, 2);
    let first = &submission.left_out.listed[0];
    assert_eq!(first.index, 0);
    assert_eq!(first.detail, "\"12a456\" has a letter in it");
    assert_eq!(numbers(submission), ["123456"]);
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
    let own = Some(r#"{"name":"A"}"#.to_owned());
    assert_eq!(
        spooled(submission.recipients),
        [("1000001".to_owned(), None), ("1000002".to_owned(), own)]
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

/// Recipients as people and programs write them: most are good, and some wrong in one place.
fn any_recipient() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        8 => "\"[+]?[1-9][0-9]{6,10}\"",
        1 => "\"[+]?[0-9 ().-]{4,18}\"",
        1 => r#""\\u002b[0-9]{7}"|"[0-9]{7}é"|[0-9]{7}|null"#,
    ]
    .boxed();
    let value = prop_oneof![
        4 => "\"[a-zé ]{0,4}\"",
        2 => "-?[1-9][0-9]{0,3}|0|true|false",
        2 => "-?0[0-9]?|-?[0-9]{17,20}|-?[0-9]{1,2}[.eE+-]{1,2}[0-9]?|-|fals|tru|null|\\[\\]",
        1 => r#""\\n"|"\\"|"[\x01\x7f]""#,
    ];
    let name = prop_oneof![6 => "[abc]", 1 => r"é|a b|\\u0061|"];
    let pairs = prop::collection::vec((any_blank(), name, value, any_blank()), 0..4);
    let pairs = pairs.prop_map(|pairs| {
        let pair = |(before, name, value, after)| format!("{before}\"{name}\":{value}{after}");
        pairs.into_iter().map(pair).collect::<Vec<_>>().join(",")
    });
    let more = prop_oneof![
        2 => Just(String::new()),
        8 => (any_blank(), pairs).prop_map(|(blank, pairs)|
            format!(",\"variables\"{blank}:{{{pairs}}}")),
        1 => number.clone().prop_map(|number| format!(",\"number\":{number}")),
        1 => r#","variables":null|,"variables":\{\}|,"colour":1|,"#,
    ];
    let object = (number.clone(), prop::collection::vec(more, 1..3));
    let object = object.prop_map(|(number, more)| {
        let members = format!("\"number\":{number}{}", more.concat());
        // In the other order too.
        let turned = members
            .split_once(",\"variables")
            .map(|(number, own)| format!("{{\"variables{own},{number}}}"));
        turned
            .filter(|_| number.len() % 2 == 0)
            .unwrap_or(format!("{{{members}}}"))
    });
    let whole = prop_oneof![2 => number, 8 => object, 1 => "\\PC{0,12}"];
    (any_blank(), whole, any_blank()).prop_map(|(before, whole, after)| before + &whole + &after)
}

/// Mostly nothing; what JSON calls blank, and what only looks like it.
fn any_blank() -> impl Strategy<Value = String> {
    prop_oneof![12 => "", 3 => "[ \n\t\r]", 1 => "\u{b}|\u{a0}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// What is read plainly is what care would read; what is no JSON is never read plainly.
    #[test]
    fn plain_reading_is_careful_reading(text in any_recipient()) {
        let first = plain::first(&text).map(|(_, length)| length);
        let Some(plain) = plain::whole(&text) else {
            return Ok(());
        };
        prop_assert_eq!(first, Some(text.trim_end().len()));
        let raw: &RawValue = serde_json::from_str(&text).expect("it is JSON");
        let (number, own) = recipient(raw, usize::MAX).expect("it is a recipient");
        prop_assert_eq!(plain.number, number.key());
        let mut json = String::new();
        plain.own.write(&mut json);
        let own = own.map(|own| serde_json::to_string(&own).unwrap());
        prop_assert_eq!(own, (plain.own.len() > 0).then_some(json));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Campaigns come to the same, faults and all.
    #[test]
    fn a_campaign_is_the_same_either_way(
        entries in prop::collection::vec(any_recipient(), 1..7),
        template in r"x|\{\{a\}\}|\{\{b\}\}\{\{a\}\}",
        skips in any::<bool>(),
    ) {
        let mut entries = entries;
        entries.retain(|entry| serde_json::from_str::<&RawValue>(entry).is_ok());
        let on_invalid = if skips { "skip" } else { "refuse" };
        let more = format!(r#", "on_invalid": "{on_invalid}""#);
        let recipients = format!("[{}]", entries.join(","));
        let _ = submit(&body(&recipients, &format!("\"{template}\""), &more));
    }
}

#[test]
fn nearly_all_recipients_are_plain() {
    let (mut fields, limits) = (Fields::parse(br#"{"template": "x"}"#).unwrap(), limits());
    let mut draft = Draft::new(&mut fields, &limits);
    for plain in [
        "\"21642108101\"\r\n",
        " \"+216 42 108 101\"",
        r#"{"number":"21642108101"}"#,
        r#"{ "number" : "+21642108101" , "variables" : { "name" : "Leïla", "n" : -17 } }"#,
    ] {
        assert!(draft.plain(plain).unwrap(), "{plain}");
    }
}
