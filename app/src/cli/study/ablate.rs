//! `sluice study ablate`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sluice_core::Result;
use sluice_core::engine::never;
use sluice_core::study::ablate;

use super::super::{Input, Ready, out};
use super::{followed, write};

#[derive(Args)]
pub struct Ablate {
    #[command(flatten)]
    input: Input,
    /// Compare after every position, not only after the last one
    #[arg(long, value_enum, default_value = "last")]
    positions: Where,
    /// Token id to follow; left out = the unmodified model's most likely next token
    #[arg(long)]
    answer: Option<u32>,
    /// Folder for findings.json
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Where {
    Last,
    All,
}

impl Ablate {
    pub fn run(&self) -> Result<()> {
        let Ready { mut engine, tokens, plan } = self.input.open()?;
        let answer = followed(self.answer, engine.model.spec.vocab)?;
        let findings = ablate(&mut engine, &plan, &answer, &tokens, self.positions == Where::All, &never)?;
        for left_out in &findings.sublayers {
            let kind = format!("{:?}", left_out.kind).to_lowercase();
            let mean = left_out.kl_mean.map_or(String::new(), |kl| format!("  mean {kl:.6}"));
            out(&format!("layer {:>3} {kind:<4}  KL {:.6}{mean}\n", left_out.layer, left_out.kl));
        }
        out(&format!(
            "{:.3} s, {:.1} % of the layer FLOPs of full passes\n",
            findings.seconds,
            100.0 * findings.flops_layers as f64 / findings.flops_layers_full as f64
        ));
        write(&self.out, &findings)
    }
}
