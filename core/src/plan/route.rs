//! Per-token routing between a big FFN, a small one, and nothing (Duo-LLM, arXiv 2410.10846, sections 2 and 3).
//!
//! Our reading of what the paper leaves open: with [`Lane::SkipLayer`] the token does not read attention, but its
//! keys and values are still written from its residual, so that later tokens can attend to it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::compile::Compiler;
use super::kind::Kind;
use super::surrogate::Surrogate;
use crate::error::{Error, Result};
use crate::spec::{Field, FieldKind, Lane, LayerRoute, Positions};

/// A routing map: layers left out go big everywhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// At most one entry per layer.
    pub layers: Vec<LayerRoute>,
    /// What stands for the small FFNs of a checkpoint that has none.
    #[serde(flatten)]
    pub surrogate: Surrogate,
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

    fn layer(&self, layer: usize) -> Option<&LayerRoute> {
        self.layers.iter().find(|route| route.layer == layer)
    }
}

impl Kind for Route {
    const NAME: &'static str = "route";
    const RANK: u32 = 300;
    const HELP: &'static str = "Each prompt token through the big FFN, the small one, or past it.";
    const NOTES: &'static str = "A map painted for more tokens than the prompt has is refused; the window cuts it. Our reading \
        where Duo-LLM (arXiv 2410.10846) leaves it open: a token that skips a layer does not read attention, but its keys and \
        values are still written from its residual. On a checkpoint without small FFNs, \"small\" is a surrogate (not in the \
        paper): the FFN neurons with the largest mean |activation| × column norm of W_down over 512 tokens of a text, or of \
        seeded random ids where there is no tokenizer. All maps of a plan share the first surrogate that one of them names.";
    const FIELDS: &'static [Field] = &[
        Field::new(
            "layers",
            FieldKind::Other,
            "list of `{\"layer\": N, \"tokens\": [LANE, ...], \"next\": LANE}`: the lane of each prompt token (rest: big) and of \
             all generated ones (left out: big); a LANE is big, small, skip_ffn or skip_layer",
        ),
        Field::new(
            "sample",
            FieldKind::File,
            "text that surrogates are chosen on; left out = the bundled sample text",
        ),
        Field {
            max: Some(1.0),
            ..Field::new(
                "share",
                FieldKind::Float,
                "share of the neurons that surrogates keep, above 0; left out = 1/16",
            )
        },
    ];

    fn example() -> Self {
        let tokens = Lane::ALL.to_vec();
        let layers = vec![LayerRoute { layer: 0, tokens, next: Lane::Small }];
        Self { layers, surrogate: Surrogate::default() }
    }

    fn summary(&self) -> String {
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

    fn positions(&self) -> Positions {
        Positions::All
    }

    fn past_the_prompt(&self) -> String {
        match self.layers.iter().filter(|layer| layer.next != Lane::Big).count() {
            0 => "big everywhere".into(),
            next => format!("not big in {next} layers"),
        }
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        self.surrogate.sample.iter_mut().collect()
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        if self.needs_small() {
            compiler.needs_small()?;
        }
        let prompt_len = compiler.prompt_len;
        for layer in &self.layers {
            let (painted, index) = (layer.tokens.len(), layer.layer);
            if painted > prompt_len {
                return Err(Error::Plan(format!(
                    "the routing map has lanes for {painted} tokens at layer {index}, the prompt has {prompt_len}"
                )));
            }
            compiler.layer(index)?;
        }
        compiler.schedule.lay_over(&self.layers, strength, prompt_len, compiler.spec.n_layers());
        Ok(())
    }
}
