//! Records of a list as findings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::found::{Shape, Totals};
use super::head::STUDY;
use super::item::ItemFound;
use crate::error::{Error, Result};
use crate::figure::Provenance;
use crate::method::{Ask, Asked, Content, Cost, Findings, ListOf, Picks, Subject, find};
use crate::plan::Plan;
use crate::records::Reading;

/// Everything that records depend on, beside the checkpoint and the shard.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    asked: AskedOf,
    measures: Vec<Shape>,
    provenance: Provenance,
}

/// A question as [`question`](crate::method::question) has it.
#[derive(Deserialize)]
struct AskedOf {
    method: String,
    subject: SubjectOf,
    plan: Plan,
    ask: Ask,
    files: BTreeMap<String, String>,
}

/// A list by its content.
#[derive(Deserialize)]
struct SubjectOf {
    file: String,
    sha256: Option<String>,
    items: Option<u64>,
    #[serde(default)]
    map: Vec<String>,
    #[serde(default)]
    marks: BTreeMap<String, String>,
}

/// Findings of the records in a folder, without the time that they took.
///
/// # Errors
/// Records of something else, or that cannot be read.
pub fn recorded(folder: &Path) -> Result<Findings> {
    let reading = Reading::open(folder)?.ok_or_else(|| Error::Internal("there are no records".into()))?;
    let wrong = |cause: &str| {
        let next_step = "merge them with the Sluice that wrote them";
        Error::asked(format!("{}: {cause}", folder.display()), next_step)
    };
    let head = reading.head.clone();
    let question: Question =
        serde_json::from_str(head.ask.get()).map_err(|error| wrong(&format!("its question: {error}")))?;
    let Question { asked, measures, provenance } = question;
    let id = head.work.strip_prefix(STUDY).filter(|id| *id == asked.method);
    let method = id.and_then(find).ok_or_else(|| wrong("they are of no method that is known"))?;
    if !Shape::are_of(&measures, method) {
        return Err(wrong("they are of other measures"));
    }
    let mut totals = Totals::new(&measures)?;
    reading
        .each(|item: ItemFound| totals.add(&item, &measures).map_err(|error| wrong(&error.to_string())))?;
    let AskedOf { subject, plan, ask, files, .. } = asked;
    let SubjectOf { file, sha256, items, map, marks } = subject;
    let list = ListOf { file: file.into(), map, most: None, shard: head.shard, marks };
    let asked = Asked {
        method,
        subject: Subject::List(list),
        picks: Picks::new(),
        plan,
        ask,
        folder: folder.to_owned(),
    };
    Ok(Findings {
        asked: Arc::new(asked),
        checkpoint: provenance.checkpoint.clone(),
        fingerprint: head.fingerprint,
        tokens: [].into(),
        content: Arc::new(Content { text: sha256, items, files }),
        found: Arc::new(totals.found(method, &measures, head.shard, provenance)),
        answers: [].into(),
        done: true,
        cost: Cost::default(),
    })
}
