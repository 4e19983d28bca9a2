//! Where a family keeps its tensors: names and shapes, declared before anything is read.
//!
//! One list serves loading, random initialisation, saving, parameter counts and memory estimates.

mod names;
mod slot;
mod vision;

pub use names::{EXPERTS, EachExpert, ExpertsAt, FfnIn, LLAMA, Layout, Qkv, ROTARY_BUFFERS};
pub use slot::{Decl, Role, Slot, VisionRole, WeightPart};

use crate::error::Result;
use crate::spec::{ExpertsSpec, FfnSpec, LayerSpec, NormSpec, QkNormOver, Spec};

/// The table of the token embedding.
pub fn embedding(spec: &Spec, layout: &Layout) -> Decl {
    let slot = Slot { layer: None, role: Role::Embed, part: WeightPart::Weight };
    let name = format!("{}.weight", layout.embed);
    Decl { slot, name, prefixed: true, shape: vec![spec.vocab, spec.embed.width] }
}

/// The table of the unembedding, which a tied one shares.
pub fn unembedding(spec: &Spec, layout: &Layout) -> Decl {
    let slot = Slot { layer: None, role: Role::Unembed, part: WeightPart::Weight };
    let name = format!("{}.weight", layout.unembed);
    Decl { slot, name, prefixed: false, shape: vec![spec.vocab, spec.embed.width] }
}

/// Every tensor of a model, in the order of the pass.
pub fn declare(spec: &Spec, layout: &Layout) -> Vec<Decl> {
    let mut list = Vec::new();
    // Whoever takes all of them refuses none.
    drop(walk(spec, layout, &mut |decl| {
        list.push(decl);
        Ok(())
    }));
    list
}

/// Show every tensor of a model to `see`, in the order of the pass, until it refuses one: how many there are is the
/// config's word alone.
///
/// # Errors
/// What `see` refuses with.
pub fn walk(spec: &Spec, layout: &Layout, see: &mut dyn FnMut(Decl) -> Result<()>) -> Result<()> {
    Declarer { layout, layer: None, times: 1, to: To::See(see) }.model(spec)
}

/// How much a model holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Tensors.
    pub tensors: u64,
    /// Parameters, tied ones counted once; [`u64::MAX`] stands for more.
    pub parameters: u64,
}

/// Tensors and parameters of a model, by arithmetic.
pub fn count(spec: &Spec, layout: &Layout) -> Count {
    let mut count = Count::default();
    tally(spec, layout, &mut |decl, times| {
        count.tensors = count.tensors.saturating_add(times);
        count.parameters = count.parameters.saturating_add(decl.len().saturating_mul(times));
    });
    count
}

/// Show the tensors of a model to `hear`; what heads and experts have alike once, with how many there are.
pub fn tally(spec: &Spec, layout: &Layout, hear: &mut dyn FnMut(&Decl, u64)) {
    // Nothing is refused.
    drop(Declarer { layout, layer: None, times: 1, to: To::Tally(hear) }.model(spec));
}

/// Parameters of a model, tied ones counted once.
pub fn parameters(spec: &Spec, layout: &Layout) -> u64 {
    count(spec, layout).parameters
}

/// Who hears of the tensors.
enum To<'a> {
    /// Of each, one by one.
    See(&'a mut dyn FnMut(Decl) -> Result<()>),
    /// Of each kind, and how many there are.
    Tally(&'a mut dyn FnMut(&Decl, u64)),
}

struct Declarer<'a> {
    layout: &'a Layout,
    layer: Option<usize>,
    /// How many tensors a declaration stands for, where they are counted.
    times: u64,
    to: To<'a>,
}

