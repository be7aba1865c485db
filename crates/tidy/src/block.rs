//! Parts of files that are written by a program: what stands between `BEGIN name` and `END name`.

/// The file with its block replaced; `None` when it has no such block. The lines with the markers
/// stay, whatever kind of comment they are, with an empty line after the first and before the last.
pub fn replace(text: &str, name: &str, content: &str) -> Option<String> {
    let (begin, end) = (format!("BEGIN {name}"), format!("END {name}"));
    let head = text.find(&begin)?;
    let head = head + text[head..].find('\n')? + 1;
    let tail = head + text[head..].find(&end)?;
    let tail = text[..tail].rfind('\n')? + 1;
    Some(format!(
        "{}\n{}\n\n{}",
        &text[..head],
        content.trim(),
        &text[tail..]
    ))
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn only_the_block_changes() {
        let text = "a\n<!-- BEGIN x: how -->\nold\n<!-- END x -->\nz\n";
        let wanted = "a\n<!-- BEGIN x: how -->\n\nnew\nlines\n\n<!-- END x -->\nz\n";
        assert_eq!(
            replace(text, "x", "new\nlines\n\n").as_deref(),
            Some(wanted)
        );
        assert_eq!(replace(wanted, "x", "new\nlines").as_deref(), Some(wanted));
        assert_eq!(replace(text, "y", "new"), None);
        let empty = "# BEGIN x\n# END x\n";
        assert_eq!(
            replace(empty, "x", "n").as_deref(),
            Some("# BEGIN x\n\nn\n\n# END x\n")
        );
    }
}
