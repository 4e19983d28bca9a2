//! Which positions an intervention changes, in the prompt and past it.

use serde::{Deserialize, Serialize};

/// Positions of a sequence. Whoever reads a plan sees what positions past the prompt do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Every position of the prompt and every one generated after it.
    #[default]
    All,
    /// The prompt's positions only.
    Prompt,
    /// The prompt's last position and every one generated after it.
    Last,
    /// These positions, wherever the prompt ends.
    At(Vec<usize>),
}

impl Positions {
    /// Whether position `position` is changed, for a prompt of `prompt_len` tokens.
    pub fn contains(&self, position: usize, prompt_len: usize) -> bool {
        match self {
            Self::All => true,
            Self::Prompt => position < prompt_len,
            Self::Last => position + 1 >= prompt_len,
            Self::At(list) => list.contains(&position),
        }
    }

    /// ` at 3, 4`; empty for all.
    pub fn summary(&self) -> String {
        match self {
            Self::All => String::new(),
            Self::Prompt => " in the prompt".into(),
            Self::Last => " at the last position".into(),
            Self::At(list) if list.is_empty() => " at no position".into(),
            Self::At(list) => {
                let list: Vec<String> = list.iter().map(usize::to_string).collect();
                format!(" at {}", list.join(", "))
            }
        }
    }
}
