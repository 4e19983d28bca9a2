//! The folder that a path means, and what a folder is that holds no checkpoint.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::json::{parse_object, read_text};
use super::stray::stray;
use crate::error::{Error, Fault, Result};
use crate::files;

/// Most names that a message lists.
const LISTED: usize = 5;
/// Files beside config.json and weights that belong to a checkpoint.
pub(crate) const SIDE_FILES: [&str; 12] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];
/// How programs end the names of files that they have not finished.
const UNFINISHED: [&str; 5] = [".incomplete", ".part", ".crdownload", ".aria2", ".download"];
/// Files whose endings are those of weights, and which are not.
const BESIDE: [&str; 5] = ["training_args.bin", "optimizer.", "scheduler.", "rng_state", "scaler."];

/// A folder with the names in it, sorted.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    names: Vec<String>,
}

impl Folder {
    /// A folder's names.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut names = files::names(path).map_err(|error| Error::read(path, &error))?;
        names.sort();
        Ok(Self { path: path.to_owned(), names })
    }

    /// The folder with config.json that a path means: itself, the one that a file lies in, or the snapshot of a folder of the
    /// Hugging Face cache.
    pub(super) fn locate(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|error| Error::read(path, &error))?;
        if !metadata.is_dir() && path.extension().is_some_and(|extension| extension == "gguf") {
            return Err(Error::faulty(path, Fault::Gguf, "GGUF files cannot be opened"));
        }
        let parent = || path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let folder = Self::read(if metadata.is_dir() { path } else { parent() })?;
        if folder.has("config.json") {
            return Ok(folder);
        }
        let folder = match folder.snapshot()? {
            Some(snapshot) => Self::read(&snapshot)?,
            None => folder,
        };
        if folder.has("config.json") { Ok(folder) } else { Err(folder.without_config()) }
    }

    /// Whether it has a file of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.binary_search_by(|known| known.as_str().cmp(name)).is_ok()
    }

    /// The names that end so.
    pub(super) fn ending(&self, end: &str) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(move |name| name.ends_with(end))
    }

    /// What the checkpoint is called: its folder, or its repository where the folder is a snapshot of the cache.
    pub(super) fn title(&self) -> String {
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let repository = path.parent().filter(|parent| name(parent).as_deref() == Some("snapshots"));
        let repository = repository.and_then(Path::parent).and_then(name);
        let repository =
            repository.as_deref().and_then(|name| name.strip_prefix("models--")?.rsplit("--").next());
        match repository {
            Some(repository) => repository.to_owned(),
            None => name(&path).unwrap_or_else(|| self.path.display().to_string()),
        }
    }

    /// The snapshot that a folder of the Hugging Face cache means: refs/main, else the only one.
    fn snapshot(&self) -> Result<Option<PathBuf>> {
        let is_snapshots = self.path.file_name().is_some_and(|name| name == "snapshots");
        let (repository, snapshots) = match (self.has("snapshots"), is_snapshots) {
            (true, _) => (self.path.clone(), self.path.join("snapshots")),
            (false, true) => (self.path.join(".."), self.path.clone()),
            (false, false) => return Ok(None),
        };
        let revisions = Self::read(&snapshots)?;
        let revisions: Vec<&String> =
            revisions.names.iter().filter(|name| snapshots.join(name).is_dir()).collect();
        let refs = refs(&repository);
        let main = refs.iter().find(|(name, _)| name == "main").map(|(_, revision)| word(revision));
        let chosen = revisions.iter().find(|name| Some(name.as_str()) == main.as_deref());
        let named = match &main {
            Some(main) => format!("refs/main names {main}, which is not there"),
            None => "there is no refs/main".into(),
        };
        match (chosen, revisions.as_slice()) {
            (Some(name), _) | (None, [name]) => Ok(Some(snapshots.join(name))),
            (None, []) => {
                let cause = format!("the cache holds no snapshot of it; {named}");
                Err(Error::faulty(&self.path, Fault::Incomplete, cause))
            }
            (None, several) => {
                let with_refs = |revision: &&String| {
                    let refs = refs.iter().filter(|(_, other)| other == *revision);
                    let refs: Vec<&str> = refs.map(|(name, _)| name.as_str()).collect();
                    if refs.is_empty() {
                        (*revision).clone()
                    } else {
                        format!("{revision} ({})", refs.join(", "))
                    }
                };
                let several: Vec<String> = several.iter().map(with_refs).collect();
                let several = listed(&several.iter().collect::<Vec<_>>());
                let cause = format!("{named}, and it holds several snapshots: {several}");
                Err(Error::faulty(snapshots, Fault::Several, cause))
            }
        }
    }

    /// Why a folder without config.json is no checkpoint.
    fn without_config(&self) -> Error {
        let fault = |fault: Fault, cause: String| Error::faulty(&self.path, fault, cause);
        if self.names.is_empty() {
            return fault(
                Fault::NoConfig,
                "the folder is empty; a checkpoint has config.json and *.safetensors".into(),
            );
        }
        if let Some(error) = self.adapter().or_else(|| self.consolidated()) {
            return error;
        }
        if let Some(name) = self.unfinished() {
            return fault(Fault::Incomplete, format!("has no config.json; {name} is not finished"));
        }
        let inside: Vec<&String> =
            self.names.iter().filter(|name| self.path.join(name).join("config.json").is_file()).collect();
        let cached: Vec<&String> = self.names.iter().filter(|name| name.starts_with("models--")).collect();
        let pipeline = ["model_index.json", "modules.json"].into_iter().find(|name| self.has(name));
        match (pipeline, inside.as_slice(), cached.as_slice(), self.foreign()) {
            (Some(index), inside, ..) => {
                let cause = format!("{index} says that it is made of several models: {}", listed(inside));
                fault(Fault::Several, cause)
            }
            (_, [_, ..], ..) => {
                fault(Fault::Several, format!("has no config.json; folders in it have: {}", listed(&inside)))
            }
            (_, _, [_, ..], _) => {
                fault(Fault::Several, format!("is a cache of several checkpoints: {}", listed(&cached)))
            }
            (.., Some((kind, name))) => fault(kind, format!("has no config.json, and {name} {}", said(kind))),
            _ => fault(Fault::NoConfig, "has no config.json".into()),
        }
    }

    /// Why a folder with config.json has no weights that can be read.
    pub(super) fn without_weights(&self) -> Error {
        if let Some(error) = self.adapter().or_else(|| self.consolidated()) {
            return error;
        }
        let fault = |fault: Fault, cause: String| Error::faulty(&self.path, fault, cause);
        match (self.unfinished(), self.foreign()) {
            (Some(name), _) => {
                fault(Fault::Incomplete, format!("has no *.safetensors; {name} is not finished"))
            }
            (None, Some((kind, name))) => {
                fault(kind, format!("has no *.safetensors, and {name} {}", said(kind)))
            }
            (None, None) => fault(Fault::NoWeights, "has config.json and no *.safetensors".into()),
        }
    }

    /// The refusal of a tokenizer or of settings that are Git LFS pointers: whoever reads them would take them for broken.
    pub(super) fn pointer(&self) -> Option<Error> {
        let paths = SIDE_FILES.into_iter().filter(|name| self.has(name)).map(|name| self.path.join(name));
        let first = |path: &Path| files::read_within(path, 64).map(|(bytes, _)| bytes).unwrap_or_default();
        let mut strays = paths.filter_map(|path| stray(&path, &first(&path)));
        strays.find(|error| matches!(error, Error::Checkpoint { fault: Fault::Pointer, .. }))
    }

    /// The refusal of an adapter.
    pub(super) fn adapter(&self) -> Option<Error> {
        let path = self.path.join("adapter_config.json");
        if !self.has("adapter_config.json") {
            return None;
        }
        let config = match read_text(&path).and_then(|text| parse_object(&path, &text)) {
            Ok(config) => config,
            Err(error) => return Some(error),
        };
        let text = |field: &str| config.get(field).and_then(Value::as_str);
        let kind = word(text("peft_type").unwrap_or("LORA")).replace("LORA", "LoRA");
        let base = text("base_model_name_or_path").map(word).filter(|base| !base.is_empty());
        let of = base.map_or_else(String::new, |base| format!(" for {base}"));
        let cause = format!("is a {kind} adapter{of}, not a checkpoint of its own");
        Some(Error::faulty(&self.path, Fault::Adapter, cause))
    }

    /// The refusal of what model makers publish beside the layout of Hugging Face.
    fn consolidated(&self) -> Option<Error> {
        let name = self.names.iter().find(|name| name.starts_with("consolidated."))?;
        let cause = format!("{name} is in its maker's own layout");
        Some(Error::faulty(&self.path, Fault::Consolidated, cause))
    }

    /// A file that whoever downloads has not finished: here, in the bookkeeping of a download, or in the cache that a
    /// snapshot belongs to.
    fn unfinished(&self) -> Option<String> {
        let ends = |name: &String| UNFINISHED.iter().any(|end| name.ends_with(end));
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let cache = path.parent().filter(|parent| parent.ends_with("snapshots")).and_then(Path::parent);
        let places = [path.clone(), path.join(".cache/huggingface/download"), path.join("blobs")];
        let mut folders = places
            .into_iter()
            .chain(cache.map(|cache| cache.join("blobs")))
            .filter_map(|place| Self::read(&place).ok());
        folders.find_map(|folder| folder.names.into_iter().find(ends))
    }

    /// Weights in a format that is not read, by the names of files.
    fn foreign(&self) -> Option<(Fault, &str)> {
        let formats: [(Fault, &[&str]); 3] = [
            (Fault::PyTorch, &["pytorch_model.bin", ".bin", ".pt", ".pth", ".ckpt", ".bin.index.json"]),
            (Fault::Gguf, &[".gguf"]),
            (Fault::OtherFormat, &[".npz", ".msgpack", ".h5", ".onnx", ".tflite", ".ot", ".nemo"]),
        ];
        let weights = |name: &&String| !BESIDE.iter().any(|beside| name.starts_with(beside));
        formats.into_iter().find_map(|(kind, ends)| {
            let mut names =
                ends.iter().flat_map(|end| self.names.iter().filter(move |name| name.ends_with(end)));
            names.find(weights).map(|name| (kind, name.as_str()))
        })
    }
}

