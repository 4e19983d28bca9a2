//! The weights of a model, in the shapes the forward pass reads.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::fused::Packed;
use super::layout::{EachExpert, FfnIn, Layout, Qkv, Role, Slot, WeightPart};
use super::ops;
use super::vision::{self, VisionWeights};
use crate::error::{Error, Result};
use crate::spec::{ExpertsSpec, FfnSpec, LayerSpec, NormSpec, QkNormOver, Spec};

/// All weights, f32.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[vocab, embed width]`
    pub embed: Matrix,
    /// `[rows, d]`
    pub positions: Option<Tensor>,
    /// `[d, embed width]`
    pub project_in: Option<Linear>,
    /// `[embed width, d]`
    pub project_out: Option<Linear>,
    /// One per block.
    pub layers: Vec<LayerWeights>,
    /// Norm before the unembedding.
    pub ln_final: NormWeights,
    /// `[vocab, embed width]`
    pub unembed: Linear,
    /// Image tower and projector.
    pub vision: Option<VisionWeights>,
}

/// Weights of a block.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// Norm before attention.
    pub ln1: NormWeights,
    /// Norm on the attention output.
    pub ln1_post: NormWeights,
    /// Norm before the FFN.
    pub ln2: NormWeights,
    /// Norm on the FFN output.
    pub ln2_post: NormWeights,
    /// `[heads * d_head, d]`
    pub query: Linear,
    /// `[kv_heads * d_head, d]`
    pub key: Linear,
    /// `[kv_heads * d_head, d]`
    pub value: Linear,
    /// `[d, heads * d_head]`
    pub out: Linear,
    /// Norm of queries.
    pub query_norm: NormWeights,
    /// Norm of keys.
    pub key_norm: NormWeights,
    /// The FFN or the experts.
    pub ffn: FfnWeights,
    /// The small FFN of a Duo model.
    pub small: Option<Ffn>,
    /// One `[lanes, d]` per entry of [`Spec::routers`].
    pub routers: Vec<Tensor>,
    /// Scores of the key that is not there, one per head.
    pub sinks: Option<Arc<[f32]>>,
}

/// What stands in a block's FFN sublayer.
#[derive(Clone, Debug)]
pub enum FfnWeights {
    /// One FFN, the big one of a Duo model.
    Dense(Ffn),
    /// Experts.
    Experts(Experts),
}

/// Weights of a block of experts.
#[derive(Clone, Debug)]
pub struct Experts {
    /// `[experts, d]`
    pub router: Linear,
    /// Added to the scores for the choice, `[experts]`.
    pub correction: Option<Vec<f32>>,
    /// The experts.
    pub each: Vec<Ffn>,
    /// What every token goes through.
    pub shared: Option<Ffn>,
    /// Its share before the sigmoid, `[1, d]`.
    pub shared_share: Option<Linear>,
}

/// A matrix `[out, in]`.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// As the file has it: gradients flow through it.
    Plain(Tensor),
    /// For inference.
    Packed(Arc<Packed>),
}

/// y = x W^T + b
#[derive(Clone, Debug)]
pub struct Linear {
    /// W, `[out, in]`
    pub matrix: Matrix,
    /// `[out]`
    pub bias: Option<Tensor>,
}

/// Factor and offset of a norm; empty where it has none.
#[derive(Clone, Debug, Default)]
pub struct NormWeights {
    /// `[width]`, or `[heads, d_head]` where each head has its own.
    pub weight: Option<Tensor>,
    /// `[width]`
    pub bias: Option<Tensor>,
}

/// A feed-forward network.
#[derive(Clone, Debug)]
pub struct Ffn {
    /// `[d_mlp, d]`, gated FFNs only.
    pub gate: Option<Linear>,
    /// `[d_mlp, d]`
    pub up: Linear,
    /// `[d, d_mlp]`
    pub down: Linear,
}

