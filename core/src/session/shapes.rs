//! What a session file holds, as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::{PlanCost, Reference};
use crate::engine::Words;
use crate::error::{Error, Result};
use crate::method::{Ask, ListOf, Picks, Reached};

/// What the names of kept pictures begin and end with.
pub(super) const PICTURE: (&str, &str) = ("picture-", ".png");
/// Bytes of a file at most.
pub(super) const MOST: u64 = 256 << 20;
/// Version of the file.
pub const VERSION: u32 = 1;

/// What every version has.
#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) version: u32,
    #[serde(default)]
    pub(super) sluice: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct File {
    pub(super) version: u32,
    pub(super) sluice: String,
    /// Index into `checkpoints`.
    pub(super) open: Option<usize>,
    pub(super) checkpoints: Vec<WorkFile>,
    #[serde(default)]
    pub(super) notes: String,
    #[serde(default)]
    pub(super) window: Value,
}

#[derive(Serialize, Deserialize)]
pub(super) struct WorkFile {
    pub(super) checkpoint: Reference,
    /// What steps and questions name by index, each once.
    pub(super) prompts: Vec<String>,
    pub(super) plans: Vec<Box<RawValue>>,
    pub(super) pictures: Vec<PictureFile>,
    pub(super) steps: Vec<StepFile>,
    /// Index into `steps`.
    pub(super) at: usize,
    #[serde(default)]
    pub(super) variants: Vec<PinnedFile>,
    #[serde(default)]
    pub(super) methods: BTreeMap<String, InquiryFile>,
    #[serde(default)]
    pub(super) window: Value,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PictureFile {
    pub(super) file: String,
    pub(super) name: String,
    pub(super) sha256: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StepFile {
    pub(super) name: String,
    pub(super) prompt: usize,
    pub(super) picture: Option<usize>,
    pub(super) plan: usize,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PinnedFile {
    #[serde(flatten)]
    pub(super) document: StepFile,
    pub(super) shown: bool,
    pub(super) cost: Option<PlanCost>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct InquiryFile {
    #[serde(default)]
    pub(super) ask: Ask,
    #[serde(default)]
    pub(super) picks: Picks,
    #[serde(default)]
    pub(super) text: Option<PathBuf>,
    #[serde(default)]
    pub(super) taken: Vec<Box<RawValue>>,
    #[serde(default)]
    pub(super) window: Value,
    #[serde(default)]
    pub(super) found: Option<AnsweredFile>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AnsweredFile {
    pub(super) asked: AskedFile,
    pub(super) done: bool,
    pub(super) stem: String,
    /// File to go on from; none = it is done anew.
    pub(super) state: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AskedFile {
    pub(super) subject: SubjectFile,
    pub(super) picks: Picks,
    pub(super) plan: usize,
    pub(super) ask: Ask,
    pub(super) folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SubjectFile {
    Prompt { words: Words, picture: Option<usize> },
    List(ListOf),
    Text(Option<PathBuf>),
    Nothing,
}

pub(super) fn raw(value: &impl Serialize) -> Result<Box<RawValue>> {
    to_raw_value(value).map_err(|error| Error::Internal(error.to_string()))
}

/// Whether a name is of a file in a folder, and of one that a session keeps there.
pub(super) fn is_kept(name: &str) -> bool {
    let (begin, end) = PICTURE;
    let number = name.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end));
    let picture =
        number.is_some_and(|hex| hex.len() == 16 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    picture || Reached::is_name(name)
}
