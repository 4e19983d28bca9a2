//! An open model some of whose matrices can be trained.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Var;

use crate::error::{Error, Result};
use crate::model::Model;
use crate::model::weights::Matrix;

/// A copy of a model in which some matrices are plain variables that carry gradients. Everything else stays packed, and is
/// shared with the model it was taken from.
pub struct Trainable {
    /// Runs like any other from the first position on; attention that gradients flow through takes its plain form.
    pub model: Arc<Model>,
    /// The variables by name, `[out, in]`, for [`super::AdamW`] or [`super::Fit`]. The model reads their newest values.
    pub vars: BTreeMap<String, Var>,
}

impl Trainable {
    /// Make matrices trainable, by the names that [`crate::model::Weights::matrix_mut`] knows.
    ///
    /// # Errors
    /// A name that the model does not have.
    pub fn new(model: &Model, names: &[&str]) -> Result<Self> {
        let mut model = model.clone();
        let mut vars = BTreeMap::new();
        for &name in names {
            let missing = || Error::Study(format!("this model has no matrix \"{name}\""));
            let matrix = model.weights.matrix_mut(name).ok_or_else(missing)?;
            let var = Var::from_tensor(&matrix.tensor()?.contiguous()?)?;
            *matrix = Matrix::Plain(var.as_tensor().clone());
            vars.insert(name.to_owned(), var);
        }
        Ok(Self { model: Arc::new(model), vars })
    }

    /// The model as trained so far, packed for inference.
    pub fn packed(&self) -> Result<Model> {
        Model::clone(&self.model).packed()
    }
}
