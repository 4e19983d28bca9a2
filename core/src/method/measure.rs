//! What a method measures of a prompt whatever its length: findings over a list are means of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::figure::Axis;
use crate::spec::Spec;

/// Numbers that a prompt of any length has: one, one a layer, one a head …
pub struct Measure {
    /// Key in findings.
    pub name: &'static str,
    /// Title of their figure.
    pub title: &'static str,
    /// What they are, with their unit: `KL(base || without), nats`.
    pub quantity: &'static str,
    /// Empty for a number without one.
    pub unit: &'static str,
    /// They stand around 0.
    pub signed: bool,
    /// Rows and columns on a checkpoint.
    pub shape: fn(&Spec) -> [Labels; 2],
}

/// Values of a prompt: of each measure of its method in turn, row by row. NaN = not defined. Or why the prompt is not one to
/// be counted.
pub type Measured = Result<Vec<Vec<f64>>, String>;

/// Rows or columns of a measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Sentence case; empty where there is one of it.
    pub name: String,
    /// What each is called.
    pub labels: Vec<String>,
}

impl Labels {
    /// These, by name.
    pub fn new(name: &str, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { name: name.into(), labels: labels.into_iter().map(Into::into).collect() }
    }

    /// 0, 1, 2 … `count - 1`.
    pub fn counted(name: &str, count: usize) -> Self {
        Self::new(name, (0..count).map(|index| index.to_string()))
    }

    /// One of it.
    pub fn one() -> Self {
        Self::new("", [""])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Of a map.
    pub fn axis(&self) -> Axis {
        let labels: Arc<[String]> = self.labels.iter().cloned().collect();
        Axis { name: self.name.clone(), labels }
    }

    /// One of them as it is said: `layer 3`; nothing of one alone.
    pub fn say(&self, index: usize) -> Option<String> {
        let label = self.labels.get(index).filter(|_| !self.name.is_empty())?;
        Some(format!("{} {label}", self.name.to_lowercase()))
    }
}

/// A number.
pub fn one(_: &Spec) -> [Labels; 2] {
    [Labels::one(), Labels::one()]
}

/// A number for each layer.
pub fn by_layer(spec: &Spec) -> [Labels; 2] {
    [Labels::counted("Layer", spec.n_layers()), Labels::one()]
}

/// A number for each attention head, as many columns as the layer with most has.
pub fn by_head(spec: &Spec) -> [Labels; 2] {
    let most = spec.layers.iter().map(|layer| layer.attn.heads).max().unwrap_or(0);
    [Labels::counted("Layer", spec.n_layers()), Labels::counted("Head", most)]
}

/// A number for each attention and FFN sublayer.
pub fn by_sublayer(spec: &Spec) -> [Labels; 2] {
    [Labels::counted("Layer", spec.n_layers()), Labels::new("Sublayer", ["attention", "FFN"])]
}

/// Rows as [`Measured`] has them, each as long as the longest: what a shorter one lacks is not defined.
pub fn flat(rows: &[Vec<f64>]) -> Vec<f64> {
    let widest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let padded =
        |row: &Vec<f64>| row.iter().copied().chain(std::iter::repeat(f64::NAN)).take(widest).collect();
    rows.iter().flat_map(|row| -> Vec<f64> { padded(row) }).collect()
}
