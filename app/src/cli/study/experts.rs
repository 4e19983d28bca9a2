//! `sluice study experts`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use sluice_core::Result;
use sluice_core::engine::never;
use sluice_core::study::experts;

use super::super::{note, out};
use super::{Read, Reading, every_five_seconds, write};

#[derive(Args)]
pub struct Experts {
    #[command(flatten)]
    reading: Reading,
    /// Also take every expert out in turn, and measure what becomes of the output after every token
    #[arg(long)]
    knock_out: bool,
    /// Folder for findings.json
    #[arg(long)]
    out: PathBuf,
}

impl Experts {
    pub fn run(&self) -> Result<()> {
        let Read { mut engine, samples, .. } = self.reading.open()?;
        let (mut say, begin) = (every_five_seconds(), Instant::now());
        let mut report = |done: usize, all: usize| {
            let left = begin.elapsed().as_secs_f64() / done as f64 * (all - done) as f64;
            say(&format!("{done} of {all} passes, {left:.0} s to go"));
        };
        let findings = experts(&mut engine, &samples, self.knock_out, &mut report, &never)?;
        for block in &findings.blocks {
            out(&format!(
                "layer {}: router entropy {:.3} nats, balance {:.3}\n",
                block.layer, block.entropy, block.balance
            ));
            for expert in &block.experts {
                if expert.tokens == 0 {
                    out(&format!("  expert {:>3}  never chosen\n", expert.expert));
                    continue;
                }
                let kl = expert.kl.map_or(String::new(), |kl| format!("  KL without it {kl:.6}"));
                out(&format!(
                    "  expert {:>3}  load {:.3}  gate {:.3}  saliency {:.4}{kl}\n",
                    expert.expert, expert.load, expert.gate, expert.saliency
                ));
            }
        }
        if let Some(agreement) = findings.agreement {
            out(&format!(
                "rank correlation with the KL of knocking out: load {:.3}, saliency {:.3}; {:.1} % of the layer FLOPs of \
                 full passes\n",
                agreement.load,
                agreement.saliency,
                100.0 * findings.flops_layers as f64 / findings.flops_layers_full as f64
            ));
        }
        note(&format!("{} tokens in {:.3} s", findings.tokens, findings.seconds));
        write(&self.out, &findings)
    }
}
