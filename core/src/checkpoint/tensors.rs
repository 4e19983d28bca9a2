//! One safetensors file: its header, checked, and its tensors, widened to f32 in ordinary memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde_json::Value;

use super::map::Bytes;
use super::stray::stray;
use crate::error::{Error, Fault, Result};

/// Largest header read. Real ones hold about 100 bytes per tensor; a parsed header costs a few times its size.
const MAX_HEADER: u64 = 16 << 20;

/// A safetensors file with a checked header.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Bytes,
    data: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

/// A tensor as the header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Shape.
    pub shape: Vec<usize>,
    /// Number format on disk.
    pub dtype: Dtype,
    range: (usize, usize),
}

impl TensorInfo {
    /// Whether its numbers can be read: f32, f16, bf16 or f64.
    pub fn is_float(&self) -> bool {
        matches!(self.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        (self.range.1 - self.range.0) as u64
    }
}

impl TensorFile {
    /// Map a file and check its header.
    pub fn open(path: &Path) -> Result<Self> {
        Self::parse(path, Bytes::map(path)?)
    }

    /// A file compiled in.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::parse(Path::new(name), Bytes::Static(bytes))
    }

    fn parse(path: &Path, bytes: Bytes) -> Result<Self> {
        let bad = |cause: String| Error::checkpoint(path, cause);
        let short = |cause: String| Error::faulty(path, Fault::Incomplete, cause);
        if let Some(error) = stray(path, &bytes) {
            return Err(error);
        }
        let length: [u8; 8] = bytes
            .get(..8)
            .and_then(|head| head.try_into().ok())
            .ok_or_else(|| short(format!("{} bytes are too few for a safetensors file", bytes.len())))?;
        let header = u64::from_le_bytes(length);
        if header > MAX_HEADER {
            return Err(bad(format!("its header of {header} bytes is over the limit of {MAX_HEADER}")));
        }
        if header > (bytes.len() as u64).saturating_sub(8) {
            let cause = format!("is cut short: a header of {header} bytes in a file of {}", bytes.len());
            return Err(short(cause));
        }
        // The crate checks UTF-8, JSON, shape times width against the offsets, overflows, overlaps and holes, and
        // that the data end where the file ends.
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| match error {
            SafeTensorError::MetadataIncompleteBuffer => {
                let all = data_len(&bytes, header).unwrap_or(0).saturating_add(8 + header);
                match all.checked_sub(bytes.len() as u64) {
                    Some(missing) => short(format!("is cut short: the last {missing} bytes are missing")),
                    None => bad("goes on after its last tensor".into()),
                }
            }
            error => bad(format!("is not a safetensors file that can be read: {error}")),
        })?;
        let data = header + 8;
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let info =
                    TensorInfo { shape: info.shape.clone(), dtype: info.dtype, range: info.data_offsets };
                (name, info)
            })
            .collect();
        Ok(Self { path: path.to_owned(), bytes, data, tensors })
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the file is empty; a checked file never is.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All bytes, for the fingerprint.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A tensor's bytes on disk.
    pub(super) fn raw(&self, name: &str) -> Option<(&TensorInfo, &[u8])> {
        let info = self.tensors.get(name)?;
        Some((info, self.bytes.get(self.data + info.range.0..self.data + info.range.1)?))
    }

    /// A tensor, of the shape `[..]` that its header has, widened to f32 in fresh memory, and whether all of it is finite.
    pub fn load_f32(&self, name: &str) -> Result<(Tensor, bool)> {
        let (info, bytes) = self.numbers(name)?;
        let (values, finite) = match info.dtype {
            Dtype::F32 => widen::<4>(bytes, f32::from_le_bytes),
            Dtype::F16 => widen::<2>(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => widen::<2>(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            _ => widen::<8>(bytes, |b| f64::from_le_bytes(b) as f32),
        };
        self.bytes.release(self.data + info.range.0, bytes.len());
        Ok((Tensor::from_vec(values, info.shape.as_slice(), &Device::Cpu)?, finite))
    }

    /// A matrix widened in groups of `ROWS` rows, whose values stand side by side: the first of every row, then the second
    /// of every row, and so on; the last group is filled up with zeros. And whether all of it is finite.
    pub fn load_interleaved<const ROWS: usize>(&self, name: &str) -> Result<(Vec<f32>, bool)> {
        let (info, bytes) = self.numbers(name)?;
        let width = info.shape.iter().skip(1).product();
        let (values, finite) = match info.dtype {
            Dtype::F32 => interleave::<4, ROWS>(bytes, width, f32::from_le_bytes),
            Dtype::F16 => interleave::<2, ROWS>(bytes, width, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => interleave::<2, ROWS>(bytes, width, |b| bf16::from_le_bytes(b).to_f32()),
            _ => interleave::<8, ROWS>(bytes, width, |b| f64::from_le_bytes(b) as f32),
        };
        self.bytes.release(self.data + info.range.0, bytes.len());
        Ok((values, finite))
    }

    /// The bytes of a tensor in one of the formats that can be read: f32, f16, bf16, f64.
    fn numbers(&self, name: &str) -> Result<(&TensorInfo, &[u8])> {
        let missing = || Error::checkpoint(&self.path, format!("has no tensor \"{name}\""));
        let (info, bytes) = self.raw(name).ok_or_else(missing)?;
        if !info.is_float() {
            let dtype = info.dtype;
            let cause = format!("tensor \"{name}\" has dtype {dtype:?}; f32, f16, bf16 and f64 can be read");
            return Err(Error::faulty(&self.path, Fault::Quantised, cause));
        }
        Ok((info, bytes))
    }
}

/// Bytes of all tensors as a header of `len` bytes has them.
fn data_len(bytes: &[u8], len: u64) -> Option<u64> {
    let header: Value = serde_json::from_slice(bytes.get(8..8 + len as usize)?).ok()?;
    header.as_object()?.values().filter_map(|tensor| tensor.pointer("/data_offsets/1")?.as_u64()).max()
}

/// Numbers of `N` bytes each to f32, on all cores.
fn widen<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32 + Sync) -> (Vec<f32>, bool) {
    /// Elements per piece of work: large enough to hide the hand-over, small enough for the cache.
    const PIECE: usize = 1 << 16;
    let mut values = vec![0f32; bytes.len() / N];
    let finite = values
        .par_chunks_mut(PIECE)
        .zip(bytes.par_chunks(PIECE * N))
        .map(|(values, bytes)| {
            let mut finite = true;
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *value = read(*bytes);
                finite &= value.is_finite();
            }
            finite
        })
        .reduce(|| true, |a, b| a & b);
    (values, finite)
}

