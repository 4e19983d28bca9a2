//! Where figures of a question come from.

use serde_json::{Value, json};

use super::{Asked, Subject, complete};
use crate::engine::{Card, Words};
use crate::error::Result;
use crate::figure::Provenance;

/// Of a question's figures.
///
/// # Errors
/// Parameters that do not fit the method.
pub(super) fn provenance(asked: &Asked, card: &Card) -> Result<Provenance> {
    let of = |words: String| card.provenance(&Words::Text(words).into(), &asked.plan);
    let mut provenance = match &asked.subject {
        Subject::Prompt(prompt) => card.provenance(prompt, &asked.plan),
        Subject::List(list) => {
            let name = list.file.file_name().unwrap_or_default().to_string_lossy();
            of(format!("the items of {name}"))
        }
        Subject::Text(Some(path)) => of(path.display().to_string()),
        Subject::Text(None) => of("the checkpoint's own text".into()),
        Subject::Nothing => of(String::new()),
    };
    provenance.method = asked.method.id.into();
    if !asked.picks.is_empty() {
        provenance.picks = json!(asked.picks).to_string();
    }
    provenance.ask = Value::Object(complete(asked.method.fields, &asked.ask)?).to_string();
    Ok(provenance)
}
