//! Weights of image tower and projector.

use candle_core::Tensor;

use super::{Linear, Matrix, NormWeights, Parts, plain};
use crate::error::Result;
use crate::model::layout::{Role, Slot, VisionRole as R, WeightPart};
use crate::spec::VisionSpec;

/// Weights of tower and projector.
#[derive(Clone, Debug)]
pub struct VisionWeights {
    /// `[width]`
    pub(in crate::model) class: Tensor,
    /// `[width, 3 * patch * patch]`
    pub(in crate::model) patches: Tensor,
    /// `[1 + patches, width]`
    pub(in crate::model) positions: Tensor,
    pub(in crate::model) norm_pre: NormWeights,
    pub(in crate::model) layers: Vec<VisionLayer>,
    pub(in crate::model) project: [Linear; 2],
}

/// Weights of a layer of the tower.
#[derive(Clone, Debug)]
pub(in crate::model) struct VisionLayer {
    pub(in crate::model) ln1: NormWeights,
    pub(in crate::model) qkv: [Linear; 3],
    pub(in crate::model) out: Linear,
    pub(in crate::model) ln2: NormWeights,
    pub(in crate::model) up: Linear,
    pub(in crate::model) down: Linear,
}

/// Take the weights out of `parts`; layers past the used one and the last norm are left.
pub(super) fn assemble(spec: &VisionSpec, parts: &mut Parts) -> Result<VisionWeights> {
    let mut take = |layer: Option<usize>, role: R, part: WeightPart| {
        let slot = Slot { layer, role: Role::Vision(role), part };
        plain(parts, slot)
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