/// Tensors by slot, in file shapes; matrices may be packed already.
pub type Parts = HashMap<Slot, Matrix>;

/// Build the weights from tensors in file shapes; splits share their storage with what they were split from.
pub fn assemble(spec: &Spec, layout: &Layout, parts: Parts) -> Result<Weights> {
    let mut take = Taker { parts, layer: None, transposed: layout.transposed };
    let mut layers = Vec::with_capacity(spec.n_layers());
    for (index, layer) in spec.layers.iter().enumerate() {
        take.layer = Some(index);
        layers.push(take.layer(layer, layout, spec.routers.len())?);
    }
    take.layer = None;
    let embed = take.table(Role::Embed)?;
    let unembed = Linear {
        matrix: if spec.unembed.tied { embed.clone() } else { take.table(Role::Unembed)? },
        bias: if spec.unembed.bias { Some(take.part(Role::Unembed, WeightPart::Bias)?) } else { None },
    };
    let vision = spec.vision.as_ref();
    let vision = vision.map(|spec| vision::assemble(spec, &mut take.parts)).transpose()?;
    let projected = spec.embed.width != spec.d_model;
    Ok(Weights {
        positions: spec.embed.positions.map(|_| take.weight(Role::Positions)).transpose()?,
        project_in: projected.then(|| take.matrix(Role::ProjectIn)).transpose()?,
        project_out: projected.then(|| take.matrix(Role::ProjectOut)).transpose()?,
        ln_final: take.norm(Role::LnFinal, spec.ln_final)?,
        layers,
        embed,
        unembed,
        vision,
    })
}

/// A tensor that is never packed.
pub(super) fn plain(parts: &mut Parts, slot: Slot) -> Result<Tensor> {
    match parts.remove(&slot) {
        Some(Matrix::Plain(tensor)) => Ok(tensor),
        _ => Err(Error::Internal(format!("no tensor for {slot:?}"))),
    }
}

/// Whether a tensor is multiplied with as the file has it, so that it can be read straight into panels.
pub fn goes_packed(spec: &Spec, layout: &Layout, slot: Slot) -> bool {
    let matrix = match slot.role {
        Role::Query | Role::Key | Role::Value | Role::Out | Role::Gate | Role::Up | Role::Down => {
            !layout.transposed
        }
        Role::SmallGate | Role::SmallUp | Role::SmallDown => !layout.transposed,
        Role::ExpertRouter | Role::ExpertGate(_) | Role::ExpertUp(_) | Role::ExpertDown(_) => {
            !layout.transposed
        }
        Role::SharedGate | Role::SharedUp | Role::SharedDown | Role::SharedShare => !layout.transposed,
        Role::Unembed => true,
        // One that is only looked up stays as it is.
        Role::Embed => spec.unembed.tied,
        _ => false,
    };
    matrix && slot.part == WeightPart::Weight
}

struct Taker {
    parts: Parts,
    layer: Option<usize>,
    transposed: bool,
}

impl Taker {
    fn part(&mut self, role: Role, part: WeightPart) -> Result<Tensor> {
        let slot = Slot { layer: self.layer, role, part };
        plain(&mut self.parts, slot)
    }

    /// A matrix that the file has in its own order.
    fn table(&mut self, role: Role) -> Result<Matrix> {
        let slot = Slot { layer: self.layer, role, part: WeightPart::Weight };
        self.parts.remove(&slot).ok_or_else(|| Error::Internal(format!("no tensor for {slot:?}")))
    }

    fn weight(&mut self, role: Role) -> Result<Tensor> {
        self.part(role, WeightPart::Weight)
    }

    fn matrix(&mut self, role: Role) -> Result<Linear> {
        let matrix = match self.table(role)? {
            Matrix::Plain(weight) if self.transposed => Matrix::Plain(weight.t()?.contiguous()?),
            matrix => matrix,
        };
        Ok(Linear { matrix, bias: None })
    }

