//! Reading config.json: typed, bounded, and aware of what nobody read.
//!
//! A family takes every field that changes the arithmetic, either to honour it or, through [`Fields::only`], to
//! refuse any value but the neutral one. What is left and not in [`IRRELEVANT`] is reported as ignored.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::checkpoint::{non_finite, written};
use crate::error::{Error, Result};
use crate::spec::{Activation, NormSpec};

/// Fields of Hugging Face configs that do not change what a forward pass computes: training (dropout,
/// initialisation), file handling, generation defaults, and heads other than the language model's.
pub const IRRELEVANT: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_name_or_path",
    "_num_labels",
    "_sliding_window_pattern",
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dropout",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "embed_dropout",
    "embedding_dropout",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "id2label",
    "ignore_index",
    "init_std",
    "initializer_range",
    "is_composition",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "layerdrop",
    "length_penalty",
    "max_length",
    "min_length",
    "model_type",
    "n_ctx",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "quantization",
    "remove_invalid_values",
    "reorder_and_upcast_attn",
    "repetition_penalty",
    "resid_dropout",
    "resid_pdrop",
    "residual_dropout",
    "return_dict",
    "return_dict_in_generate",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "sep_token_id",
    "sluice",
    "suppress_tokens",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

/// config.json, or an object inside it.
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: &'static str,
    seen: RefCell<BTreeSet<String>>,
}

/// Largest counts that a real checkpoint could have; they bound every product of two fields within `u64`.
const MAX_COUNT: usize = 1 << 24;
/// Largest context.
const MAX_CONTEXT: usize = 1 << 31;
/// Most blocks: each has a spec of its own before any file is looked at.
pub const MAX_LAYERS: usize = 1 << 14;
/// Most experts of a block.
pub const MAX_EXPERTS: usize = 1 << 12;
/// Most experts of all blocks: each has names and shapes of its own.
pub const MAX_EXPERTS_IN_ALL: usize = 1 << 17;
/// Most heads.
pub const MAX_HEADS: usize = 1 << 14;

impl<'a> Fields<'a> {
    /// The fields of `config`, an object.
    pub fn new(config: &'a Value) -> Result<Self> {
        Self::nested(config, "")
    }

    fn nested(value: &'a Value, path: &'static str) -> Result<Self> {
        let map = value.as_object().filter(|_| non_finite(value).is_none());
        let map = map.ok_or_else(|| Error::config(path, shorten(&written(value)), "must be an object"))?;
        Ok(Self { map, path, seen: RefCell::default() })
    }

    /// The raw value; `null` counts as missing.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.seen.borrow_mut().insert(name.to_owned());
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether the field is written at all, be it as null.
    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// The name a field is read under: a config class lets its alias win.
    pub fn alias(&self, alias: &'static str, name: &'static str) -> &'static str {
        if self.get(alias).is_some() { alias } else { name }
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// This object with the fields of another written over it.
    pub fn changed_by(&self, other: &Self) -> Value {
        let mut map = self.map.clone();
        if other.has("type") && !other.has("rope_type") {
            map.remove("rope_type");
        }
        map.extend(other.map.clone());
        Value::Object(map)
    }

    /// An object-valued field.
    pub fn object(&self, name: &'static str) -> Result<Option<Self>> {
        self.get(name).map(|value| Self::nested(value, name)).transpose()
    }

    /// An error about `name` with its value.
    pub fn bad(&self, name: &str, cause: impl ToString) -> Error {
        let value = self.map.get(name).map_or_else(|| "missing".to_owned(), written);
        Error::config(self.full(name), shorten(&value), cause)
    }

    fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn number(&self, name: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64().or_else(|| {
            // 5.x configs may hold whole numbers as floats.
            value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x)).map(|x| x as u64)
        });
        number
            .and_then(|x| usize::try_from(x).ok())
            .map(Some)
            .ok_or_else(|| self.bad(name, "must be a whole number, not negative"))
    }

    fn bounded(&self, name: &str, max: usize) -> Result<Option<usize>> {
        match self.number(name)? {
            Some(x) if x == 0 || x > max => Err(self.bad(name, format!("must be between 1 and {max}"))),
            x => Ok(x),
        }
    }

    /// A count between 1 and `max`, with the config class's default.
    pub fn count_up_to_or(&self, name: &str, max: usize, default: usize) -> Result<usize> {
        Ok(self.bounded(name, max)?.unwrap_or(default))
    }

    /// An optional count between 1 and 2^24.
    pub fn count_opt(&self, name: &str) -> Result<Option<usize>> {
        self.bounded(name, MAX_COUNT)
    }

    /// A count with the config class's default.
    pub fn count_or(&self, name: &str, default: usize) -> Result<usize> {
        Ok(self.count_opt(name)?.unwrap_or(default))
    }

    /// A context length with the config class's default.
    pub fn context_or(&self, name: &str, default: usize) -> Result<usize> {
        Ok(self.bounded(name, MAX_CONTEXT)?.unwrap_or(default))
    }

    /// An optional whole number, zero allowed.
    pub fn whole(&self, name: &str) -> Result<Option<usize>> {
        self.number(name)
    }

    /// An optional finite number.
    pub fn float(&self, name: &str) -> Result<Option<f64>> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|x| x.is_finite()) {
                Some(x) => Ok(Some(x)),
                None => Err(self.bad(name, "must be a finite number")),
            },
        }
    }

    /// An optional number that bounds others: infinity bounds nothing.
    pub fn bound(&self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().or_else(|| non_finite(value)).filter(|bound| !bound.is_nan());
        number.map(Some).ok_or_else(|| self.bad(name, "must be a number"))
    }

    /// A positive number with the config class's default.
    pub fn positive_or(&self, name: &str, default: f64) -> Result<f64> {
        Ok(self.positive(name)?.unwrap_or(default))
    }

    /// An optional positive number.
    pub fn positive(&self, name: &str) -> Result<Option<f64>> {
        match self.float(name)? {
            Some(x) if x <= 0.0 => Err(self.bad(name, "must be above 0")),
            x => Ok(x),
        }
    }

    /// A required positive number.
    pub fn positive_required(&self, name: &str) -> Result<f64> {
        self.positive(name)?.ok_or_else(|| self.bad(name, "is required"))
    }

    /// A flag with the config class's default.
    pub fn flag_or(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.bad(name, "must be true or false")),
        }
    }

    /// An optional string.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| self.bad(name, "must be a string")),
        }
    }

    /// A list of numbers.
    pub fn floats(&self, name: &str) -> Result<Option<Vec<f64>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let list = value.as_array().map(|list| list.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
        match list.flatten() {
            Some(list) if list.iter().all(|x| x.is_finite() && *x > 0.0) => Ok(Some(list)),
            _ => Err(self.bad(name, "must be a list of numbers above 0")),
        }
    }

    /// A list of whole numbers.
    pub fn wholes(&self, name: &str) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = |value: &Value| value.as_u64().and_then(|x| usize::try_from(x).ok());
        let list = value.as_array().and_then(|list| list.iter().map(whole).collect());
        list.map(Some).ok_or_else(|| self.bad(name, "must be a list of whole numbers"))
    }

    /// A list of strings.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<&'a str>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let list = value.as_array().map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<&str>>>());
        list.flatten().map(Some).ok_or_else(|| self.bad(name, "must be a list of strings"))
    }

    /// Accept only the neutral value (or none at all) of a field that changes the arithmetic in a way Sluice
    /// does not compute.
    pub fn only(&self, name: &str, neutral: &Value) -> Result<()> {
        match self.get(name) {
            Some(value) if value != neutral => Err(self.bad(name, format!("only {neutral} is supported"))),
            _ => Ok(()),
        }
    }

    /// An activation by its Hugging Face name.
    pub fn activation(&self, name: &str, default: Activation) -> Result<Activation> {
        let Some(text) = self.text(name)? else { return Ok(default) };
        Activation::from_name(text).ok_or_else(|| {
            self.bad(name, format!("activation not supported (supported: {})", Activation::NAMES))
        })
    }

    /// RMS norm with the eps of field `name`.
    pub fn rms(&self, name: &str, default: f64) -> Result<NormSpec> {
        Ok(NormSpec::rms(self.positive_or(name, default)?))
    }

    /// Layer norm with the eps of field `name`.
    pub fn layer_norm(&self, name: &str, default: f64) -> Result<NormSpec> {
        Ok(NormSpec::layer(self.positive_or(name, default)?))
    }

    /// Fields that were taken by their family.
    pub fn seen(&self) -> BTreeSet<String> {
        self.seen.borrow().clone()
    }

    /// Names present that nobody took and that are not known to be irrelevant. Transformers ignores them too.
    pub fn ignored(&self) -> Vec<String> {
        let seen = self.seen.borrow();
        let unknown = |name: &String| !seen.contains(name) && !IRRELEVANT.contains(&name.as_str());
        let written = self.map.iter().filter(|(_, value)| !value.is_null());
        written.map(|(name, _)| name).filter(|name| unknown(name)).cloned().collect()
    }
}

impl Activation {
    /// The names read, for messages.
    pub const NAMES: &'static str =
        "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, quick_gelu, relu, relu2, silu, swish, tanh, sigmoid";

    /// By Hugging Face name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" | "gelu_python" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_python_tanh" | "gelu_accurate" => {
                Self::GeluTanh
            }
            "quick_gelu" => Self::QuickGelu,
            "relu" => Self::Relu,
            "relu2" => Self::Relu2,
            "silu" | "swish" => Self::Silu,
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            _ => return None,
        })
    }
}

fn shorten(value: &str) -> String {
    const MAX: usize = 80;
    if value.chars().count() <= MAX {
        value.to_owned()
    } else {
        value.chars().take(MAX).chain(['…']).collect()
    }
}
