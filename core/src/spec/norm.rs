//! Normalisations.

/// A normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormSpec {
    /// Root mean square or layer norm.
    pub kind: NormKind,
    /// Added to the mean square.
    pub eps: f64,
    /// Has a weight.
    pub weight: bool,
    /// Has a bias.
    pub bias: bool,
    /// The stored weight is an offset from 1 (Gemma).
    pub offset_one: bool,
}

/// The two normalisations of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// x / rms(x)
    Rms,
    /// (x - mean) / std
    Layer,
}

impl NormSpec {
    /// RMS norm with a weight.
    pub fn rms(eps: f64) -> Self {
        Self { kind: NormKind::Rms, eps, weight: true, bias: false, offset_one: false }
    }

    /// Layer norm with weight and bias.
    pub fn layer(eps: f64) -> Self {
        Self { kind: NormKind::Layer, eps, weight: true, bias: true, offset_one: false }
    }
}
