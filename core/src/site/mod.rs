//! Every named point of the forward pass: TransformerLens names, shapes and globs.
//!
//! Weights are unfolded, as in TransformerLens' bridge. Inside, values are rows `[rows, ...]`; files carry no
//! batch axis either.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::spec::{LayerSpec, Residual, Spec};

mod hint;
mod names;

pub use names::Sites;

/// A named point of the forward pass. `Display` and `FromStr` use the TransformerLens name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Site {
    /// `hook_embed` `[T, d]`: after any scale or projection, before positions.
    Embed,
    /// `hook_pos_embed` `[T, d]`: learned positions.
    PosEmbed,
    /// A point inside block `layer`.
    Block {
        /// Block index from 0.
        layer: usize,
        /// Which point.
        hook: Hook,
    },
    /// `ln_final.hook_scale` `[T, 1]`.
    FinalScale,
    /// `ln_final.hook_normalized` `[T, d]`.
    FinalNormalized,
}

/// The points inside a block, in the order of the pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Hook {
    /// The residual stream entering the block.
    ResidPre,
    /// Divisor of the norm before attention: root of the mean square (plus eps).
    Ln1Scale,
    /// x / scale, before weight and bias.
    Ln1Normalized,
    /// Queries as projected, before any norm and rotary.
    Q,
    /// Keys as projected, before any norm and rotary.
    K,
    /// Values as projected, before any clip.
    V,
    /// Queries after rotary.
    RotQ,
    /// Keys after rotary.
    RotK,
    /// After scale, soft cap and mask (masked entries are -inf).
    AttnScores,
    /// Softmax of the scores.
    Pattern,
    /// Heads before the output projection.
    Z,
    /// Divisor of the norm after attention.
    Ln1PostScale,
    /// Attention output / scale, before weight and bias.
    Ln1PostNormalized,
    /// What attention adds to the residual.
    AttnOut,
    /// The stream between the two sublayers; absent where they run in parallel.
    ResidMid,
    /// Divisor of the norm before the FFN.
    Ln2Scale,
    /// x / scale, before weight and bias.
    Ln2Normalized,
    /// Experts: the router's logits.
    RouterLogits,
    /// Experts: scores of all of them before the choice.
    ExpertWeights,
    /// Experts: gate weights as they are used, 0 for those not chosen.
    ExpertGates,
    /// Experts: norms of the outputs of those chosen, before the gate weight; 0 for the others. Measured, not used.
    ExpertNorms,
    /// Before the activation (gated: the gate).
    MlpPre,
    /// Gated FFNs: the up projection.
    MlpPreLinear,
    /// Gated FFNs: act(gate), where thresholds act.
    MlpGatePost,
    /// What `W_down` reads.
    MlpPost,
    /// Divisor of the norm after the FFN.
    Ln2PostScale,
    /// FFN output / scale, before weight and bias.
    Ln2PostNormalized,
    /// What the FFN adds to the residual.
    MlpOut,
    /// The block's output.
    ResidPost,
}

/// Shape of a site, without a batch axis. T = tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `[T, d_model]`
    Model,
    /// `[T, 1]`
    Scalar,
    /// `[T, n_heads, d_head]`
    Heads,
    /// `[T, n_kv_heads, d_head]`
    KvHeads,
    /// `[n_heads, T, T]`: destination rows, source columns.
    Square,
    /// `[T, d_mlp]`
    Mlp,
    /// `[T, n_experts]`
    Experts,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "[T, d_model]",
            Self::Scalar => "[T, 1]",
            Self::Heads => "[T, n_heads, d_head]",
            Self::KvHeads => "[T, n_kv_heads, d_head]",
            Self::Square => "[n_heads, T, T]",
            Self::Mlp => "[T, d_mlp]",
            Self::Experts => "[T, n_experts]",
        })
    }
}

impl Hook {
    /// All hooks in the order of the pass.
    pub const ALL: [Self; 29] = [
        Self::ResidPre,
        Self::Ln1Scale,
        Self::Ln1Normalized,
        Self::Q,
        Self::K,
        Self::V,
        Self::RotQ,
        Self::RotK,
        Self::AttnScores,
        Self::Pattern,
        Self::Z,
        Self::Ln1PostScale,
        Self::Ln1PostNormalized,
        Self::AttnOut,
        Self::ResidMid,
        Self::Ln2Scale,
        Self::Ln2Normalized,
        Self::RouterLogits,
        Self::ExpertWeights,
        Self::ExpertGates,
        Self::ExpertNorms,
        Self::MlpPre,
        Self::MlpPreLinear,
        Self::MlpGatePost,
        Self::MlpPost,
        Self::Ln2PostScale,
        Self::Ln2PostNormalized,
        Self::MlpOut,
        Self::ResidPost,
    ];

