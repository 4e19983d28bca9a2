//! `sluice inspect`: what a checkpoint is, without reading its weights.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, Inspected, RunSize};
use sluice_core::figure::printable;
use sluice_core::model::Spec;
use sluice_core::site::{Hook, Site};
use sluice_core::{Error, Result};

use super::{HeldArgs, headers, note, out};

/// Tokens of the run whose memory is estimated; fewer where the context is shorter.
const TOKENS: usize = 128;

#[derive(Args)]
pub struct Inspect {
    /// Checkpoint folder, or a config.json alone; left out = the bundled one
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    held: HeldArgs,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(&self) -> Result<()> {
        self.held.apply();
        let checkpoint = headers(self.checkpoint.as_deref())?;
        let mut inspected = engine::inspect(&checkpoint)?;
        let tokenizer = match checkpoint.tokenizer() {
            Ok(Some(tokenizer)) => {
                inspected.warnings.extend(tokenizer.warnings().to_vec());
                tokenizer.kind()
            }
            Ok(None) => "none",
            Err(error @ Error::Tokenizer { .. }) => {
                let until = error.next_step();
                inspected.warnings.push(format!("{error}; prompts are token ids until then: {until}"));
                "none"
            }
            Err(error) => return Err(error),
        };
        for warning in &inspected.warnings {
            note(warning);
        }
        let facts = facts(&checkpoint, &inspected, tokenizer);
        let sites = sites(&inspected.spec);
        if self.json {
            out(&format!("{}\n", whole(facts, &checkpoint, inspected, &sites)));
            return Ok(());
        }
        let known = facts.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        for (name, value) in known {
            let value = value.as_str().map_or_else(|| value.to_string(), |text| printable(text, &[]));
            out(&format!("{name:<20}{value}\n"));
        }
        if checkpoint.has_weights() {
            out("\ntensors\n");
            for (name, info) in checkpoint.tensors() {
                let unread = inspected.unread.binary_search_by(|unread| unread.as_str().cmp(name)).is_ok();
                let unread = if unread { "  nothing reads it" } else { "" };
                let name = printable(name, &[]);
                out(&format!("{name:<60} {:?} {:?}{unread}\n", info.dtype, info.shape));
            }
        }
        out("\nsites, with N from 0 to the last layer; T tokens\n");
        for PatternOfSites { site, shape, layers } in sites {
            let some = !layers.is_empty() && layers.len() < inspected.spec.n_layers();
            let layers: Vec<String> = layers.iter().map(usize::to_string).collect();
            let some = if some { format!("  N = {}", layers.join(", ")) } else { String::new() };
            out(&format!("{site:<49} {shape}{some}\n"));
        }
        Ok(())
    }
}

/// Sites that differ in the block alone.
struct PatternOfSites {
    /// Name, with `N` for the block.
    site: String,
    /// Shape, `T` tokens.
    shape: String,
    /// Blocks that have it; none outside blocks.
    layers: Vec<usize>,
}

/// Every site of a model, in the order of the pass.
fn sites(spec: &Spec) -> Vec<PatternOfSites> {
    let mut patterns = Vec::new();
    let mut shown: Vec<Hook> = Vec::new();
    for site in Site::all(spec) {
        let shape = site.shape().to_string();
        match site {
            Site::Block { hook, .. } if shown.contains(&hook) => {}
            Site::Block { hook, .. } => {
                shown.push(hook);
                let layers = spec.layers.iter().enumerate().filter(|(_, layer)| hook.exists(layer));
                let layers = layers.map(|(layer, _)| layer).collect();
                patterns.push(PatternOfSites { site: format!("blocks.N.{}", hook.name()), shape, layers });
            }
            _ => patterns.push(PatternOfSites { site: site.to_string(), shape, layers: Vec::new() }),
        }
    }
    patterns
}

/// The numbers of a checkpoint.
fn facts(checkpoint: &Checkpoint, inspected: &Inspected, tokenizer: &str) -> Value {
    let Inspected { spec, parameters, resident, .. } = inspected;
    let first = spec.layers.first();
    // Of blocks with one FFN, and of blocks of experts.
    let dense = spec.layers.iter().find(|layer| layer.experts.is_none());
    let sparse = spec.layers.iter().find_map(|layer| Some((layer.ffn.d_mlp, layer.experts?)));
    let of_experts = spec.layers.iter().enumerate().filter(|(_, layer)| layer.experts.is_some());
    let of_experts: Vec<usize> = of_experts.map(|(layer, _)| layer).collect();
    let tokens = TOKENS.min(spec.context);
    json!({
        "model_type": spec.model_type,
        "parameters": parameters,
        "layers": spec.n_layers(),
        "d_model": spec.d_model,
        "d_ff": dense.map(|layer| layer.ffn.d_mlp),
        "experts": sparse.map(|(_, experts)| experts.count),
        "experts_per_token": sparse.map(|(_, experts)| experts.top_k),
        "expert_d_ff": sparse.map(|(d_mlp, _)| d_mlp),
        "shared_expert_d_ff": sparse.and_then(|(_, experts)| Some(experts.shared?.d_mlp)),
        "expert_layers": sparse.map(|_| of_experts),
        "heads": first.map(|layer| layer.attn.heads),
        "kv_heads": first.map(|layer| layer.attn.kv_heads),
        "vocab": spec.vocab,
        "context": spec.context,
        "bytes_file": checkpoint.bytes_file(),
        "bytes_resident": resident.bytes,
        "held": resident.formats(),
        "bytes_run": RunSize::new(spec, tokens).bytes(),
        "bytes_picture": spec.vision.as_ref().map(engine::picture_bytes),
        "tokenizer": tokenizer,
    })
}

/// The facts with lists of tensors, sites and warnings.
fn whole(mut facts: Value, checkpoint: &Checkpoint, inspected: Inspected, sites: &[PatternOfSites]) -> Value {
    let tensors = checkpoint
        .tensors()
        .map(|(name, info)| json!({"name": name, "dtype": format!("{:?}", info.dtype), "shape": info.shape}));
    let sites = sites
        .iter()
        .map(|pattern| json!({"site": pattern.site, "shape": pattern.shape, "layers": pattern.layers}));
    let lists = [
        ("tensors", tensors.collect::<Vec<_>>().into()),
        ("sites", sites.collect::<Vec<_>>().into()),
        ("unread", inspected.unread.into()),
        ("warnings", inspected.warnings.into()),
    ];
    if let Some(facts) = facts.as_object_mut() {
        facts.extend(lists.map(|(name, list)| (name.to_owned(), list)));
    }
    facts
}
