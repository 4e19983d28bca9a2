//! `sluice study routes`

use std::path::PathBuf;

use clap::Args;
use sluice_core::Result;
use sluice_core::engine::never;
use sluice_core::figure::{Ground, Provenance, export};
use sluice_core::study::text_routes;

use super::super::{note, out};
use super::oracle::Lanes;
use super::{Read, Reading, every_five_seconds, write};

#[derive(Args)]
pub struct Routes {
    #[command(flatten)]
    reading: Reading,
    /// What the FFN of a layer can be; left out = big or small, or with experts big or skipped
    #[arg(long, value_enum)]
    lanes: Option<Lanes>,
    /// Folder for findings.json and the figures
    #[arg(long)]
    out: PathBuf,
}

impl Routes {
    pub fn run(&self) -> Result<()> {
        let Read { mut engine, samples, card } = self.reading.open()?;
        let mut say = every_five_seconds();
        let mut progress = |done: usize, all: usize| say(&format!("{done} of {all} sequences"));
        let length = samples.first().map_or(0, |sample| sample.len());
        let provenance = Provenance {
            checkpoint: card.name,
            fingerprint: card.fingerprint,
            prompt: format!("{} sequences of {length} tokens", samples.len()),
            plan: "no plan".into(),
            dtype: "f32".into(),
        };
        let lanes = Lanes::or_default(self.lanes, &engine);
        let found = text_routes(&mut engine, &samples, lanes, &provenance, &mut progress, &never)?;
        out("big layers   oracle   fixed    mean     coins    wrong-label oracle\n");
        for (budget, coins) in found.by_budget.iter().zip(&found.coins) {
            out(&format!(
                "{:>10}   {:.4}   {:.4}   {:.4}   {coins:.4}   {:.4}\n",
                budget.big, budget.oracle.mean, budget.fixed, budget.mean, budget.wrong_label[0]
            ));
        }
        for (router, _) in &found.routers {
            out(&format!("router {:<24} {:.2} big layers   {:.4}\n", router.name, router.big, router.loss));
        }
        note(&format!("{} tokens in {:.3} s", found.tokens, found.seconds));
        write(&self.out, &found)?;
        found
            .figures
            .iter()
            .try_for_each(|figure| export::write_all(figure, Ground::Light, &self.out).map(|_| ()))
    }
}
