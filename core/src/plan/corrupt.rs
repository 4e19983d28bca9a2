//! Disturb a site with seeded Gaussian noise or replace it by a given tensor (the corrupted run of causal tracing).

use serde::{Deserialize, Serialize};

use super::Source;
use crate::site::Site;
use crate::spec::Positions;

/// Corruption of a site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Corrupt {
    /// Usually `hook_embed`.
    #[serde(default = "embed")]
    pub site: Site,
    /// Noise, or what to put in.
    #[serde(flatten)]
    pub noise: Noise,
    /// Where.
    #[serde(default)]
    pub positions: Positions,
}

/// What disturbs the site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noise {
    /// x + noise, noise ~ N(0, (sigma * s)^2), s = the standard deviation of the site's values over the prompt in
    /// the unmodified run; ROME's default is sigma 3 (arXiv 2202.05262, section 2.1).
    Noise {
        /// In standard deviations.
        sigma: f32,
        /// Seed of the counter-based generator: the same position gets the same noise however it is computed.
        #[serde(default)]
        seed: u64,
    },
    /// x = this tensor's row of the same position.
    Tensor(Source),
}

impl Corrupt {
    /// One line for the plan stack.
    pub fn summary(&self) -> String {
        let what = match &self.noise {
            Noise::Noise { sigma, seed } => format!("noise of {sigma} σ (seed {seed}) on"),
            Noise::Tensor(_) => "given values in".into(),
        };
        format!("{what} {}{}", self.site, self.positions.summary())
    }
}

fn embed() -> Site {
    Site::Embed
}
