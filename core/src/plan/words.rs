//! Values and failures of reading, in the words of plan files.

use crate::error::near;
use serde_json::Value;

/// Letters of a value that a message shows.
const SHOWN: usize = 40;

/// A failure of the reader in the words of plan files: it names types of the program.
pub(super) fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let (text, place) = match text.split_once(" at line ") {
        Some((text, place)) => (text, format!(" (line {})", place.replace(" column", ", column"))),
        None => (text.as_str(), String::new()),
    };
    reworded(text).unwrap_or_else(|| text.to_owned()) + &place
}

fn reworded(text: &str) -> Option<String> {
    let quoted =
        |text: &'_ str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let names = quoted(text);
    let others = || names.iter().skip(1).map(String::as_str);
    let list = || others().collect::<Vec<_>>().join(", ");
    if text.starts_with("missing field") {
        return Some(format!("{} is missing", names.first()?));
    }
    if text.starts_with("unknown field") {
        let name = names.first()?;
        let meant = meant(name, others()).unwrap_or_else(|| format!("those are {}", list()));
        return Some(format!("{name} is not a field here: {meant}"));
    }
    if text.starts_with("unknown variant") {
        let name = names.first()?;
        let meant = meant(name, others()).unwrap_or_else(|| format!("it is one of {}", list()));
        return Some(format!("there is no \"{name}\" here: {meant}"));
    }
    if text.starts_with("invalid length") {
        return Some(format!("{} is needed", wanted(text.split_once(", expected ")?.1)));
    }
    let rest = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "))?;
    let (got, want) = rest.rsplit_once(", expected ")?;
    let got = match got {
        "map" => "an object",
        "sequence" => "a list",
        "unit value" | "null" => "null",
        other => {
            let number = quoted(other).into_iter().next();
            return Some(format!(
                "{} is needed, not {}",
                wanted(want),
                number.unwrap_or_else(|| other.strip_prefix("string ").unwrap_or(other).to_owned())
            ));
        }
    };
    Some(format!("{} is needed, not {got}", wanted(want)))
}

/// A type of the reader, as a person calls it.
fn wanted(name: &str) -> &str {
    match name {
        "usize" | "u64" | "u32" => "a whole number from 0 on",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "string" | "path string" => "a text",
        "string or map" => "a text or an object",
        name if name.starts_with("a sequence") => "a list",
        name if name.starts_with("struct ") || name.contains("map") || name.contains("enum") => "an object",
        other => other,
    }
}

/// A value of a plan file in a few words.
pub(super) fn said(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        other => {
            let text = other.to_string();
            let cut = text.chars().count() > SHOWN;
            if cut { text.chars().take(SHOWN).chain(['…']).collect() } else { text }
        }
    }
}

/// The name that a misspelt one may stand for, as a question.
pub(super) fn meant<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    near(name, known).map(|near| format!("did you mean {near}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::Change;

    #[test]
    fn failures_of_the_reader_name_no_types_of_the_program() {
        for (item, want) in [
            (json!({"kind": "skip", "part": "ffn"}), "layer is missing"),
            (json!({"kind": "corrupt", "noise": 3}), "an object is needed, not 3"),
            (
                json!({"kind": "corrupt", "noise": {"sgma": 3}}),
                "sgma is not a field here: did you mean sigma",
            ),
            (json!({"kind": "iri", "attn": {"recovery": 0.1}}), "a list is needed, not 0.1"),
            (
                json!({"kind": "patch", "site": "hook_embed", "source": "bases"}),
                "there is no \"bases\" here: did you mean base",
            ),
            (
                json!({"kind": "patch", "site": "hook_embed", "source": {"vector": [1]}}),
                "there is no \"vector\" here: it is one of base, tokens, prompt, file, values",
            ),
        ] {
            let error = serde_json::from_value::<Change>(item.clone()).unwrap_err();
            assert_eq!(plain(&error), want, "{item}");
        }
    }
}