    /// Name after `blocks.N.`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResidPre => "hook_resid_pre",
            Self::Ln1Scale => "ln1.hook_scale",
            Self::Ln1Normalized => "ln1.hook_normalized",
            Self::Q => "attn.hook_q",
            Self::K => "attn.hook_k",
            Self::V => "attn.hook_v",
            Self::RotQ => "attn.hook_rot_q",
            Self::RotK => "attn.hook_rot_k",
            Self::AttnScores => "attn.hook_attn_scores",
            Self::Pattern => "attn.hook_pattern",
            Self::Z => "attn.hook_z",
            Self::Ln1PostScale => "ln1_post.hook_scale",
            Self::Ln1PostNormalized => "ln1_post.hook_normalized",
            Self::AttnOut => "hook_attn_out",
            Self::ResidMid => "hook_resid_mid",
            Self::Ln2Scale => "ln2.hook_scale",
            Self::Ln2Normalized => "ln2.hook_normalized",
            Self::RouterLogits => "mlp.hook_router_logits",
            Self::ExpertWeights => "mlp.hook_expert_weights",
            Self::ExpertGates => "mlp.hook_expert_gates",
            Self::ExpertNorms => "mlp.hook_expert_norms",
            Self::MlpPre => "mlp.hook_pre",
            Self::MlpPreLinear => "mlp.hook_pre_linear",
            Self::MlpGatePost => "mlp.hook_gate_post",
            Self::MlpPost => "mlp.hook_post",
            Self::Ln2PostScale => "ln2_post.hook_scale",
            Self::Ln2PostNormalized => "ln2_post.hook_normalized",
            Self::MlpOut => "hook_mlp_out",
            Self::ResidPost => "hook_resid_post",
        }
    }

    /// TransformerLens 3 names accepted as input.
    fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::ResidPre => &["hook_in"],
            Self::ResidPost => &["hook_out"],
            Self::Q => &["attn.q.hook_out"],
            Self::K => &["attn.k.hook_out"],
            Self::V => &["attn.v.hook_out"],
            _ => &[],
        }
    }

    /// The hook of this name or alias.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name || hook.aliases().contains(&name))
    }

    /// Shape of the value.
    pub fn shape(self) -> Shape {
        match self {
            Self::Ln1Scale | Self::Ln2Scale | Self::Ln1PostScale | Self::Ln2PostScale => Shape::Scalar,
            Self::Q | Self::RotQ | Self::Z => Shape::Heads,
            Self::K | Self::V | Self::RotK => Shape::KvHeads,
            Self::AttnScores | Self::Pattern => Shape::Square,
            Self::MlpPre | Self::MlpPreLinear | Self::MlpGatePost | Self::MlpPost => Shape::Mlp,
            Self::RouterLogits | Self::ExpertWeights | Self::ExpertGates | Self::ExpertNorms => {
                Shape::Experts
            }
            _ => Shape::Model,
        }
    }

    /// Whether a block of this layer computes the hook.
    pub fn exists(self, layer: &LayerSpec) -> bool {
        match self {
            Self::Ln1Scale | Self::Ln1Normalized => layer.ln1.is_some(),
            Self::Ln2Scale | Self::Ln2Normalized => layer.ln2.is_some(),
            Self::Ln1PostScale | Self::Ln1PostNormalized => layer.ln1_post.is_some(),
            Self::Ln2PostScale | Self::Ln2PostNormalized => layer.ln2_post.is_some(),
            Self::RotQ | Self::RotK => layer.attn.rope.is_some(),
            Self::ResidMid => layer.residual != Residual::Parallel,
            Self::RouterLogits | Self::ExpertWeights | Self::ExpertGates | Self::ExpertNorms => {
                layer.experts.is_some()
            }
            Self::MlpPre | Self::MlpPost => layer.experts.is_none(),
            Self::MlpPreLinear | Self::MlpGatePost => layer.ffn.gated && layer.experts.is_none(),
            _ => true,
        }
    }

    /// Whether the hook belongs to the FFN sublayer (else: attention or the block's ends).
    pub fn in_ffn(self) -> bool {
        self >= Self::Ln2Scale
    }
}

