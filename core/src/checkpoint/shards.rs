//! Which safetensors files a checkpoint's weights are in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::folder::{Folder, is_plain};
use super::json::{MAX_INDEX, parse, read_text_within};
use super::stray::not_there;
use super::tensors::TensorFile;
use crate::error::{Error, Fault, Result};

const ONE_FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Most files that weights may be in: ten times as many as anybody publishes. Each is kept open.
const MAX_SHARDS: usize = 10_000;

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
    if names.len() > MAX_SHARDS {
        let cause = format!("holds {} safetensors files; at most {MAX_SHARDS} are opened", names.len());
        return Err(Error::checkpoint(&folder.path, cause));
    }
    let series: BTreeSet<Series> = names.iter().filter_map(|name| Series::of(name)).collect();
    if let Some(missing) = series.iter().find_map(|series| series.missing(folder)) {
        let cause = format!("holds other shards and not {missing}");
        return Err(Error::faulty(&folder.path, Fault::Incomplete, cause));
    }
    names.into_iter().map(|name| open(&folder.path.join(name))).collect()
}

/// A file that its folder or index names.
fn open(path: &Path) -> Result<TensorFile> {
    TensorFile::open(path).map_err(|error| not_there(path, error))
}

/// Files named like `model-00001-of-00003.safetensors`, which say how many there are.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Series<'a> {
    front: &'a str,
    /// Digits of a file's number.
    width: usize,
    /// As the names have it.
    count: &'a str,
}

impl<'a> Series<'a> {
    /// The one that a name belongs to.
    fn of(name: &'a str) -> Option<Self> {
        let (front, count) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
        let (front, number) = front.rsplit_once('-')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        (digits(count) && digits(number)).then_some(Self { front, width: number.len(), count })
    }

    /// The first that a folder has not; none where the count is out of bounds.
    fn missing(&self, folder: &Folder) -> Option<String> {
        let Self { front, width, count } = self;
        let all: usize = count.parse().ok().filter(|&all| all <= MAX_SHARDS)?;
        let mut names = (1..=all).map(|number| format!("{front}-{number:0width$}-of-{count}.safetensors"));
        names.find(|name| !folder.has(name))
    }
}

/// What is read of an index: the rest is skipped, and nothing is kept twice.
#[derive(serde::Deserialize)]
struct Index {
    #[serde(default)]
    weight_map: Option<Shards>,
}

/// Tensors by the file that holds them.
struct Shards(BTreeMap<String, Vec<Box<str>>>);

impl<'de> Deserialize<'de> for Shards {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(ByShard)
    }
}

struct ByShard;

impl<'de> Visitor<'de> for ByShard {
    type Value = Shards;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a weight_map object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Shards, A::Error> {
        let mut shards: BTreeMap<String, Vec<Box<str>>> = BTreeMap::new();
        while let Some(tensor) = map.next_key::<Box<str>>()? {
            let Name(shard) = map.next_value()?;
            let Some(shard) = shard else {
                return Err(de::Error::custom(format!("weight_map: \"{tensor}\" has no file name")));
            };
            if let Some(tensors) = shards.get_mut(&shard) {
                tensors.push(tensor);
                continue;
            }
            if shards.len() == MAX_SHARDS {
                return Err(de::Error::custom(format!("weight_map: names more than {MAX_SHARDS} files")));
            }
            shards.insert(shard, vec![tensor]);
        }
        Ok(Shards(shards))
    }
}

/// A text; none of what is something else.
struct Name(Option<String>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let value: &RawValue = Deserialize::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(value.get()).ok()))
    }
}

/// A cause without the place that serde_json puts behind it where it is one of ours.
fn unlined(cause: &str) -> String {
    match cause.rsplit_once(" at line ") {
        Some((ours, _)) if ours.starts_with("weight_map") => ours.to_owned(),
        _ if cause.contains("expected a weight_map object") => "has no weight_map object".into(),
        _ => format!("is not valid JSON: {cause}"),
    }
}

/// The files named by the index; each must lie in the folder and hold what the index says.
fn of_index(folder: &Path) -> Result<Vec<TensorFile>> {
    let path = folder.join(INDEX);
    let text = read_text_within(&path, MAX_INDEX)?;
    let index = parse(&text, |text| serde_json::from_str::<Index>(text).map(|index| index.weight_map));
    let shards = index.map_err(|error| Error::checkpoint(&path, unlined(&error.to_string())))?;
    // Nothing of it is needed any more.
    drop(text);
    let Shards(shards) = shards.ok_or_else(|| Error::checkpoint(&path, "has no weight_map object"))?;
    if shards.is_empty() {
        return Err(Error::checkpoint(&path, "its weight_map is empty"));
    }
    let mut files = Vec::new();
    for (shard, tensors) in shards {
        if !is_plain(&shard) {
            let cause = format!("names \"{shard}\", which is not a file of this folder");
            return Err(Error::checkpoint(&path, cause));
        }
        let file = open(&folder.join(&shard))?;
        if let Some(tensor) = tensors.into_iter().find(|tensor| !file.tensors().contains_key(&**tensor)) {
            let cause = format!("does not hold \"{tensor}\", which the index puts there");
            return Err(Error::checkpoint(file.path(), cause));
        }
        files.push(file);
    }
    Ok(files)
}
