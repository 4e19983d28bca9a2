//! A Hugging Face folder: config.json, safetensors (one file or shards with an index), tokenizer files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use candle_core::Tensor;
use serde_json::Value;

use super::fingerprint::fingerprint;
use super::json::{parse_object, read_text};
use super::tensors::{TensorFile, TensorInfo};
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// An open checkpoint: config parsed, headers checked, no weights read yet.
#[derive(Debug)]
pub struct Checkpoint {
    name: String,
    folder: Option<PathBuf>,
    config: Value,
    config_text: String,
    files: Vec<TensorFile>,
    /// Tensor name -> index into `files`.
    home: BTreeMap<String, usize>,
    embedded: Option<Embedded>,
}

/// The files of a checkpoint that is compiled in.
#[derive(Debug)]
pub struct Embedded {
    /// config.json
    pub config: &'static str,
    /// preprocessor_config.json
    pub preprocessor: &'static str,
    /// tokenizer.json
    pub tokenizer: &'static str,
    /// model.safetensors
    pub weights: &'static [u8],
}

impl Checkpoint {
    /// Open a folder, or the folder that a given file lies in.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|error| Error::read(path, &error))?;
        let folder = if metadata.is_dir() {
            path
        } else {
            path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
        };
        let names = listing(folder)?;
        if names.is_empty() {
            return Err(Error::checkpoint(
                folder,
                "the folder is empty; a checkpoint has config.json and *.safetensors",
            ));
        }
        if !names.iter().any(|name| name == "config.json") {
            let gguf = names.iter().any(|name| name.ends_with(".gguf"));
            let hint = if gguf { " (GGUF files cannot be opened yet)" } else { "" };
            return Err(Error::checkpoint(folder, format!("has no config.json{hint}")));
        }
        let config_text = read_text(&folder.join("config.json"))?;
        let config = parse_object(&folder.join("config.json"), &config_text)?;
        let files = weight_files(folder, &names)?;
        let name = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        let name = name
            .file_name()
            .map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into_owned());
        Self::new(name, Some(folder.to_owned()), config, config_text, files)
    }

    /// A checkpoint compiled in.
    pub fn embedded(name: &str, embedded: Embedded) -> Result<Self> {
        let value = parse_object(Path::new("config.json"), embedded.config)?;
        let files = vec![TensorFile::embedded("model.safetensors", embedded.weights)?];
        let mut checkpoint = Self::new(name.into(), None, value, embedded.config.into(), files)?;
        checkpoint.embedded = Some(embedded);
        Ok(checkpoint)
    }

    fn new(
        name: String,
        folder: Option<PathBuf>,
        config: Value,
        config_text: String,
        files: Vec<TensorFile>,
    ) -> Result<Self> {
        let mut home = BTreeMap::new();
        for (index, file) in files.iter().enumerate() {
            for tensor in file.tensors().keys() {
                if home.insert(tensor.clone(), index).is_some() {
                    return Err(Error::checkpoint(
                        file.path(),
                        format!("tensor \"{tensor}\" is in two files"),
                    ));
                }
            }
        }
        Ok(Self { name, folder, config, config_text, files, home, embedded: None })
    }

    /// Folder name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it lies; `None` = compiled in.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// config.json.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Length of the safetensors files.
    pub fn bytes_file(&self) -> u64 {
        self.files.iter().map(|file| file.len() as u64).sum()
    }

    /// Short content name, hexadecimal.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.config_text, &self.files)
    }

    /// Every tensor with its header entry, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.home.keys().filter_map(|name| Some((name.as_str(), self.info(name)?)))
    }

    /// Header entry of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.files.get(*self.home.get(name)?)?.tensors().get(name)
    }

    /// Whether two tensors are the same on disk: shape, format and every byte.
    pub fn same(&self, one: &str, other: &str) -> bool {
        let raw = |name: &str| self.files.get(*self.home.get(name)?)?.raw(name);
        match (raw(one), raw(other)) {
            (Some((a, a_bytes)), Some((b, b_bytes))) => {
                (a.dtype, &a.shape) == (b.dtype, &b.shape) && a_bytes == b_bytes
            }
            _ => false,
        }
    }

    /// generation_config.json, where the folder has one.
    pub fn generation_config(&self) -> Result<Option<Value>> {
        let path = self.folder.as_ref().map(|folder| folder.join("generation_config.json"));
        match path.filter(|path| path.is_file()) {
            Some(path) => parse_object(&path, &read_text(&path)?).map(Some),
            None => Ok(None),
        }
    }

    /// How pictures are prepared: preprocessor_config.json, or its part of processor_config.json.
    pub fn preprocessor_config(&self) -> Result<Option<Value>> {
        if let Some(embedded) = &self.embedded {
            return parse_object(Path::new("preprocessor_config.json"), embedded.preprocessor).map(Some);
        }
        let Some(folder) = &self.folder else { return Ok(None) };
        let (alone, joint) = (folder.join("preprocessor_config.json"), folder.join("processor_config.json"));
        if alone.is_file() {
            return parse_object(&alone, &read_text(&alone)?).map(Some);
        }
        if joint.is_file() {
            return Ok(parse_object(&joint, &read_text(&joint)?)?.get("image_processor").cloned());
        }
        Ok(None)
    }

    /// A tensor of the expected shape, f32, and whether all of it is finite.
    pub fn load_f32(&self, name: &str, shape: &[usize]) -> Result<(Tensor, bool)> {
        self.file_of(name, shape)?.load_f32(name)
    }

    /// The same of a matrix, as [`TensorFile::load_interleaved`] has it.
    pub fn load_interleaved<const ROWS: usize>(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<(Vec<f32>, bool)> {
        self.file_of(name, shape)?.load_interleaved::<ROWS>(name)
    }

    /// The file that has a tensor of the expected shape.
    fn file_of(&self, name: &str, shape: &[usize]) -> Result<&TensorFile> {
        let place = || self.folder.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        let file = self.home.get(name).and_then(|&index| self.files.get(index));
        let file = file.ok_or_else(|| Error::checkpoint(place(), format!("has no tensor \"{name}\"")))?;
        if let Some(info) = file.tensors().get(name)
            && info.shape != shape
        {
            let cause =
                format!("tensor \"{name}\" has shape {:?}, the config asks for {shape:?}", info.shape);
            return Err(Error::checkpoint(file.path(), cause));
        }
        Ok(file)
    }

    /// The tokenizer, `None` where the folder has none.
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        match (&self.folder, &self.embedded) {
            (_, Some(embedded)) => {
                Tokenizer::from_json(Path::new("tokenizer.json"), embedded.tokenizer).map(Some)
            }
            (Some(folder), None) => Tokenizer::open(folder),
            (None, None) => Ok(None),
        }
    }
}

