//! What can go wrong, with a cause and a next step for the person who sees it.

use std::io;
use std::path::PathBuf;

mod fault;
mod near;

pub use fault::Fault;
pub(crate) use near::near;

/// Result with Sluice's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that core reports. `Display` is the one-line cause; [`Error::next_step`] says what
/// to do about it. An error is shown once, where it ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read.
    #[error("{}: {cause}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What sort of failure it is.
        kind: io::ErrorKind,
        /// The system's reason.
        cause: String,
    },
    /// An entry of a list cannot be used; those after it can.
    #[error("{}, {what} {number}: {cause}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// What an entry is called: a line, or an element of an array.
        what: &'static str,
        /// Counted from 1.
        number: u64,
        /// What is wrong with it.
        cause: String,
    },
    /// A file or folder of a checkpoint cannot be used.
    #[error("{}: {cause}", path.display())]
    Checkpoint {
        /// The file or folder at fault.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
        /// What sort of fault that is.
        fault: Fault,
    },
    /// A tokenizer cannot be read; the model works on ids.
    #[error("{}: {cause}", path.display())]
    Tokenizer {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
        /// What makes it one that can be read.
        next_step: String,
    },
    /// A picture cannot be read.
    #[error("{}: {cause}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A picture is larger than what is decoded.
    #[error("{}: {cause}", path.display())]
    LargeImage {
        /// The file.
        path: PathBuf,
        /// The limit that it is past.
        cause: String,
    },
    /// A picture for a checkpoint that takes none.
    #[error("{0}")]
    NoImages(&'static str),
    /// A config field is missing, absurd, or changes the arithmetic in a way Sluice does not do.
    #[error("config.json: {field} = {value}: {cause}")]
    Config {
        /// Field, dotted for nested ones.
        field: String,
        /// Its value as JSON, or `missing`.
        value: String,
        /// Why it cannot be honoured.
        cause: String,
    },
    /// A `model_type` that no family reads.
    #[error("model_type \"{model_type}\" is not supported (supported: {supported})")]
    Family {
        /// The type found in config.json.
        model_type: String,
        /// The types that work, comma separated.
        supported: String,
    },
    /// A prompt or token list that the model cannot take.
    #[error("{0}")]
    Input(String),
    /// A prompt longer than the model reads.
    #[error("{tokens} tokens are past the context of {context}")]
    Context {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that the model reads.
        context: usize,
    },
    /// Text for a checkpoint that comes without a tokenizer.
    #[error("this checkpoint has no tokenizer: {0}")]
    NoTokenizer(&'static str),
    /// A layer, head, neuron or position that is not there.
    #[error("there is no {what} {given}: {whose} has {what}s 0 to {}", count.saturating_sub(1))]
    Past {
        /// What is counted, which is the parameter's name too.
        what: &'static str,
        /// The number that was given.
        given: usize,
        /// What has them.
        whose: String,
        /// How many there are.
        count: usize,
    },
    /// Positions of a prompt that are marked wrongly, or not at all.
    #[error("{0}")]
    Marked(String),
    /// More routes over the layers than can be enumerated.
    #[error("{lanes} lanes over {layers} layers are more than {most} routes")]
    Routes {
        /// Lanes that each layer may take.
        lanes: usize,
        /// Layers.
        layers: usize,
        /// Routes that are enumerated at most.
        most: usize,
        /// Whether who asked can search them with a beam instead.
        beam: bool,
    },
    /// A flag of the command line whose value cannot be used.
    #[error("{flag}: {cause}")]
    Flag {
        /// With its dashes.
        flag: &'static str,
        /// What is wrong with the value.
        cause: String,
    },
    /// Nothing is open.
    #[error("no checkpoint is open")]
    NotOpen,
    /// A study that cannot be done as it is asked for.
    #[error("{0}")]
    Study(String),
    /// A plan that cannot be read or does not fit the model.
    #[error("plan: {0}")]
    Plan(String),
    /// A text or file that is no plan at all.
    #[error("plan: {0}")]
    NoPlan(String),
    /// A site name or glob that matches nothing.
    #[error("no site matches \"{pattern}\"{hint}")]
    Site {
        /// The name or glob as given.
        pattern: String,
        /// What was meant, or why there is none, behind a colon; empty where nobody knows.
        hint: String,
    },
    /// A run comes to values that are no finite numbers.
    #[error("{what} first at {site}, position {position}")]
    NotFinite {
        /// `NaN` or `infinite`.
        what: &'static str,
        /// The first site with such a value, in the order of the pass; `logits` behind the last.
        site: String,
        /// The first such position there.
        position: usize,
        /// The items of the plan that change something up to there; empty where none does.
        items: Vec<String>,
        /// Whether tokens or experts are routed otherwise than by the checkpoint.
        routed: bool,
    },
    /// The estimate of what was asked does not fit into memory.
    #[error("{load} needs about {need_mib} MiB but {have_mib} MiB are free")]
    Memory {
        /// What was asked.
        load: Load,
        /// Estimated need.
        need_mib: u64,
        /// What the system says is available.
        have_mib: u64,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The target.
        path: PathBuf,
        /// The system's reason.
        cause: String,
    },
    /// Findings or a run that nobody said may be written over.
    #[error("{} holds {what} already", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        what: &'static str,
    },
    /// A file that nobody said may be written over.
    #[error("{} is there already", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
    },
    /// What is never written over, or never written into.
    #[error("cannot write {}: {cause}", path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// What it is.
        cause: String,
        /// What to do about it.
        next_step: String,
    },
    /// A folder that another process writes into.
    #[error("another sluice (process {process}) writes into {}", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
        /// The process.
        process: String,
    },
    /// A failure with a next step of its own, such as one that the worker reported.
    #[error("{cause}")]
    Reported {
        /// The cause, one line.
        cause: String,
        /// What to do about it.
        next_step: String,
    },
    /// A checkpoint without a chat template, or with one that fails.
    #[error("{0}")]
    Chat(String),
    /// There is no window to show anything in.
    #[error("no window: {0}")]
    Display(String),
    /// An operation of the tensor library failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The work was cancelled or superseded. Not a failure.
    #[error("cancelled")]
    Cancelled,
    /// The worker panicked; the model stays open.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What memory is needed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// The weights of a checkpoint.
    Checkpoint,
    /// A run of so many tokens.
    Run(u64),
    /// Reading a picture as so many rows.
    Picture(u64),
    /// Something that a study keeps.
    Study(String),
}

