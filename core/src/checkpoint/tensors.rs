//! One safetensors file: its header, checked, and its tensors, widened to f32 in ordinary memory.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, available_parallelism};

use candle_core::{Device, Tensor};
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::bytes::Bytes;
use super::number::NumberFormat;
use super::stray::stray;
use super::widen::{Carry, each, interleave, of_bf16, of_f16, wide, wide_word};
use crate::error::{Error, Fault, Result, near};
use crate::files::watched;

/// Largest header read. Real ones hold about 100 bytes per tensor; a parsed header costs a few times its size.
const MAX_HEADER: u64 = 16 << 20;

/// Bytes that are read at a time: they and what they become stay in a core's cache.
const PIECE: usize = 1 << 17;
/// Bytes that are copied at a time.
const COPIED: usize = 1 << 22;
/// Tensors of fewer bytes are read by one core: to hand them out takes longer.
const SMALL: usize = 1 << 20;
/// Bytes that tell what else a file may be.
const FIRST: u64 = 512;

/// A safetensors file with a checked header.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Bytes,
    /// Where the tensors begin.
    data: u64,
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
        self.len() as u64
    }

    fn len(&self) -> usize {
        self.range.1 - self.range.0
    }
}

impl TensorFile {
    /// Open a file and check its header.
    pub fn open(path: &Path) -> Result<Self> {
        Self::parse(path, Bytes::open(path)?)
    }

