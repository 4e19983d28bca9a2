//! config.json of a model with fewer blocks, fewer experts, or biases that it had not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::model::layout::Role;
use crate::spec::{ExpertsSpec, Spec};

/// What is left of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Its blocks, by their old numbers.
    pub blocks: Vec<usize>,
    /// By old block, its experts by their old numbers; blocks that keep all are not in it.
    pub experts: BTreeMap<usize, Vec<usize>>,
    /// Experts per token, where that changes.
    pub top_k: Option<usize>,
}

impl Left {
    /// Everything.
    pub(super) fn all(spec: &Spec) -> Self {
        Self { blocks: (0..spec.n_layers()).collect(), experts: BTreeMap::new(), top_k: None }
    }

    /// The architecture that is left.
    pub(super) fn of(&self, spec: &Spec) -> Spec {
        let mut left = spec.clone();
        left.layers.clear();
        for (&number, block) in
            self.blocks.iter().filter_map(|number| Some((number, spec.layers.get(*number)?)))
        {
            let mut block = block.clone();
            if let Some(experts) = &mut block.experts {
                let count = self.experts.get(&number).map_or(experts.count, Vec::len);
                *experts = ExpertsSpec { count, top_k: self.top_k.unwrap_or(experts.top_k), ..*experts };
            }
            left.layers.push(block);
        }
        left
    }
}

/// Fields that count blocks.
const BLOCKS: [&str; 3] = ["num_hidden_layers", "n_layer", "num_layers"];
/// Fields that count experts.
const EXPERTS: [&str; 3] = ["num_experts", "num_local_experts", "n_routed_experts"];
/// Fields with an entry for each block.
const EACH: [&str; 2] = ["layer_types", "attention_layers"];
/// Fields that list blocks by number.
const NUMBERS: [&str; 1] = ["mlp_only_layers"];
/// Fields that say from which block on something holds.
const FROM: [&str; 2] = ["first_k_dense_replace", "max_window_layers"];

/// The object that describes the text model: the config itself, or its part.
fn text(config: &mut Value) -> Option<&mut Map<String, Value>> {
    let inner = config.get("text_config").is_some_and(Value::is_object);
    if inner { config.get_mut("text_config")?.as_object_mut() } else { config.as_object_mut() }
}

/// The config of what is left. Whether it says so is for the family that reads it.
pub(super) fn shortened(config: &Value, left: &Left, spec: &Spec) -> Value {
    let mut config = config.clone();
    let Some(fields) = text(&mut config) else { return config };
    if left.blocks.len() != spec.n_layers() {
        count(fields, &BLOCKS, left.blocks.len());
        for name in EACH {
            if let Some(list) = fields.get_mut(name).and_then(Value::as_array_mut) {
                let kept = left.blocks.iter().filter_map(|&block| list.get(block).cloned()).collect();
                *list = kept;
            }
        }
        if let Some(types) = fields.get("attention_types").and_then(written_out) {
            let kept: Vec<Value> =
                left.blocks.iter().filter_map(|&block| types.get(block).cloned()).collect();
            fields.insert("attention_types".into(), json!([[kept, 1]]));
        }
        for name in NUMBERS {
            if let Some(list) = fields.get_mut(name).and_then(Value::as_array_mut) {
                let old: BTreeSet<u64> = list.iter().filter_map(Value::as_u64).collect();
                let kept =
                    left.blocks.iter().enumerate().filter(|(_, block)| old.contains(&(**block as u64)));
                *list = kept.map(|(number, _)| json!(number)).collect();
            }
        }
        for name in FROM {
            if let Some(from) = fields.get(name).and_then(Value::as_u64) {
                let below = left.blocks.iter().filter(|&&block| (block as u64) < from).count();
                // One past the last block says as much as any other.
                let below = if from > spec.n_layers() as u64 { from } else { below as u64 };
                fields.insert(name.into(), json!(below));
            }
        }
    }
    if let Some(experts) = left.experts.values().next() {
        count(fields, &EXPERTS, experts.len());
    }
    if let Some(k) = left.top_k {
        fields.insert("num_experts_per_tok".into(), json!(k));
    }
    config
}

/// Set whichever of some names a config has, else the first.
fn count(fields: &mut Map<String, Value>, names: &[&str], count: usize) {
    let held: Vec<&str> = names.iter().copied().filter(|name| fields.contains_key(*name)).collect();
    let first = names.first().copied().into_iter();
    let names = if held.is_empty() { first.collect() } else { held };
    for name in names {
        fields.insert(name.to_owned(), json!(count));
    }
}

/// GPT-Neo's list of (pattern, repetitions), one entry for each block.
fn written_out(types: &Value) -> Option<Vec<Value>> {
    /// More than any model has.
    const MOST: u64 = 1 << 16;
    let mut all = Vec::new();
    for group in types.as_array()? {
        let (pattern, times) = (group.get(0)?.as_array()?, group.get(1)?.as_u64()?);
        for _ in 0..times.min(MOST + 1) {
            all.extend(pattern.iter().cloned());
            if all.len() as u64 > MOST {
                return None;
            }
        }
    }
    Some(all)
}

/// The field that gives weights of a role biases, in the families that have one.
pub(super) fn bias_field(role: Role) -> Option<&'static str> {
    match role {
        Role::Query | Role::Key | Role::Value | Role::Qkv | Role::Out => Some("attention_bias"),
        Role::Gate | Role::Up | Role::GateUp | Role::Down => Some("mlp_bias"),
        _ => None,
    }
}

/// The config with a field of the text model that is true.
pub(super) fn with(config: &Value, field: &str) -> Value {
    let mut config = config.clone();
    if let Some(fields) = text(&mut config) {
        fields.insert(field.into(), json!(true));
    }
    config
}

/// An architecture without the biases that such fields give.
pub(super) fn unbiased(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    for layer in &mut spec.layers {
        (layer.attn.qkv_bias, layer.attn.out_bias) = (false, false);
        (layer.ffn.in_bias, layer.ffn.out_bias) = (false, false);
    }
    spec
}

/// The config with the embedding apart from the unembedding, or tied to it.
pub(super) fn with_tied(config: &Value, tied: bool) -> Value {
    let mut config = config.clone();
    for part in ["", "/text_config"] {
        if let Some(fields) = config.pointer_mut(part).and_then(Value::as_object_mut)
            && (part.is_empty() || fields.contains_key("tie_word_embeddings"))
        {
            fields.insert("tie_word_embeddings".into(), json!(tied));
        }
    }
    config
}

/// The config with another number format.
pub(super) fn with_dtype(config: &Value, dtype: &str) -> Value {
    const NAMES: [&str; 2] = ["torch_dtype", "dtype"];
    let mut config = config.clone();
    let mut known = false;
    for part in ["", "/text_config", "/vision_config"] {
        let Some(fields) = config.pointer_mut(part).and_then(Value::as_object_mut) else { continue };
        for name in NAMES {
            if let Some(value) = fields.get_mut(name) {
                *value = json!(dtype);
                known = true;
            }
        }
    }
    if let (false, Some(fields)) = (known, config.as_object_mut()) {
        fields.insert("torch_dtype".into(), json!(dtype));
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_written_out() {
        let types = json!([[["global", "local"], 2], [["local"], 1]]);
        let all = written_out(&types).unwrap();
        assert_eq!(json!(all), json!(["global", "local", "global", "local", "local"]));
        assert_eq!(written_out(&json!([[["global"], u64::MAX]])), None);
        assert_eq!(written_out(&json!([[[], u64::MAX]])), Some(Vec::new()));
        assert_eq!(written_out(&json!("global")), None);
    }
}