    fn linear(&mut self, role: Role, bias: bool) -> Result<Linear> {
        let matrix = self.matrix(role)?;
        let bias = if bias { Some(self.part(role, WeightPart::Bias)?) } else { None };
        Ok(Linear { bias, ..matrix })
    }

    fn norm(&mut self, role: Role, norm: Option<NormSpec>) -> Result<NormWeights> {
        let Some(norm) = norm else { return Ok(NormWeights::default()) };
        let weight = match norm.weight {
            true if norm.offset_one => Some((self.weight(role)? + 1.0)?),
            true => Some(self.weight(role)?),
            false => None,
        };
        let bias = if norm.bias { Some(self.part(role, WeightPart::Bias)?) } else { None };
        Ok(NormWeights { weight, bias })
    }

    fn layer(&mut self, spec: &LayerSpec, layout: &Layout, routers: usize) -> Result<LayerWeights> {
        let attn = &spec.attn;
        let [query, key, value] = match layout.qkv {
            Qkv::Split(_) => [
                self.linear(Role::Query, attn.qkv_bias)?,
                self.linear(Role::Key, attn.qkv_bias)?,
                self.linear(Role::Value, attn.qkv_bias)?,
            ],
            Qkv::Stacked(_) => {
                let (q, kv) = (attn.heads * attn.d_head, attn.kv_heads * attn.d_head);
                let fused = self.linear(Role::Qkv, attn.qkv_bias)?;
                [fused.rows(0, q)?, fused.rows(q, kv)?, fused.rows(q + kv, kv)?]
            }
            Qkv::PerHead(_) => {
                let fused = self.linear(Role::Qkv, attn.qkv_bias)?;
                [0, 1, 2]
                    .map(|part| fused.interleaved(part, attn.heads, attn.d_head))
                    .into_iter()
                    .collect::<Result<Vec<_>>>()?
                    .try_into()
                    .map_err(|_| Error::Internal("three projections".into()))?
            }
        };
        let (query_norm, key_norm) = self.qk_norms(spec)?;
        let ffn = match &spec.experts {
            Some(experts) => FfnWeights::Experts(self.experts(&spec.ffn, experts, layout)?),
            None => FfnWeights::Dense(self.ffn(&spec.ffn, layout)?),
        };
        let small = match spec.small {
            Some(small) => Some(Ffn {
                gate: Some(self.linear(Role::SmallGate, small.in_bias)?),
                up: self.linear(Role::SmallUp, small.in_bias)?,
                down: self.linear(Role::SmallDown, small.out_bias)?,
            }),
            None => None,
        };
        Ok(LayerWeights {
            ln1: self.norm(Role::Ln1, spec.ln1)?,
            ln1_post: self.norm(Role::Ln1Post, spec.ln1_post)?,
            ln2: self.norm(Role::Ln2, spec.ln2)?,
            ln2_post: self.norm(Role::Ln2Post, spec.ln2_post)?,
            query,
            key,
            value,
            out: self.linear(Role::Out, attn.out_bias)?,
            query_norm,
            key_norm,
            ffn,
            small,
            routers: (0..routers).map(|number| self.weight(Role::Router(number))).collect::<Result<_>>()?,
            sinks: match attn.sinks {
                true => Some(self.part(Role::Sinks, WeightPart::Bias)?.to_vec1::<f32>()?.into()),
                false => None,
            },
        })
    }

    fn ffn(&mut self, spec: &FfnSpec, layout: &Layout) -> Result<Ffn> {
        let bias = spec.in_bias;
        let (gate, up) = match layout.ffn_in {
            FfnIn::Up(_) => (None, self.linear(Role::Up, bias)?),
            FfnIn::Gated(_) => (Some(self.linear(Role::Gate, bias)?), self.linear(Role::Up, bias)?),
            FfnIn::GatedStacked(_) => {
                let fused = self.linear(Role::GateUp, bias)?;
                (Some(fused.rows(0, spec.d_mlp)?), fused.rows(spec.d_mlp, spec.d_mlp)?)
            }
        };
        Ok(Ffn { gate, up, down: self.linear(Role::Down, spec.out_bias)? })
    }

