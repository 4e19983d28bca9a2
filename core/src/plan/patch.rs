//! Activation patching: put in what another run had at the same site.

use serde::{Deserialize, Serialize};

use super::{Source, Target};
use crate::spec::Positions;

/// x\[p\] = source\[p\] at the chosen positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Patch {
    /// What.
    #[serde(flatten)]
    pub target: Target,
    /// Where; positions past the source's end stay as they are.
    pub positions: Positions,
    /// The other run.
    pub source: Source,
}

impl Patch {
    /// One line for the plan stack.
    pub fn summary(&self) -> String {
        format!("patch {}{} from {}", self.target.summary(), self.positions.summary(), self.source.summary())
    }
}

impl Source {
    /// A few words for one-line summaries.
    pub fn summary(&self) -> String {
        match self {
            Self::Base => "the unmodified run".into(),
            Self::Tokens(tokens) => format!("a run of {} ids", tokens.len()),
            Self::Prompt(text) => format!("\"{}\"", text.chars().take(24).collect::<String>()),
            Self::File { tensor, .. } => format!("file ({tensor})"),
            Self::Values(values) => format!("a vector of {}", values.len()),
        }
    }
}
