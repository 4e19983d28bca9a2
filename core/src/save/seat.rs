//! Where a site's values come from, or go: the weights that can take a factor or a sum in its place.

use crate::model::layout::{EachExpert, FfnIn, Layout, Qkv, Role, WeightPart};
use crate::site::{Hook, Site};
use crate::spec::{LayerSpec, NormSpec, Residual, Spec};

/// The weights that a site's factors and sums go into.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seat {
    /// Their block; `None` outside.
    pub layer: Option<usize>,
    /// Which weights.
    pub weights: Weights,
    /// Why no factor goes into them.
    pub no_factor: Option<&'static str>,
}

/// Weights that values come out of, or go into.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Weights {
    /// Some outputs of a linear map, by their places in its file; so many in all.
    Outputs { role: Role, rows: Vec<usize>, of: usize, bias: bool },
    /// The inputs of a linear map with so many outputs.
    Inputs { role: Role, outputs: usize, bias: bool },
    /// What a norm gives, after its weight and bias.
    Normed { role: Role, norm: NormSpec },
    /// The same before.
    Normalised { role: Role, norm: NormSpec },
    /// Rows of a table; a row is multiplied by this where it is looked up.
    Table { role: Role, scale: f64 },
    /// What every expert and the shared one give.
    AllExperts { shared: bool },
    /// The part of each expert.
    EachExpert,
}

const RUN: &str = "no weight stands at this site: its values are made of the run's";
const ADDS: &str = "the stream is a sum of all that came before: it has no factor";

/// The seat of a site.
pub(super) fn seat(site: Site, spec: &Spec, layout: &Layout) -> Result<Seat, &'static str> {
    let outside = |weights| Ok(Seat { layer: None, weights, no_factor: None });
    let (layer, hook) = match site {
        Site::Embed => return embedding(spec),
        Site::PosEmbed => return outside(Weights::Table { role: Role::Positions, scale: 1.0 }),
        Site::FinalNormalized => {
            let norm = spec.ln_final.ok_or(RUN)?;
            return outside(Weights::Normalised { role: Role::LnFinal, norm });
        }
        Site::FinalScale => return Err(RUN),
        Site::Block { layer, hook } => (layer, hook),
    };
    let block = spec.layers.get(layer).ok_or(RUN)?;
    let here = |weights: Result<Weights, &'static str>| {
        weights.map(|weights| Seat { layer: Some(layer), weights, no_factor: None })
    };
    let post_norm = block.residual == Residual::PostNorm;
    let stream = |seat: Seat| Seat { no_factor: Some(ADDS), ..seat };
    let normalised = |role: Role, norm: Option<NormSpec>| {
        here(norm.ok_or(RUN).map(|norm| Weights::Normalised { role, norm }))
    };
    let normed =
        |role: Role, norm: Option<NormSpec>| here(norm.ok_or(RUN).map(|norm| Weights::Normed { role, norm }));
    match hook {
        Hook::ResidPre if layer == 0 => start(spec),
        Hook::ResidPre => seat(Site::block(layer - 1, Hook::ResidPost), spec, layout),
        Hook::ResidMid if post_norm => normed(Role::Ln1, block.ln1),
        Hook::ResidMid => seat(Site::block(layer, Hook::AttnOut), spec, layout).map(stream),
        Hook::ResidPost if post_norm => normed(Role::Ln2, block.ln2),
        Hook::ResidPost => seat(Site::block(layer, Hook::MlpOut), spec, layout).map(stream),
        Hook::Ln1Normalized => normalised(Role::Ln1, block.ln1),
        Hook::Ln2Normalized => normalised(Role::Ln2, block.ln2),
        Hook::Ln1PostNormalized => normalised(Role::Ln1Post, block.ln1_post),
        Hook::Ln2PostNormalized => normalised(Role::Ln2Post, block.ln2_post),
        Hook::Q | Hook::K | Hook::V => here(Ok(projection(block, layout, hook))),
        Hook::Z => {
            let outputs = spec.d_model;
            here(Ok(Weights::Inputs { role: Role::Out, outputs, bias: block.attn.out_bias }))
        }
        Hook::AttnOut if block.ln1_post.is_some() => normed(Role::Ln1Post, block.ln1_post),
        Hook::AttnOut => here(Ok(all(Role::Out, spec.d_model, block.attn.out_bias))),
        Hook::MlpOut if block.ln2_post.is_some() => normed(Role::Ln2Post, block.ln2_post),
        Hook::MlpOut => here(Ok(match block.experts {
            Some(experts) => Weights::AllExperts { shared: experts.shared.is_some() },
            None => all(Role::Down, spec.d_model, block.ffn.out_bias),
        })),
        Hook::RouterLogits => {
            let experts = block.experts.ok_or(RUN)?;
            here(Ok(all(Role::ExpertRouter, experts.count, experts.router_bias)))
        }
        Hook::ExpertGates => here(Ok(Weights::EachExpert)),
        _ if block.experts.is_some() => Err("inside experts no site has one weight"),
        Hook::MlpPre | Hook::MlpPreLinear => here(Ok(into_ffn(block, layout, hook))),
        Hook::MlpPost => {
            let outputs = spec.d_model;
            here(Ok(Weights::Inputs { role: Role::Down, outputs, bias: block.ffn.out_bias }))
        }
        _ => Err(RUN),
    }
}