/// What the files in `refs` of a repository of the cache name: branch or tag, and revision. Names such as pr/1 are folders.
fn refs(repository: &Path) -> Vec<(String, String)> {
    let folder = repository.join("refs");
    let names = |path: &Path| Folder::read(path).map(|folder| folder.names).unwrap_or_default();
    let inner = |name: String| {
        let inside = names(&folder.join(&name)).into_iter().map(|inner| format!("{name}/{inner}"));
        let inside: Vec<String> = inside.collect();
        if inside.is_empty() { vec![name] } else { inside }
    };
    let revision = |name: String| {
        let (bytes, _) = files::read_within(&folder.join(&name), 4096).ok()?;
        Some((name, String::from_utf8(bytes).ok()?.trim().to_owned()))
    };
    names(&folder).into_iter().flat_map(inner).filter_map(revision).collect()
}

/// A name that a file gives, as far as it fits into one line of a message.
fn word(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// What is said of a file in a format that is not read.
fn said(kind: Fault) -> &'static str {
    match kind {
        Fault::PyTorch => "is PyTorch's own format, which can hold code and is not read",
        _ => "is not a format that opens",
    }
}

/// The first of some names.
fn listed(names: &[&String]) -> String {
    let first: Vec<&str> = names.iter().take(LISTED).map(|name| name.as_str()).collect();
    let rest = names.len().saturating_sub(LISTED);
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    format!("{}{more}", first.join(", "))
}

/// Whether a name is that of one file in the folder, no path.
pub(super) fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}
