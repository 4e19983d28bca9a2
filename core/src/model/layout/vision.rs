//! Tensors of image tower and projector.

use super::slot::VisionRole as R;
use super::slot::{Decl, Role, Slot, WeightPart};
use crate::error::Result;
use crate::spec::VisionSpec;

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

/// Show every tensor of tower and projector to `see`, until it refuses one. `tower` and `projector` are the families'
/// prefixes.
pub(super) fn declare(
    spec: &VisionSpec,
    tower: &str,
    projector: &str,
    see: &mut dyn FnMut(Decl) -> Result<()>,
) -> Result<()> {
    let d = spec.width;
    let mut push = |layer, role, part, name: String, shape: Vec<usize>| {
        let slot = Slot { layer, role: Role::Vision(role), part };
        see(Decl { slot, name, prefixed: false, shape })
    };
    let embeddings = format!("{tower}embeddings.");
    push(None, R::Class, WeightPart::Weight, format!("{embeddings}class_embedding"), vec![d])?;
    let patches = vec![d, 3, spec.patch, spec.patch];
    push(None, R::Patches, WeightPart::Weight, format!("{embeddings}patch_embedding.weight"), patches)?;
    let positions = format!("{embeddings}position_embedding.weight");
    push(None, R::Positions, WeightPart::Weight, positions, vec![spec.rows(), d])?;
    let mut pair = |layer, role, name: String, shape: Vec<usize>, bias: bool| {
        let out = shape.first().copied().unwrap_or(0);
        push(layer, role, WeightPart::Weight, format!("{name}.weight"), shape)?;
        if bias {
            push(layer, role, WeightPart::Bias, format!("{name}.bias"), vec![out])?;
        }
        Ok(())
    };
    // The name is spelled like this in every CLIP checkpoint.
    pair(None, R::NormPre, format!("{tower}pre_layrnorm"), vec![d], true)?;
    for layer in 0..spec.layers {
        for (role, name) in LAYER {
            let shape = match role {
                R::Ln1 | R::Ln2 => vec![d],
                R::Up => vec![spec.d_mlp, d],
                R::Down => vec![d, spec.d_mlp],
                _ => vec![d, d],
            };
            pair(Some(layer), role, format!("{tower}encoder.layers.{layer}.{name}"), shape, true)?;
        }
    }
    pair(None, R::NormPost, format!("{tower}post_layernorm"), vec![d], true)?;
    let (first, second) = (vec![spec.d_model, d], vec![spec.d_model, spec.d_model]);
    pair(None, R::Project1, format!("{projector}linear_1"), first, spec.projector_bias)?;
    pair(None, R::Project2, format!("{projector}linear_2"), second, spec.projector_bias)
}
