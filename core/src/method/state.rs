//! What a killed run goes on from: a safetensors file whose metadata holds the question and the values, and whose tensors are
//! the weights that a method learns.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::checkpoint::check_weight;
use crate::error::{Error, Result};
use crate::files;

/// Bytes of a state file at most.
const MOST_BYTES: u64 = 4 << 30;
/// Metadata key of the question.
const ASKED: &str = "asked";
/// Metadata key of the values.
const VALUES: &str = "values";
/// Metadata key of the time it took.
const SECONDS: &str = "seconds";

/// State of a run.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The method's own values.
    values: Value,
    /// Its weights by name, f32.
    pub tensors: BTreeMap<String, Tensor>,
    /// Seconds of all runs that led here.
    pub seconds: f64,
}

impl State {
    /// State of a method's own values.
    ///
    /// # Errors
    /// Values that JSON cannot hold.
    pub fn new(values: &impl Serialize) -> Result<Self> {
        let values = serde_json::to_value(values).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self { values, tensors: BTreeMap::new(), seconds: 0.0 })
    }

    /// Whether there is nothing to go on from.
    pub fn is_empty(&self) -> bool {
        self.values.is_null() && self.tensors.is_empty()
    }

    /// The values.
    ///
    /// # Errors
    /// Values that are not what the method keeps.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.values).map_err(|error| Error::Study(format!("what is to be resumed: {error}")))
    }

    /// Write it, with the question that it belongs to. Atomic.
    ///
    /// # Errors
    /// [`Error::Write`]; what was there before is kept.
    pub fn write(&self, path: &Path, asked: &Value) -> Result<()> {
        let mut views = Vec::with_capacity(self.tensors.len());
        let mut all = Vec::with_capacity(self.tensors.len());
        for (name, tensor) in &self.tensors {
            let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            all.push((name.as_str(), tensor.dims().to_vec(), bytes));
        }
        let fail =
            |error: safetensors::SafeTensorError| Error::Internal(format!("cannot serialise: {error}"));
        for (name, shape, bytes) in &all {
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            views.push((*name, view.map_err(fail)?));
        }
        let metadata = [
            (ASKED, asked.to_string()),
            (VALUES, self.values.to_string()),
            (SECONDS, self.seconds.to_string()),
        ];
        let metadata: HashMap<String, String> =
            metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        files::write_atomic(path, &safetensors::serialize(views, Some(metadata)).map_err(fail)?)
    }

    /// Read it.
    ///
    /// # Errors
    /// Where it cannot be read, or belongs to another question; the cause names what differs.
    pub fn load(path: &Path, asked: &Value) -> Result<Self> {
        let fail = |cause: String| unusable(path, &cause);
        let (bytes, more) =
            files::read_within(path, MOST_BYTES).map_err(|error| Error::read(path, &error))?;
        if more {
            return Err(fail(format!("it is over {MOST_BYTES} bytes")));
        }
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| fail(e.to_string()))?;
        let metadata = header.metadata().as_ref();
        let value = |key: &str| -> Result<Value> {
            let text = metadata.and_then(|metadata| metadata.get(key));
            let text = text.ok_or_else(|| fail(format!("it has no {key}")))?;
            check_weight(text).map_err(|cause| fail(format!("{key}: {cause}")))?;
            serde_json::from_str(text).map_err(|error| fail(format!("{key}: {error}")))
        };
        same_question(path, &value(ASKED)?, asked)?;
        let file = safetensors::SafeTensors::deserialize(&bytes).map_err(|error| fail(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            if view.dtype() != safetensors::Dtype::F32 {
                return Err(fail(format!("{name} is not f32")));
            }
            let words = view.data().as_chunks::<4>().0;
            let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
            tensors.insert(name, Tensor::from_vec(values, view.shape(), &Device::Cpu)?);
        }
        let seconds = value(SECONDS)?.as_f64().unwrap_or(0.0);
        Ok(Self { values: value(VALUES)?, tensors, seconds })
    }
}

/// Fails where `path` belongs to another question, and names what differs. `of` was read from text.
pub(super) fn same_question(path: &Path, of: &Value, asked: &Value) -> Result<()> {
    let fail = |cause: String| unusable(path, &cause);
    // Through text too: numbers are read back alike.
    let asked: Value = serde_json::from_str(&asked.to_string()).map_err(|error| fail(error.to_string()))?;
    if *of == asked {
        return Ok(());
    }
    Err(fail(format!("it belongs to another question: {}", difference(of, &asked))))
}

/// What is there cannot be gone on with.
pub(super) fn unusable(path: &Path, cause: &str) -> Error {
    Error::asked(
        format!("{}: {cause}", path.display()),
        "ask as it was asked then, choose another folder, or add --overwrite in place of --resume to begin anew",
    )
}

/// The first key that differs; the method and the checkpoint before what is asked of them.
fn difference(was: &Value, is: &Value) -> String {
    let (Some(was), Some(is)) = (was.as_object(), is.as_object()) else {
        return format!("{} then, {} now", short(was), short(is));
    };
    let differs = |(key, value): &(&String, &Value)| was.get(*key) != Some(*value);
    let mut keys: Vec<(&String, &Value)> = is.iter().filter(differs).collect();
    keys.sort_by_key(|(_, value)| value.is_object());
    match keys.first() {
        Some((key, value)) => {
            let was = was.get(*key).unwrap_or(&Value::Null);
            match value.is_object() && was.is_object() {
                true => format!("{key}.{}", difference(was, value)),
                false => format!("{key} was {}, is {}", short(was), short(value)),
            }
        }
        None => "something was asked then that is not asked now".into(),
    }
}

fn short(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{} …", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}

/// A number of findings that is read back: null, as undefined ones are written, is NaN. For
/// `#[serde(deserialize_with = "number")]`.
///
/// # Errors
/// What is neither a number nor null.
pub fn number<'de, T: Deserialize<'de> + From<f32>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_else(|| f32::NAN.into()))
}

/// Floats as their bits: NaN and infinities come back as they were. For `#[serde(with = "bits")]`.
pub mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    /// As bits.
    pub fn serialize<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| value.to_bits()))
    }

    /// From bits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
        let bits = Vec::<u32>::deserialize(deserializer)?;
        Ok(bits.into_iter().map(f32::from_bits).collect())
    }
}

/// The same in double precision.
pub mod bits64 {
    use serde::{Deserialize, Deserializer, Serializer};

    /// As bits.
    pub fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| value.to_bits()))
    }

    /// From bits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let bits = Vec::<u64>::deserialize(deserializer)?;
        Ok(bits.into_iter().map(f64::from_bits).collect())
    }
}
