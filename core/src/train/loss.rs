//! The training forward pass: sequences of one length stacked as rows, over the same primitives as inference. Llama models
//! with small FFNs, routers and a CLIP tower only: what the trainer makes.

use candle_core::{D, Device, Tensor};

use crate::error::{Error, Result};
use crate::model::fused::{self, Masked, Visible};
use crate::model::ops::{self, RopeTable};
use crate::model::pass::plain_ffn;
use crate::model::weights::{LayerWeights, Linear, NormWeights, VisionWeights};
use crate::model::{Ffn, Model, vision};
use crate::spec::{Lane, LayerSpec, NormSpec, VisionSpec};

/// Sequences of one length.
#[derive(Default)]
pub struct Batch {
    /// Inputs, sequence after sequence.
    pub inputs: Vec<u32>,
    /// The token after each input.
    pub targets: Vec<u32>,
    /// What each target counts in the loss.
    pub weights: Vec<f32>,
    /// Tokens per sequence.
    pub len: usize,
    /// `[images, 3, side, side]`, normalised: of the first sequences, one each, after the first token.
    pub pictures: Option<Tensor>,
}

/// Where each row's FFN goes.
#[derive(Clone, Copy)]
pub enum Routing<'a> {
    /// A lane per layer for all rows; layers past the end are big.
    Uniform(&'a [Lane]),
    /// A lane per layer and row.
    Each(&'a [Vec<Lane>]),
    /// What a learned router (its place in the spec) finds best, row by row.
    Router(usize),
    /// Stage 3 (Duo-LLM, section 2): softmax(tau h) of all its lanes, mixed.
    Mixture {
        /// Its place in the spec.
        router: usize,
        /// Rises to make the mixture hard.
        tau: f64,
    },
}

/// What a pass gives.
pub struct Passed {
    /// `[rows, vocab]`
    pub logits: Tensor,
    /// Of a mixture: the mean share of every lane over layers and rows, `[lanes]`.
    pub shares: Option<Tensor>,
    /// Of a router: the lane of every layer and row.
    pub lanes: Vec<Vec<Lane>>,
}

/// Rows that the tower makes of the batch's pictures, class tokens included, `[pictures * (1 + patches), width]`.
/// `pictures` `[pictures, 3, side, side]`.
pub fn see(model: &Model, pictures: &Tensor) -> Result<Tensor> {
    let (spec, weights) = eyes(model)?;
    vision::tower(spec, weights, pictures)
}

fn eyes(model: &Model) -> Result<(&VisionSpec, &VisionWeights)> {
    match (&model.spec.vision, &model.weights.vision) {
        (Some(spec), Some(weights)) => Ok((spec, weights)),
        _ => Err(Error::Internal("pictures for a model that reads text only".into())),
    }
}

/// Logits of every row, `[rows, vocab]`. `seen` is [`see`]'s answer for the batch's pictures.
pub fn forward(model: &Model, batch: &Batch, seen: Option<&Tensor>, routing: Routing) -> Result<Passed> {
    let rows = batch.inputs.len();
    let spec = &model.spec;
    let rope = spec.layers.first().and_then(|layer| layer.attn.rope.as_ref());
    let rope = rope.ok_or_else(|| Error::Internal("the trainer makes rotary models only".into()))?;
    let positions: Vec<usize> = (0..rows).map(|row| row % batch.len).collect();
    let rope = RopeTable::new(rope, &positions, batch.len)?;
    let visible: Visible = (0..batch.len).map(|query| 0..query + 1).collect();
    let mut x = model.weights.embed.rows(&batch.inputs)?;
    if let Some(seen) = seen {
        let (spec, weights) = eyes(model)?;
        x = put(&x, &vision::project(spec, weights, seen)?, batch, spec.tokens())?;
    }
    let mut lanes = Vec::new();
    let mut shares: Option<Tensor> = None;
    for index in 0..spec.n_layers() {
        let (layer, weights) = model.layer(index)?;
        let read = norm(&x, layer.ln1.as_ref(), &weights.ln1)?;
        x = (&x + attention(layer, weights, &read, batch.len, &rope, &visible)?)?;
        let read = norm(&x, layer.ln2.as_ref(), &weights.ln2)?;
        let here = Here { layer, weights, read: &read };
        let out = match routing {
            Routing::Uniform(lanes) => here.lane(lanes.get(index).copied().unwrap_or(Lane::Big), &read)?,
            Routing::Each(lanes) => here.each(lanes.get(index).map_or(&[], Vec::as_slice))?,
            Routing::Router(router) => {
                let chosen = here.argmax(router, &spec.router(router)?.lanes)?;
                let out = here.each(&chosen)?;
                lanes.push(chosen);
                out
            }
            Routing::Mixture { router, tau } => {
                let (out, mean) = here.mixture(router, &spec.router(router)?.lanes, tau)?;
                shares = Some(match shares {
                    Some(sum) => (sum + mean)?,
                    None => mean,
                });
                out
            }
        };
        if let Some(out) = out {
            x = (x + out)?;
        }
    }
    let logits = model.project(&norm(&x, spec.ln_final.as_ref(), &model.weights.ln_final)?)?;
    let shares = shares.map(|sum| sum / spec.n_layers() as f64).transpose()?;
    Ok(Passed { logits, shares, lanes })
}

/// The embedding with the pictures' rows in their places. `rows` `[images * tokens, d]`.
fn put(x: &Tensor, rows: &Tensor, batch: &Batch, tokens: usize) -> Result<Tensor> {
    let (count, len) = (rows.dim(0)?, batch.len);
    let place = |row: usize| {
        let (sequence, column) = (row / len, row % len);
        let inside = (1..=tokens).contains(&column) && sequence * tokens < count;
        (if inside { sequence * tokens + column - 1 } else { count + row }) as u32
    };
    let places: Vec<u32> = (0..batch.inputs.len()).map(place).collect();
    let places = Tensor::from_vec(places, batch.inputs.len(), &Device::Cpu)?;
    Ok(Tensor::cat(&[rows, x], 0)?.index_select(&places, 0)?)
}

/// Sum of the weighted surprisals, nats, a scalar. `logits` `[rows, vocab]`.
pub fn weighted_surprisal(logits: &Tensor, batch: &Batch) -> Result<Tensor> {
    let weights = Tensor::from_slice(&batch.weights, batch.weights.len(), &Device::Cpu)?;
    let surprisals = fused::surprisal(logits, &batch.targets)?;
    Ok((surprisals * weights)?.sum_all()?)
}

/// The FFNs of a layer before their input.
struct Here<'a> {
    layer: &'a LayerSpec,
    weights: &'a LayerWeights,
    read: &'a Tensor,
}

