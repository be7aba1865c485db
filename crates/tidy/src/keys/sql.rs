//! As much of Rust and of SQL as finding keys needs.

use super::Way;

/// The strings of one item, put together.
pub(super) struct Item {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) text: String,
}

/// The string literals of a file, by the constant, macro or function that they stand in.
pub(super) fn strings(lines: &[(usize, &str)]) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut inside = false;
    for (number, line) in lines {
        if !inside && let Some(name) = item_name(line) {
            items.push(Item {
                name,
                line: *number,
                text: String::new(),
            });
        }
        let mut kept = String::new();
        inside = string_part(line, inside, &mut kept);
        if let Some(item) = items.last_mut() {
            // A comment of SQL ends with its line.
            item.text
                .push_str(kept.split("--").next().unwrap_or_default());
            item.text.push('\n');
        }
    }
    items
}

/// What of a line stands in a string, and whether one is open at its end.
fn string_part(line: &str, open: bool, kept: &mut String) -> bool {
    let mut inside = open;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                inside = !inside;
                kept.push(' ');
            }
            '\\' if inside => drop(characters.next()),
            '/' if !inside && characters.peek() == Some(&'/') => break,
            _ if inside => kept.push(character),
            _ => {}
        }
    }
    inside
}

fn item_name(line: &str) -> Option<String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let after = |word: &str| {
        let at = words.iter().position(|known| *known == word)?;
        words.get(at + 1).copied()
    };
    let name = after("const").filter(|name| *name != "fn");
    let name = name
        .or_else(|| after("macro_rules!"))
        .or_else(|| after("fn"))?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
    let name = &name[..end.unwrap_or(name.len())];
    (!name.is_empty()).then(|| name.to_owned())
}

/// One query of a statement, without those in it: its words in their order.
#[derive(Debug, Default)]
pub(super) struct Block {
    words: Vec<String>,
}

/// What stands for a query in parentheses.
const INNER: &str = "(query)";
/// What begins one.
const BEGINNINGS: &[&str] = &["select", "update", "delete", "insert", "with"];

/// The queries of a statement. Other parentheses are looked through.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let words = words(text);
    let mut done = Vec::new();
    let mut open = vec![Block::default()];
    // Whether each open parenthesis began a query.
    let mut kinds = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).map(String::as_str).unwrap_or_default();
        match word.as_str() {
            "(" => {
                let query = BEGINNINGS.contains(&next);
                kinds.push(query);
                if query {
                    push(&mut open, INNER);
                    open.push(Block::default());
                }
            }
            ")" => {
                if kinds.pop() == Some(true) {
                    done.extend(open.pop());
                }
            }
            "union" => {
                if let Some(block) = open.last_mut() {
                    done.push(std::mem::take(block));
                }
            }
            word => push(&mut open, word),
        }
    }
    done.extend(open);
    done
}

fn push(open: &mut [Block], word: &str) {
    if let Some(block) = open.last_mut() {
        block.words.push(word.to_owned());
    }
}

/// Names with their qualifiers, parameters, and every other character for itself, in lower case.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for character in text.chars() {
        if character.is_alphanumeric() || "_.$".contains(character) {
            word.extend(character.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if !character.is_whitespace() {
            words.push(character.to_string());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A table as a query names it.
struct Source<'a> {
    table: &'static str,
    alias: &'a str,
    key: &'static str,
    way: Way,
}

impl Source<'_> {
    fn is_key(&self, word: &str) -> bool {
        match word.split_once('.') {
            Some((alias, column)) => alias == self.alias && column == self.key,
            None => word == self.key,
        }
    }
}

/// What may follow a table that has no other name.
const NOT_ALIASES: &[&str] = &[
    "where",
    "set",
    "join",
    "left",
    "cross",
    "on",
    "using",
    "order",
    "group",
    "limit",
    "for",
    "values",
    "default",
    "returning",
    "as",
    ",",
    "campaign_id",
    "id",
    ":",
];

impl Block {
    /// The block's ways to those of `tables` that it touches.
    pub(super) fn ways(&self, tables: &[(&'static str, &'static str)]) -> Vec<(&'static str, Way)> {
        let mut sources = self.sources(tables);
        let mut pairs = Vec::new();
        for at in 0..self.words.len() {
            self.compare(at, &mut sources, &mut pairs);
        }
        // Keys of two of these tables that are compared with each other find nothing by
        // themselves: both are found as one of them is.
        for _ in 0..sources.len() {
            for (one, other) in &pairs {
                let best = sources[*one].way.min(sources[*other].way);
                sources[*one].way = best;
                sources[*other].way = best;
            }
        }
        sources
            .iter()
            .map(|source| (source.table, source.way))
            .collect()
    }

    fn word(&self, at: usize) -> &str {
        self.words.get(at).map(String::as_str).unwrap_or_default()
    }

    fn sources(&self, tables: &[(&'static str, &'static str)]) -> Vec<Source<'_>> {
        let mut found = Vec::new();
        for at in 1..self.words.len() {
            let named = ["from", "join", "update", "into", "using", ","];
            let table = tables.iter().find(|(table, _)| *table == self.word(at));
            let Some((table, key)) = table.filter(|_| named.contains(&self.word(at - 1))) else {
                continue;
            };
            let alias = match self.word(at + 1) {
                "as" => self.word(at + 2),
                other if NOT_ALIASES.contains(&other) || other.is_empty() => table,
                alias => alias,
            };
            // What is written says itself where it belongs.
            let way = match (
                self.word(at - 1),
                self.words.iter().any(|word| word == "select"),
            ) {
                ("into", false) => Way::Given,
                ("into", true) => Way::Joined,
                _ => Way::Without,
            };
            found.push(Source {
                table,
                alias,
                key,
                way,
            });
        }
        found
    }

    /// Looks whether the word is a key, and what it is compared with.
    fn compare(&self, at: usize, sources: &mut [Source<'_>], pairs: &mut Vec<(usize, usize)>) {
        let word = self.word(at);
        let holders: Vec<_> = (0..sources.len())
            .filter(|one| sources[*one].is_key(word))
            .collect();
        if holders.is_empty() {
            return;
        }
        let before = at
            .checked_sub(1)
            .map(|at| self.word(at))
            .unwrap_or_default();
        if before == "using" {
            // The tables on both sides have it. One that is not of ours gives it to the other.
            match holders[..] {
                [one] => sources[one].way = sources[one].way.min(Way::Joined),
                _ => pairs.extend(holders.windows(2).map(|two| (two[0], two[1]))),
            }
            return;
        }
        let other = match (before, self.word(at + 1)) {
            (_, "=") if self.word(at + 2) == "any" => self.word(at + 3),
            (_, "=" | "in") => self.word(at + 2),
            ("=", _) => at
                .checked_sub(2)
                .map(|at| self.word(at))
                .unwrap_or_default(),
            _ => return,
        };
        let way = if other.starts_with('$') {
            Way::Given
        } else {
            Way::Joined
        };
        let partner =
            (0..sources.len()).find(|one| other.contains('.') && sources[*one].is_key(other));
        for holder in holders {
            match partner {
                Some(partner) => pairs.push((holder, partner)),
                None => sources[holder].way = sources[holder].way.min(way),
            }
        }
    }
}