impl From<&String> for Load {
    fn from(what: &String) -> Self {
        Self::Study(what.clone())
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("this checkpoint"),
            Self::Run(tokens) => write!(f, "a run of {tokens} tokens"),
            Self::Picture(rows) => write!(f, "reading a picture as {rows} rows"),
            Self::Study(what) => f.write_str(what),
        }
    }
}

impl Error {
    /// What the person can do about it, one sentence without a full stop.
    pub fn next_step(&self) -> String {
        match self {
            Self::Read { kind: io::ErrorKind::PermissionDenied, .. } => {
                "choose one that you may read, or change its permissions".into()
            }
            Self::Read { kind: io::ErrorKind::InvalidData, .. } => "save it as text in UTF-8, or choose another file".into(),
            Self::Read { kind: io::ErrorKind::OutOfMemory, .. } => {
                "close other programs, raise the limit on memory (ulimit -v), or open a smaller one".into()
            }
            Self::Read { kind: io::ErrorKind::FileTooLarge, .. } => "choose a smaller file".into(),
            Self::Read { kind: io::ErrorKind::InvalidInput, .. } => "name a file".into(),
            Self::Read { kind: io::ErrorKind::TimedOut, .. } => {
                "check whether the disk or the network it is on answers, then try again".into()
            }
            Self::Read { kind: io::ErrorKind::ResourceBusy, .. } => {
                "allow programs to open more files (ulimit -n), or join the checkpoint's shards".into()
            }
            Self::Read { .. } => "check the path".into(),
            Self::Entry { what, .. } => format!("correct that {what}"),
            Self::Checkpoint { fault, .. } => fault.next_step().into(),
            Self::Tokenizer { next_step, .. } => next_step.clone(),
            Self::LargeImage { .. } => "make the picture smaller, or choose another one".into(),
            Self::Image { .. } => "choose a PNG or JPEG picture that other programs can open".into(),
            Self::NoImages(_) => "leave the picture out, or open a checkpoint that reads images (llava)".into(),
            Self::Config { field, .. } => {
                format!("correct {field} in config.json, or open another checkpoint")
            }
            Self::Family { .. } => "open a checkpoint of a supported family".into(),
            Self::Input(_) => "change the prompt or the token ids".into(),
            Self::Context { context, .. } => format!("shorten the prompt to at most {context} tokens"),
            Self::NoTokenizer(_) => "give token ids, or open a checkpoint that has a tokenizer".into(),
            Self::Past { what, count, .. } => {
                format!("choose a {what} from 0 to {} (--{what})", count.saturating_sub(1))
            }
            Self::Marked(_) => "mark other positions of the prompt".into(),
            Self::Routes { beam: true, .. } => "search them with a beam, or take fewer lanes".into(),
            Self::Routes { beam: false, .. } => "take fewer lanes, or open a checkpoint of fewer layers".into(),
            Self::Flag { flag, .. } => format!("give {flag} another value; --help says which it takes"),
            Self::NotOpen => "open a checkpoint first".into(),
            Self::Study(_) => "change what is asked of the study, or its text".into(),
            Self::Plan(_) => "change or remove the intervention; docs/plan.md has an example of each kind".into(),
            Self::NoPlan(_) => {
                "choose or correct the plan file: JSON such as {\"version\": 1, \"items\": []}; docs/plan.md has examples".into()
            }
            Self::Site { .. } => {
                "use a TransformerLens name such as blocks.0.mlp.hook_post, or a glob such as *.hook_resid_post".into()
            }
            Self::NotFinite { items, .. } if !items.is_empty() => format!("change or remove {}", items.join(", or ")),
            Self::NotFinite { routed: true, .. } => {
                "what is routed or left out does it, else the weights: download the checkpoint again, or open another".into()
            }
            Self::NotFinite { .. } => {
                "the weights do it: download the checkpoint again, get it in another precision (bf16 or f32), or open another"
                    .into()
            }
            Self::Memory { load: Load::Checkpoint, .. } => "close other programs or open a smaller checkpoint".into(),
            Self::Memory { load: Load::Run(_), .. } => {
                "shorten the prompt, capture fewer sites, or close other programs".into()
            }
            Self::Memory { load: Load::Picture(_), .. } => {
                "leave the picture out, close other programs, or open a checkpoint whose pictures have fewer patches".into()
            }
            Self::Memory { load: Load::Study(_), .. } => {
                "ask for less text or fewer choices at a time, or close other programs".into()
            }
            Self::Write { .. } => "choose a folder that you can write to and that has room".into(),
            Self::Exists { .. } => "add --resume to go on, --overwrite to begin anew, or choose another folder".into(),
            Self::Taken { .. } => "add --overwrite, or choose another folder or name".into(),
            Self::Target { next_step, .. } | Self::Reported { next_step, .. } => next_step.clone(),
            Self::Busy { .. } => "wait until it has ended, or choose another folder".into(),
            Self::Chat(_) => {
                "leave out --chat, or put a chat_template.jinja that fits into the checkpoint's folder".into()
            }
            Self::Display(_) => "start it where there is a display, for instance under Xvfb".into(),
            Self::Tensor(_) | Self::Internal(_) => {
                "undo the last change and try again; the model is still open".into()
            }
            Self::Cancelled => "start it again when you are ready".into(),
        }
    }

