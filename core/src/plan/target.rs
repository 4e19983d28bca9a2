//! What an intervention changes: a site, or a part of it.

use serde::{Deserialize, Serialize};

use crate::site::{Shape, Site, Sites};
use crate::spec::Spec;

/// A site, or one head or neuron of it; of several sites the same of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The site or sites.
    pub site: Sites,
    /// Head of a head-shaped site, neuron or channel of any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<usize>,
}

impl Target {
    /// The whole site.
    pub fn site(site: Site) -> Self {
        Self { site: site.into(), unit: None }
    }

    /// A head of a head-shaped site, a neuron or channel of any other.
    pub fn unit(site: Site, unit: usize) -> Self {
        Self { site: site.into(), unit: Some(unit) }
    }

    /// `blocks.3.mlp.hook_post[17]`
    pub fn summary(&self) -> String {
        match self.unit {
            Some(unit) => format!("{}[{unit}]", self.site),
            None => self.site.to_string(),
        }
    }
}

/// Units that [`Target::unit`] counts: heads, neurons or channels.
pub(super) fn unit_count(site: Site, spec: &Spec) -> usize {
    let layer = match site {
        Site::Block { layer, .. } => spec.layers.get(layer),
        _ => None,
    };
    match (site.shape(), layer) {
        (Shape::Heads | Shape::Square, Some(layer)) => layer.attn.heads,
        (Shape::KvHeads, Some(layer)) => layer.attn.kv_heads,
        (Shape::Mlp, Some(layer)) => layer.ffn.d_mlp,
        (Shape::Experts, Some(layer)) => layer.experts.map_or(1, |experts| experts.count),
        (Shape::Scalar, _) => 1,
        _ => spec.d_model,
    }
}

/// Values per position.
pub(super) fn row_width(site: Site, spec: &Spec) -> usize {
    let d_head = match site {
        Site::Block { layer, .. } => spec.layers.get(layer).map_or(1, |layer| layer.attn.d_head),
        _ => 1,
    };
    match site.shape() {
        Shape::Heads | Shape::KvHeads => unit_count(site, spec) * d_head,
        Shape::Square => 0,
        _ => unit_count(site, spec),
    }
}

/// Shape of one position's value; of a square site, heads first, that of none.
pub(super) fn row_shape(site: Site, spec: &Spec) -> Vec<usize> {
    let units = unit_count(site, spec);
    match site.shape() {
        Shape::Heads | Shape::KvHeads => vec![units, row_width(site, spec) / units.max(1)],
        _ => vec![units],
    }
}
