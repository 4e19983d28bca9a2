//! Writing a checkpoint folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Tensor};
use half::{bf16, f16};
use safetensors::{Dtype, View};
use serde_json::Value;

use super::number::NumberFormat;
use crate::error::{Error, Result};
use crate::files::write_atomic;

/// Numbers in little-endian order; of another format than the four that are read, as f32.
pub(crate) fn encoded(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
        Dtype::F64 => values.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

/// Bytes of a safetensors file holding `tensors`; equal tensors give equal bytes.
pub fn safetensors_bytes(tensors: &BTreeMap<String, Tensor>, dtype: NumberFormat) -> Result<Vec<u8>> {
    safetensors_with(tensors, dtype, &BTreeMap::new())
}

/// Bytes of a safetensors file with metadata, texts by name, in its header.
pub fn safetensors_with(
    tensors: &BTreeMap<String, Tensor>,
    dtype: NumberFormat,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let views: Vec<(&str, Raw)> = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), Raw::new(tensor, dtype)?)))
        .collect::<Result<_>>()?;
    let fail = |cause: String| Error::Internal(format!("cannot serialise: {cause}"));
    let bytes = safetensors::serialize(views, None).map_err(|error| fail(error.to_string()))?;
    if metadata.is_empty() {
        return Ok(bytes);
    }
    let metadata = serde_json::to_string(metadata).map_err(|error| fail(error.to_string()))?;
    described(bytes, &metadata).ok_or_else(|| fail("a header without an object".into()))
}

/// A safetensors file without metadata, with some. The crate would put them down in the order of a hash map, another one at
/// every run.
fn described(mut bytes: Vec<u8>, metadata: &str) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let tensors = std::str::from_utf8(rest.get(..length)?).ok()?.trim_end().strip_prefix('{')?;
    let comma = if tensors == "}" { "" } else { "," };
    let mut header = format!("{{\"__metadata__\":{metadata}{comma}{tensors}");
    // Tensors begin at a multiple of 8.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    bytes.reserve_exact(header.len().saturating_sub(length));
    let lengths = (header.len() as u64).to_le_bytes();
    bytes.splice(..8 + length, lengths.into_iter().chain(header.into_bytes()));
    Some(bytes)
}

/// Write a checkpoint folder: config.json, model.safetensors, and tokenizer.json where given.
pub fn save(
    folder: &Path,
    config: &Value,
    tensors: &BTreeMap<String, Tensor>,
    dtype: NumberFormat,
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
    fn new(tensor: &Tensor, dtype: NumberFormat) -> Result<Self> {
        let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let dtype = dtype.stored();
        Ok(Self { shape: tensor.dims().to_vec(), dtype, bytes: encoded(&values, dtype) })
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn metadata_is_read_back_and_leaves_the_tensors_as_they_are() {
        let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
        let two =
            BTreeMap::from([("a".to_owned(), tensor(&[1.0, 2.0])), ("b".to_owned(), tensor(&[3.0; 5]))]);
        for tensors in [two, BTreeMap::new()] {
            let plain = safetensors_bytes(&tensors, NumberFormat::F32).unwrap();
            for length in 0..9 {
                let texts =
                    [("kind", "capture".to_owned()), ("prompt", format!("\"é\n{}", "x".repeat(length)))];
                let metadata: BTreeMap<String, String> =
                    texts.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
                let bytes = safetensors_with(&tensors, NumberFormat::F32, &metadata).unwrap();
                assert_eq!(bytes, safetensors_with(&tensors, NumberFormat::F32, &metadata).unwrap());
                let (header, known) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
                assert_eq!(header % 8, 0, "tensors begin at a multiple of 8");
                let read: BTreeMap<String, String> = known.metadata().clone().unwrap().into_iter().collect();
                assert_eq!(read, metadata);
                let [with, without] =
                    [&bytes, &plain].map(|bytes| safetensors::SafeTensors::deserialize(bytes).unwrap());
                assert_eq!(with.len(), without.len());
                for (name, view) in without.tensors() {
                    assert_eq!(with.tensor(&name).unwrap().data(), view.data());
                }
            }
        }
    }
}
