//! `sluice study oracle`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sluice_core::Result;
use sluice_core::engine::never;
use sluice_core::plan::Lane;
use sluice_core::study::every_route;

use super::super::{Input, Ready, out};
use super::{every_five_seconds, write};

#[derive(Args)]
pub struct Oracle {
    #[command(flatten)]
    input: Input,
    /// What the FFN of a layer can be
    #[arg(long, value_enum, default_value = "small")]
    lanes: Lanes,
    /// Folder for findings.json
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Lanes {
    /// Big or small: 2^L routes
    Small,
    /// Big or skipped: 2^L
    Skip,
    /// Big, small or skipped: 3^L
    Both,
}

impl Oracle {
    pub fn run(&self) -> Result<()> {
        let Ready { mut engine, tokens, plan } = self.input.open()?;
        let lanes: &[Lane] = match self.lanes {
            Lanes::Small => &[Lane::Small, Lane::Big],
            Lanes::Skip => &[Lane::SkipFfn, Lane::Big],
            Lanes::Both => &[Lane::SkipFfn, Lane::Small, Lane::Big],
        };
        let mut say = every_five_seconds();
        let mut progress = |[done, all]: [usize; 2]| say(&format!("{done} of {all} routes"));
        let found = every_route(&mut engine, &plan, &tokens, lanes, &mut progress, &never)?;
        if let Some(small) = &found.small {
            out(&format!("small: {small}\n"));
        }
        out("big layers   oracle   fixed    mean     wrong-label oracle\n");
        for budget in &found.by_budget {
            out(&format!(
                "{:>10}   {:.4}   {:.4}   {:.4}   {:.4}   best fixed {}\n",
                budget.big,
                budget.oracle.mean,
                budget.fixed,
                budget.mean,
                budget.wrong_label[0],
                budget.fixed_pattern
            ));
        }
        out(&format!(
            "all big {:.4}, oracle over all {} routes {:.4} nats per token ({})\n{:.3} s, 1/{:.1} of the layer FLOPs of \
             full passes\n",
            found.all_big.mean,
            found.patterns,
            found.oracle.mean,
            found.reading,
            found.seconds,
            found.flops_layers_full as f64 / found.flops_layers as f64,
        ));
        write(&self.out, &found)
    }
}
