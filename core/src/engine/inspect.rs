//! What a checkpoint is, from config.json and headers alone.

use super::names::{self, Named, ignored_fields};
use super::resident::Resident;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::model::layout::parameters;
use crate::model::{Spec, family};

/// What there is to say about a checkpoint that is not open.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The architecture.
    pub spec: Spec,
    /// Parameters, tied ones counted once.
    pub parameters: u64,
    /// What they take once it is open.
    pub resident: Resident,
    /// Tensors that nothing reads.
    pub unread: Vec<String>,
    /// What to know about it; also why it cannot be opened, where its tensors do not fit.
    pub warnings: Vec<String>,
}

/// Look at a checkpoint; one without weights too ([`Checkpoint::open_config`]).
///
/// # Errors
/// A config that no family reads.
pub fn inspect(checkpoint: &Checkpoint) -> Result<Inspected> {
    let read = family::read(checkpoint.config())?;
    let alone = |mut warnings: Vec<String>, more: Option<String>| {
        if !read.ignored.is_empty() {
            warnings.push(ignored_fields(&read.ignored));
        }
        warnings.extend(more);
        let parameters = parameters(&read.spec, &read.layout);
        let resident = Resident::of_config(&read.spec, &read.layout, checkpoint);
        Inspected { spec: read.spec.clone(), parameters, resident, unread: Vec::new(), warnings }
    };
    let warnings = checkpoint.warnings().to_vec();
    if !checkpoint.has_weights() {
        return Ok(alone(warnings, None));
    }
    match names::resolve(checkpoint) {
        Ok(named) => {
            let resident = Resident::of(&named, checkpoint);
            let Named { spec, layout, unread, warnings, .. } = named;
            Ok(Inspected { parameters: parameters(&spec, &layout), resident, spec, unread, warnings })
        }
        Err(error) => Ok(alone(warnings, Some(format!("{error}; {}", error.next_step())))),
    }
}
