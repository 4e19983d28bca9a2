//! Formats of numbers.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::DType;
use safetensors::Dtype;

/// A format that weights are held or written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NumberFormat {
    /// 4 bytes.
    F32,
    /// 2 bytes, small exponents.
    F16,
    /// 2 bytes, the exponents of f32.
    Bf16,
}

/// Whether checkpoints are widened as they are opened.
static WIDENED: AtomicBool = AtomicBool::new(false);

/// Let every checkpoint that is opened from now on hold its matrices as f32.
pub fn widen_all() {
    WIDENED.store(true, Ordering::Relaxed);
}

pub(super) fn widened() -> bool {
    WIDENED.load(Ordering::Relaxed)
}

impl NumberFormat {
    /// What a tensor of a file is held in: as it is, or as f32 where that is asked for or it is something else.
    pub fn held(stored: Dtype, widened: bool) -> Self {
        match stored {
            Dtype::F16 if !widened => Self::F16,
            Dtype::BF16 if !widened => Self::Bf16,
            _ => Self::F32,
        }
    }

    /// As safetensors name it.
    pub(crate) fn stored(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    /// As config.json names it.
    pub(crate) fn in_config(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// As tensors in memory name it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of a number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}
