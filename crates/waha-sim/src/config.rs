//! Validation of session names and configurations: the only input that WAHA validates.

use serde_json::Value;

use crate::hooks::EVENTS;

const NAME_MAX: usize = 54;

/// What is wrong with a session name.
pub(crate) fn check_name(name: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        faults.push(
            "Session name can only contain alphanumeric characters, hyphens, and underscores \
             (a-z, A-Z, 0-9, -, _) or be empty"
                .to_owned(),
        );
    }
    if name.len() > NAME_MAX {
        faults.push(format!(
            "name must be shorter than or equal to {NAME_MAX} characters"
        ));
    }
    faults
}

/// What is wrong with a session configuration.
pub(crate) fn check(config: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if config.is_null() {
        return faults;
    }
    if !config.is_object() {
        return vec!["nested property config must be either object or array".to_owned()];
    }
    let metadata = &config["metadata"];
    let flat = |map: &serde_json::Map<String, Value>| map.values().all(Value::is_string);
    if !metadata.is_null() && !metadata.as_object().is_some_and(flat) {
        faults.push("config.metadata accepts string key-value pairs only".to_owned());
    }
    match &config["webhooks"] {
        Value::Null => {}
        Value::Array(hooks) => {
            for (index, hook) in hooks.iter().enumerate() {
                check_hook(index, hook, &mut faults);
            }
        }
        _ => faults.push("config.webhooks must be an array".to_owned()),
    }
    faults
}

fn check_hook(index: usize, hook: &Value, faults: &mut Vec<String>) {
    let at = format!("config.webhooks.{index}");
    let is_url = |text: &str| {
        reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    };
    if !hook["url"].as_str().is_some_and(is_url) {
        faults.push(format!("{at}.url must be a URL address"));
    }
    let known = |event: &Value| {
        event
            .as_str()
            .is_some_and(|e| e == "*" || EVENTS.contains(&e))
    };
    match hook["events"].as_array() {
        None => faults.push(format!("{at}.events must be an array")),
        Some(events) if !events.iter().all(known) => faults.push(format!(
            "{at}.each value in events must be one of the following values: {}, *",
            EVENTS.join(", ")
        )),
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names() {
        let long = "a".repeat(54);
        let longer = "a".repeat(55);
        let table = [
            ("", 0),
            ("default", 0),
            ("a_B-9", 0),
            ("a b", 1),
            ("é", 1),
            (&long, 0),
            (&longer, 1),
        ];
        for (name, faults) in table {
            assert_eq!(check_name(name).len(), faults, "{name}");
        }
    }

    #[test]
    fn configurations() {
        let ok = json!({"webhooks": [{"url": "http://127.0.0.1:1/h", "events": ["*"]}],
                        "metadata": {"a": "b"}, "unknown": 1});
        assert_eq!(check(&ok), Vec::<String>::new());
        let bad = json!({"metadata": {"a": 1}, "webhooks": [{"url": "x", "events": ["nope"]}]});
        let faults = check(&bad);
        assert_eq!(
            faults[0],
            "config.metadata accepts string key-value pairs only"
        );
        assert_eq!(faults[1], "config.webhooks.0.url must be a URL address");
        assert!(faults[2].contains("message.ack"), "{}", faults[2]);
    }
}
