//! Image tower and projector of a LLaVA-style model.

use super::{Activation, NormSpec};

/// Tower and projector as data.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionSpec {
    /// Side of the square image in pixels.
    pub image_size: usize,
    /// Side of a patch; divides `image_size`.
    pub patch: usize,
    /// Width of the tower.
    pub width: usize,
    /// Layers in the checkpoint.
    pub layers: usize,
    /// Layers that are run: `vision_feature_layer` counts from the end.
    pub used: usize,
    /// Heads.
    pub heads: usize,
    /// Inner width of the tower's FFNs.
    pub d_mlp: usize,
    /// Activation of the tower's FFNs.
    pub act: Activation,
    /// Of the tower's layer norms.
    pub norm: NormSpec,
    /// Whether the class token's row goes to the language model too (`full`).
    pub keep_class: bool,
    /// Activation between the projector's two layers.
    pub projector_act: Activation,
    /// Biases in the projector.
    pub projector_bias: bool,
    /// Id that stands for one patch in the prompt.
    pub image_token: u32,
    /// Width of the language model.
    pub d_model: usize,
}

impl VisionSpec {
    /// Patches along one side.
    pub fn side(&self) -> usize {
        self.image_size / self.patch
    }

    /// Rows that an image becomes in the prompt.
    pub fn tokens(&self) -> usize {
        self.side() * self.side() + usize::from(self.keep_class)
    }

    /// Rows inside the tower: the class token, then the patches.
    pub fn rows(&self) -> usize {
        self.side() * self.side() + 1
    }
}
