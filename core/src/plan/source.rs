//! Where the values that an intervention puts in come from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the values of a patch or an added vector come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// The unmodified run of the same tokens.
    Base,
    /// The unmodified run of these tokens.
    Tokens(Vec<u32>),
    /// The unmodified run of this text.
    Prompt(String),
    /// A tensor of a safetensors file: one vector, or a row for each position.
    File {
        /// The file.
        path: PathBuf,
        /// Its name in the file.
        tensor: String,
    },
    /// One vector, as wide as the site.
    Values(Vec<f32>),
}

/// Which rows of a source are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "from_position is a position, \"last\", or a list of them")]
pub enum FromPosition {
    /// This one for each position.
    One(Row),
    /// One for each of the positions of `{"at": [...]}`, in their order.
    Each(Vec<Row>),
}

/// A row of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Row {
    /// By its number from 0.
    At(usize),
    /// By name.
    Named(NamedRow),
}

/// A row that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedRow {
    /// The source's last.
    Last,
}

impl From<usize> for FromPosition {
    fn from(row: usize) -> Self {
        Self::One(Row::At(row))
    }
}

impl Row {
    /// Its number in a source of `len` rows.
    pub(super) fn number(self, len: usize) -> usize {
        match self {
            Self::At(row) => row,
            Self::Named(NamedRow::Last) => len.saturating_sub(1),
        }
    }

    fn name(self) -> String {
        match self {
            Self::At(row) => row.to_string(),
            Self::Named(NamedRow::Last) => "last".into(),
        }
    }
}

impl FromPosition {
    /// The source's last row.
    pub const LAST: Self = Self::One(Row::Named(NamedRow::Last));

    /// `position 3 of `, `positions 1, last of `.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::One(row) => format!("position {} of ", row.name()),
            Self::Each(rows) => {
                let rows: Vec<String> = rows.iter().map(|row| row.name()).collect();
                format!("positions {} of ", rows.join(", "))
            }
        }
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

    /// The file that it names.
    pub(super) fn file(&mut self) -> Option<&mut PathBuf> {
        if let Self::File { path, .. } = self { Some(path) } else { None }
    }

    /// What its rows are called.
    pub(super) fn rows(&self) -> &'static str {
        if let Self::File { .. } = self { "rows" } else { "tokens" }
    }
}
