//! `docs/methods.md`, written from the list of methods.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Group, METHODS, Measure, Method, Place, SubjectKind};
use crate::spec::Field;

const HEAD: &str = "# Methods

Everything that can be asked of an open checkpoint, written from the list of methods. Each has a panel in the window, is a
subcommand of `sluice study`, and is in `sluice methods`, `sluice report`, `sluice screenshots` and Ctrl+E.

`sluice study ID [CHECKPOINT] SUBJECT [--plan P] [its parameters] --out DIR [--json] [--resume | --overwrite]` writes
findings.json (docs/findings.md), figures and files into DIR. A prompt is `--prompt TEXT` or `--tokens 1,2,3`, with
`--image FILE` where the checkpoint reads pictures; a text is `--text FILE`, left out the checkpoint's own. Positions are
`5..9,12` or a text that occurs in the prompt. Parameters are JSON names with dashes; a switch is `--x` or `--no-x`. What can
be measured of a prompt of any length is asked about a list of them too, `--list FILE` (docs/scripting.md): means over it.
";

/// The text of `docs/methods.md`.
pub fn document() -> String {
    let mut text = String::from(HEAD);
    for group in Group::ALL {
        let here: Vec<&&Method> = METHODS.iter().filter(|method| method.group == group).collect();
        if !here.is_empty() {
            let _ = write!(text, "\n## {}\n", group.name());
        }
        here.into_iter().for_each(|method| section(&mut text, method));
    }
    text
}

fn section(text: &mut String, method: &Method) {
    let about = match method.subject {
        SubjectKind::Prompt => "a prompt",
        SubjectKind::Text => "a text",
        SubjectKind::None => "its own small data",
    };
    let needs: Vec<&str> = method.needs.iter().map(|need| need.name()).collect();
    let needs = if needs.is_empty() { String::new() } else { format!(" Needs: {}.", needs.join(", ")) };
    let _ = write!(
        text,
        "\n### `{}`: {}\n\n{}\n\nFrom {}. About {about}.{needs}\n",
        method.id,
        method.title,
        method.about(),
        method.source.line()
    );
    if method.takes_lists() {
        let measure =
            |measure: &Measure| format!("`{}` ({})", measure.name, measure.quantity.replace('|', "\\|"));
        let measures: Vec<String> = method.measures.iter().map(measure).collect();
        let _ = write!(text, "\nMeans over a list: {}.\n", measures.join(", "));
    }
    if !method.picks.is_empty() || !method.fields.is_empty() {
        text.push_str("\n| flag | type | default | |\n|---|---|---|---|\n");
    }
    for pick in method.picks {
        let place = match pick.place {
            Place::Anywhere => String::new(),
            Place::Within(set) => format!("; inside the picture, or inside `{set}`"),
            Place::Outside(set) => format!("; outside the picture, or outside `{set}`"),
        };
        let default = match (pick.required, pick.text_only) {
            (true, true) => "required without a picture",
            (true, false) => "required",
            _ => "",
        };
        let _ = writeln!(text, "| `--{}` | positions | {default} | {}{place} |", pick.name, pick.help);
    }
    for field in method.fields {
        let _ = writeln!(text, "{}", row(field));
    }
}

fn row(field: &Field) -> String {
    let default = match (field.default)() {
        Value::Null => String::new(),
        Value::String(text) => format!("`{text}`"),
        value => format!("`{value}`"),
    };
    let range = match (field.min, field.max) {
        (Some(min), Some(max)) => format!(", {min} to {max}"),
        (Some(min), None) => format!(", from {min}"),
        _ => String::new(),
    };
    let unit = if field.unit.is_empty() { String::new() } else { format!(" ({})", field.unit) };
    let kind = field.kind.name().replace('|', "\\|");
    let help = field.help.replace('|', "\\|");
    format!("| `--{}` | {kind}{range}{unit} | {default} | {help} |", field.name.replace('_', "-"))
}