    fn experts(&mut self, ffn: &FfnSpec, experts: &ExpertsSpec, layout: &Layout) -> Result<Experts> {
        let router = self.linear(Role::ExpertRouter, experts.router_bias)?;
        let correction = match experts.correction {
            true => Some(self.part(Role::ExpertCorrection, WeightPart::Bias)?.to_vec1()?),
            false => None,
        };
        let each = match layout.experts.each {
            EachExpert::Single(..) => (0..experts.count)
                .map(|expert| {
                    Ok(Ffn {
                        gate: Some(self.linear(Role::ExpertGate(expert), ffn.in_bias)?),
                        up: self.linear(Role::ExpertUp(expert), ffn.in_bias)?,
                        down: self.linear(Role::ExpertDown(expert), ffn.out_bias)?,
                    })
                })
                .collect::<Result<_>>()?,
            EachExpert::Stacked(_) => self.stacked(ffn, experts.count)?,
        };
        let shared = match experts.shared {
            Some(_) => Some(Ffn {
                gate: Some(self.linear(Role::SharedGate, false)?),
                up: self.linear(Role::SharedUp, false)?,
                down: self.linear(Role::SharedDown, false)?,
            }),
            None => None,
        };
        let gated = experts.shared.is_some_and(|shared| shared.gated);
        let shared_share = gated.then(|| self.linear(Role::SharedShare, false)).transpose()?;
        Ok(Experts { router, correction, each, shared, shared_share })
    }

    /// Experts of one tensor `[experts, d, 2 d_mlp]` with gate and up alternating, and one `[experts, d_mlp, d]`.
    fn stacked(&mut self, ffn: &FfnSpec, count: usize) -> Result<Vec<Ffn>> {
        let mut both = |role: Role, bias: bool| -> Result<(Tensor, Option<Tensor>)> {
            let bias = bias.then(|| self.part(role, WeightPart::Bias)).transpose()?;
            Ok((self.weight(role)?, bias))
        };
        let (gate_up, gate_up_bias) = both(Role::ExpertsGateUp, ffn.in_bias)?;
        let (down, down_bias) = both(Role::ExpertsDown, ffn.out_bias)?;
        let of = |all: &Option<Tensor>, expert: usize| all.as_ref().map(|all| all.get(expert)).transpose();
        let one = |expert: usize| -> Result<Ffn> {
            let (_, d, _) = gate_up.dims3()?;
            let matrix = gate_up.get(expert)?.reshape((d, ffn.d_mlp, 2))?;
            let bias = of(&gate_up_bias, expert)?.map(|bias| bias.reshape((ffn.d_mlp, 2))).transpose()?;
            let part = |part: usize| -> Result<Linear> {
                let matrix = matrix.narrow(2, part, 1)?.squeeze(2)?.t()?.contiguous()?;
                let bias = bias.as_ref().map(|bias| bias.narrow(1, part, 1)?.squeeze(1)?.contiguous());
                Ok(Linear { matrix: Matrix::Plain(matrix), bias: bias.transpose()? })
            };
            Ok(Ffn {
                gate: Some(part(0)?),
                up: part(1)?,
                down: Linear {
                    matrix: Matrix::Plain(down.get(expert)?.t()?.contiguous()?),
                    bias: of(&down_bias, expert)?,
                },
            })
        };
        (0..count).map(one).collect()
    }