impl Here<'_> {
    fn big(&self) -> Result<&Ffn> {
        self.weights.dense().ok_or_else(|| Error::Internal("experts are not trained here".into()))
    }

    fn small(&self) -> Result<&Ffn> {
        self.weights.small.as_ref().ok_or_else(|| Error::Internal("no small FFN".into()))
    }

    /// One lane's output for some rows; `None` = nothing is added.
    fn lane(&self, lane: Lane, rows: &Tensor) -> Result<Option<Tensor>> {
        let act = self.layer.ffn.act;
        match lane {
            Lane::Big => plain_ffn(rows, self.big()?, act).map(Some),
            Lane::Small => plain_ffn(rows, self.small()?, act).map(Some),
            Lane::SkipFfn | Lane::SkipLayer => Ok(None),
        }
    }

    /// Rows to their lanes: each FFN computes its own rows only.
    fn each(&self, lanes: &[Lane]) -> Result<Option<Tensor>> {
        let (count, width) = self.read.dims2()?;
        let mut places = vec![0u32; count];
        let (mut parts, mut done) = (Vec::new(), 0);
        for lane in [Lane::Big, Lane::Small, Lane::SkipFfn] {
            let rows: Vec<u32> =
                (0..).zip(lanes).filter(|(_, own)| **own == lane).map(|(row, _)| row).collect();
            if rows.is_empty() {
                continue;
            }
            for (&row, place) in rows.iter().zip(done..) {
                if let Some(slot) = places.get_mut(row as usize) {
                    *slot = place;
                }
            }
            done += rows.len() as u32;
            let len = rows.len();
            let own = self.read.index_select(&Tensor::from_vec(rows, len, &Device::Cpu)?, 0)?;
            parts.push(match self.lane(lane, &own)? {
                Some(out) => out,
                None => ops::zeros(len, width)?,
            });
        }
        if done as usize != count {
            return Err(Error::Internal(format!("{done} lanes for {count} rows")));
        }
        Ok(Some(Tensor::cat(&parts, 0)?.index_select(&Tensor::from_vec(places, count, &Device::Cpu)?, 0)?))
    }

    /// h of a router, `[rows, lanes]`.
    fn preferences(&self, router: usize) -> Result<Tensor> {
        let matrix = self.weights.routers.get(router);
        ops::linear(self.read, matrix.ok_or_else(|| Error::Internal("no such router".into()))?, None)
    }

    fn argmax(&self, router: usize, lanes: &[Lane]) -> Result<Vec<Lane>> {
        let best: Vec<u32> = self.preferences(router)?.argmax(D::Minus1)?.to_vec1()?;
        Ok(best.into_iter().map(|best| lanes.get(best as usize).copied().unwrap_or(Lane::Big)).collect())
    }

    /// Every lane's output times its share, and the mean shares `[lanes]`.
    fn mixture(&self, router: usize, lanes: &[Lane], tau: f64) -> Result<(Option<Tensor>, Tensor)> {
        let shares = ops::softmax(&(self.preferences(router)? * tau)?)?;
        let mut sum: Option<Tensor> = None;
        for (index, &lane) in lanes.iter().enumerate() {
            let Some(out) = self.lane(lane, self.read)? else { continue };
            let part = out.broadcast_mul(&shares.narrow(1, index, 1)?)?;
            sum = Some(match sum {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
        Ok((sum, shares.mean(0)?))
    }
}

/// Norm with weight and bias, where there is one. `x` `[rows, d]`.
fn norm(x: &Tensor, spec: Option<&NormSpec>, weights: &NormWeights) -> Result<Tensor> {
    let Some(spec) = spec else { return Ok(x.clone()) };
    weights.apply(&fused::normalized(x, spec)?)
}

/// Attention within each sequence, `[rows, d]` to `[rows, d]`: sequences stand where the primitives have groups of
/// heads.
fn attention(
    layer: &LayerSpec,
    weights: &LayerWeights,
    read: &Tensor,
    len: usize,
    rope: &RopeTable,
    visible: &Visible,
) -> Result<Tensor> {
    let spec = &layer.attn;
    let (rows, sequences) = (read.dim(0)?, read.dim(0)? / len);
    let heads = |linear_: &Linear, heads: usize| -> Result<Tensor> {
        Ok(linear_.apply(read)?.reshape((rows, heads, spec.d_head))?)
    };
    let stack = |x: Tensor, heads: usize| -> Result<Tensor> {
        let x = x.reshape((sequences, len, heads, spec.d_head))?.transpose(1, 2)?.contiguous()?;
        Ok(x.reshape((sequences * heads, len, spec.d_head))?)
    };
    let q = stack(fused::rotate(&heads(&weights.query, spec.heads)?, rope)?, spec.heads)?;
    let k = stack(fused::rotate(&heads(&weights.key, spec.kv_heads)?, rope)?, spec.kv_heads)?;
    let v = stack(heads(&weights.value, spec.kv_heads)?, spec.kv_heads)?;
    let masked =
        Masked { scale: spec.scale, cap: spec.soft_cap, visible: Visible::clone(visible), sinks: None };
    let pattern = fused::pattern(&ops::attention_raw(&q, &k)?, &masked)?;
    let mixed = ops::attention_mix(&pattern, &v)?;
    let width = spec.heads * spec.d_head;
    let mixed = mixed.reshape((len, sequences, width))?.transpose(0, 1)?.contiguous()?;
    weights.out.apply(&mixed.reshape((rows, width))?)
}
