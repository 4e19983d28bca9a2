//! First-order estimates of a whole grid from one backward pass (attribution patching; Nanda 2023, Syed et al., arXiv
//! 2310.10348): what the answer would gain if a value moved to what it was in the clean run, along its gradient.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Var};

use super::Component;
use super::patcher::{Patcher, hook};
use crate::engine::{Cancelled, Engine, RunSize};
use crate::error::{Error, Result};
use crate::model::{Ask, Logits, fused};
use crate::site::Site;
use crate::spec::{LayerSpec, Spec};

/// ln p(answer) with one component of one layer restored at one token, to first order about the corrupted run, `[L * T]`.
///
/// # Errors
/// Too little memory for what the backward pass keeps.
pub fn estimate(
    engine: &Engine,
    patcher: &Patcher,
    component: Component,
    cancelled: Cancelled,
) -> Result<Vec<f32>> {
    let (spec, len) = (&engine.model.spec, patcher.tokens.len());
    let sites: Vec<Site> = (0..spec.n_layers()).map(|layer| Site::block(layer, hook(component))).collect();
    RunSize::new(spec, len).with_elements(graph(spec, len)).check()?;
    let mut probes = BTreeMap::new();
    for &site in &sites {
        probes.insert(site, Var::zeros((len, spec.d_model), DType::F32, &Device::Cpu)?);
    }
    let ask = Ask {
        capture: sites.iter().copied().collect(),
        logits: Logits::Last,
        probes: probes.clone(),
        ..Ask::default()
    };
    let (output, _) = engine.pass(&patcher.tokens, patcher.corruption(), ask, cancelled)?;
    let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
    let surprisal = fused::surprisal(&logits, &[patcher.answer])?;
    let start = -surprisal.sum_all()?.to_scalar::<f32>()?;
    let grads = surprisal.backward()?;
    let mut estimates = Vec::with_capacity(sites.len() * len);
    for site in sites {
        let (Some(corrupted), Some(clean)) = (output.captures.get(&site), patcher.clean_value(site)) else {
            return Err(Error::Internal(format!("no values at {site}")));
        };
        // Without a slope nothing that is done here reaches the answer: the plan replaces what comes after.
        let Some(slope) = probes.get(&site).and_then(|probe| grads.get(probe.as_tensor())) else {
            estimates.extend(std::iter::repeat_n(start, len));
            continue;
        };
        let step = (clean - corrupted.detach())?;
        let losses: Vec<f32> = (step * slope)?.sum(1)?.to_vec1()?;
        estimates.extend(losses.into_iter().map(|loss| start - loss));
    }
    Ok(estimates)
}

/// Values that a backward pass keeps, and their gradients; and the largest matrix, unpacked.
pub(in crate::method) fn graph(spec: &Spec, len: usize) -> u64 {
    let per_row = |layer: &LayerSpec| {
        let (heads, kv_heads) =
            (layer.attn.heads * layer.attn.d_head, layer.attn.kv_heads * layer.attn.d_head);
        10 * spec.d_model + 6 * heads + 6 * kv_heads + 2 * layer.ffn_width() + 3 * layer.attn.heads * len
    };
    let kept: u64 = spec.layers.iter().map(|layer| (len * per_row(layer)) as u64).sum();
    let widest = spec.layers.iter().map(|layer| layer.ffn.d_mlp).max().unwrap_or(0).max(spec.vocab);
    2 * kept + (widest * spec.d_model) as u64
}