/// File names of a folder.
fn listing(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|error| Error::read(folder, &error))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Error::read(folder, &error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The safetensors files: the one, the index's shards, or every one in the folder.
fn weight_files(folder: &Path, names: &[String]) -> Result<Vec<TensorFile>> {
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if has("model.safetensors") {
        return Ok(vec![TensorFile::open(&folder.join("model.safetensors"))?]);
    }
    if has("model.safetensors.index.json") {
        return shards(folder);
    }
    let files: Vec<&String> = names.iter().filter(|name| name.ends_with(".safetensors")).collect();
    if files.is_empty() {
        let other = names.iter().find(|n| n.ends_with(".bin") || n.ends_with(".pt") || n.ends_with(".gguf"));
        let hint = other.map_or_else(String::new, |name| format!(" ({name} is not a format that opens)"));
        return Err(Error::checkpoint(folder, format!("has no *.safetensors{hint}")));
    }
    files.into_iter().map(|name| TensorFile::open(&folder.join(name))).collect()
}

/// The files named by model.safetensors.index.json; each must lie in the folder and hold what the index says.
fn shards(folder: &Path) -> Result<Vec<TensorFile>> {
    let path = folder.join("model.safetensors.index.json");
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
        let mut parts = Path::new(shard).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(Error::checkpoint(
                &path,
                format!("names \"{shard}\", which is not a file of this folder"),
            ));
        }
        let file = TensorFile::open(&folder.join(shard))?;
        if let Some(tensor) = tensors.into_iter().find(|tensor| !file.tensors().contains_key(*tensor)) {
            return Err(Error::checkpoint(
                file.path(),
                format!("does not hold \"{tensor}\", which the index puts there"),
            ));
        }
        files.push(file);
    }
    Ok(files)
}
