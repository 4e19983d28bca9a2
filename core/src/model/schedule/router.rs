//! Learned routers (Duo-LLM, arXiv 2410.10846, section 2, stage 3): a linear map per block from what the FFN reads to one
//! number per lane.

use std::path::Path;

use candle_core::Tensor;

use crate::checkpoint::TensorFile;
use crate::error::{Error, Result};
use crate::model::family::router as named;
use crate::model::weights::LayerWeights;
use crate::spec::{Lane, RouterSpec, Spec};

/// A router ready to run.
#[derive(Clone, Debug)]
pub struct RouterMatrices {
    /// What it chooses between, in the order of its outputs.
    pub lanes: Vec<Lane>,
    /// One `[lanes, d]` per block.
    pub layers: Vec<Tensor>,
}

impl RouterMatrices {
    /// Name of a layer's matrix in a file of routers.
    pub fn tensor_name(name: &str, layer: usize) -> String {
        format!("{name}.{layer}")
    }

    /// The matrices of a router of the checkpoint; refused where it has none of this name.
    pub fn of_checkpoint(name: &str, spec: &Spec, weights: &[LayerWeights]) -> Result<Self> {
        let index = spec.routers.iter().position(|router| router.name == name).ok_or_else(|| {
            let names: Vec<&str> = spec.routers.iter().map(|router| router.name.as_str()).collect();
            let names = if names.is_empty() { "none".into() } else { names.join(", ") };
            Error::Plan(format!("this checkpoint has no router \"{name}\"; it has: {names}"))
        })?;
        let missing = || Error::Internal(format!("no matrix of router {index}"));
        let layers = weights.iter().map(|layer| layer.routers.get(index).cloned().ok_or_else(missing));
        Ok(Self { lanes: spec.router(index)?.lanes.clone(), layers: layers.collect::<Result<_>>()? })
    }

    /// The matrices of a router of a file; refused where they do not fit the model.
    pub fn of_file(name: &str, path: &Path, spec: &Spec) -> Result<Self> {
        let refuse = |cause: String| Error::Plan(format!("router \"{name}\": {cause}"));
        let RouterSpec { lanes, .. } =
            named(name).ok_or_else(|| refuse("names say lanes and budgets, such as big50_small50".into()))?;
        let file = TensorFile::open(path)?;
        let own = format!("{name}.");
        let have = file.tensors().keys().filter(|name| name.starts_with(&own)).count();
        if have != spec.n_layers() {
            let layers = spec.n_layers();
            return Err(refuse(format!(
                "{} has {have} layers of it, this model has {layers}",
                path.display()
            )));
        }
        let layer = |layer: usize| -> Result<Tensor> {
            let (matrix, finite) = file.load_f32(&Self::tensor_name(name, layer))?;
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
        Ok(Self { layers: (0..spec.n_layers()).map(layer).collect::<Result<_>>()?, lanes })
    }
}
