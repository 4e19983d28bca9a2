//! Which safetensors files a checkpoint's weights are in.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::folder::{Folder, is_plain};
use super::json::{parse_object, read_text};
use super::stray::not_there;
use super::tensors::TensorFile;
use crate::error::{Error, Fault, Result};

const ONE_FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Most shards that a file's name may promise.
const MAX_SHARDS: usize = 100_000;

/// The one file, the index's shards, or every one in the folder; none where it has none.
pub(super) fn weight_files(folder: &Folder) -> Result<Vec<TensorFile>> {
    if folder.has(ONE_FILE) {
        return Ok(vec![open(&folder.path.join(ONE_FILE))?]);
    }
    if folder.has(INDEX) {
        return of_index(&folder.path);
    }
    // What belongs to something else; a folder that has nothing beside it is refused as that.
    let other = |name: &str| name.starts_with("adapter_model") || name.starts_with("consolidated.");
    let names: Vec<&str> = folder.ending(".safetensors").filter(|name| !other(name)).collect();
    if let Some(missing) = names.iter().find_map(|name| missing_beside(name, folder)) {
        let cause = format!("holds other shards and not {missing}");
        return Err(Error::faulty(&folder.path, Fault::Incomplete, cause));
    }
    names.into_iter().map(|name| open(&folder.path.join(name))).collect()
}

/// A file that its folder or index names.
fn open(path: &Path) -> Result<TensorFile> {
    TensorFile::open(path).map_err(|error| not_there(path, error))
}

/// The first shard that is missing beside `model-00001-of-00003.safetensors`, without an index.
fn missing_beside(name: &str, folder: &Folder) -> Option<String> {
    let (front, count) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
    let (front, number) = front.rsplit_once('-')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let all: usize =
        count.parse().ok().filter(|&all| all <= MAX_SHARDS && digits(count) && digits(number))?;
    let width = number.len();
    let mut shards = (1..=all).map(|number| format!("{front}-{number:0width$}-of-{count}.safetensors"));
    shards.find(|shard| !folder.has(shard))
}

/// The files named by the index; each must lie in the folder and hold what the index says.
fn of_index(folder: &Path) -> Result<Vec<TensorFile>> {
    let path = folder.join(INDEX);
    let index = parse_object(&path, &read_text(&path)?)?;
    let map = index
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| Error::checkpoint(&path, "has no weight_map object"))?;
    let mut shards: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for (tensor, shard) in map {
        let shard = shard
            .as_str()
            .ok_or_else(|| Error::checkpoint(&path, format!("weight_map: \"{tensor}\" has no file name")))?;
        shards.entry(shard).or_default().push(tensor);
    }
    if shards.is_empty() {
        return Err(Error::checkpoint(&path, "its weight_map is empty"));
    }
    let mut files = Vec::new();
    for (shard, tensors) in shards {
        if !is_plain(shard) {
            let cause = format!("names \"{shard}\", which is not a file of this folder");
            return Err(Error::checkpoint(&path, cause));
        }
        let file = open(&folder.join(shard))?;
        if let Some(tensor) = tensors.into_iter().find(|tensor| !file.tensors().contains_key(*tensor)) {
            let cause = format!("does not hold \"{tensor}\", which the index puts there");
            return Err(Error::checkpoint(file.path(), cause));
        }
        files.push(file);
    }
    Ok(files)
}