    /// A file compiled in.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::parse(Path::new(name), Bytes::Static(bytes))
    }

    fn parse(path: &Path, bytes: Bytes) -> Result<Self> {
        let bad = |cause: String| Error::checkpoint(path, cause);
        let short = |cause: String| Error::faulty(path, Fault::Incomplete, cause);
        let (len, read) = (bytes.len(), |len: u64| bytes.read(0, len as usize));
        let first = read(len.min(FIRST)).map_err(|error| broken_off(path, &error))?;
        if let Some(error) = stray(path, &first) {
            return Err(error);
        }
        let header = first
            .first_chunk()
            .map(|length| u64::from_le_bytes(*length))
            .ok_or_else(|| short(format!("{len} bytes are too few for a safetensors file")))?;
        if header > MAX_HEADER {
            return Err(bad(format!("its header of {header} bytes is over the limit of {MAX_HEADER}")));
        }
        let data = 8 + header;
        if data > len {
            return Err(short(format!("is cut short: a header of {header} bytes in a file of {len}")));
        }
        let head = read(data).map_err(|error| broken_off(path, &error))?;
        let metadata = parse_header(&head)
            .map_err(|cause| bad(format!("is not a safetensors file that can be read: {cause}")))?;
        let end = data.saturating_add(metadata.data_len() as u64);
        if end > len {
            return Err(short(format!("is cut short: the last {} bytes are missing", end - len)));
        }
        if end < len {
            return Err(bad("goes on after its last tensor".into()));
        }
        let entry = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
            let info = TensorInfo { shape: info.shape.clone(), dtype: info.dtype, range: info.data_offsets };
            (name, info)
        };
        let tensors = metadata.tensors().into_iter().map(entry).collect();
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

    /// Length of the file, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.len()
    }

    /// Length of the header, bytes.
    pub(super) fn header(&self) -> u64 {
        self.data - 8
    }

    /// So many bytes of the file from each of some places on, for the fingerprint.
    ///
    /// # Errors
    /// Where it cannot be read, or has become shorter.
    pub(super) fn parts(&self, parts: Vec<(u64, usize)>) -> Result<Vec<u8>> {
        self.bytes.parts(parts).map_err(|error| broken_off(&self.path, &error))
    }

    /// Whether a tensor is the same as one of another file: shape, format and every byte.
    ///
    /// # Errors
    /// Where one of the files cannot be read.
    pub(super) fn same(&self, name: &str, other: &Self, its: &str) -> Result<bool> {
        let (Some(one), Some(two)) = (self.tensors.get(name), other.tensors.get(its)) else {
            return Ok(false);
        };
        if (one.dtype, &one.shape) != (two.dtype, &two.shape) {
            return Ok(false);
        }
        let starts = (self.data + one.range.0 as u64, other.data + two.range.0 as u64);
        for at in (0..one.len()).step_by(PIECE) {
            let len = PIECE.min(one.len() - at);
            let part = |file: &Self, start: u64| {
                file.bytes.read(start + at as u64, len).map_err(|error| broken_off(&file.path, &error))
            };
            if part(self, starts.0)? != part(other, starts.1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fails where somebody has written to the file since it was opened: what was read of it is of two files then.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], and where the system does not say.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        match self.bytes.is_unchanged().map_err(|error| broken_off(&self.path, &error))? {
            true => Ok(()),
            false => Err(Error::faulty(&self.path, Fault::Changed, "was written to while it was read")),
        }
    }

    /// The bytes of a tensor, piece by piece.
    ///
    /// # Errors
    /// A tensor that is not there, what cannot be read, and what `take` refuses with.
    pub(super) fn copy(&self, name: &str, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let missing = || Error::checkpoint(&self.path, format!("has no tensor \"{name}\""));
        let info = self.tensors.get(name).ok_or_else(missing)?;
        let start = self.data + info.range.0 as u64;
        for at in (0..info.len()).step_by(COPIED) {
            let len = COPIED.min(info.len() - at);
            let bytes =
                self.bytes.read(start + at as u64, len).map_err(|error| broken_off(&self.path, &error))?;
            take(&bytes)?;
        }
        Ok(())
    }

    /// A tensor, of the shape `[..]` that its header has, widened to f32 in fresh memory, and whether all of it is finite.
    ///
    /// # Errors
    /// A tensor that is not there or has other numbers, and where the file cannot be read.
    pub fn load_f32(&self, name: &str) -> Result<(Tensor, bool)> {
        let info = self.numbers(name)?;
        let (values, finite) = match info.dtype {
            Dtype::F32 => self.numbers_of(info, wide(f32::from_le_bytes)),
            Dtype::F16 => self.numbers_of(info, wide(of_f16)),
            Dtype::BF16 => self.numbers_of(info, wide(of_bf16)),
            _ => self.numbers_of(info, wide(|bytes| f64::from_le_bytes(bytes) as f32)),
        }?;
        Ok((Tensor::from_vec(values, info.shape.as_slice(), &Device::Cpu)?, finite))
    }

    /// The same in the format that it is held in.
    ///
    /// # Errors
    /// As [`TensorFile::load_f32`].
    pub fn load(&self, name: &str, widened: bool) -> Result<(Tensor, bool)> {
        let info = self.numbers(name)?;
        let shape = info.shape.as_slice();
        match NumberFormat::held(info.dtype, widened) {
            NumberFormat::F32 => self.load_f32(name),
            NumberFormat::F16 => {
                let (bits, finite) = self.numbers_of(info, Carry::F16.half())?;
                Ok((Tensor::from_vec(bits.reinterpret_into::<f16>(), shape, &Device::Cpu)?, finite))
            }
            NumberFormat::Bf16 => {
                let (bits, finite) = self.numbers_of(info, Carry::BF16.half())?;
                Ok((Tensor::from_vec(bits.reinterpret_into::<bf16>(), shape, &Device::Cpu)?, finite))
            }
        }
    }

    /// A matrix in words of the format that it is held in, in groups of `ROWS` rows whose words stand side by side: the first of
    /// every row, then the second of every row, and so on. What has no number is zero: the last words of rows, the last group.
    /// And whether all of it is finite.
    ///
    /// # Errors
    /// As [`TensorFile::load_f32`].
    pub fn load_interleaved<const ROWS: usize>(&self, name: &str, widened: bool) -> Result<(Vec<u32>, bool)> {
        let info = self.numbers(name)?;
        match (NumberFormat::held(info.dtype, widened), info.dtype) {
            (NumberFormat::F16, _) => self.words_of::<4, ROWS>(info, Carry::F16.word()),
            (NumberFormat::Bf16, _) => self.words_of::<4, ROWS>(info, Carry::BF16.word()),
            (_, Dtype::F32) => self.words_of::<4, ROWS>(info, wide_word(f32::from_le_bytes)),
            (_, Dtype::F16) => self.words_of::<2, ROWS>(info, wide_word(of_f16)),
            (_, Dtype::BF16) => self.words_of::<2, ROWS>(info, wide_word(of_bf16)),
            _ => self.words_of::<8, ROWS>(info, wide_word(|bytes| f64::from_le_bytes(bytes) as f32)),
        }
    }

    /// What `read` makes of every `N` bytes.
    fn numbers_of<T: Copy + Default + Send + 'static, const N: usize>(
        &self,
        info: &TensorInfo,
        read: impl Fn([u8; N]) -> (T, u32) + Copy + Send + Sync + 'static,
    ) -> Result<(Vec<T>, bool)> {
        self.spread(info, (N, 1), move |bytes, values| each(bytes, values, read))
    }

    /// The same in groups of `ROWS` rows.
    fn words_of<const N: usize, const ROWS: usize>(
        &self,
        info: &TensorInfo,
        read: impl Fn([u8; N]) -> (u32, u32) + Copy + Send + Sync + 'static,
    ) -> Result<(Vec<u32>, bool)> {
        let rows = info.shape.first().copied().unwrap_or(0);
        let row = info.len().checked_div(rows).unwrap_or(0);
        let turn = move |bytes: &[u8], words: &mut [u32]| interleave::<N, ROWS>(bytes, row, words, read);
        self.spread(info, (ROWS * row, ROWS * row.div_ceil(N)), turn)
    }

    /// A tensor's numbers in groups of so many bytes and of so many values, as `turn` makes values of some groups; whether all
    /// of them are finite. Every core takes the next piece, which stays in its cache; the last group is filled up with zeros.
    fn spread<T: Copy + Default + Send + 'static>(
        &self,
        info: &TensorInfo,
        (bytes_each, values_each): (usize, usize),
        turn: impl Fn(&[u8], &mut [T]) -> bool + Copy + Send + Sync + 'static,
    ) -> Result<(Vec<T>, bool)> {
        let (bytes, start, len) = (self.bytes.clone(), self.data + info.range.0 as u64, info.len());
        let (bytes_each, values_each) = (bytes_each.max(1), values_each.max(1));
        let work = move |done: &AtomicU64| {
            let mut values = vec![T::default(); len.div_ceil(bytes_each) * values_each];
            let piece = (PIECE / bytes_each).max(1);
            let pieces = Mutex::new(values.chunks_mut(piece * values_each).enumerate());
            // From both ends: cores that fill neighbouring pages wait for each other.
            let some = |back: bool| -> io::Result<bool> {
                let (mut room, mut finite) = (Vec::new(), true);
                let next = || {
                    let mut pieces = pieces.lock().unwrap_or_else(PoisonError::into_inner);
                    if back { pieces.next_back() } else { pieces.next() }
                };
                while let Some((place, values)) = next() {
                    let from = place * piece * bytes_each;
                    let here = (piece * bytes_each).min(len - from);
                    finite &= turn(bytes.at(start + from as u64, here, &mut room)?, values);
                    done.fetch_add(here as u64, Ordering::Relaxed);
                }
                Ok(finite)
            };
            let others = if len < SMALL { 0 } else { available_parallelism().map_or(1, NonZero::get) - 1 };
            let finite = thread::scope(|scope| {
                let some = &some;
                let others: Vec<_> =
                    (0..others).map(|other| scope.spawn(move || some(other % 2 == 0))).collect();
                let dead = |_| Err(io::Error::other("a thread that reads died"));
                let ended = others.into_iter().map(|thread| thread.join().unwrap_or_else(dead));
                [some(false)].into_iter().chain(ended).collect::<io::Result<Vec<bool>>>()
            })?;
            Ok((values, finite.into_iter().all(|finite| finite)))
        };
        watched(work).map_err(|error| broken_off(&self.path, &error))
    }

    /// A tensor that a person names, not config.json: a wrong name is answered with those that there are.
    ///
    /// # Errors
    /// A name that no tensor has, or one of a format that is not read.
    pub fn named(&self, name: &str) -> Result<Tensor> {
        /// Names that a message lists.
        const LISTED: usize = 5;
        let place = self.path.display();
        let Some(info) = self.tensors.get(name) else {
            let near = near(name, self.tensors.keys().map(String::as_str));
            let meant = near.map_or_else(String::new, |near| format!(": did you mean \"{near}\""));
            let known: Vec<String> =
                self.tensors.keys().take(LISTED).map(|known| format!("\"{known}\"")).collect();
            let more = if self.tensors.len() > LISTED { ", …" } else { "" };
            return Err(Error::asked(
                format!("{place}: has no tensor \"{name}\"{meant}"),
                &match known.is_empty() {
                    true => "name another file: this one holds no tensor".into(),
                    false => format!("name one that it has: {}{more}", known.join(", ")),
                },
            ));
        };
        if !info.is_float() {
            return Err(Error::asked(
                format!("{place}: tensor \"{name}\" is of dtype {:?}, which is not read", info.dtype),
                "save it as F32, F16, BF16 or F64, or name another tensor",
            ));
        }
        Ok(self.load_f32(name)?.0)
    }

    /// A tensor in one of the formats that can be read: f32, f16, bf16, f64.
    fn numbers(&self, name: &str) -> Result<&TensorInfo> {
        let missing = || Error::checkpoint(&self.path, format!("has no tensor \"{name}\""));
        let info = self.tensors.get(name).ok_or_else(missing)?;
        if !info.is_float() {
            let dtype = info.dtype;
            let cause = format!("tensor \"{name}\" has dtype {dtype:?}; f32, f16, bf16 and f64 can be read");
            return Err(Error::faulty(&self.path, Fault::Quantised, cause));
        }
        Ok(info)
    }
}

/// The header of a file by its first bytes, checked but for the file's end.
fn parse_header(head: &[u8]) -> std::result::Result<Metadata, String> {
    // The crate checks UTF-8, JSON, shape times width against the offsets, overflows, overlaps and holes, and last that the
    // data end where the bytes do: here these end with the header.
    match SafeTensors::read_metadata(head) {
        Ok(_) | Err(SafeTensorError::MetadataIncompleteBuffer) => {}
        Err(error) => return Err(error.to_string()),
    }
    serde_json::from_slice(head.get(8..).unwrap_or_default()).map_err(|error| error.to_string())
}

/// The failure to read a file that was open already.
fn broken_off(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            Error::faulty(path, Fault::Changed, "was cut short while it was read")
        }
        _ => Error::read(path, error),
    }
}