    fn qk_norms(&mut self, spec: &LayerSpec) -> Result<(NormWeights, NormWeights)> {
        let Some(qk) = spec.attn.qk_norm else { return Ok(Default::default()) };
        if qk.over != QkNormOver::EachHead {
            return Ok((
                self.norm(Role::QueryNorm, Some(qk.norm))?,
                self.norm(Role::KeyNorm, Some(qk.norm))?,
            ));
        }
        let mut stack = |heads: usize, role: fn(usize) -> Role| -> Result<NormWeights> {
            let each: Vec<NormWeights> =
                (0..heads).map(|head| self.norm(role(head), Some(qk.norm))).collect::<Result<_>>()?;
            let join = |pick: fn(&NormWeights) -> Option<&Tensor>| -> Result<Option<Tensor>> {
                let parts: Vec<&Tensor> = each.iter().filter_map(pick).collect();
                Ok(if parts.is_empty() { None } else { Some(Tensor::stack(&parts, 0)?) })
            };
            Ok(NormWeights { weight: join(|n| n.weight.as_ref())?, bias: join(|n| n.bias.as_ref())? })
        };
        Ok((stack(spec.attn.heads, Role::QueryNormHead)?, stack(spec.attn.kv_heads, Role::KeyNormHead)?))
    }
}

impl NormWeights {
    /// normalized * weight + bias.
    pub fn apply(&self, normalized: &Tensor) -> Result<Tensor> {
        ops::affine(normalized, self.weight.as_ref(), self.bias.as_ref())
    }
}

impl Matrix {
    /// x W^T + b. `x` `[rows, in]`, `bias` `[out]`; returns `[rows, out]`.
    pub fn times(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => ops::linear(x, weight, bias),
            Self::Packed(packed) => Ok(packed.times(x, bias)?),
        }
    }

    /// Some of its rows, `[ids, in]`: the embedding of tokens.
    pub fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => ops::embedding(weight, ids),
            Self::Packed(packed) => Ok(packed.rows(ids)?),
        }
    }

    /// One of its columns, `[out]`.
    pub fn column(&self, column: usize) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => Ok(weight.narrow(1, column, 1)?.contiguous()?.flatten_all()?),
            Self::Packed(packed) => Ok(packed.column(column)?),
        }
    }

    /// All of it, `[out, in]`; a copy where it is packed.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => Ok(weight.clone()),
            Self::Packed(packed) => Ok(packed.unpacked()?),
        }
    }

    fn packed(self) -> Result<Self> {
        match self {
            Self::Plain(weight) => Ok(Self::Packed(Arc::new(Packed::new(&weight)?))),
            packed @ Self::Packed(_) => Ok(packed),
        }
    }
}

impl Weights {
    /// The same for inference. What is packed is let go of at once: two copies of one matrix or layer exist at a time.
    pub fn packed(self) -> Result<Self> {
        let Self { embed, unembed, project_in, project_out, layers, positions, ln_final, vision } = self;
        let tied = match (&embed, &unembed.matrix) {
            (Matrix::Plain(embed), Matrix::Plain(unembed)) => embed.id() == unembed.id(),
            _ => false,
        };
        // A table that is only looked up stays as it is; a tied one goes with its copy.
        let looked_up = (!tied).then_some(embed);
        let unembed = unembed.packed()?;
        Ok(Self {
            embed: looked_up.unwrap_or_else(|| unembed.matrix.clone()),
            unembed,
            project_in: project_in.map(Linear::packed).transpose()?,
            project_out: project_out.map(Linear::packed).transpose()?,
            layers: layers.into_iter().map(LayerWeights::packed).collect::<Result<_>>()?,
            positions,
            ln_final,
            vision,
        })
    }
}

impl Experts {
    fn packed(self) -> Result<Self> {
        Ok(Self {
            router: self.router.packed()?,
            correction: self.correction,
            each: self.each.into_iter().map(Ffn::packed).collect::<Result<_>>()?,
            shared: self.shared.map(Ffn::packed).transpose()?,
            shared_share: self.shared_share.map(Linear::packed).transpose()?,
        })
    }
}

