//! A learned router sends each token to the lane it finds best, layer by layer (Duo-LLM, arXiv 2410.10846, section 2, stage
//! 3): the argmax of a linear map of what the FFN reads. Generated tokens are routed too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::checkpoint::TensorFile;
use crate::error::{Error, Result};
use crate::model::family::router as named;
use crate::model::schedule::RouterMatrices;
use crate::model::weights::LayerWeights;
use crate::spec::{RouterSpec, Spec};

/// Route by a learned router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// Its name: the lanes with their budgets in percent, `big50_small50`.
    pub name: String,
    /// A file of routers trained here; left out = the checkpoint's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

impl Router {
    /// Name of a layer's matrix in a file of routers.
    pub fn tensor(name: &str, layer: usize) -> String {
        format!("{name}.{layer}")
    }

    /// Its matrices; refused where it is not there or does not fit the model.
    pub fn matrices(&self, spec: &Spec, weights: &[LayerWeights]) -> Result<Arc<RouterMatrices>> {
        let matrices = match &self.file {
            None => self.own(spec, weights)?,
            Some(path) => self.of_file(path, spec)?,
        };
        Ok(Arc::new(matrices))
    }

    fn own(&self, spec: &Spec, weights: &[LayerWeights]) -> Result<RouterMatrices> {
        let index = spec.routers.iter().position(|router| router.name == self.name).ok_or_else(|| {
            let names: Vec<&str> = spec.routers.iter().map(|router| router.name.as_str()).collect();
            let names = if names.is_empty() { "none".into() } else { names.join(", ") };
            Error::Plan(format!("this checkpoint has no router \"{}\"; it has: {names}", self.name))
        })?;
        let missing = || Error::Internal(format!("no matrix of router {index}"));
        let layers = weights.iter().map(|layer| layer.routers.get(index).cloned().ok_or_else(missing));
        Ok(RouterMatrices {
            lanes: spec.router(index)?.lanes.clone(),
            layers: layers.collect::<Result<_>>()?,
        })
    }

    fn of_file(&self, path: &Path, spec: &Spec) -> Result<RouterMatrices> {
        let refuse = |cause: String| Error::Plan(format!("router \"{}\": {cause}", self.name));
        let RouterSpec { lanes, .. } = named(&self.name)
            .ok_or_else(|| refuse("names say lanes and budgets, such as big50_small50".into()))?;
        let file = TensorFile::open(path)?;
        let own = format!("{}.", self.name);
        let have = file.tensors().keys().filter(|name| name.starts_with(&own)).count();
        if have != spec.n_layers() {
            let layers = spec.n_layers();
            return Err(refuse(format!(
                "{} has {have} layers of it, this model has {layers}",
                path.display()
            )));
        }
        let layer = |layer: usize| -> Result<Tensor> {
            let (matrix, finite) = file.load_f32(&Self::tensor(&self.name, layer))?;
            let wanted = [lanes.len(), spec.d_model];
            if matrix.dims() != wanted {
                return Err(refuse(format!(
                    "layer {layer} has shape {:?}, this model needs {wanted:?}",
                    matrix.dims()
                )));
            }
            if !finite {
                return Err(refuse(format!("layer {layer} holds NaN or infinite values")));
            }
            Ok(matrix)
        };
        Ok(RouterMatrices { layers: (0..spec.n_layers()).map(layer).collect::<Result<_>>()?, lanes })
    }

    /// One line for the plan stack.
    pub fn summary(&self) -> String {
        format!("route by {}", self.name)
    }
}
