//! Tensors of a saved model, one at a time, into safetensors files of a bounded size.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::{Value, json};

use super::edits::{Edit, edited};
use super::text;
use crate::checkpoint::{Checkpoint, encoded};
use crate::engine::Cancelled;
use crate::error::{Error, Result};
use crate::files::{Growing, There, write_atomic};

/// Bytes of a file at most, unless one tensor has more.
const SHARD: u64 = 5_000_000_000;

/// A tensor to be written.
pub(super) struct Tensor<'a> {
    /// Its name in the new file.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// Number format there.
    pub dtype: Dtype,
    /// Its name in the checkpoint; `None` = zeros.
    pub source: Option<&'a str>,
    /// Along the first axis, what is kept of it; `None` = all.
    pub kept: Option<&'a [usize]>,
    /// What happens to it before that.
    pub edits: &'a [Edit],
}

impl Tensor<'_> {
    fn bytes(&self) -> u64 {
        let numbers = self.shape.iter().fold(1u64, |all, &side| all.saturating_mul(side as u64));
        numbers.saturating_mul(width(self.dtype))
    }

    /// Whether it is written as it was read.
    fn is_copy(&self, checkpoint: &Checkpoint) -> bool {
        let same = |name: &str| checkpoint.info(name).is_some_and(|info| info.dtype == self.dtype);
        self.edits.is_empty() && self.kept.is_none() && self.source.is_some_and(same)
    }

    /// Its numbers.
    fn values(&self, checkpoint: &Checkpoint) -> Result<Vec<f32>> {
        let Some(source) = self.source else {
            return Ok(edited(vec![0.0; self.shape.iter().product()], &self.shape, self.edits));
        };
        let shape = checkpoint.info(source).map(|info| info.shape.clone()).unwrap_or_default();
        let (tensor, finite) = checkpoint.load_f32(source, &shape)?;
        let values = edited(tensor.flatten_all()?.to_vec1()?, &shape, self.edits);
        if finite && !values.iter().all(|value| value.is_finite()) {
            let cause = format!("{} would have numbers that f32 has no room for", self.name);
            return Err(Error::asked(cause, "use smaller factors or vectors in the plan"));
        }
        let Some(kept) = self.kept else { return Ok(values) };
        let row = shape.iter().skip(1).product::<usize>().max(1);
        let rows = kept.iter().filter_map(|&at| values.get(at * row..(at + 1) * row));
        Ok(rows.flatten().copied().collect())
    }
}

/// Write the tensors into `folder`, under the names that transformers reads. Gives the bytes of the tensors.
///
/// # Errors
/// What cannot be read or written, numbers that a format has no room for, and [`Error::Cancelled`].
pub(super) fn write(
    folder: &Path,
    checkpoint: &Checkpoint,
    tensors: &[Tensor<'_>],
    report: &mut dyn FnMut(u64, u64),
    cancelled: Cancelled,
) -> Result<u64> {
    let total = tensors.iter().fold(0u64, |all, tensor| all.saturating_add(tensor.bytes()));
    let shards = shards(tensors);
    let name = |number: usize| match shards.len() {
        1 => "model.safetensors".to_owned(),
        all => format!("model-{:05}-of-{all:05}.safetensors", number + 1),
    };
    let (mut done, mut home) = (0, BTreeMap::new());
    for (number, shard) in shards.iter().enumerate() {
        let path = folder.join(name(number));
        let mut file = Growing::begin(&path, There::Keep)?;
        file.write(&header(shard)?)?;
        for tensor in *shard {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            match tensor.source.filter(|_| tensor.is_copy(checkpoint)) {
                Some(source) => checkpoint.copy(source, &mut |bytes| file.write(bytes))?,
                None => put(tensor, &tensor.values(checkpoint)?, &mut file)?,
            }
            home.insert(tensor.name.clone(), Value::from(name(number)));
            done += tensor.bytes();
            report(done, total);
        }
        file.finish()?;
    }
    if shards.len() > 1 {
        let index = json!({ "metadata": { "total_size": total }, "weight_map": home });
        write_atomic(&folder.join("model.safetensors.index.json"), &text(&index)?)?;
    }
    Ok(total)
}

/// The tensors of each file.
fn shards<'a, 'b>(mut tensors: &'b [Tensor<'a>]) -> Vec<&'b [Tensor<'a>]> {
    let mut shards = Vec::new();
    while !tensors.is_empty() {
        let mut bytes = 0u64;
        let fits = |tensor: &&Tensor<'_>| {
            bytes = bytes.saturating_add(tensor.bytes());
            bytes <= SHARD
        };
        let count = tensors.iter().take_while(fits).count().max(1);
        let (shard, rest) = tensors.split_at(count);
        shards.push(shard);
        tensors = rest;
    }
    shards
}

