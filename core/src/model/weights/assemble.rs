//! Weights from tensors in file shapes.

use candle_core::Tensor;

use super::{
    Experts, Ffn, FfnWeights, LayerWeights, Linear, Matrix, NormWeights, Parts, Weights, plain, vision,
};
use crate::error::{Error, Result};
use crate::model::layout::{EachExpert, FfnIn, Layout, Qkv, Role, Slot, WeightPart};
use crate::spec::{ExpertsSpec, FfnSpec, LayerSpec, NormSpec, QkNormOver, Spec};

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

struct Taker {
    parts: Parts,
    layer: Option<usize>,
    transposed: bool,
}

impl Taker {
    /// A stored tensor, of the shape that its declaration has (`[out, in]` for a weight, `[out]` for a bias).
    fn part(&mut self, role: Role, part: WeightPart) -> Result<Tensor> {
        let slot = Slot { layer: self.layer, role, part };
        plain(&mut self.parts, slot)
    }

    /// A matrix that the file has in its own order.
    fn table(&mut self, role: Role) -> Result<Matrix> {
        let slot = Slot { layer: self.layer, role, part: WeightPart::Weight };
        self.parts.remove(&slot).ok_or_else(|| Error::Internal(format!("no tensor for {slot:?}")))
    }

    /// A stored weight, of the shape that its declaration has.
    fn weight(&mut self, role: Role) -> Result<Tensor> {
        self.part(role, WeightPart::Weight)
    }

    fn matrix(&mut self, role: Role) -> Result<Linear> {
        let matrix = match self.table(role)? {
            Matrix::Plain(weight) if self.transposed => Matrix::Plain(weight.t()?),
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
            EachExpert::Joined(_) => self.joined(ffn, experts.count)?,
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
                let matrix = matrix.narrow(2, part, 1)?.squeeze(2)?.t()?;
                let bias = bias.as_ref().map(|bias| bias.narrow(1, part, 1)?.squeeze(1)?.contiguous());
                Ok(Linear { matrix: Matrix::Plain(matrix), bias: bias.transpose()? })
            };
            Ok(Ffn {
                gate: Some(part(0)?),
                up: part(1)?,
                down: Linear { matrix: Matrix::Plain(down.get(expert)?.t()?), bias: of(&down_bias, expert)? },
            })
        };
        (0..count).map(one).collect()
    }

    /// Experts of one tensor `[experts, 2 d_mlp, d]` with gate before up, and one `[experts, d, d_mlp]`; they share its
    /// storage.
    fn joined(&mut self, ffn: &FfnSpec, count: usize) -> Result<Vec<Ffn>> {
        let (gate_up, down) = (self.weight(Role::ExpertsGateUp)?, self.weight(Role::ExpertsDown)?);
        let linear = |weight: Tensor| Linear { matrix: Matrix::Plain(weight), bias: None };
        let one = |expert: usize| -> Result<Ffn> {
            let both = gate_up.get(expert)?;
            Ok(Ffn {
                gate: Some(linear(both.narrow(0, 0, ffn.d_mlp)?)),
                up: linear(both.narrow(0, ffn.d_mlp, ffn.d_mlp)?),
                down: linear(down.get(expert)?),
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
