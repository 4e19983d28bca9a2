//! `docs/plan.md`, written from the kinds.

use std::fmt::Write as _;

use serde_json::Value;

use super::change::{Change, KINDS, KindInfo, order, remove};
use crate::error::Result;
use crate::spec::Field;

const HEAD: &str = r#"# Plan files

A plan is a stack of interventions, as JSON. The window saves and opens it (File menu); `sluice run --plan P.json` and
`sluice generate --plan P.json` read it.

```json
{
  "version": 1,
  "items": [
    { "kind": "skip", "layer": 3, "part": "ffn" },
    { "kind": "scale", "site": "blocks.0.hook_attn_out", "factor": 0.5, "on": false }
  ]
}
```

Every item may have `on` (default true) and `strength` (default 1): value = untouched + strength · (changed - untouched).
An unknown field is an error; a field of `null` is one that is left out, an empty list is nothing. A byte order mark does not
matter. Relative paths in a plan file are of its own folder.

"#;

const WORDS: &str = r#"
**Positions.** `"all"` (prompt and everything generated), `"prompt"`, `"last"` (the prompt's last position and everything
generated), or `{"at": [3, 4]}`, from 0 on; one that is past the prompt, and past what `generate` is asked for, is refused.

**Sources** of patched or added values are unmodified runs: `"base"` (the same tokens), `{"tokens": [1, 2]}`,
`{"prompt": "text"}`; or tensors: `{"file": {"path": "f.safetensors", "tensor": "name"}}` in f32, f16, bf16 or f64, one vector
or a row for each position, or one vector `{"values": [0.1, 0.2]}`. Where rows go in that are not those of the same positions,
`from_position` names them.

**Sites** have TransformerLens names; `sluice inspect` lists them. `*` and `?` stand for other characters
(`"blocks.*.hook_mlp_out"`), a half-open range for layers (`"blocks.3..7.attn.hook_z"`, `"blocks.0,2,8...hook_mlp_out"`), a
list for each of its names. Such an item does the same at each site.
"#;

/// The text of `docs/plan.md`.
///
/// # Errors
/// An example of a kind that is no JSON.
pub fn document() -> Result<String> {
    let mut text = String::from(HEAD);
    let order = order();
    text.push_str(&wrapped(&format!(
        "Kinds apply in this order, whatever the order of the list: {order}. List order counts among items of one kind on \
         one site."
    )));
    text.push_str(WORDS);
    for kind in KINDS {
        section(&mut text, kind)?;
    }
    Ok(text)
}

fn section(text: &mut String, kind: &KindInfo) -> Result<()> {
    let _ = write!(text, "\n## {}\n\n{}\n```json\n", kind.name, wrapped(kind.help));
    let examples = (kind.examples)();
    for example in &examples {
        let _ = writeln!(text, "{}", line(example)?);
    }
    text.push_str("```\n\n| field | type | default | |\n|---|---|---|---|\n");
    for field in kind.fields {
        let default = match (field.default)() {
            Value::Null if required(&examples, field)? => "required".into(),
            Value::Null => String::new(),
            value => format!("`{value}`"),
        };
        let unit = if field.unit.is_empty() { String::new() } else { format!(", {}", field.unit) };
        // A bar would end the cell.
        let help = field.help.replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {}{unit} | {default} | {help} |", field.name, field.kind.name());
    }
    if !kind.notes.is_empty() {
        let _ = write!(text, "\n{}", wrapped(kind.notes));
    }
    Ok(())
}

/// A paragraph in lines of at most 120 characters.
fn wrapped(text: &str) -> String {
    let (mut lines, mut width) = (String::new(), 0);
    for word in text.split_whitespace() {
        let len = word.chars().count();
        let separator = match width {
            0 => "",
            width if width + 1 + len > 120 => "\n",
            _ => " ",
        };
        width = if separator == " " { width + 1 + len } else { len };
        lines.push_str(separator);
        lines.push_str(word);
    }
    lines.push('\n');
    lines
}

/// Whether no example does without the field.
fn required(examples: &[Change], field: &Field) -> Result<bool> {
    for example in examples {
        let mut written = example.to_value()?;
        if remove(&mut written, field).is_none() || serde_json::from_value::<Change>(written).is_ok() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// As one line of a plan file, without what is left out by default, in the order of the fields.
fn line(change: &Change) -> Result<String> {
    let mut written = change.to_value()?;
    for field in change.fields() {
        if field.of(&written) == Some(&(field.default)()) {
            remove(&mut written, field);
        }
    }
    Ok(json(&written, "", change.fields()))
}

/// JSON on one line with spaces. `path` is where the value stands.
fn json(value: &Value, path: &str, fields: &[Field]) -> String {
    match value {
        Value::Object(map) => {
            let place = |name: &String| {
                let inside = format!("{path}{name}.");
                let here = |field: &Field| format!("{}.", field.name).starts_with(&inside);
                (name != "kind", fields.iter().position(here).unwrap_or(fields.len()))
            };
            let mut names: Vec<&String> = map.keys().collect();
            names.sort_by_key(|name| place(name));
            let item = |name: &&String| {
                let value = map.get(*name).unwrap_or(&Value::Null);
                format!("\"{name}\": {}", json(value, &format!("{path}{name}."), fields))
            };
            format!("{{{}}}", names.iter().map(item).collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => {
            let list: Vec<String> = list.iter().map(|value| json(value, path, fields)).collect();
            format!("[{}]", list.join(", "))
        }
        value => value.to_string(),
    }
}
