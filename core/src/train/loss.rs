//! The training forward pass: sequences of one length stacked as rows, over the same primitives as inference, and the
//! cross-entropy of the next token. Dense Llama models with optional small FFNs only: what the trainer makes.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::model::fused::{self, Masked, Visible};
use crate::model::ops::{self, RopeTable};
use crate::model::pass::plain_ffn;
use crate::model::weights::{LayerWeights, Linear, NormWeights};
use crate::model::{LayerSpec, Model, NormSpec};

/// Where each row's FFN goes: 1 = big, 0 = small. One `[rows, 1]` tensor per layer; `None` = all rows big.
pub type Coins = Option<Vec<Tensor>>;

/// Sequences of one length.
pub struct Batch {
    /// Inputs, sequence after sequence.
    pub inputs: Vec<u32>,
    /// The token after each input.
    pub targets: Vec<u32>,
    /// Tokens per sequence.
    pub len: usize,
}

/// -ln p(target) of every row, `[rows]`, nats.
pub fn surprisals(model: &Model, batch: &Batch, coins: &Coins) -> Result<Tensor> {
    let rows = batch.inputs.len();
    let spec = &model.spec;
    let rope = spec.layers.first().and_then(|layer| layer.attn.rope.as_ref());
    let rope = rope.ok_or_else(|| Error::Internal("the trainer makes rotary models only".into()))?;
    let positions: Vec<usize> = (0..rows).map(|row| row % batch.len).collect();
    let rope = RopeTable::new(rope, &positions, batch.len)?;
    let visible: Visible = (0..batch.len).map(|query| 0..query + 1).collect();
    let mut x = ops::embedding(&model.weights.embed, &batch.inputs)?;
    for index in 0..spec.n_layers() {
        let (layer, weights) = model.layer(index)?;
        let read = norm(&x, layer.ln1.as_ref(), &weights.ln1)?;
        x = (&x + attention(layer, weights, &read, batch.len, &rope, &visible)?)?;
        let read = norm(&x, layer.ln2.as_ref(), &weights.ln2)?;
        let big = plain_ffn(&read, &weights.ffn, layer.ffn.act)?;
        let out = match (coins.as_ref().and_then(|coins| coins.get(index)), &weights.small) {
            (Some(coin), Some(small)) => {
                let small = plain_ffn(&read, small, layer.ffn.act)?;
                (&small + (big - &small)?.broadcast_mul(coin)?)?
            }
            _ => big,
        };
        x = (x + out)?;
    }
    let logits = model.project(&norm(&x, spec.ln_final.as_ref(), &model.weights.ln_final)?)?;
    fused::surprisal(&logits, &batch.targets)
}

/// Coins from a table of booleans, `layers` of `rows` each.
pub fn coins(big: &[Vec<bool>]) -> Result<Coins> {
    let column = |row: &Vec<bool>| -> Result<Tensor> {
        let values: Vec<f32> = row.iter().map(|&big| f32::from(u8::from(big))).collect();
        Ok(Tensor::from_vec(values, (row.len(), 1), &Device::Cpu)?.to_dtype(DType::F32)?)
    };
    big.iter().map(column).collect::<Result<Vec<_>>>().map(Some)
}

fn norm(x: &Tensor, spec: Option<&NormSpec>, weights: &NormWeights) -> Result<Tensor> {
    let Some(spec) = spec else { return Ok(x.clone()) };
    weights.apply(&fused::normalized(x, spec)?)
}

/// Attention within each sequence: sequences stand where the primitives have groups of heads.
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
    let masked = Masked { scale: spec.scale, cap: spec.soft_cap, visible: Visible::clone(visible) };
    let pattern = fused::pattern(&ops::attention_raw(&q, &k)?, &masked)?;
    let mixed = ops::attention_mix(&pattern, &v)?;
    let width = spec.heads * spec.d_head;
    let mixed = mixed.reshape((len, sequences, width))?.transpose(0, 1)?.contiguous()?;
    weights.out.apply(&mixed.reshape((rows, width))?)
}
