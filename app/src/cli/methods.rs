//! `sluice methods`: the list of methods, with parameters, and of intervention kinds.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use sluice_core::Result;
use sluice_core::method::{Group, METHODS, Method};
use sluice_core::model::family;
use sluice_core::plan::{Change, KINDS, KindInfo};
use sluice_core::spec::{Field, FieldKind, Spec};

use super::{headers, out};

#[derive(Args)]
pub struct Methods {
    /// Checkpoint folder that must be able to do them; left out = the bundled one
    checkpoint: Option<PathBuf>,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl Methods {
    pub fn run(&self) -> Result<()> {
        let spec = family::read(headers(self.checkpoint.as_deref())?.config())?.spec;
        if self.json {
            let methods: Vec<Value> = METHODS.iter().map(|method| value(method, &spec)).collect();
            let text = json!({"version": 1, "methods": methods, "kinds": kinds()?}).to_string();
            out(&(text + "\n"));
            return Ok(());
        }
        for group in Group::ALL {
            let here = METHODS.iter().filter(|method| method.group == group);
            let lines: Vec<String> = here.map(|method| line(method, &spec)).collect();
            if !lines.is_empty() {
                out(&format!("{}\n{}", group.name(), lines.concat()));
            }
        }
        Ok(())
    }
}

fn line(method: &Method, spec: &Spec) -> String {
    let not = method.unavailable(spec).map_or_else(String::new, |cause| format!(" (not here: {cause})"));
    format!("  {:<14} {}{not}\n", method.id, method.title)
}

fn value(method: &Method, spec: &Spec) -> Value {
    let picks = method.picks.iter().map(|pick| {
        json!({"name": pick.name, "flag": format!("--{}", pick.name), "required": pick.required, "help": pick.help})
    });
    json!({
        "id": method.id,
        "aliases": method.aliases,
        "group": method.group.name(),
        "title": method.title,
        "line": method.line,
        "reading": method.reading,
        "source": method.source,
        "subject": subjects(method),
        "shards": method.takes_lists(),
        "picks": picks.collect::<Vec<_>>(),
        "needs": method.needs.iter().map(|need| need.name()).collect::<Vec<_>>(),
        "available": method.unavailable(spec).map_or(Value::Bool(true), Value::from),
        "parameters": method.fields.iter().map(parameter).collect::<Vec<_>>(),
    })
}

/// What it can be asked about.
fn subjects(method: &Method) -> Vec<&'static str> {
    std::iter::once(method.subject.name()).chain(method.takes_lists().then_some("list")).collect()
}

/// A parameter, as a method's or a kind's.
fn parameter(field: &Field) -> Value {
    let (kind, names) = match field.kind {
        FieldKind::Int => ("int", None),
        FieldKind::Float => ("float", None),
        FieldKind::Bool => ("bool", None),
        FieldKind::Enum(names) => ("enum", Some(names)),
        FieldKind::File => ("file", None),
        _ => ("text", None),
    };
    let mut all = json!({
        "name": field.name,
        "flag": format!("--{}", field.name.replace('_', "-")),
        "type": kind,
        "default": (field.default)(),
        "help": field.help,
    });
    let optional = [
        ("values", names.map(|names| json!(names))),
        ("min", field.min.map(|min| bound(field.kind, min))),
        ("max", field.max.map(|max| bound(field.kind, max))),
        ("unit", (!field.unit.is_empty()).then(|| Value::from(field.unit))),
    ];
    if let Some(all) = all.as_object_mut() {
        all.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    all
}

/// A bound of a parameter, without a fraction where it takes none.
fn bound(kind: FieldKind, bound: f64) -> Value {
    if kind == FieldKind::Int { json!(bound as i64) } else { json!(bound) }
}

/// The kinds of intervention, in the order of their effects.
fn kinds() -> Result<Vec<Value>> {
    let kind = |kind: &KindInfo| {
        let example = (kind.examples)().first().map(Change::to_value).transpose()?;
        Ok(json!({
            "kind": kind.name,
            "rank": kind.rank,
            "fields": kind.fields.iter().map(parameter).collect::<Vec<_>>(),
            "example": example,
        }))
    };
    KINDS.iter().map(kind).collect()
}