/// The front of a safetensors file.
fn header(tensors: &[Tensor<'_>]) -> Result<Vec<u8>> {
    let fail = |error: serde_json::Error| Error::Internal(error.to_string());
    let mut at = 0;
    let mut text = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
    for tensor in tensors {
        let end = at + tensor.bytes();
        let entry =
            json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end] }).to_string();
        text += &format!(",{}:{entry}", serde_json::to_string(&tensor.name).map_err(fail)?);
        at = end;
    }
    text.push('}');
    // Tensors begin at a multiple of 8.
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.into_bytes());
    Ok(bytes)
}

/// Numbers in the format of their file.
fn put(tensor: &Tensor<'_>, values: &[f32], file: &mut Growing) -> Result<()> {
    /// Numbers that are turned at a time.
    const PIECE: usize = 1 << 16;
    for values in values.chunks(PIECE) {
        let past = |finite: bool, value: f32| value.is_finite() && !finite;
        let over = values.iter().any(|&value| match tensor.dtype {
            Dtype::F16 => past(f16::from_f32(value).is_finite(), value),
            Dtype::BF16 => past(bf16::from_f32(value).is_finite(), value),
            _ => false,
        });
        if over {
            let cause = format!("{} has numbers that {:?} has no room for", tensor.name, tensor.dtype);
            return Err(Error::asked(cause, "save it with --dtype bf16 or f32"));
        }
        file.write(&encoded(values, tensor.dtype))?;
    }
    Ok(())
}

/// Bytes of a number.
fn width(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F16 | Dtype::BF16 => 2,
        Dtype::F64 => 8,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_filled_up_to_their_size_and_a_large_tensor_has_its_own() {
        let tensor = |side: usize| Tensor {
            name: "x".into(),
            shape: vec![side, 1_000_000],
            dtype: Dtype::F32,
            source: None,
            kept: None,
            edits: &[],
        };
        let tensors = [tensor(1000), tensor(250), tensor(1), tensor(2000), tensor(3)];
        let sides = |shard: &[Tensor<'_>]| shard.iter().map(|t| t.shape[0]).collect::<Vec<_>>();
        let shards: Vec<Vec<usize>> = shards(&tensors).into_iter().map(sides).collect();
        assert_eq!(shards, [vec![1000, 250], vec![1], vec![2000], vec![3]]);
    }

    #[test]
    fn a_header_is_one_that_the_library_reads() {
        let tensor = |name: &str, shape: &[usize], dtype| Tensor {
            name: name.into(),
            shape: shape.to_vec(),
            dtype,
            source: None,
            kept: None,
            edits: &[],
        };
        let tensors = [tensor("a.weight", &[2, 3], Dtype::BF16), tensor("b\"", &[5], Dtype::F32)];
        let mut bytes = header(&tensors).unwrap();
        assert_eq!(bytes.len() % 8, 0);
        bytes.extend([0; 12 + 20]);
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(read.tensor("a.weight").unwrap().shape(), [2, 3]);
        assert_eq!(read.tensor("b\"").unwrap().dtype(), Dtype::F32);
    }
}
