//! The image tower of a LLaVA-style model: a CLIP vision transformer (Radford et al. 2021) up to one of its layers, and the
//! two-layer projector that turns its patches into rows of the language model's embedding (Liu et al. 2024, section 3).
//!
//! Images of one size are stacked; every image is `patches` rows on the way out, row by row from the top left.

use std::sync::Arc;

use candle_core::Tensor;

use super::fused::{self, Masked, Visible};
use super::ops;
use super::weights::{Linear, NormWeights, VisionLayer, VisionWeights};
use crate::error::{Error, Result};
use crate::spec::VisionSpec;

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

/// Norm with weight and bias. `x` `[rows, width]`.
fn norm(x: &Tensor, spec: &VisionSpec, weights: &NormWeights) -> Result<Tensor> {
    weights.apply(&fused::normalized(x, &spec.norm)?)
}

/// Attention in which every row of an image sees every row of it. `read` `[images * rows, width]`, as the answer.
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
