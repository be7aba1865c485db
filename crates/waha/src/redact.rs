//! What WAHA says, made fit for logs and tables.

/// Longest text that is kept, in characters.
const KEPT: usize = 200;
/// A run of this many digits or more may be a phone number.
const NUMBER: usize = 6;

/// At most 200 characters of `text` on one line, runs of six and more digits masked.
///
/// WAHA echoes requests in its errors; what is kept of them must not name anybody.
pub(crate) fn redact(text: &str) -> String {
    let mut kept = String::new();
    let mut digits = String::new();
    for c in text.chars().take(KEPT) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        flush(&mut kept, &mut digits);
        kept.push(if c.is_control() { ' ' } else { c });
    }
    flush(&mut kept, &mut digits);
    kept
}

fn flush(kept: &mut String, digits: &mut String) {
    if digits.len() >= NUMBER {
        kept.push_str("****");
    } else {
        kept.push_str(digits);
    }
    digits.clear();
}

/// An error and its causes on one line; the address that was asked is left out.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    redact(&line)
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn numbers_go_and_the_rest_stays() {
        for (said, kept) in [
            ("error 463", "error 463"),
            (
                "no LID found for 12132132130@s.whatsapp.net",
                "no LID found for ****@s.whatsapp.net",
            ),
            ("port 54321\nnext", "port 54321 next"),
            ("123456", "****"),
        ] {
            assert_eq!(redact(said), kept);
        }
        assert_eq!(redact(&"é".repeat(500)).chars().count(), 200);
        let cut = format!("{}{}", "x".repeat(197), "123456789");
        assert_eq!(redact(&cut), format!("{}123", "x".repeat(197)));
    }
}
