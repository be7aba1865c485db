//! Errors on their way to the log and to probes.

use std::error::Error;
use std::iter::successors;

/// An error of any kind.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// An error with all that lies behind it: what the database or the system said stands last.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in successors(error.source(), |cause| (*cause).source()) {
        text.push_str(": ");
        text.push_str(&cause.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no way")]
    struct Above(#[source] std::io::Error);

    #[test]
    fn what_lies_behind_is_told_too() {
        let error = Above(std::io::Error::other("the bridge is up"));
        assert_eq!(chain(&error), "no way: the bridge is up");
    }
}
