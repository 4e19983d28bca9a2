//! A stand-in for the small FFN on checkpoints that have none. Not in the Duo-LLM paper: every panel and plan that
//! uses it says so.
//!
//! Per layer: the 1/16 of FFN neurons with the largest mean |activation| x column norm of `W_down` over
//! [`SURROGATE_TOKENS`] tokens of a named text.

use std::collections::BTreeSet;

use super::{Cancelled, Engine, RunSize};
use crate::error::Result;
use crate::metric;
use crate::model::{Ask, Ffn, Logits};
use crate::plan::schedule::Schedule;
use crate::rng;
use crate::site::{Hook, Site};

/// Tokens that activations are averaged over.
pub const SURROGATE_TOKENS: usize = 512;

/// A surrogate keeps one neuron in this many.
const SHARE: usize = 16;

/// The text that surrogates are chosen on.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleText {
    /// Shown wherever a surrogate is used.
    pub name: String,
    /// The text; unused where the checkpoint has no tokenizer.
    pub text: String,
}

impl Default for SampleText {
    fn default() -> Self {
        Self {
            name: "the bundled sample text".into(),
            text: include_str!("../../../assets/sample.txt").into(),
        }
    }
}

/// What "small FFN" means for this engine.
pub(super) fn label(engine: &Engine) -> String {
    if engine.model.spec.is_duo() {
        return "the checkpoint's own small FFN".into();
    }
    let text = if engine.tokenizer.is_some() { engine.sample.name.as_str() } else { "seeded random ids" };
    format!(
        "surrogate: the 1/{SHARE} of neurons with the largest mean |activation| × column norm of W_down over \
         {SURROGATE_TOKENS} tokens of {text}"
    )
}

/// A small FFN per layer.
pub(super) fn compute(engine: &Engine, cancelled: Cancelled) -> Result<Vec<Ffn>> {
    let spec = std::sync::Arc::clone(&engine.model.spec);
    let tokens = tokens(engine)?;
    let sites: BTreeSet<Site> = (0..spec.n_layers()).map(|layer| Site::block(layer, Hook::MlpPost)).collect();
    let mut sums: Vec<Vec<f64>> = spec.layers.iter().map(|layer| vec![0.0; layer.ffn.d_mlp]).collect();
    for chunk in tokens.chunks(spec.context.min(SURROGATE_TOKENS)) {
        let kept: u64 = spec.layers.iter().map(|layer| (layer.ffn.d_mlp * chunk.len()) as u64).sum();
        RunSize::new(&spec, chunk.len()).with_elements(kept).check()?;
        let ask = Ask { capture: sites.clone(), logits: Logits::None, boundaries: false };
        let (output, _) = engine.pass(chunk, &Schedule::none(), ask, cancelled)?;
        for (sums, site) in sums.iter_mut().zip(&sites) {
            let Some(post) = output.captures.get(site) else { continue };
            let sum: Vec<f32> = post.abs()?.sum(0)?.to_vec1()?;
            sums.iter_mut().zip(sum).for_each(|(total, part)| *total += f64::from(part));
        }
    }
    let choose = |(layer, sums): (&crate::model::weights::LayerWeights, Vec<f64>)| {
        let norms: Vec<f32> = layer.ffn.down.weight.sqr()?.sum(0)?.sqrt()?.to_vec1()?;
        let score: Vec<f32> =
            sums.iter().zip(&norms).map(|(sum, norm)| (*sum * f64::from(*norm)) as f32).collect();
        let count = (score.len() / SHARE).max(1);
        let mut neurons: Vec<u32> =
            metric::top_k(&score, count).into_iter().map(|(index, _)| index).collect();
        neurons.sort_unstable();
        layer.ffn.select(&neurons)
    };
    engine.model.weights.layers.iter().zip(sums).map(choose).collect()
}

fn tokens(engine: &Engine) -> Result<Vec<u32>> {
    let vocab = engine.model.spec.vocab as u64;
    if engine.tokenizer.is_none() {
        return Ok((0..SURROGATE_TOKENS as u64).map(|i| (rng::bits(0, 0, i) % vocab) as u32).collect());
    }
    let mut tokens = engine.encode(&engine.sample.text)?;
    tokens.truncate(SURROGATE_TOKENS);
    Ok(tokens)
}
