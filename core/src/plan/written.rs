//! What is wrong with an intervention as a plan file has it: names first, then values, then what only reading it as its kind
//! tells.

use serde_json::Value;

use super::change::{KINDS, KindInfo};
use super::words::{meant, said};
use crate::spec::{Field, FieldKind, Positions};

/// Fields of an intervention whatever its kind.
const COMMON: [&str; 3] = ["kind", "on", "strength"];

/// Names and values of an item, or where in it something is wrong and what.
pub(super) fn check(written: &Value) -> Result<(), (String, String)> {
    let here = |cause: String| (": ".to_owned(), cause);
    let Some(fields) = written.as_object() else {
        let example = r#"{"kind": "skip", "layer": 1, "part": "ffn"}"#;
        return Err(here(format!("an intervention is an object such as {example}, not {}", said(written))));
    };
    let names = || KINDS.iter().map(|kind| kind.name);
    let all = || names().collect::<Vec<_>>().join(", ");
    let kind = match fields.get("kind") {
        None => return Err(here(format!("kind is missing: it is one of {}", all()))),
        Some(Value::String(name)) => KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
            let meant = meant(name, names()).unwrap_or_else(|| format!("it is one of {}", all()));
            here(format!("there is no kind \"{name}\": {meant}"))
        })?,
        Some(other) => return Err(here(format!("kind is one of {}, not {}", all(), said(other)))),
    };
    if let Some(name) = fields.keys().find(|name| known(kind).all(|known| known != name.as_str())) {
        let meant = meant(name, known(kind)).map_or_else(String::new, |meant| format!(": {meant}"));
        return Err((format!(".{name}"), format!(" is not a field here{meant}")));
    }
    let needs = |name: &str, fits: bool, want: &str| match fields.get(name) {
        Some(value) if !fits => Err((format!(".{name}"), format!(": {want} is needed, not {}", said(value)))),
        _ => Ok(()),
    };
    let is = |name: &str, fits: fn(&Value) -> bool| fields.get(name).is_none_or(fits);
    needs("on", is("on", Value::is_boolean), "true or false")?;
    needs("strength", is("strength", Value::is_number), "a number")?;
    kind.fields.iter().try_for_each(|field| of_its_type(field, written))
}

/// Whether items of a kind may have a field of this name.
pub(super) fn is_known(kind: &str, name: &str) -> bool {
    KINDS.iter().any(|known_kind| known_kind.name == kind && known(known_kind).any(|known| known == name))
}

/// Names of the fields that an item of a kind may have.
fn known(kind: &KindInfo) -> impl Iterator<Item = &'static str> {
    let own = kind.fields.iter().filter_map(|field| field.name.split('.').next());
    COMMON.into_iter().chain(own).chain(kind.aliases.iter().copied())
}

/// The type of a field, where it is one that can be told in a few words; the others are read as what they are.
fn of_its_type(field: &Field, written: &Value) -> Result<(), (String, String)> {
    let Some(value) = field.of(written) else { return Ok(()) };
    let wrong = |want: &str| Err((format!(".{}", field.name), format!(": {want}, not {}", said(value))));
    match field.kind {
        FieldKind::Int if !value.is_u64() => wrong("a whole number from 0 on is needed"),
        FieldKind::Float if !value.is_number() => wrong("a number is needed"),
        FieldKind::Bool if !value.is_boolean() => wrong("true or false is needed"),
        FieldKind::Text | FieldKind::File if !value.is_string() => wrong("a text is needed"),
        FieldKind::Enum(names) if value.as_str().is_none_or(|name| !names.contains(&name)) => {
            wrong(&format!("one of {} is needed", names.join(", ")))
        }
        FieldKind::Positions if serde_json::from_value::<Positions>(value.clone()).is_err() => {
            wrong(r#"it is "all", "prompt", "last" or {"at": [2, 3]}"#)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_plan_files() {
        for (item, want) in [
            (
                json!("x"),
                r#": an intervention is an object such as {"kind": "skip", "layer": 1, "part": "ffn"}, not "x""#,
            ),
            (json!({"layer": 1}), ": kind is missing: it is one of route, router, "),
            (json!({"kind": "skpi"}), ": there is no kind \"skpi\": did you mean skip"),
            (json!({"kind": 3}), ": kind is one of route, "),
            (
                json!({"kind": "ablate", "sitee": "hook_embed"}),
                ".sitee is not a field here: did you mean site",
            ),
            (json!({"kind": "skip", "layer": "x"}), ".layer: a whole number from 0 on is needed, not \"x\""),
            (json!({"kind": "skip", "layer": -1}), ".layer: a whole number from 0 on is needed, not -1"),
            (
                json!({"kind": "skip", "layer": 1, "part": "fnn"}),
                ".part: one of attn, ffn is needed, not \"fnn\"",
            ),
            (json!({"kind": "skip", "on": 1}), ".on: true or false is needed, not 1"),
            (json!({"kind": "skip", "strength": "1"}), ".strength: a number is needed, not \"1\""),
            (
                json!({"kind": "skip", "positions": {"at": 5}}),
                ".positions: it is \"all\", \"prompt\", \"last\" or {\"at\": [2, 3]}, not an object",
            ),
            (
                json!({"kind": "corrupt", "noise": {"sigma": "3"}}),
                ".noise.sigma: a number is needed, not \"3\"",
            ),
        ] {
            let (path, cause) = check(&item).unwrap_err();
            assert!(format!("{path}{cause}").starts_with(want), "{item}: {path}{cause}");
        }
    }
}
