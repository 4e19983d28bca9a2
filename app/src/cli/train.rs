//! `sluice train`: make the bundled checkpoint.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use sluice_core::train::{self, Diet, Options};
use sluice_core::{Error, Result};

use super::whole::whole;
use super::{note, out, signals};

/// A year; what is longer is no limit.
const MOST_MINUTES: f32 = 525_600.0;

/// Sequences per step: pictures, facts, stories.
const WHOLE: Diet = Diet { pictures: 13, facts: 2, stories: 1 };

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    Pictures,
    Facts,
}

#[derive(Args)]
pub struct Train {
    /// Folder for the checkpoint and the state of an unfinished run
    #[arg(long)]
    out: PathBuf,
    /// Seed of text, weights, batches and routing
    #[arg(long, default_value_t = 1, value_parser = whole::<u64>, allow_negative_numbers = true)]
    seed: u64,
    /// Updates of the whole run: the first eighth trains the image tower alone, the last twelfth the routers
    #[arg(long, default_value_t = 8000, value_parser = whole::<u64>, allow_negative_numbers = true)]
    steps: u64,
    /// Read nothing else: to see alone what one part of the world asks of the model
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Steps between two saves of the state
    #[arg(long, default_value_t = 100, value_parser = whole::<u64>, allow_negative_numbers = true)]
    save_every: u64,
    /// Go on from the state in the folder
    #[arg(long)]
    resume: bool,
    /// Begin anew where the folder has a run
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Stop after so many minutes; the run can be resumed
    #[arg(long)]
    minutes: Option<f32>,
}

impl Train {
    pub fn run(&self) -> Result<()> {
        let options = Options {
            out: self.out.clone(),
            seed: self.seed,
            steps: self.steps,
            diet: match self.only {
                None => WHOLE,
                Some(Part::Pictures) => Diet { facts: 0, stories: 0, ..WHOLE },
                Some(Part::Facts) => Diet { pictures: 0, facts: 8, stories: 0 },
            },
            save_every: self.save_every,
            resume: self.resume,
            overwrite: self.overwrite,
            limit: self
                .minutes
                .map(|minutes| Duration::from_secs_f32(60.0 * minutes.clamp(0.0, MOST_MINUTES))),
        };
        let mut said = Instant::now();
        signals::watch()?;
        let report = train::train(&options, &signals::came, &mut |status| {
            if said.elapsed() < Duration::from_secs(5) && status.step < status.steps {
                return;
            }
            said = Instant::now();
            let train::run::Status { step, steps, loss, patches, eta_s } = status;
            let patches = if patches > 0.0 { format!(", {patches:.3} per patch") } else { String::new() };
            note(&format!("step {step} of {steps}, {loss:.4} nats per token{patches}, {eta_s:.0} s left"));
        })?;
        match report {
            Some(report) => {
                let text = serde_json::to_string_pretty(&report).unwrap_or_default();
                out(&format!("{text}\n"));
            }
            None if signals::came() => {
                note("interrupted and saved; the same command with --resume goes on");
                return Err(Error::Cancelled);
            }
            None => note("the time is up; the same command with --resume goes on"),
        }
        Ok(())
    }
}
