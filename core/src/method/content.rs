//! Files that a question names, by content: findings say them, and a run is not gone on with once one has changed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::{Asked, ListOf, Subject};
use crate::engine::{Engine, SAMPLE};
use crate::error::{Error, Result};
use crate::files;
use crate::records::{content, count};
use crate::spec::FieldKind;

/// SHA-256 of the files that a question names, hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The text or the list that it is about: a file or the bundled sample. None where the checkpoint's own world draws it.
    pub text: Option<String>,
    /// Items of the list, of all shards.
    pub items: Option<u64>,
    /// Those that the plan's items and the parameters name, by path.
    pub files: BTreeMap<String, String>,
}

impl Content {
    /// Reads every file that `asked` names; items of the plan that are off name none.
    ///
    /// # Errors
    /// [`Error::Read`] of one that cannot be read, or a list that has no items or comes from another program.
    pub fn of(asked: &Asked, engine: &Engine) -> Result<Self> {
        let text = match &asked.subject {
            Subject::Text(Some(path)) | Subject::List(ListOf { file: path, .. }) => Some(content(path)?),
            Subject::Text(None) if engine.world.is_none() => Some(files::sha256_of(SAMPLE.as_bytes())),
            _ => None,
        };
        let items = match &asked.subject {
            Subject::List(list) => Some(items(list)?),
            _ => None,
        };
        let mut files = asked.plan.contents()?;
        for field in asked.method.fields.iter().filter(|field| field.kind == FieldKind::File) {
            if let Some(Value::String(path)) = asked.ask.get(field.name) {
                files.insert(path.clone(), content(Path::new(path))?);
            }
        }
        Ok(Self { text, items, files })
    }
}

/// How many there are.
fn items(list: &ListOf) -> Result<u64> {
    match count(&list.file, list.most)? {
        0 => Err(Error::asked("the list is empty", "give a list with items")),
        items => Ok(items),
    }
}
