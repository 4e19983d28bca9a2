//! Writing: a checkpoint folder, and any file atomically.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{DType, Tensor};
use half::bf16;
use safetensors::{Dtype, View};
use serde_json::Value;

use crate::error::{Error, Result};

/// Number format on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveDtype {
    /// 4 bytes.
    F32,
    /// 2 bytes.
    Bf16,
}

/// Write `bytes` to `path` so that a reader sees the old file or the whole new one, also after a crash.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |error: std::io::Error| Error::write(path, error);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let stem = path.file_name().ok_or_else(|| Error::write(path, "not a file name"))?.to_string_lossy();
    // Of this process and this call: two writers of one file must not share it.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let partial = folder.join(format!(".{stem}.{}-{call}.part", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|error| {
        drop(fs::remove_file(&partial));
        fail(error)
    })
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
