//! The image tower of a LLaVA-style model: a CLIP vision transformer (Radford et al. 2021) up to one of its layers, and the
//! two-layer projector that turns its patches into rows of the language model's embedding (Liu et al. 2024, section 3).
//!
//! Images of one size are stacked; every image is `patches` rows on the way out, row by row from the top left.

use std::sync::Arc;

use candle_core::Tensor;

use super::fused::{self, Masked, Visible};
use super::layout::{Decl, Role, Slot, WeightPart};
use super::ops;
use super::weights::{self, Linear, Matrix, NormWeights, Parts};
use crate::error::{Error, Result};
use crate::spec::VisionSpec;

/// Parameters of tower and projector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum VisionRole {
    Class,
    Patches,
    Positions,
    NormPre,
    Ln1,
    Query,
    Key,
    Value,
    Out,
    Ln2,
    Up,
    Down,
    NormPost,
    Project1,
    Project2,
}

use VisionRole as R;

/// The parameters of a layer with their names after `encoder.layers.N.`.
const LAYER: [(R, &str); 8] = [
    (R::Ln1, "layer_norm1"),
    (R::Query, "self_attn.q_proj"),
    (R::Key, "self_attn.k_proj"),
    (R::Value, "self_attn.v_proj"),
    (R::Out, "self_attn.out_proj"),
    (R::Ln2, "layer_norm2"),
    (R::Up, "mlp.fc1"),
    (R::Down, "mlp.fc2"),
];

/// Every tensor of tower and projector. `tower` and `projector` are the families' prefixes.
pub fn declare(spec: &VisionSpec, tower: &str, projector: &str) -> Vec<Decl> {
    let d = spec.width;
    let mut list = Vec::new();
    let mut push = |layer, role, part, name: String, shape: Vec<usize>| {
        let slot = Slot { layer, role: Role::Vision(role), part };
        list.push(Decl { slot, name, prefixed: false, shape });
    };
    let embeddings = format!("{tower}embeddings.");
    push(None, R::Class, WeightPart::Weight, format!("{embeddings}class_embedding"), vec![d]);
    let patches = vec![d, 3, spec.patch, spec.patch];
    push(None, R::Patches, WeightPart::Weight, format!("{embeddings}patch_embedding.weight"), patches);
    let positions = format!("{embeddings}position_embedding.weight");
    push(None, R::Positions, WeightPart::Weight, positions, vec![spec.rows(), d]);
    let mut pair = |layer, role, name: String, shape: Vec<usize>, bias: bool| {
        let out = shape.first().copied().unwrap_or(0);
        push(layer, role, WeightPart::Weight, format!("{name}.weight"), shape);
        if bias {
            push(layer, role, WeightPart::Bias, format!("{name}.bias"), vec![out]);
        }
    };
    // The name is spelled like this in every CLIP checkpoint.
    pair(None, R::NormPre, format!("{tower}pre_layrnorm"), vec![d], true);
    for layer in 0..spec.layers {
        for (role, name) in LAYER {
            let shape = match role {
                R::Ln1 | R::Ln2 => vec![d],
                R::Up => vec![spec.d_mlp, d],
                R::Down => vec![d, spec.d_mlp],
                _ => vec![d, d],
            };
            pair(Some(layer), role, format!("{tower}encoder.layers.{layer}.{name}"), shape, true);
        }
    }
    pair(None, R::NormPost, format!("{tower}post_layernorm"), vec![d], true);
    let (first, second) = (vec![spec.d_model, d], vec![spec.d_model, spec.d_model]);
    pair(None, R::Project1, format!("{projector}linear_1"), first, spec.projector_bias);
    pair(None, R::Project2, format!("{projector}linear_2"), second, spec.projector_bias);
    list
}

/// Weights of tower and projector.
#[derive(Clone, Debug)]
pub struct VisionWeights {
    /// `[width]`
    class: Tensor,
    /// `[width, 3 * patch * patch]`
    patches: Tensor,
    /// `[1 + patches, width]`
    positions: Tensor,
    norm_pre: NormWeights,
    layers: Vec<VisionLayer>,
    project: [Linear; 2],
}

#[derive(Clone, Debug)]
struct VisionLayer {
    ln1: NormWeights,
    qkv: [Linear; 3],
    out: Linear,
    ln2: NormWeights,
    up: Linear,
    down: Linear,
}

