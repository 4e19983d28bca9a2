//! A Hugging Face folder: config.json, safetensors (one file or shards with an index), tokenizer files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::Value;

use super::fingerprint::fingerprint;
use super::folder::{Folder, SIDE_FILES};
use super::json::{parse_object, read_text};
use super::number::{NumberFormat, widened};
use super::shards::weight_files;
use super::tensors::{TensorFile, TensorInfo};
use super::tokenizer::Tokenizer;
use crate::error::{Error, Fault, Result};
use crate::files;

/// Bytes of a file beside config and weights at most, as a tokenizer's.
const MAX_SIDE: u64 = 128 << 20;

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
    warnings: Vec<String>,
    widened: bool,
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
    /// Open a folder, the folder that a given file lies in, or the snapshot of a folder of the Hugging Face cache.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = Folder::locate(path)?;
        let checkpoint = Self::of_folder(&folder)?;
        if checkpoint.has_weights() { Ok(checkpoint) } else { Err(folder.without_weights()) }
    }

    /// The same, or config.json alone where there are no weights: what is said of it does not need them. A file given by
    /// another name is such a config.json too.
    pub fn open_config(path: &Path) -> Result<Self> {
        let folder = match Folder::locate(path) {
            Ok(folder) => folder,
            Err(error) => return Self::config_file(path)?.ok_or(error),
        };
        let mut checkpoint = Self::of_folder(&folder)?;
        if !checkpoint.has_weights() {
            checkpoint.warnings = vec![folder.without_weights().to_string()];
        }
        Ok(checkpoint)
    }

    fn of_folder(folder: &Folder) -> Result<Self> {
        let path = folder.path.join("config.json");
        let text = read_text(&path)?;
        let config = parse_object(&path, &text)?;
        let files = weight_files(folder)?;
        if let Some(error) = folder.pointer() {
            return Err(error);
        }
        let mut checkpoint = Self::new(folder.title(), Some(folder.path.clone()), config, text, files)?;
        if folder.has("adapter_config.json") {
            checkpoint
                .warnings
                .push("adapter_config.json: the adapter beside the weights is not applied".into());
        }
        Ok(checkpoint)
    }

    /// A config.json by another name, in a folder without one.
    fn config_file(path: &Path) -> Result<Option<Self>> {
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        if !is_json || !files::stands(path) {
            return Ok(None);
        }
        let text = read_text(path)?;
        let config = parse_object(path, &text)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let known = config.get("model_type").is_some();
        known.then(|| Self::new(name, None, config, text, Vec::new())).transpose()
    }

    /// A checkpoint compiled in.
    pub fn embedded(name: &str, embedded: Embedded) -> Result<Self> {
        let value = parse_object(Path::new("config.json"), embedded.config)?;
        let files = vec![TensorFile::embedded("model.safetensors", embedded.weights)?];
        let mut checkpoint = Self::new(name.into(), None, value, embedded.config.into(), files)?;
        checkpoint.embedded = Some(embedded);
        Ok(checkpoint)
    }

    /// The same, whose matrices are held as f32, whatever the files have.
    pub fn widened(self) -> Self {
        Self { widened: true, ..self }
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
                    let cause = format!("tensor \"{tensor}\" is in another file of the folder too");
                    return Err(Error::faulty(file.path(), Fault::Several, cause));
                }
            }
        }
        let (embedded, warnings, widened) = (None, Vec::new(), widened());
        Ok(Self { name, folder, config, config_text, files, home, embedded, warnings, widened })
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

    /// What to know about its files.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether it has weights; [`Checkpoint::open_config`] opens some that have not.
    pub fn has_weights(&self) -> bool {
        !self.files.is_empty()
    }

    /// Length of the safetensors files.
    pub fn bytes_file(&self) -> u64 {
        self.files.iter().map(TensorFile::bytes).sum()
    }

    /// Short content name, hexadecimal.
    ///
    /// # Errors
    /// Where the weights cannot be read.
    pub fn fingerprint(&self) -> Result<String> {
        fingerprint(&self.config_text, &self.files)
    }

    /// Every tensor with its header entry, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        let info = |name: &String, index: usize| self.files.get(index)?.tensors().get(name);
        self.home.iter().filter_map(move |(name, &index)| Some((name.as_str(), info(name, index)?)))
    }

    /// The name of every tensor.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.home.keys().map(String::as_str)
    }

    /// Header entry of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.files.get(*self.home.get(name)?)?.tensors().get(name)
    }

    /// The file that holds a tensor, else the folder.
    pub fn place(&self, name: &str) -> PathBuf {
        match self.home.get(name).and_then(|&index| self.files.get(index)) {
            Some(file) => file.path().to_owned(),
            None => self.folder.clone().unwrap_or_else(|| PathBuf::from(&self.name)),
        }
    }

    /// Whether two tensors are the same on disk: shape, format and every byte.
    ///
    /// # Errors
    /// Where the weights cannot be read.
    pub fn same(&self, one: &str, other: &str) -> Result<bool> {
        let file = |name: &str| self.files.get(*self.home.get(name)?);
        match (file(one), file(other)) {
            (Some(file), Some(second)) => file.same(one, second, other),
            _ => Ok(false),
        }
    }

    /// Fails where a file of weights was written to since it was opened.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], and where the system does not say.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(TensorFile::check_unchanged)
    }

    /// generation_config.json, where the folder has one.
    pub fn generation_config(&self) -> Result<Option<Value>> {
        let path = self.folder.as_ref().map(|folder| folder.join("generation_config.json"));
        match path.filter(|path| files::stands(path)) {
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
        if files::stands(&alone) {
            return parse_object(&alone, &read_text(&alone)?).map(Some);
        }
        if files::stands(&joint) {
            return Ok(parse_object(&joint, &read_text(&joint)?)?.get("image_processor").cloned());
        }
        Ok(None)
    }

    /// A tensor of the expected shape `[shape]`, f32, and whether all of it is finite.
    pub fn load_f32(&self, name: &str, shape: &[usize]) -> Result<(Tensor, bool)> {
        self.file_of(name, shape)?.load_f32(name)
    }

    /// The same in the format that it is held in.
    pub fn load(&self, name: &str, shape: &[usize]) -> Result<(Tensor, bool)> {
        self.file_of(name, shape)?.load(name, self.widened)
    }

    /// A matrix of the expected shape in panels, as [`TensorFile::load_interleaved`] has it.
    pub fn load_interleaved<const ROWS: usize>(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<(Vec<u32>, bool)> {
        self.file_of(name, shape)?.load_interleaved::<ROWS>(name, self.widened)
    }

    /// What a matrix of the files is held in; f32 where there is none of this name.
    pub fn held(&self, name: &str) -> NumberFormat {
        self.info(name).map_or(NumberFormat::F32, |info| NumberFormat::held(info.dtype, self.widened))
    }

    /// The format that config.json names, for what it is held in without tensors to ask.
    pub fn named_format(&self) -> NumberFormat {
        let named = ["dtype", "torch_dtype"].into_iter().find_map(|field| self.config.get(field)?.as_str());
        let mut narrow = [NumberFormat::F16, NumberFormat::Bf16].into_iter().filter(|_| !self.widened);
        narrow.find(|format| named == Some(format.in_config())).unwrap_or(NumberFormat::F32)
    }

    /// The bytes of a tensor as the file has them, piece by piece.
    ///
    /// # Errors
    /// A tensor that is not there, what cannot be read, and what `take` refuses with.
    pub fn copy(&self, name: &str, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let shape = self.info(name).map(|info| info.shape.clone()).unwrap_or_default();
        self.file_of(name, &shape)?.copy(name, take)
    }

    /// What belongs to the model beside config and weights, with the name of each file: tokenizer, settings of generation and
    /// pictures, chat template.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn side_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        if let Some(Embedded { preprocessor, tokenizer, .. }) = &self.embedded {
            let files = [("preprocessor_config.json", preprocessor), ("tokenizer.json", tokenizer)];
            return Ok(files.map(|(name, text)| (name, text.as_bytes().to_vec())).to_vec());
        }
        let Some(folder) = &self.folder else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for name in SIDE_FILES {
            let path = folder.join(name);
            if !files::stands(&path) {
                continue;
            }
            let (bytes, more) =
                files::read_within(&path, MAX_SIDE).map_err(|error| Error::read(&path, &error))?;
            if more {
                return Err(Error::checkpoint(&path, format!("is over the limit of {MAX_SIDE} bytes")));
            }
            files.push((name, bytes));
        }
        Ok(files)
    }

    /// The file that has a tensor of the expected shape.
    fn file_of(&self, name: &str, shape: &[usize]) -> Result<&TensorFile> {
        let file = self.home.get(name).and_then(|&index| self.files.get(index));
        let missing =
            || Error::faulty(self.place(name), Fault::Mismatch, format!("has no tensor \"{name}\""));
        let file = file.ok_or_else(missing)?;
        if let Some(info) = file.tensors().get(name)
            && info.shape != shape
        {
            let cause =
                format!("tensor \"{name}\" has shape {:?}, the config asks for {shape:?}", info.shape);
            return Err(Error::faulty(file.path(), Fault::Mismatch, cause));
        }
        Ok(file)
    }

    /// The tokenizer, `None` where the folder has none.
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        match (&self.folder, &self.embedded) {
            (_, Some(embedded)) => {
                Tokenizer::from_json(Path::new("tokenizer.json"), embedded.tokenizer).map(Some)
            }
            (Some(folder), None) => Tokenizer::of(folder, Some(&self.config)),
            (None, None) => Ok(None),
        }
    }
}
