//! A stand-in for the small FFN on checkpoints that have none. Not in the Duo-LLM paper: every panel and plan that
//! uses it says so.
//!
//! Per layer: a share of the FFN neurons, those with the largest mean |activation| x column norm of `W_down` over
//! [`SURROGATE_TOKENS`] tokens of a named text.

use std::collections::BTreeSet;
use std::path::Path;

use super::text::{SAMPLE, beginning};
use super::{Cancelled, Engine, RunSize};
use crate::error::{Error, Result};
use crate::metric;
use crate::model::weights::LayerWeights;
use crate::model::{Ask, Ffn, Logits, Schedule};
use crate::plan::Surrogate;
use crate::rng;
use crate::site::{Hook, Site};
use crate::spec::Spec;

/// Tokens that activations are averaged over.
pub const SURROGATE_TOKENS: usize = 512;

/// Bytes read at most of a text file for [`SURROGATE_TOKENS`] tokens.
const MOST_TEXT: u64 = 64 << 10;

/// What "small FFN" means for this engine.
pub fn label(engine: &Engine, surrogate: &Surrogate) -> String {
    describe(&engine.model.spec, engine.tokenizer.is_some(), surrogate)
}

/// What "small FFN" means for a model with or without a tokenizer.
pub fn describe(spec: &Spec, tokenizer: bool, surrogate: &Surrogate) -> String {
    if spec.is_duo() {
        return "the checkpoint's own small FFN".into();
    }
    if spec.has_experts() {
        return "none: the FFNs of this checkpoint are experts".into();
    }
    let text = match &surrogate.sample {
        _ if !tokenizer => "seeded random ids".into(),
        Some(path) => path.display().to_string(),
        None => "the bundled sample text".into(),
    };
    format!(
        "surrogate, not in the paper: the {} of neurons with the largest mean |activation| × column norm of W_down over \
         {SURROGATE_TOKENS} tokens of {text}",
        share_name(surrogate.share())
    )
}

/// `1/16`, or percent where it is no such part.
fn share_name(share: f32) -> String {
    let parts = (1.0 / share).round();
    let whole = (share * parts - 1.0).abs() < 1e-4 && parts > 1.0;
    if whole { format!("1/{parts}") } else { format!("{:.1} %", 100.0 * share) }
}

/// What each neuron of each layer is worth on a text.
pub(super) fn worths(engine: &Engine, sample: Option<&Path>, cancelled: Cancelled) -> Result<Vec<Vec<f32>>> {
    let spec = std::sync::Arc::clone(&engine.model.spec);
    if spec.has_experts() {
        return Err(Error::Plan(
            "this checkpoint has experts, and no small FFN beside them: route to skip_ffn, or change its experts".into(),
        ));
    }
    let tokens = tokens(engine, sample)?;
    let sites: BTreeSet<Site> = (0..spec.n_layers()).map(|layer| Site::block(layer, Hook::MlpPost)).collect();
    let mut sums: Vec<Vec<f64>> = spec.layers.iter().map(|layer| vec![0.0; layer.ffn.d_mlp]).collect();
    let chunks = tokens.chunks(spec.context.min(SURROGATE_TOKENS));
    let total = (chunks.len() * (2 * spec.n_layers() + 1)) as u64;
    let mut done = 0;
    for chunk in chunks {
        let kept: u64 = spec.layers.iter().map(|layer| (layer.ffn.d_mlp * chunk.len()) as u64).sum();
        RunSize::new(&spec, chunk.len()).with_elements(kept).check()?;
        let ask = Ask { capture: sites.clone(), logits: Logits::None, ..Ask::default() };
        let (mut pass, _) = engine.start(&chunk.into(), &Schedule::none(), ask)?;
        while !pass.is_done() {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            pass.step()?;
            done += 1;
            (engine.report)("choosing surrogate small FFNs", done.min(total), total);
        }
        let captures = pass.finish().captures;
        for (sums, site) in sums.iter_mut().zip(&sites) {
            let Some(post) = captures.get(site) else { continue };
            let sum: Vec<f32> = post.abs()?.sum(0)?.to_vec1()?;
            sums.iter_mut().zip(sum).for_each(|(total, part)| *total += f64::from(part));
        }
    }
    let worth = |(layer, sums): (&LayerWeights, Vec<f64>)| -> Result<Vec<f32>> {
        let ffn = layer.dense().ok_or_else(|| Error::Internal("a surrogate of experts".into()))?;
        let norms: Vec<f32> = ffn.down.matrix.tensor()?.sqr()?.sum(0)?.sqrt()?.to_vec1()?;
        Ok(sums.iter().zip(&norms).map(|(sum, norm)| (*sum * f64::from(*norm)) as f32).collect())
    };
    engine.model.weights.layers.iter().zip(sums).map(worth).collect()
}

/// A small FFN per layer: the neurons that are worth most.
pub(super) fn choose(engine: &Engine, worths: &[Vec<f32>], share: f32) -> Result<Vec<Ffn>> {
    if !(share > 0.0 && share <= 1.0) {
        return Err(Error::Plan(format!(
            "a surrogate keeps a share of the neurons above 0 and up to 1, not {share}"
        )));
    }
    let choose = |(layer, worths): (&LayerWeights, &Vec<f32>)| {
        let ffn = layer.dense().ok_or_else(|| Error::Internal("a surrogate of experts".into()))?;
        let count = ((worths.len() as f64 * f64::from(share)).round() as usize).clamp(1, worths.len().max(1));
        let mut neurons: Vec<u32> =
            metric::top_k(worths, count).into_iter().map(|(index, _)| index).collect();
        neurons.sort_unstable();
        ffn.select(&neurons)?.packed()
    };
    engine.model.weights.layers.iter().zip(worths).map(choose).collect()
}

fn tokens(engine: &Engine, sample: Option<&Path>) -> Result<Vec<u32>> {
    let vocab = engine.model.spec.vocab as u64;
    if engine.tokenizer.is_none() {
        return Ok((0..SURROGATE_TOKENS as u64).map(|i| (rng::bits(0, 0, i) % vocab) as u32).collect());
    }
    let mut tokens = match sample {
        Some(path) => engine.encode(&beginning(path, MOST_TEXT)?.0)?,
        None => engine.encode(SAMPLE)?,
    };
    tokens.truncate(SURROGATE_TOKENS);
    if tokens.is_empty() {
        return Err(Error::Plan("the sample text has no tokens".into()));
    }
    Ok(tokens)
}
