//! Where the values that an intervention puts in come from.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::site::{Shape, Site};

/// Where the values of a patch or an added vector come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The unmodified run of the same tokens.
    Base,
    /// The unmodified run of these tokens.
    Tokens(Vec<u32>),
    /// The unmodified run of this text.
    Prompt(String),
    /// A tensor of a safetensors file.
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Its name in the file.
        tensor: String,
    },
    /// One vector, as wide as the site.
    Values(Vec<f32>),
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

/// A vector of a plan, `[values]`.
pub(super) fn values_vector(values: &[f32]) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, values.len(), &Device::Cpu)?)
}

/// One position of a site's value.
pub(super) fn row(x: &Tensor, site: Site, position: Option<usize>) -> Result<Tensor> {
    if site.shape() == Shape::Square {
        return Err(Error::Plan(format!("{site} has no vector per position")));
    }
    let len = x.dim(0)?;
    let position = position.unwrap_or(len.saturating_sub(1));
    if position >= len {
        return Err(Error::Plan(format!(
            "the source has positions 0 to {}, not {position}",
            len.saturating_sub(1)
        )));
    }
    Ok(x.get(position)?)
}
