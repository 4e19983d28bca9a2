//! `sluice save`: the model that a plan describes, as a folder that transformers opens.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sluice_core::Result;
use sluice_core::checkpoint::NumberFormat;
use sluice_core::engine::Opened;
use sluice_core::plan::Plan;
use sluice_core::save::{Save, Saved, save};

use super::progress::Progress;
use super::prompt::{PromptArgs, at_most_one};
use super::{apart, checkpoint, opened, out, signals, there};

#[derive(Args)]
#[command(group(at_most_one()))]
pub struct SaveArgs {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    /// Plan file; left out = nothing is changed
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Folder for the model
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number format of all weights; left out = each its own
    #[arg(long, value_enum)]
    dtype: Option<Format>,
    /// Write over a model that `save` made
    #[arg(long)]
    overwrite: bool,
    /// The prompt whose run the plan reads, for means over a prompt and rows of its run
    #[command(flatten)]
    prompt: PromptArgs,
}

/// A number format by its usual name.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    F32,
    F16,
    Bf16,
}

impl SaveArgs {
    pub fn run(&self) -> Result<()> {
        let checkpoint = checkpoint(self.checkpoint.as_deref())?;
        apart(&self.out, &checkpoint)?;
        let plan = self.plan.as_deref().map(Plan::read).transpose()?.unwrap_or_default();
        let prompt = self.prompt.read(&checkpoint)?;
        signals::watch()?;
        let Opened { mut engine, .. } = opened(&checkpoint, &signals::came)?;
        let prompt = prompt.map(|prompt| engine.input(&prompt)).transpose()?;
        let items = engine.foldable(&plan, prompt.as_ref(), &signals::came)?;
        // The weights are read again one by one.
        drop(engine);
        let ask = Save {
            plan: &plan,
            items: &items,
            dtype: self.dtype.map(|format| match format {
                Format::F32 => NumberFormat::F32,
                Format::F16 => NumberFormat::F16,
                Format::Bf16 => NumberFormat::Bf16,
            }),
            out: &self.out,
            there: there(self.overwrite),
        };
        let mut progress = Progress::begin();
        let mut report = |done: u64, all: u64| {
            progress.say(|_| format!("{} of {} MiB", done >> 20, all >> 20));
        };
        let saved = save(&checkpoint, &ask, &mut report, &signals::came)?;
        let Saved { written, blocks: [before, blocks], parameters: [all, parameters], bytes, .. } = saved;
        for item in written {
            out(&format!("{item}\n"));
        }
        out(&format!(
            "saved {blocks} of {before} blocks, {parameters} of {all} parameters, {} MiB, into {}\n",
            bytes >> 20,
            self.out.display()
        ));
        Ok(())
    }
}
