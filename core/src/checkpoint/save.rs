//! Writing a checkpoint folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Tensor};
use half::bf16;
use safetensors::{Dtype, View};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::write_atomic;

/// Number format on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveDtype {
    /// 4 bytes.
    F32,
    /// 2 bytes.
    Bf16,
}

/// Bytes of a safetensors file holding `tensors`; equal tensors give equal bytes.
pub fn safetensors_bytes(tensors: &BTreeMap<String, Tensor>, dtype: SaveDtype) -> Result<Vec<u8>> {
    let views: Vec<(&str, Raw)> = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), Raw::new(tensor, dtype)?)))
        .collect::<Result<_>>()?;
    safetensors::serialize(views, None).map_err(|error| Error::Internal(format!("cannot serialise: {error}")))
}

/// Write a checkpoint folder: config.json, model.safetensors, and tokenizer.json where given.
pub fn save(
    folder: &Path,
    config: &Value,
    tensors: &BTreeMap<String, Tensor>,
    dtype: SaveDtype,
    tokenizer: Option<&str>,
) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    let text = serde_json::to_string_pretty(config).map_err(|error| Error::Internal(error.to_string()))?;
    write_atomic(&folder.join("config.json"), (text + "\n").as_bytes())?;
    if let Some(tokenizer) = tokenizer {
        write_atomic(&folder.join("tokenizer.json"), tokenizer.as_bytes())?;
    }
    write_atomic(&folder.join("model.safetensors"), &safetensors_bytes(tensors, dtype)?)
}

/// A tensor's bytes in little-endian order.
struct Raw {
    shape: Vec<usize>,
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl Raw {
    fn new(tensor: &Tensor, dtype: SaveDtype) -> Result<Self> {
        let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let (dtype, bytes) = match dtype {
            SaveDtype::F32 => (Dtype::F32, values.iter().flat_map(|x| x.to_le_bytes()).collect()),
            SaveDtype::Bf16 => {
                (Dtype::BF16, values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect())
            }
        };
        Ok(Self { shape: tensor.dims().to_vec(), dtype, bytes })
    }
}

impl View for Raw {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.bytes.as_slice().into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