impl Site {
    /// A point of block `layer`.
    pub fn block(layer: usize, hook: Hook) -> Self {
        Self::Block { layer, hook }
    }

    /// Shape of the value.
    pub fn shape(self) -> Shape {
        match self {
            Self::Block { hook, .. } => hook.shape(),
            Self::FinalScale => Shape::Scalar,
            Self::Embed | Self::PosEmbed | Self::FinalNormalized => Shape::Model,
        }
    }

    /// Every site a model of this spec computes, in the order of the pass.
    pub fn all(spec: &Spec) -> Vec<Self> {
        let mut sites = vec![Self::Embed];
        if spec.embed.positions.is_some() {
            sites.push(Self::PosEmbed);
        }
        for (layer, block) in spec.layers.iter().enumerate() {
            let hooks = Hook::ALL.into_iter().filter(|hook| hook.exists(block));
            sites.extend(hooks.map(|hook| Self::Block { layer, hook }));
        }
        if spec.ln_final.is_some() {
            sites.extend([Self::FinalScale, Self::FinalNormalized]);
        }
        sites
    }

    /// Values that a capture of this site holds for `tokens` tokens.
    pub fn elements(self, spec: &Spec, tokens: usize) -> usize {
        let layer = match self {
            Self::Block { layer, .. } => spec.layers.get(layer),
            _ => None,
        };
        let per_token = match (self.shape(), layer) {
            (Shape::Heads, Some(layer)) => layer.attn.heads * layer.attn.d_head,
            (Shape::KvHeads, Some(layer)) => layer.attn.kv_heads * layer.attn.d_head,
            (Shape::Square, Some(layer)) => layer.attn.heads * tokens,
            (Shape::Mlp, Some(layer)) => layer.ffn.d_mlp,
            (Shape::Experts, Some(layer)) => layer.experts.map_or(0, |experts| experts.count),
            (Shape::Scalar, _) => 1,
            _ => spec.d_model,
        };
        per_token * tokens.min(spec.context)
    }

    /// The sites of `spec` whose name matches `pattern`: a name, an alias, a glob where `*` stands for any characters (dots
    /// too) and `?` for one, or layers as half-open ranges, `blocks.3..7.hook_resid_post`.
    pub fn select(spec: &Spec, pattern: &str) -> Result<Vec<Self>> {
        names::select(spec, pattern)
    }

    /// Names of TransformerLens 3 that are read too, inside a block without `blocks.N.`.
    fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Embed => &["embed.hook_out"],
            Self::PosEmbed => &["pos_embed.hook_out"],
            Self::Block { hook, .. } => hook.aliases(),
            Self::FinalScale | Self::FinalNormalized => &[],
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed => f.write_str("hook_embed"),
            Self::PosEmbed => f.write_str("hook_pos_embed"),
            Self::Block { layer, hook } => write!(f, "blocks.{layer}.{}", hook.name()),
            Self::FinalScale => f.write_str("ln_final.hook_scale"),
            Self::FinalNormalized => f.write_str("ln_final.hook_normalized"),
        }
    }
}

impl FromStr for Site {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unknown = || names::unknown(name, None);
        if names::is_several(name) && name.parse::<Sites>().is_ok() {
            return Err(Error::asked(
                format!("\"{name}\" stands for several sites, and one is needed here"),
                "name one of them, such as blocks.0.hook_resid_post",
            ));
        }
        match name {
            "hook_embed" | "embed.hook_out" => return Ok(Self::Embed),
            "hook_pos_embed" | "pos_embed.hook_out" => return Ok(Self::PosEmbed),
            "ln_final.hook_scale" => return Ok(Self::FinalScale),
            "ln_final.hook_normalized" => return Ok(Self::FinalNormalized),
            _ => {}
        }
        let (layer, rest) =
            name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')).ok_or_else(unknown)?;
        let layer = layer.parse().map_err(|_| unknown())?;
        Ok(Self::Block { layer, hook: Hook::from_name(rest).ok_or_else(unknown)? })
    }
}

impl TryFrom<String> for Site {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Site> for String {
    fn from(site: Site) -> Self {
        site.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_name_parses_back() {
        for hook in Hook::ALL {
            let site = Site::block(11, hook);
            assert_eq!(site.to_string().parse::<Site>().ok(), Some(site));
        }
    }
}
