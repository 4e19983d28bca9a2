//! Every field of every config class is honoured or refused. `tests/golden/configs/fields.json` lists the fields with
//! their defaults; `list_fields.py` writes it.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Map, Value};
use sluice_core::model::family::{self, FAMILIES};
use sluice_core::model::fields::IRRELEVANT;

use crate::support::golden;

mod ropes;
mod table;

use table::Expect::{Honoured, Neutral, Refused};
use table::{ABSENT, Row, one, rows};

/// A config class: the fields of a default instance, and the names that stand for some of them.
struct Class {
    model_type: String,
    defaults: Map<String, Value>,
    aliases: Vec<String>,
}

fn classes() -> Vec<Class> {
    let text = fs::read_to_string(golden().join("configs/fields.json")).unwrap();
    let table: Value = serde_json::from_str(&text).unwrap();
    let families = table["families"].as_object().unwrap();
    let class = |(name, class): (&String, &Value)| Class {
        model_type: name.clone(),
        defaults: class["defaults"].as_object().unwrap().clone(),
        aliases: class["aliases"].as_object().unwrap().keys().cloned().collect(),
    };
    families.iter().map(class).collect()
}

/// `fields` with `patch` on top.
fn merge(fields: &Map<String, Value>, patch: &Value) -> Map<String, Value> {
    let mut fields = fields.clone();
    for (name, value) in patch.as_object().unwrap() {
        if value == ABSENT {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    fields
}

fn read(fields: Map<String, Value>) -> Result<family::Read, String> {
    family::read(&Value::Object(fields)).map_err(|error| error.to_string())
}

#[test]
fn the_list_has_every_family() {
    let names: Vec<String> = classes().into_iter().map(|class| class.model_type).collect();
    let mut families: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
    families.sort_unstable();
    assert_eq!(names, families);
}

#[test]
fn every_field_of_a_class_is_taken_or_irrelevant() {
    for class in classes() {
        let ignored = read(class.defaults).unwrap().ignored;
        assert!(ignored.is_empty(), "{}: {ignored:?}", class.model_type);
    }
}

/// Where config.json is silent, the class's default holds.
#[test]
fn a_field_left_out_has_the_default_of_its_class() {
    let mut failures = Vec::new();
    for class in classes() {
        let whole = read(class.defaults.clone()).unwrap().spec;
        // Transformers ends a text at the ids that a checkpoint's files write, never at the class's.
        let written = ["model_type", "bos_token_id", "eos_token_id"];
        for field in class.defaults.keys().filter(|field| !written.contains(&field.as_str())) {
            match read(merge(&class.defaults, &one(field, ABSENT.into()))) {
                Ok(read) if read.spec != whole => failures.push(format!("{}: {field}", class.model_type)),
                Ok(_) => {}
                // Refusing is no silent difference.
                Err(error) => assert!(error.contains("is required"), "{}: {error}", class.model_type),
            }
        }
    }
    assert!(failures.is_empty(), "other defaults than the class's:\n{}", failures.join("\n"));
}

#[test]
fn every_changed_field_is_honoured_or_refused() {
    let classes: BTreeMap<String, Class> =
        classes().into_iter().map(|class| (class.model_type.clone(), class)).collect();
    let mut failures = Vec::new();
    for row in rows() {
        for name in row.families.split_whitespace() {
            let base = merge(&classes[name].defaults, &row.base);
            let before =
                read(base.clone()).unwrap_or_else(|error| panic!("{name}: {}: {error}", row.field)).spec;
            let after = read(merge(&base, &row.change));
            let wrong = match (&after, row.expect) {
                (Ok(after), Honoured) => (after.spec == before).then(|| "changes nothing".to_owned()),
                (Ok(after), Neutral(reason)) => {
                    (after.spec != before).then(|| format!("changes the spec, but {reason}"))
                }
                (Ok(_), Refused(_)) => Some("is accepted".into()),
                (Err(error), Refused(text)) => {
                    // A nested field is named with its object or by itself.
                    let named = error.contains(row.field) || error.contains("rope");
                    (!named || !error.contains(text)).then(|| format!("is refused without {text}: {error}"))
                }
                (Err(error), _) => Some(format!("is refused: {error}")),
            };
            if let Some(wrong) = wrong {
                failures.push(format!("{name}: {} {wrong} ({})", row.field, row.change));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_table_has_every_field() {
    let mut missing = Vec::new();
    let rows = rows();
    for class in classes() {
        for field in class.defaults.keys().chain(&class.aliases) {
            let has = |row: &Row| {
                row.field == field && row.families.split_whitespace().any(|name| name == class.model_type)
            };
            if !IRRELEVANT.contains(&field.as_str()) && !rows.iter().any(has) {
                missing.push(format!("{}: {field}", class.model_type));
            }
        }
    }
    assert!(missing.is_empty(), "no row for\n{}", missing.join("\n"));
}