/// Take the weights out of `parts`; layers past the used one and the last norm are left.
pub fn assemble(spec: &VisionSpec, parts: &mut Parts) -> Result<VisionWeights> {
    let mut take = |layer: Option<usize>, role: R, part: WeightPart| {
        let slot = Slot { layer, role: Role::Vision(role), part };
        weights::plain(parts, slot)
    };
    let mut layers = Vec::with_capacity(spec.used);
    for layer in (0..spec.used).map(Some) {
        let mut pair = |role| -> Result<(Tensor, Tensor)> {
            Ok((take(layer, role, WeightPart::Weight)?, take(layer, role, WeightPart::Bias)?))
        };
        let mut linear = |role| {
            pair(role).map(|(weight, bias)| Linear { matrix: Matrix::Plain(weight), bias: Some(bias) })
        };
        let qkv = [linear(R::Query)?, linear(R::Key)?, linear(R::Value)?];
        let [out, up, down] = [linear(R::Out)?, linear(R::Up)?, linear(R::Down)?];
        let mut norm =
            |role| pair(role).map(|(weight, bias)| NormWeights { weight: Some(weight), bias: Some(bias) });
        let [ln1, ln2] = [norm(R::Ln1)?, norm(R::Ln2)?];
        layers.push(VisionLayer { ln1, qkv, out, ln2, up, down });
    }
    let mut weight = |role| take(None, role, WeightPart::Weight);
    let patches = weight(R::Patches)?.flatten_from(1)?;
    let (class, positions) = (weight(R::Class)?, weight(R::Positions)?);
    let norm_pre = NormWeights {
        weight: Some(weight(R::NormPre)?),
        bias: Some(take(None, R::NormPre, WeightPart::Bias)?),
    };
    let mut linear = |role| -> Result<Linear> {
        let bias = spec.projector_bias.then(|| take(None, role, WeightPart::Bias)).transpose()?;
        Ok(Linear { matrix: Matrix::Plain(take(None, role, WeightPart::Weight)?), bias })
    };
    let project = [linear(R::Project1)?, linear(R::Project2)?];
    Ok(VisionWeights { class, patches, positions, norm_pre, layers, project })
}

/// Rows of the last used layer, class token included: `[images * (1 + patches), width]`. `pixels` `[images, 3, side,
/// side]`, normalised as the checkpoint's preprocessor says.
pub fn tower(spec: &VisionSpec, weights: &VisionWeights, pixels: &Tensor) -> Result<Tensor> {
    let (images, channels, height, wide) = pixels.dims4()?;
    if (channels, height, wide) != (3, spec.image_size, spec.image_size) {
        let cause = format!("an image of {channels} x {height} x {wide} for a tower of {}", spec.image_size);
        return Err(Error::Internal(cause));
    }
    let (side, patch, width, rows) = (spec.side(), spec.patch, spec.width, spec.rows());
    // A convolution whose stride is its size is a product with the pixels of each patch.
    let patches = pixels.reshape(vec![images, 3, side, patch, side, patch])?;
    let patches = patches.permute(vec![0, 2, 4, 1, 3, 5])?.contiguous()?;
    let patches =
        ops::linear(&patches.reshape((images * side * side, 3 * patch * patch))?, &weights.patches, None)?;
    let class = weights.class.reshape((1, 1, width))?.broadcast_as((images, 1, width))?;
    let x = Tensor::cat(&[&class, &patches.reshape((images, side * side, width))?], 1)?;
    let x = x.broadcast_add(&weights.positions)?.reshape((images * rows, width))?;
    let mut x = norm(&x, spec, &weights.norm_pre)?;
    let visible: Visible = Arc::from(vec![0..rows; rows]);
    for layer in &weights.layers {
        x = (&x + attention(&norm(&x, spec, &layer.ln1)?, spec, layer, images, &visible)?)?;
        let up = fused::activate(&layer.up.apply(&norm(&x, spec, &layer.ln2)?)?, spec.act)?;
        x = (&x + layer.down.apply(&up)?)?;
    }
    Ok(x)
}

/// Rows for the language model, `[images * tokens, d_model]`, from the rows of [`tower`].
pub fn project(spec: &VisionSpec, weights: &VisionWeights, rows: &Tensor) -> Result<Tensor> {
    let rows = if spec.keep_class { rows.clone() } else { patches_of(spec, rows)? };
    let [first, second] = &weights.project;
    second.apply(&fused::activate(&first.apply(&rows)?, spec.projector_act)?)
}

/// The rows of [`tower`] without the class tokens, `[images * patches, width]`.
pub fn patches_of(spec: &VisionSpec, rows: &Tensor) -> Result<Tensor> {
    let (count, images) = (spec.rows(), rows.dim(0)? / spec.rows());
    let patches = rows.reshape((images, count, spec.width))?.narrow(1, 1, count - 1)?.contiguous()?;
    Ok(patches.reshape((images * (count - 1), spec.width))?)
}

fn norm(x: &Tensor, spec: &VisionSpec, weights: &NormWeights) -> Result<Tensor> {
    weights.apply(&fused::normalized(x, &spec.norm)?)
}

/// Every row of an image sees every row of it.
fn attention(
    read: &Tensor,
    spec: &VisionSpec,
    layer: &VisionLayer,
    images: usize,
    visible: &Visible,
) -> Result<Tensor> {
    let (rows, d_head) = (spec.rows(), spec.width / spec.heads);
    let [q, k, v] = &layer.qkv;
    let heads = |part: &Linear| -> Result<Tensor> {
        let x = part.apply(read)?.reshape((images, rows, spec.heads, d_head))?;
        Ok(x.transpose(1, 2)?.contiguous()?.reshape((images * spec.heads, rows, d_head))?)
    };
    let raw = ops::attention_raw(&heads(q)?, &heads(k)?)?;
    let scale = 1.0 / (d_head as f32).sqrt();
    let pattern =
        fused::pattern(&raw, &Masked { scale, cap: None, visible: Visible::clone(visible), sinks: None })?;
    let mixed = ops::attention_mix(&pattern, &heads(v)?)?.reshape((rows, images, spec.width))?;
    layer.out.apply(&mixed.transpose(0, 1)?.contiguous()?.reshape((images * rows, spec.width))?)
}