impl Declarer<'_> {
    fn model(&mut self, spec: &Spec) -> Result<()> {
        let (layout, d) = (self.layout, spec.d_model);
        self.declared(embedding(spec, layout))?;
        if let Some(positions) = spec.embed.positions {
            self.weight(Role::Positions, layout.positions, vec![positions.rows, d])?;
        }
        if spec.embed.width != d {
            self.weight(Role::ProjectIn, layout.project[0], vec![d, spec.embed.width])?;
        }
        for (index, layer) in spec.layers.iter().enumerate() {
            self.layer = Some(index);
            self.block(d, layer)?;
            for (router, number) in spec.routers.iter().zip(0..) {
                let name = format!("routers.{}", router.name);
                self.weight(Role::Router(number), &name, vec![router.lanes.len(), d])?;
            }
        }
        self.layer = None;
        self.norm(Role::LnFinal, layout.ln_final, spec.ln_final, d)?;
        if spec.embed.width != d {
            self.weight(Role::ProjectOut, layout.project[1], vec![spec.embed.width, d])?;
        }
        if !spec.unembed.tied {
            self.declared(unembedding(spec, layout))?;
        }
        if spec.unembed.bias {
            self.push(Role::Unembed, WeightPart::Bias, layout.unembed, false, vec![spec.vocab])?;
        }
        if let Some(spec) = &spec.vision {
            let [tower, projector] = layout.vision;
            vision::declare(spec, tower, projector, &mut |decl| self.declared(decl))?;
        }
        Ok(())
    }

    fn declared(&mut self, decl: Decl) -> Result<()> {
        match &mut self.to {
            To::See(see) => see(decl),
            To::Tally(hear) => {
                hear(&decl, self.times);
                Ok(())
            }
        }
    }

    /// Declare what there is `count` times alike but for a number.
    fn each(&mut self, count: usize, mut one: impl FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        if matches!(self.to, To::See(_)) {
            return (0..count).try_for_each(|number| one(self, number));
        }
        self.times = count as u64;
        let counted = one(self, 0);
        self.times = 1;
        counted
    }

    fn push(
        &mut self,
        role: Role,
        part: WeightPart,
        name: &str,
        prefixed: bool,
        shape: Vec<usize>,
    ) -> Result<()> {
        let suffix = match part {
            WeightPart::Weight => "weight",
            WeightPart::Bias => "bias",
        };
        let name = match self.layer {
            Some(layer) => format!("{}.{layer}.{name}.{suffix}", self.layout.block),
            None => format!("{name}.{suffix}"),
        };
        self.declared(Decl { slot: Slot { layer: self.layer, role, part }, name, prefixed, shape })
    }

    /// A tensor of a block whose name ends with itself.
    fn whole(&mut self, role: Role, part: WeightPart, name: &str, shape: Vec<usize>) -> Result<()> {
        let name = format!("{}.{}.{name}", self.layout.block, self.layer.unwrap_or(0));
        self.declared(Decl { slot: Slot { layer: self.layer, role, part }, name, prefixed: true, shape })
    }

    fn weight(&mut self, role: Role, name: &str, shape: Vec<usize>) -> Result<()> {
        self.push(role, WeightPart::Weight, name, true, shape)
    }

    fn linear(&mut self, role: Role, name: &str, out: usize, input: usize, bias: bool) -> Result<()> {
        let shape = if self.layout.transposed { vec![input, out] } else { vec![out, input] };
        self.weight(role, name, shape)?;
        if bias {
            self.push(role, WeightPart::Bias, name, true, vec![out])?;
        }
        Ok(())
    }

    fn norm(&mut self, role: Role, name: &str, norm: Option<NormSpec>, width: usize) -> Result<()> {
        let Some(norm) = norm else { return Ok(()) };
        if norm.weight {
            self.weight(role, name, vec![width])?;
        }
        if norm.bias {
            self.push(role, WeightPart::Bias, name, true, vec![width])?;
        }
        Ok(())
    }

    fn block(&mut self, d: usize, layer: &LayerSpec) -> Result<()> {
        let layout = self.layout;
        let attn = &layer.attn;
        let (q, kv) = (attn.heads * attn.d_head, attn.kv_heads * attn.d_head);
        self.norm(Role::Ln1, layout.ln1, layer.ln1, d)?;
        match layout.qkv {
            Qkv::Split([query, key, value]) => {
                self.linear(Role::Query, query, q, d, attn.qkv_bias)?;
                self.linear(Role::Key, key, kv, d, attn.qkv_bias)?;
                self.linear(Role::Value, value, kv, d, attn.qkv_bias)?;
            }
            Qkv::Stacked(name) | Qkv::PerHead(name) => {
                self.linear(Role::Qkv, name, q + 2 * kv, d, attn.qkv_bias)?;
            }
        }
        if let Some(qk) = attn.qk_norm {
            let [query, key] = layout.qk_norm;
            match qk.over {
                QkNormOver::Head => {
                    self.norm(Role::QueryNorm, query, Some(qk.norm), attn.d_head)?;
                    self.norm(Role::KeyNorm, key, Some(qk.norm), attn.d_head)?;
                }
                QkNormOver::Full => {
                    self.norm(Role::QueryNorm, query, Some(qk.norm), q)?;
                    self.norm(Role::KeyNorm, key, Some(qk.norm), kv)?;
                }
                QkNormOver::EachHead => {
                    self.each(attn.heads, |list, head| {
                        let name = format!("{query}.norms.{head}");
                        list.norm(Role::QueryNormHead(head), &name, Some(qk.norm), attn.d_head)
                    })?;
                    self.each(attn.kv_heads, |list, head| {
                        let name = format!("{key}.norms.{head}");
                        list.norm(Role::KeyNormHead(head), &name, Some(qk.norm), attn.d_head)
                    })?;
                }
            }
        }
        if attn.sinks {
            self.whole(Role::Sinks, WeightPart::Bias, layout.sinks, vec![attn.heads])?;
        }
        self.linear(Role::Out, layout.out, d, q, attn.out_bias)?;
        self.norm(Role::Ln1Post, layout.ln1_post, layer.ln1_post, d)?;
        self.norm(Role::Ln2, layout.ln2, layer.ln2, d)?;
        match &layer.experts {
            Some(experts) => self.experts(d, &layer.ffn, experts)?,
            None => self.ffn(d, &layer.ffn)?,
        }
        self.norm(Role::Ln2Post, layout.ln2_post, layer.ln2_post, d)?;
        if let Some(small) = layer.small {
            self.linear(Role::SmallGate, "mlp_small.gate_proj", small.d_mlp, d, small.in_bias)?;
            self.linear(Role::SmallUp, "mlp_small.up_proj", small.d_mlp, d, small.in_bias)?;
            self.linear(Role::SmallDown, "mlp_small.down_proj", d, small.d_mlp, small.out_bias)?;
        }
        Ok(())
    }

    fn ffn(&mut self, d: usize, ffn: &FfnSpec) -> Result<()> {
        match self.layout.ffn_in {
            FfnIn::Up(up) => self.linear(Role::Up, up, ffn.d_mlp, d, ffn.in_bias)?,
            FfnIn::Gated([gate, up]) => {
                self.linear(Role::Gate, gate, ffn.d_mlp, d, ffn.in_bias)?;
                self.linear(Role::Up, up, ffn.d_mlp, d, ffn.in_bias)?;
            }
            FfnIn::GatedStacked(name) => self.linear(Role::GateUp, name, 2 * ffn.d_mlp, d, ffn.in_bias)?,
        }
        self.linear(Role::Down, self.layout.down, d, ffn.d_mlp, ffn.out_bias)?;
        Ok(())
    }

    fn experts(&mut self, d: usize, ffn: &FfnSpec, experts: &ExpertsSpec) -> Result<()> {
        let at = self.layout.experts;
        let (count, width) = (experts.count, ffn.d_mlp);
        self.linear(Role::ExpertRouter, at.router, count, d, experts.router_bias)?;
        if experts.correction {
            self.whole(Role::ExpertCorrection, WeightPart::Bias, at.correction, vec![count])?;
        }
        match at.each {
            EachExpert::Single(prefix, [gate, up, down]) => {
                self.each(count, |list, expert| {
                    let name = |part: &str| format!("{prefix}.{expert}.{part}");
                    list.linear(Role::ExpertGate(expert), &name(gate), width, d, ffn.in_bias)?;
                    list.linear(Role::ExpertUp(expert), &name(up), width, d, ffn.in_bias)?;
                    list.linear(Role::ExpertDown(expert), &name(down), d, width, ffn.out_bias)
                })?;
            }
            EachExpert::Joined([gate_up, down]) => {
                let both = [
                    (Role::ExpertsGateUp, gate_up, vec![count, 2 * width, d]),
                    (Role::ExpertsDown, down, vec![count, d, width]),
                ];
                for (role, name, shape) in both {
                    self.whole(role, WeightPart::Weight, name, shape)?;
                }
            }
            EachExpert::Stacked([gate_up, down]) => {
                let both = [
                    (Role::ExpertsGateUp, gate_up, d, 2 * width, ffn.in_bias),
                    (Role::ExpertsDown, down, width, d, ffn.out_bias),
                ];
                for (role, name, input, output, bias) in both {
                    self.whole(role, WeightPart::Weight, name, vec![count, input, output])?;
                    if bias {
                        self.whole(role, WeightPart::Bias, &format!("{name}_bias"), vec![count, output])?;
                    }
                }
            }
        }
        if let Some(shared) = experts.shared {
            let [gate, up, down] = at.shared;
            self.linear(Role::SharedGate, gate, shared.d_mlp, d, false)?;
            self.linear(Role::SharedUp, up, shared.d_mlp, d, false)?;
            self.linear(Role::SharedDown, down, d, shared.d_mlp, false)?;
            if shared.gated {
                self.linear(Role::SharedShare, at.shared_gate, 1, d, false)?;
            }
        }
        Ok(())
    }
}
