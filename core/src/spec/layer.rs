//! A block: how its two sublayers meet the residual stream.

use super::{AttnSpec, ExpertsSpec, FfnSpec, NormSpec};

/// How a block's two sublayers meet the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// x += attn(ln1 x); x += ffn(ln2 x); each output may have a post-norm of its own.
    Sequential,
    /// x = ln1(x + attn x); x = ln2(x + ffn x) (OPT-350m).
    PostNorm,
    /// x += attn(ln1 x) + ffn(ln2 x); without `ln2` both read ln1.
    Parallel,
}

/// One block.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// How the sublayers meet the stream.
    pub residual: Residual,
    /// Norm before attention (`PostNorm`: after it).
    pub ln1: Option<NormSpec>,
    /// Norm on the attention output (Gemma 2, OLMo 2).
    pub ln1_post: Option<NormSpec>,
    /// Norm before the FFN (`PostNorm`: after it).
    pub ln2: Option<NormSpec>,
    /// Norm on the FFN output.
    pub ln2_post: Option<NormSpec>,
    /// Attention.
    pub attn: AttnSpec,
    /// The FFN; the big one of a Duo model; one expert of a block of experts.
    pub ffn: FfnSpec,
    /// The small FFN beside it, of a Duo model.
    pub small: Option<FfnSpec>,
    /// Experts in place of one FFN.
    pub experts: Option<ExpertsSpec>,
}

impl LayerSpec {
    /// Values inside the FFN that one row takes, experts and shared ones together.
    pub fn ffn_width(&self) -> usize {
        let one = (2 + usize::from(self.ffn.gated)) * self.ffn.d_mlp;
        match self.experts {
            None => one,
            Some(experts) => {
                let shared = experts.shared.map_or(0, |shared| 3 * shared.d_mlp);
                experts.top_k * one + shared
            }
        }
    }
}
