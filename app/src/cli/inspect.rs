//! `sluice inspect`: what a checkpoint is, without reading its weights.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use sluice_core::Result;
use sluice_core::model::{family, layout};
use sluice_core::site::Site;

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
            Err(error) => {
                note(&format!("{error}; prompts are token ids"));
                "none"
            }
        };
        if !ignored.is_empty() {
            note(&format!("config fields that nothing reads: {}", ignored.join(", ")));
        }
        let first = spec.layers.first();
        let facts = json!({
            "model_type": spec.model_type,
            "parameters": parameters,
            "layers": spec.n_layers(),
            "d_model": spec.d_model,
            "d_ff": first.map(|layer| layer.ffn.d_mlp),
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
        for (name, value) in facts.as_object().into_iter().flatten() {
            out(&format!("{name:<16}{}\n", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        }
        out("\ntensors\n");
        for (name, info) in checkpoint.tensors() {
            out(&format!("{name:<60} {:?} {:?}\n", info.dtype, info.shape));
        }
        out("\nsites, with N from 0 to the last layer; T tokens\n");
        for site in Site::all(&spec) {
            match site {
                Site::Block { layer: 0, hook } => {
                    out(&format!("blocks.N.{:<40} {}\n", hook.name(), site.shape()));
                }
                Site::Block { .. } => {}
                _ => out(&format!("{:<49} {}\n", site.to_string(), site.shape())),
            }
        }
        Ok(())
    }
}
