//! `sluice study trace`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sluice_core::checkpoint::TensorFile;
use sluice_core::engine::never;
use sluice_core::study::{GridAsk, GridNoise, grid};
use sluice_core::worker::Component;
use sluice_core::{Error, Result};

use super::super::{Input, Ready, out};
use super::{every_five_seconds, followed, write};

#[derive(Clone, Copy, ValueEnum)]
enum Restore {
    /// hook_resid_post
    Resid,
    /// hook_attn_out
    Attn,
    /// hook_mlp_out
    Ffn,
}

#[derive(Args)]
pub struct Trace {
    #[command(flatten)]
    input: Input,
    /// Positions to corrupt, half-open: 2..5
    #[arg(long, value_parser = range)]
    corrupt: std::ops::Range<usize>,
    /// Noise on hook_embed in standard deviations of the embeddings, drawn by --seed
    #[arg(long, default_value_t = 3.0)]
    sigma: f32,
    /// Noise from a safetensors file instead: tensor "noise" [n, T, d]; results are means over n
    #[arg(long, value_name = "FILE", conflicts_with = "sigma")]
    noise: Option<PathBuf>,
    /// What is restored
    #[arg(long, value_enum, default_value = "resid")]
    restore: Restore,
    /// Layers that are restored around each; 10 is ROME's
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// Estimate the grid from one backward pass as well, and say how it orders the cells beside the exact one
    #[arg(long)]
    estimate: bool,
    /// Token id to follow; left out = the unmodified model's most likely next token
    #[arg(long)]
    answer: Option<u32>,
    /// Folder for findings.json
    #[arg(long)]
    out: PathBuf,
}

impl Trace {
    pub fn run(&self) -> Result<()> {
        let Ready { mut engine, tokens, plan } = self.input.open()?;
        if self.window == 0 {
            return Err(Error::Input("a window of 0 layers restores nothing".into()));
        }
        if self.corrupt.end > tokens.len() {
            let (len, end) = (tokens.len(), self.corrupt.end);
            return Err(Error::Input(format!("the prompt has {len} tokens, nothing to corrupt up to {end}")));
        }
        let noise = match &self.noise {
            Some(path) => GridNoise::Values(TensorFile::open(path)?.load_f32("noise")?.0),
            None => GridNoise::Drawn { sigma: self.sigma, seed: self.input.seed },
        };
        let ask = GridAsk {
            plan: &plan,
            answer: followed(self.answer, engine.model.spec.vocab)?,
            corrupt: self.corrupt.clone().collect(),
            noise,
            component: match self.restore {
                Restore::Resid => Component::Residual,
                Restore::Attn => Component::Attention,
                Restore::Ffn => Component::Ffn,
            },
            window: self.window,
            estimate: self.estimate,
        };
        let mut say = every_five_seconds();
        let mut progress = |done, all| say(&format!("{done} of {all} cells"));
        let findings = grid(&mut engine, &ask, &tokens, &mut progress, &never)?;
        let (clean, corrupted) = (findings.clean.prob, findings.corrupted.prob);
        let layers = findings.grid.prob.iter().enumerate();
        let best = layers
            .flat_map(|(layer, row)| row.iter().enumerate().map(move |(position, p)| (*p, layer, position)))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let best = best.map_or(String::new(), |(p, layer, position)| {
            format!("; most comes back at layer {layer}, position {position}: {p:.4}")
        });
        out(&format!(
            "P(token {}): {clean:.4} clean, {corrupted:.4} corrupted{best}\n{:.3} s, {:.1} % of the rows of full passes\n",
            findings.answer,
            findings.seconds,
            100.0 * findings.rows_computed as f64 / findings.rows_full as f64
        ));
        if let Some(estimate) = &findings.estimate {
            out(&format!(
                "first-order estimate: {:.3} s, rank agreement with the exact grid {:.3}\n",
                estimate.seconds, estimate.rank_agreement
            ));
        }
        write(&self.out, &findings)
    }
}

/// `2..5`
fn range(text: &str) -> std::result::Result<std::ops::Range<usize>, String> {
    let parts = text.split_once("..").and_then(|(a, b)| Some(a.trim().parse().ok()?..b.trim().parse().ok()?));
    match parts {
        Some(range) if !range.is_empty() => Ok(range),
        _ => Err("positions are first..past-the-last, such as 2..5".into()),
    }
}
