//! Per-token routing between a big FFN, a small one, and nothing (Duo-LLM, arXiv 2410.10846, sections 2 and 3).
//!
//! Our reading of what the paper leaves open: with [`Lane::SkipLayer`] the token does not read attention, but its
//! keys and values are still written from its residual, so that later tokens can attend to it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::{Lane, LayerRoute};

/// A routing map: layers left out go big everywhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// At most one entry per layer.
    pub layers: Vec<LayerRoute>,
    /// What stands for the small FFNs of a checkpoint that has none.
    #[serde(flatten)]
    pub surrogate: Surrogate,
}

/// How surrogate small FFNs are chosen (not in the paper). Unused where the checkpoint has small FFNs of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Surrogate {
    /// Text file that they are chosen on; left out = the bundled sample text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<PathBuf>,
    /// Share of the neurons that they keep, above 0 and at most 1; left out = 1/16, the ratio of the paper's FFNs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f32>,
}

impl Surrogate {
    /// Share of the neurons that is kept where nothing else is said.
    pub const SHARE: f32 = 1.0 / 16.0;

    /// Share of the neurons.
    pub fn share(&self) -> f32 {
        self.share.unwrap_or(Self::SHARE)
    }

    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Route {
    /// Lane at `layer` and `position`.
    pub fn lane(&self, layer: usize, position: usize, prompt_len: usize) -> Lane {
        self.layer(layer).map_or(Lane::Big, |route| route.lane(position, prompt_len))
    }

    /// Lane of positions past the prompt at `layer`.
    pub fn next(&self, layer: usize) -> Lane {
        self.layer(layer).map_or(Lane::Big, |route| route.next)
    }

    /// Set all cells of a layer.
    pub fn set_layer(&mut self, layer: LayerRoute) {
        self.layers.retain(|known| known.layer != layer.layer);
        if !layer.is_big() {
            self.layers.push(layer);
            self.layers.sort_by_key(|known| known.layer);
        }
    }

    /// Set one cell. `position` = `None` sets the positions past the prompt.
    pub fn set(&mut self, layer: usize, position: Option<usize>, lane: Lane) {
        let index = match self.layers.iter().position(|route| route.layer == layer) {
            Some(index) => index,
            None => {
                self.layers.push(LayerRoute { layer, ..LayerRoute::default() });
                self.layers.sort_by_key(|route| route.layer);
                self.layers.iter().position(|route| route.layer == layer).unwrap_or(0)
            }
        };
        let Some(route) = self.layers.get_mut(index) else { return };
        match position {
            None => route.next = lane,
            Some(position) => {
                if route.tokens.len() <= position {
                    route.tokens.resize(position + 1, Lane::Big);
                }
                if let Some(cell) = route.tokens.get_mut(position) {
                    *cell = lane;
                }
            }
        }
        self.layers.retain(|route| !route.is_big());
    }

    /// Whether any cell needs a small FFN.
    pub fn needs_small(&self) -> bool {
        let small = |route: &LayerRoute| route.next == Lane::Small || route.tokens.contains(&Lane::Small);
        self.layers.iter().any(small)
    }

    /// One line for the plan stack.
    pub fn summary(&self) -> String {
        let count =
            |lane| self.layers.iter().flat_map(|route| &route.tokens).filter(|&&cell| cell == lane).count();
        let parts: Vec<String> = [Lane::Small, Lane::SkipFfn, Lane::SkipLayer]
            .into_iter()
            .filter(|&lane| count(lane) > 0)
            .map(|lane| format!("{} × {}", count(lane), lane.name()))
            .collect();
        let next = self.layers.iter().any(|route| route.next != Lane::Big);
        match (parts.is_empty(), next) {
            (true, false) => "route all big".into(),
            (true, true) => "route the next tokens".into(),
            (false, false) => format!("route {}", parts.join(", ")),
            (false, true) => format!("route {} and the next tokens", parts.join(", ")),
        }
    }

    fn layer(&self, layer: usize) -> Option<&LayerRoute> {
        self.layers.iter().find(|route| route.layer == layer)
    }
}