/// All outputs of a linear map.
fn all(role: Role, of: usize, bias: bool) -> Weights {
    Weights::Outputs { role, rows: (0..of).collect(), of, bias }
}

/// Queries, keys or values of a block.
fn projection(block: &LayerSpec, layout: &Layout, hook: Hook) -> Weights {
    let attn = &block.attn;
    let (d_head, bias) = (attn.d_head, attn.qkv_bias);
    let (q, kv) = (attn.heads * d_head, attn.kv_heads * d_head);
    let (part, role, start, len) = match hook {
        Hook::Q => (0, Role::Query, 0, q),
        Hook::K => (1, Role::Key, q, kv),
        _ => (2, Role::Value, q + kv, kv),
    };
    let of = q + 2 * kv;
    match layout.qkv {
        Qkv::Split(_) => all(role, len, bias),
        Qkv::Stacked(_) => {
            Weights::Outputs { role: Role::Qkv, rows: (start..start + len).collect(), of, bias }
        }
        Qkv::PerHead(_) => {
            let place = |at: usize| (at / d_head * 3 + part) * d_head + at % d_head;
            Weights::Outputs { role: Role::Qkv, rows: (0..len).map(place).collect(), of, bias }
        }
    }
}

/// The way into an FFN: its gate where it has one, else its only one; or the other of two.
fn into_ffn(block: &LayerSpec, layout: &Layout, hook: Hook) -> Weights {
    let (d_mlp, bias) = (block.ffn.d_mlp, block.ffn.in_bias);
    let gate = hook == Hook::MlpPre;
    match layout.ffn_in {
        FfnIn::Up(_) => all(Role::Up, d_mlp, bias),
        FfnIn::Gated(_) => all(if gate { Role::Gate } else { Role::Up }, d_mlp, bias),
        FfnIn::GatedStacked(_) => {
            let start = if gate { 0 } else { d_mlp };
            let rows = (start..start + d_mlp).collect();
            Weights::Outputs { role: Role::GateUp, rows, of: 2 * d_mlp, bias }
        }
    }
}

/// The table of the embedding.
fn embedding(spec: &Spec) -> Result<Seat, &'static str> {
    if spec.unembed.tied {
        return Err("the embedding shares its table with the unembedding");
    }
    if spec.embed.width != spec.d_model {
        return Err("a projection stands between the embedding's table and the stream");
    }
    if spec.vision.is_some() {
        return Err("rows of a picture do not come from the embedding's table");
    }
    let scale = spec.embed.scale.map_or(1.0, f64::from);
    Ok(Seat { layer: None, weights: Weights::Table { role: Role::Embed, scale }, no_factor: None })
}

/// The stream before the first block.
fn start(spec: &Spec) -> Result<Seat, &'static str> {
    let seat = match spec.embed.positions {
        Some(_) => Seat {
            layer: None,
            weights: Weights::Table { role: Role::Positions, scale: 1.0 },
            no_factor: None,
        },
        None => embedding(spec)?,
    };
    Ok(Seat { no_factor: Some(ADDS), ..seat })
}

/// The tensors that what experts give comes out of, each with the axis of its outputs.
pub(super) fn given_by_experts(layout: &Layout, count: usize, bias: bool) -> Vec<(Role, WeightPart, usize)> {
    let (weights, biases): (Vec<_>, Vec<_>) = match layout.experts.each {
        EachExpert::Single(..) => {
            let each = |part| (0..count).map(move |expert| (Role::ExpertDown(expert), part, 0));
            (each(WeightPart::Weight).collect(), each(WeightPart::Bias).collect())
        }
        EachExpert::Joined(_) => (vec![(Role::ExpertsDown, WeightPart::Weight, 1)], Vec::new()),
        EachExpert::Stacked(_) => {
            (vec![(Role::ExpertsDown, WeightPart::Weight, 2)], vec![(Role::ExpertsDown, WeightPart::Bias, 1)])
        }
    };
    let biases = biases.into_iter().filter(|_| bias);
    weights.into_iter().chain(biases).collect()
}
