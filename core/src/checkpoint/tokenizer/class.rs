//! Tokenizer classes of transformers: how they split text, which special tokens they assume, what they put around a text.

use serde_json::{Value, json};

/// What a class does beyond what the files say.
#[derive(Debug)]
pub(super) struct Class {
    /// Its name, without `Fast`.
    pub name: &'static str,
    /// How it splits text, for classes that are built from vocab.json and merges.txt.
    pub split: Option<Split>,
    /// Special tokens that it has where no file names others, by role.
    pub specials: &'static [(&'static str, &'static str)],
    /// What it puts around a text where the folder has a tokenizer.json.
    pub frame: Frame,
}

/// How a byte-level BPE splits text into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// GPT-2's pattern.
    Gpt2,
    /// GPT-2's pattern, on text in normal form C.
    Gpt2Nfc,
    /// Digits one by one, contractions in either case, line ends apart; on text in normal form C.
    Qwen2,
}

/// Where BOS and EOS come from beside a tokenizer.json. Without one every class goes by `add_bos_token` and `add_eos_token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// From its template alone.
    File,
    /// From `add_bos_token` (true where it is missing) and `add_eos_token`: Llama's classes put them there in Python.
    Settings,
    /// There are none: the class replaces the template.
    Empty,
    /// `<s>` and `</s>` around every text, as RoBERTa.
    Roberta,
}

const END_OF_TEXT: &str = "<|endoftext|>";
const GPT2: &[(&str, &str)] =
    &[("bos_token", END_OF_TEXT), ("eos_token", END_OF_TEXT), ("unk_token", END_OF_TEXT)];
const LLAMA: &[(&str, &str)] = &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")];

impl Class {
    /// GPT-2's, which stands in where nobody names one.
    pub const GPT2: Self =
        Self { name: "GPT2Tokenizer", split: Some(Split::Gpt2), specials: GPT2, frame: Frame::File };
}

/// The classes that are told apart; others are whatever their tokenizer.json says.
static CLASSES: [Class; 8] = [
    Class::GPT2,
    Class { name: "CodeGenTokenizer", split: Some(Split::Gpt2), specials: GPT2, frame: Frame::File },
    Class {
        name: "GPTNeoXTokenizer",
        split: Some(Split::Gpt2Nfc),
        specials: &[
            ("bos_token", END_OF_TEXT),
            ("eos_token", END_OF_TEXT),
            ("unk_token", END_OF_TEXT),
            ("pad_token", "<|padding|>"),
        ],
        frame: Frame::Empty,
    },
    Class {
        name: "Qwen2Tokenizer",
        split: Some(Split::Qwen2),
        specials: &[("eos_token", END_OF_TEXT), ("unk_token", END_OF_TEXT), ("pad_token", END_OF_TEXT)],
        frame: Frame::File,
    },
    Class {
        name: "RobertaTokenizer",
        split: Some(Split::Gpt2),
        specials: &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("sep_token", "</s>"),
            ("pad_token", "<pad>"),
            ("cls_token", "<s>"),
            ("mask_token", "<mask>"),
        ],
        frame: Frame::Roberta,
    },
    Class { name: "LlamaTokenizer", split: None, specials: LLAMA, frame: Frame::Settings },
    Class { name: "CodeLlamaTokenizer", split: None, specials: LLAMA, frame: Frame::Settings },
    Class {
        name: "GemmaTokenizer",
        split: None,
        specials: &[("bos_token", "<bos>"), ("eos_token", "<eos>"), ("unk_token", "<unk>")],
        frame: Frame::Settings,
    },
];

/// Classes that transformers 5 has as other names of one.
const SAME: [(&str, &str); 4] = [
    ("BartTokenizer", "RobertaTokenizer"),
    ("LEDTokenizer", "RobertaTokenizer"),
    ("LongformerTokenizer", "RobertaTokenizer"),
    ("MvpTokenizer", "RobertaTokenizer"),
];

/// The class that transformers' AutoTokenizer takes for a `model_type` without a `tokenizer_class`.
const OF_MODELS: [(&str, &str); 10] = [
    ("gpt2", "GPT2Tokenizer"),
    ("gpt_neo", "GPT2Tokenizer"),
    ("opt", "GPT2Tokenizer"),
    ("phi", "GPT2Tokenizer"),
    ("starcoder2", "GPT2Tokenizer"),
    ("gpt_neox", "GPTNeoXTokenizer"),
    ("olmoe", "GPTNeoXTokenizer"),
    ("qwen2_moe", "Qwen2Tokenizer"),
    ("qwen3", "Qwen2Tokenizer"),
    ("qwen3_moe", "Qwen2Tokenizer"),
];

