//! What is wrong with a checkpoint, as far as the next step depends on it.

/// Fault of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// A file is not what its name says, or contradicts itself.
    #[default]
    Broken,
    /// Part of a download is not there: a shard, the end of a file.
    Incomplete,
    /// A file was written to while it was read.
    Changed,
    /// A Git LFS pointer stands where a file should be.
    Pointer,
    /// No config.json.
    NoConfig,
    /// config.json without weights.
    NoWeights,
    /// Tensors and config.json do not fit together.
    Mismatch,
    /// A model that makes no logits: its class has no language head.
    NoHead,
    /// Weights in a format of quantised numbers.
    Quantised,
    /// An adapter for another checkpoint.
    Adapter,
    /// Weights as PyTorch pickles them.
    PyTorch,
    /// A GGUF file.
    Gguf,
    /// Weights in the layout of their makers (Meta, Mistral): `consolidated.*` and params.json.
    Consolidated,
    /// Weights in another program's format: NumPy, Flax, TensorFlow, ONNX.
    OtherFormat,
    /// Several checkpoints in one place.
    Several,
}

impl Fault {
    /// What the person can do about it.
    pub(super) fn next_step(self) -> &'static str {
        match self {
            Self::Broken => "get the file again from where it came from, or open another checkpoint folder",
            Self::Incomplete => "check that the download is complete, or open another checkpoint folder",
            Self::Changed => "open it again once nothing writes to it any more",
            Self::Pointer => "run `git lfs pull` in the folder, or download the files themselves",
            Self::NoConfig => "open a folder that holds config.json and *.safetensors",
            Self::NoWeights => {
                "get the *.safetensors files too; `sluice inspect` tells what config.json alone says"
            }
            Self::Mismatch => {
                "check that config.json belongs to these weights; `sluice inspect` lists their tensors"
            }
            Self::NoHead => {
                "open the checkpoint of the whole model (saved from a class such as ..ForCausalLM), which has its language head"
            }
            Self::Quantised => {
                "open the checkpoint that was quantised, or save it dequantised as f32, f16 or bf16"
            }
            Self::Adapter => {
                "merge it into its base model (peft: merge_and_unload, then save_pretrained) and open the result"
            }
            Self::PyTorch => {
                "convert it: load it with transformers in Python and save it with save_pretrained, which writes safetensors"
            }
            Self::Gguf => {
                "open the checkpoint it was made from, or load it with transformers (from_pretrained with gguf_file) and save_pretrained"
            }
            Self::Consolidated => {
                "get the version in the layout of Hugging Face (config.json and model*.safetensors), or convert it with transformers"
            }
            Self::OtherFormat => {
                "get the checkpoint as safetensors from where it came from, or convert it with transformers"
            }
            Self::Several => "choose one of them",
        }
    }
}
