//! `sluice inspect`: what a checkpoint is, without reading its weights.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use sluice_core::model::{family, layout};
use sluice_core::site::Site;
use sluice_core::{Error, Result};

use super::{note, out};

#[derive(Args)]
pub struct Inspect {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(&self) -> Result<()> {
        let checkpoint = super::checkpoint(self.checkpoint.as_deref())?;
        let family::Read { spec, layout, ignored } = family::read(checkpoint.config())?;
        let parameters = layout::parameters(&spec, &layout);
        let tokenizer = match checkpoint.tokenizer() {
            Ok(Some(tokenizer)) => tokenizer.kind(),
            Ok(None) => "none",
            Err(error @ Error::Tokenizer { .. }) => {
                note(&format!("{error}; prompts are token ids until then: {}", error.next_step()));
                "none"
            }
            Err(error) => return Err(error),
        };
        if !ignored.is_empty() {
            note(&format!("config fields that nothing reads: {}", ignored.join(", ")));
        }
        let first = spec.layers.first();
        // Of blocks with one FFN, and of blocks of experts.
        let dense = spec.layers.iter().find(|layer| layer.experts.is_none());
        let sparse = spec.layers.iter().find_map(|layer| Some((layer.ffn.d_mlp, layer.experts?)));
        let of_experts = spec.layers.iter().enumerate().filter(|(_, layer)| layer.experts.is_some());
        let of_experts: Vec<usize> = of_experts.map(|(layer, _)| layer).collect();
        let facts = json!({
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
            "bytes_resident": 4 * parameters,
            "tokenizer": tokenizer,
        });
        if self.json {
            out(&format!("{facts}\n"));
            return Ok(());
        }
        let known = facts.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        for (name, value) in known {
            out(&format!("{name:<20}{}\n", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        }
        out("\ntensors\n");
        for (name, info) in checkpoint.tensors() {
            out(&format!("{name:<60} {:?} {:?}\n", info.dtype, info.shape));
        }
        out("\nsites, with N from 0 to the last layer; T tokens\n");
        let mut shown = std::collections::BTreeSet::new();
        for site in Site::all(&spec) {
            match site {
                Site::Block { hook, .. } => {
                    if shown.insert(hook) {
                        let layers = spec.layers.iter().enumerate().filter(|(_, layer)| hook.exists(layer));
                        let layers: Vec<String> = layers.map(|(layer, _)| layer.to_string()).collect();
                        let some = layers.len() < spec.n_layers();
                        let some = if some { format!("  N = {}", layers.join(", ")) } else { String::new() };
                        out(&format!("blocks.N.{:<40} {}{some}\n", hook.name(), site.shape()));
                    }
                }
                _ => out(&format!("{:<49} {}\n", site.to_string(), site.shape())),
            }
        }
        Ok(())
    }
}
