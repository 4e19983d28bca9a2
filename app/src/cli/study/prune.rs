//! `sluice study prune`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sluice_core::engine::never;
use sluice_core::plan::{Part, Sublayer};
use sluice_core::study::{Distance, Method, PruneAsk, Removal, prune};
use sluice_core::{Error, Result};

use super::super::out;
use super::{Read, Reading, write};

#[derive(Args)]
pub struct Prune {
    #[command(flatten)]
    reading: Reading,
    /// Share of the sublayers to remove, rounded down
    #[arg(long, default_value_t = 0.25, conflicts_with = "removals")]
    share: f64,
    /// How many sublayers to remove
    #[arg(long)]
    removals: Option<usize>,
    /// How outputs are compared, as a mean over tokens
    #[arg(long, value_enum, default_value = "jsd")]
    distance: By,
    /// Share of the model whose front blocks are spared until as much is removed; FinerCut's command has 0.4
    #[arg(long, default_value_t = 0.0)]
    spare_front: f64,
    /// Do not race: a whole pass per candidate and sample, with the same order in the end
    #[arg(long)]
    whole: bool,
    /// Folder for findings.json
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    /// Jensen-Shannon divergence
    Jsd,
    /// KL(original || pruned)
    Kl,
    /// What FinerCut's code calls JS
    JsRepo,
}

impl Prune {
    pub fn run(&self) -> Result<()> {
        if ![self.share, self.spare_front].iter().all(|share| (0.0..=1.0).contains(share)) {
            return Err(Error::Input("a share is a number from 0 to 1".into()));
        }
        let Read { engine, samples, .. } = self.reading.open()?;
        let all = 2 * engine.model.spec.n_layers();
        let ask = PruneAsk {
            samples: &samples,
            distance: match self.distance {
                By::Jsd => Distance::Jsd,
                By::Kl => Distance::Kl,
                By::JsRepo => Distance::JsRepo,
            },
            removals: self.removals.unwrap_or((self.share * all as f64).floor() as usize),
            spare_front: self.spare_front,
            method: if self.whole { Method::Whole } else { Method::Raced },
        };
        let mut said = |step: &Removal| {
            let runner_up = step.candidates.iter().filter(|one| one.sublayer != step.removed);
            let next = runner_up.min_by(|a, b| a.distance.total_cmp(&b.distance));
            let next = next.map_or(String::new(), |next| {
                let sign = if next.at_least { ">= " } else { "" };
                format!("   next {} {sign}{:.6e}", title(next.sublayer), next.distance)
            });
            out(&format!("{:<14} {:.6e}{next}\n", title(step.removed), step.distance));
        };
        let findings = prune(&engine, &ask, &mut said, &never)?;
        out(&format!(
            "{:.3} s, {:.1} % of the layer FLOPs of {} whole passes a sample\n",
            findings.seconds,
            100.0 * findings.flops_layers as f64 / findings.flops_layers_full as f64,
            findings.evaluations + 1,
        ));
        write(&self.out, &findings)
    }
}

fn title(sublayer: Sublayer) -> String {
    let part = match sublayer.part {
        Part::Attn => "attn",
        Part::Ffn => "ffn",
    };
    format!("layer {} {part}", sublayer.layer)
}