/// The same of rows of `width` numbers, `ROWS` of them side by side.
fn interleave<const N: usize, const ROWS: usize>(
    bytes: &[u8],
    width: usize,
    read: impl Fn([u8; N]) -> f32 + Sync,
) -> (Vec<f32>, bool) {
    /// Columns that are turned at a time, in the nearest cache.
    const COLUMNS: usize = 16;
    let group = (ROWS * width).max(1);
    let mut values = vec![0f32; (bytes.len() / N).next_multiple_of(group)];
    let finite = values
        .par_chunks_mut(group)
        .zip(bytes.par_chunks(group * N))
        .map(|(values, bytes)| {
            let mut finite = true;
            let mut tile = [[0f32; COLUMNS]; ROWS];
            for (block, values) in values.chunks_mut(ROWS * COLUMNS).enumerate() {
                for (tile, row) in tile.iter_mut().zip(bytes.chunks(width * N)) {
                    let row = row.as_chunks::<N>().0.get(block * COLUMNS..).unwrap_or_default();
                    for (slot, bytes) in tile.iter_mut().zip(row) {
                        *slot = read(*bytes);
                        finite &= slot.is_finite();
                    }
                }
                for (column, side) in values.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
                    for (value, tile) in side.iter_mut().zip(&tile) {
                        *value = tile.get(column).copied().unwrap_or(0.0);
                    }
                }
            }
            finite
        })
        .reduce(|| true, |a, b| a & b);
    (values, finite)
}
