//! Inject a vector: from another position, layer or run, scaled, with or without the target's norm kept (the
//! building block of IRI, arXiv 2511.05923, equations 3-5).

use serde::{Deserialize, Serialize};

use super::Source;
use crate::site::Site;
use crate::spec::Positions;

/// x = x + scale * v; with `keep_norm` then rescaled to x's own norm. Scale 0 changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Add {
    /// Where it is added.
    pub site: Site,
    /// At which positions.
    #[serde(default = "last")]
    pub positions: Positions,
    /// The run the vector is taken from.
    pub source: Source,
    /// Its site; left out = the same site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_site: Option<Site>,
    /// Its position; left out = the source's last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_position: Option<usize>,
    /// Factor on the vector.
    #[serde(default = "one")]
    pub scale: f32,
    /// Rescale the sum to the norm that x had.
    #[serde(default)]
    pub keep_norm: bool,
}

impl Add {
    /// One line for the plan stack.
    pub fn summary(&self) -> String {
        let norm = if self.keep_norm { ", norm kept" } else { "" };
        let from = self.from_site.unwrap_or(self.site);
        format!(
            "add {} × {from} of {} to {}{}{norm}",
            self.scale,
            self.source.summary(),
            self.site,
            self.positions.summary()
        )
    }
}

fn one() -> f32 {
    1.0
}

fn last() -> Positions {
    Positions::Last
}