/// The class of Llama's that transformers 4 takes for a `model_type` where the folder names none.
const LLAMA_MODELS: [(&str, &str); 7] = [
    ("llama", "LlamaTokenizer"),
    ("mistral", "LlamaTokenizer"),
    ("mixtral", "LlamaTokenizer"),
    ("phi3", "LlamaTokenizer"),
    ("llava", "LlamaTokenizer"),
    ("gemma2", "GemmaTokenizer"),
    ("gemma3_text", "GemmaTokenizer"),
];

/// Which class a folder's tokenizer is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known<'a> {
    /// One that is told apart.
    Class(&'static Class),
    /// Named, and not among them.
    Other(&'a str),
    /// Named as one of transformers' general ones: whatever its tokenizer.json says.
    General(&'a str),
    /// Not named, for a model of this type, which has no class of its own.
    Unnamed(&'a str),
    /// Not named, and no model either.
    Any,
}

impl<'a> Known<'a> {
    /// By the settings' class, else by config.json's, else by its model type.
    pub fn of(named: Option<&'a str>, config: Option<&'a Value>) -> Self {
        let text = |key: &str| config.and_then(|config| config.get(key)).and_then(Value::as_str);
        let model = text("model_type");
        // Many folders of this family name another class by mistake; transformers takes no notice of it.
        if model == Some("qwen2") {
            return Self::find("Qwen2Tokenizer").map_or(Self::Any, Self::Class);
        }
        let filled = |name: &&str| !name.is_empty();
        match (named.filter(filled).or_else(|| text("tokenizer_class").filter(filled)), model) {
            (Some(name), _) if is_general(name) => Self::General(name),
            (Some(name), _) => Self::find(name).map_or(Self::Other(name), Self::Class),
            (None, Some(model)) => {
                let own = OF_MODELS.iter().find(|(known, _)| *known == model);
                own.and_then(|(_, class)| Self::find(class)).map_or(Self::Unnamed(model), Self::Class)
            }
            (None, None) => Self::Any,
        }
    }

    /// The class that puts BOS and EOS as the settings ask, for a tokenizer of a Llama-like model whose settings name no class.
    pub fn asked(named: Option<&str>, config: Option<&Value>) -> Option<&'static Class> {
        let text = |key: &str| config.and_then(|config| config.get(key)).and_then(Value::as_str);
        if named.is_some() || text("tokenizer_class").is_some() {
            return None;
        }
        let (_, class) = LLAMA_MODELS.iter().find(|(known, _)| Some(*known) == text("model_type"))?;
        Self::find(class)
    }

    /// The class, where it is told apart.
    pub fn class(self) -> Option<&'static Class> {
        match self {
            Self::Class(class) => Some(class),
            Self::Other(_) | Self::General(_) | Self::Unnamed(_) | Self::Any => None,
        }
    }

    fn find(name: &str) -> Option<&'static Class> {
        let name = name.strip_suffix("Fast").unwrap_or(name);
        let name = SAME.iter().find(|(other, _)| *other == name).map_or(name, |(_, name)| name);
        CLASSES.iter().find(|class| class.name == name)
    }
}

/// Whether a class is one of transformers' general ones.
fn is_general(name: &str) -> bool {
    matches!(
        name.strip_suffix("Fast").unwrap_or(name),
        "PreTrainedTokenizer" | "TokenizersBackend" | "PythonBackend"
    )
}

impl Split {
    /// The part of a tokenizer.json that comes before the model.
    pub fn before(self, prefix_space: bool) -> (Value, Value) {
        let bytes = |pattern: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": true, "use_regex": pattern});
        let nfc = json!({"type": "NFC"});
        match self {
            Self::Gpt2 => (Value::Null, bytes(true)),
            Self::Gpt2Nfc => (nfc, bytes(true)),
            Self::Qwen2 => {
                let split = json!({
                    "type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": false,
                });
                (nfc, json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]}))
            }
        }
    }
}

/// A word of Qwen2: a contraction's end, letters after at most one other character, a digit, other characters with the line
/// ends behind them, or space.
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"|[^\r\n\p{L}\p{N}]?\p{L}+",
    r"|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+",
    r"|\s+(?!\S)",
    r"|\s+",
);
