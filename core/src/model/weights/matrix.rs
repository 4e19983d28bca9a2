//! Matrices, and what is made of a few of them: linear maps, norms, feed-forward networks.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::error::Result;
use crate::model::fused::Packed;
use crate::model::ops;

/// A matrix `[out, in]`.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// As the file has it: gradients flow through it.
    Plain(Tensor),
    /// For inference.
    Packed(Arc<Packed>),
}

impl Matrix {
    /// x W^T + b. `x` `[rows, in]`, `bias` `[out]`; returns `[rows, out]`.
    pub fn times(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => ops::linear(x, weight, bias),
            Self::Packed(packed) => Ok(packed.times(x, bias)?),
        }
    }

    /// Rows of the matrix by index, `[ids, in]`: the embedding of tokens.
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

    /// The whole matrix, `[out, in]`; a copy, f32, where it is packed.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => Ok(weight.clone()),
            Self::Packed(packed) => Ok(packed.unpacked()?),
        }
    }

    /// What its numbers are held in.
    fn dtype(&self) -> DType {
        match self {
            Self::Plain(weight) => weight.dtype(),
            Self::Packed(packed) => packed.format().dtype(),
        }
    }

    /// Some of its rows (dimension 0) or columns (1).
    fn select(&self, index: &Tensor, dim: usize) -> Result<Self> {
        Ok(Self::Plain(self.tensor()?.index_select(index, dim)?.to_dtype(self.dtype())?))
    }

    pub(super) fn packed(self) -> Result<Self> {
        match self {
            Self::Plain(weight) => Ok(Self::Packed(Arc::new(Packed::new(&weight)?))),
            packed @ Self::Packed(_) => Ok(packed),
        }
    }
}

/// y = x W^T + b
#[derive(Clone, Debug)]
pub struct Linear {
    /// W, `[out, in]`
    pub matrix: Matrix,
    /// `[out]`
    pub bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn packed(self) -> Result<Self> {
        Ok(Self { matrix: self.matrix.packed()?, bias: self.bias })
    }

    /// x W^T + b. `x` `[rows, in]`; returns `[rows, out]`.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.matrix.times(x, self.bias.as_ref())
    }

    /// Output rows `start .. start + len`, sharing storage.
    pub(super) fn rows(&self, start: usize, len: usize) -> Result<Self> {
        Ok(Self {
            matrix: Matrix::Plain(self.matrix.tensor()?.narrow(0, start, len)?),
            bias: self.bias.as_ref().map(|bias| bias.narrow(0, start, len)).transpose()?,
        })
    }

    /// Part 0, 1 or 2 of a projection stored head by head as query, key, value.
    pub(super) fn interleaved(&self, part: usize, heads: usize, d_head: usize) -> Result<Self> {
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

/// Factor and offset of a norm; empty where it has none.
#[derive(Clone, Debug, Default)]
pub struct NormWeights {
    /// `[width]`, or `[heads, d_head]` where each head has its own.
    pub weight: Option<Tensor>,
    /// `[width]`
    pub bias: Option<Tensor>,
}

impl NormWeights {
    /// normalized * weight + bias. `normalized` `[rows, width]`, or `[rows, heads, d_head]`.
    pub fn apply(&self, normalized: &Tensor) -> Result<Tensor> {
        ops::affine(normalized, self.weight.as_ref(), self.bias.as_ref())
    }
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

impl Ffn {
    /// Inner width.
    pub fn d_mlp(&self) -> Result<usize> {
        match &self.up.matrix {
            Matrix::Plain(weight) => Ok(weight.dim(0)?),
            Matrix::Packed(packed) => Ok(packed.outputs()),
        }
    }

    /// The FFN with its matrices packed for inference.
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
                matrix: linear.matrix.select(&index, 0)?,
                bias: linear.bias.as_ref().map(|bias| bias.index_select(&index, 0)).transpose()?,
            })
        };
        Ok(Self {
            gate: self.gate.as_ref().map(rows).transpose()?,
            up: rows(&self.up)?,
            down: Linear { matrix: self.down.matrix.select(&index, 1)?, bias: self.down.bias.clone() },
        })
    }
}