    /// An error with a next step of its own.
    pub fn asked(cause: impl ToString, next_step: &str) -> Self {
        Self::Reported { cause: cause.to_string(), next_step: next_step.into() }
    }

    /// A [`Error::Read`] from what the system said.
    pub fn read(path: impl Into<PathBuf>, error: &io::Error) -> Self {
        // The standard library has no kind of its own for too many open files.
        let many = error.raw_os_error() == Some(libc::EMFILE);
        let kind = if many { io::ErrorKind::ResourceBusy } else { error.kind() };
        Self::Read { path: path.into(), kind, cause: error.to_string() }
    }

    /// A [`Error::Read`] of something that is not there.
    pub fn missing(path: impl Into<PathBuf>, cause: impl ToString) -> Self {
        Self::Read { path: path.into(), kind: io::ErrorKind::NotFound, cause: cause.to_string() }
    }

    /// A [`Error::Checkpoint`] of a file that cannot be used as it is.
    pub fn checkpoint(path: impl Into<PathBuf>, cause: impl ToString) -> Self {
        Self::faulty(path, Fault::Broken, cause)
    }

    /// A [`Error::Checkpoint`] of some sort.
    pub fn faulty(path: impl Into<PathBuf>, fault: Fault, cause: impl ToString) -> Self {
        Self::Checkpoint { path: path.into(), cause: cause.to_string(), fault }
    }

    /// A [`Error::Tokenizer`] from anything printable.
    pub fn tokenizer(path: impl Into<PathBuf>, cause: impl ToString, next_step: impl ToString) -> Self {
        Self::Tokenizer { path: path.into(), cause: cause.to_string(), next_step: next_step.to_string() }
    }

    /// A [`Error::Image`] from anything printable.
    pub fn image(path: impl Into<PathBuf>, cause: impl ToString) -> Self {
        Self::Image { path: path.into(), cause: cause.to_string() }
    }

    /// A [`Error::Config`] about one field.
    pub fn config(field: impl ToString, value: impl ToString, cause: impl ToString) -> Self {
        Self::Config { field: field.to_string(), value: value.to_string(), cause: cause.to_string() }
    }

    /// A [`Error::Write`] from anything printable.
    pub fn write(path: impl Into<PathBuf>, cause: impl ToString) -> Self {
        Self::Write { path: path.into(), cause: cause.to_string() }
    }
}
