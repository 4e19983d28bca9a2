//! `sluice evaluate`: the report card of a checkpoint that `sluice train` made.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sluice_core::evaluate::{Amount, evaluate, page};
use sluice_core::files::{claim_file, claim_folder, write};
use sluice_core::world::Split;
use sluice_core::{Error, Result};

use super::{HeldArgs, apart, checkpoint, note, out, there};

/// A part of the world that training does not see.
#[derive(Clone, Copy, ValueEnum)]
pub enum On {
    Test,
    Validation,
}

impl From<On> for Split {
    fn from(on: On) -> Self {
        match on {
            On::Test => Self::Test,
            On::Validation => Self::Validation,
        }
    }
}

#[derive(Args)]
pub struct Evaluate {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    held: HeldArgs,
    /// Folder for report-card.md and report-card.json
    #[arg(long)]
    out: PathBuf,
    /// Write over a report card that is there
    #[arg(long)]
    overwrite: bool,
    /// Questions of each sort about pictures
    #[arg(long, default_value_t = Amount::default().questions)]
    questions: u64,
    /// Described pictures
    #[arg(long, default_value_t = Amount::default().captions)]
    captions: u64,
    /// Sequences of 128 tokens of text for the routes
    #[arg(long, default_value_t = Amount::default().sequences)]
    sequences: usize,
    /// Validation: to choose settings without looking at what is reported
    #[arg(long, value_enum, default_value = "test")]
    split: On,
}

impl Evaluate {
    pub fn run(&self) -> Result<()> {
        self.held.apply();
        let Self { questions, captions, sequences, .. } = *self;
        let split = Split::from(self.split);
        let chosen = if split == Split::Validation { " --split validation" } else { "" };
        let amount = Amount { split, questions, captions, sequences };
        let command = format!(
            "sluice evaluate --out DIR --questions {questions} --captions {captions} --sequences {sequences}{chosen}"
        );
        let there = there(self.overwrite);
        let [json_path, page_path] = ["report-card.json", "report-card.md"].map(|name| self.out.join(name));
        // Before any work.
        claim_folder(&self.out)?;
        claim_file(&json_path, there)?;
        claim_file(&page_path, there)?;
        let checkpoint = checkpoint(self.checkpoint.as_deref())?;
        apart(&self.out, &checkpoint)?;
        let card = evaluate(&checkpoint, amount, command, &mut note)?;
        let json = serde_json::to_string_pretty(&card).map_err(|error| Error::Internal(error.to_string()))?;
        write(&json_path, (json + "\n").as_bytes(), there)?;
        let page = page::page(&card);
        write(&page_path, page.as_bytes(), there)?;
        out(&page);
        Ok(())
    }
}