impl LayerWeights {
    /// The block's one FFN, where it has one.
    pub fn dense(&self) -> Option<&Ffn> {
        match &self.ffn {
            FfnWeights::Dense(ffn) => Some(ffn),
            FfnWeights::Experts(_) => None,
        }
    }

    fn packed(self) -> Result<Self> {
        Ok(Self {
            query: self.query.packed()?,
            key: self.key.packed()?,
            value: self.value.packed()?,
            out: self.out.packed()?,
            ffn: match self.ffn {
                FfnWeights::Dense(ffn) => FfnWeights::Dense(ffn.packed()?),
                FfnWeights::Experts(experts) => FfnWeights::Experts(experts.packed()?),
            },
            small: self.small.map(Ffn::packed).transpose()?,
            ..self
        })
    }
}

impl Linear {
    fn packed(self) -> Result<Self> {
        Ok(Self { matrix: self.matrix.packed()?, bias: self.bias })
    }

    /// x W^T + b. `x` `[rows, in]`; returns `[rows, out]`.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.matrix.times(x, self.bias.as_ref())
    }

    /// Output rows `start .. start + len`, sharing storage.
    fn rows(&self, start: usize, len: usize) -> Result<Self> {
        Ok(Self {
            matrix: Matrix::Plain(self.matrix.tensor()?.narrow(0, start, len)?),
            bias: self.bias.as_ref().map(|bias| bias.narrow(0, start, len)).transpose()?,
        })
    }

    /// Part 0, 1 or 2 of a projection stored head by head as query, key, value.
    fn interleaved(&self, part: usize, heads: usize, d_head: usize) -> Result<Self> {
        let pick = |x: &Tensor, width: usize| -> Result<Tensor> {
            let x = x.reshape((heads, 3, d_head * width))?.narrow(1, part, 1)?.contiguous()?;
            Ok(x.reshape((heads * d_head, width))?)
        };
        let weight = self.matrix.tensor()?;
        let input = weight.dim(1)?;
        let bias = match &self.bias {
            Some(bias) => Some(pick(bias, 1)?.squeeze(1)?),
            None => None,
        };
        Ok(Self { matrix: Matrix::Plain(pick(&weight, input)?), bias })
    }
}

impl Ffn {
    /// Inner width.
    pub fn d_mlp(&self) -> Result<usize> {
        match &self.up.matrix {
            Matrix::Plain(weight) => Ok(weight.dim(0)?),
            Matrix::Packed(packed) => Ok(packed.outputs()),
        }
    }

    /// The same for inference.
    pub fn packed(self) -> Result<Self> {
        Ok(Self {
            gate: self.gate.map(Linear::packed).transpose()?,
            up: self.up.packed()?,
            down: self.down.packed()?,
        })
    }

    /// The FFN restricted to some of its neurons; `neurons` are indices into `d_mlp`.
    pub fn select(&self, neurons: &[u32]) -> Result<Self> {
        let index = Tensor::from_slice(neurons, neurons.len(), &Device::Cpu)?;
        let rows = |linear: &Linear| -> Result<Linear> {
            Ok(Linear {
                matrix: Matrix::Plain(linear.matrix.tensor()?.index_select(&index, 0)?),
                bias: linear.bias.as_ref().map(|bias| bias.index_select(&index, 0)).transpose()?,
            })
        };
        Ok(Self {
            gate: self.gate.as_ref().map(rows).transpose()?,
            up: rows(&self.up)?,
            down: Linear {
                matrix: Matrix::Plain(self.down.matrix.tensor()?.index_select(&index, 1)?),
                bias: self.down.bias.clone(),
            },
        })
    }
}

/// Norms that are not stored but implied: all ones or zeros, for random models.
pub fn constant(shape: &[usize], value: f64) -> Result<Tensor> {
    Ok((Tensor::ones(shape, DType::F32, &Device::Cpu)? * value)?)
}
