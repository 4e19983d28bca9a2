//! `sluice study`: studies for scripts, with their findings as JSON; one file per study.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};
use serde::Serialize;
use sluice_core::checkpoint::write_atomic;
use sluice_core::engine::{self, Engine, Opened};
use sluice_core::model::Input;
use sluice_core::study::{pieces, pieces_at_most, reading};
use sluice_core::train::world::World;
use sluice_core::worker::{Answer, Card};
use sluice_core::{Error, Result};

use super::{checkpoint, note};

mod ablate;
mod experts;
mod oracle;
mod prune;
mod router;
mod routes;
mod trace;

#[derive(Args)]
pub struct Study {
    #[command(subcommand)]
    study: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// Corrupt some tokens, restore one thing of the clean run per layer and token, and see what comes back
    Trace(trace::Trace),
    /// Leave out every sublayer in turn
    Ablate(ablate::Ablate),
    /// Run every route of big and small FFNs over the layers, and see which foresees each token best
    Oracle(oracle::Oracle),
    /// What the experts of a model do over a text, and what becomes of the output without them
    Experts(experts::Experts),
    /// The same over a text, with the figures of the paper: choices by layer and position, losses by budget, controls
    Routes(routes::Routes),
    /// Remove the sublayers that the output misses least, one after the other
    Prune(prune::Prune),
    /// Train a router between big FFNs, small ones and none on a text
    Router(router::Router),
}

impl Study {
    pub fn run(&self) -> Result<()> {
        match &self.study {
            Kind::Trace(trace) => trace.run(),
            Kind::Ablate(ablate) => ablate.run(),
            Kind::Oracle(oracle) => oracle.run(),
            Kind::Experts(experts) => experts.run(),
            Kind::Routes(routes) => routes.run(),
            Kind::Prune(prune) => prune.run(),
            Kind::Router(router) => router.run(),
        }
    }
}

/// Says something on stderr, not more often than every five seconds.
fn every_five_seconds() -> impl FnMut(&str) {
    let mut said = Instant::now();
    move |text| {
        if said.elapsed().as_secs() >= 5 {
            said = Instant::now();
            note(text);
        }
    }
}

/// Text to calibrate on.
#[derive(Args)]
struct Reading {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    /// Text file; left out = validation text of the bundled checkpoint's world, or for others the bundled sample, of which
    /// as many pieces are taken as there are
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Pieces of text
    #[arg(long, default_value_t = 10)]
    samples: usize,
    /// Tokens of each
    #[arg(long, default_value_t = 256)]
    length: usize,
}

/// A checkpoint with text to calibrate on.
struct Read {
    engine: Engine,
    samples: Vec<Input>,
    card: Card,
}

impl Reading {
    fn open(&self) -> Result<Read> {
        let checkpoint = checkpoint(self.checkpoint.as_deref())?;
        let Opened { engine, card } = engine::open(&checkpoint, &mut |_, _| {}, &engine::never)?;
        for warning in &card.warnings {
            note(warning);
        }
        let text = self.text.as_ref().map(|path| {
            std::fs::read_to_string(path)
                .map_err(|error| Error::Study(format!("{}: {error}", path.display())))
        });
        let enough = self.samples.saturating_mul(self.length);
        let text = text.transpose()?;
        let ids = reading(&engine, World::of(&checkpoint).as_ref(), text.as_deref(), enough)?;
        if text.is_some() {
            return Ok(Read { samples: pieces(&ids, self.samples, self.length)?, engine, card });
        }
        let pieces = pieces_at_most(&ids, self.samples, self.length)?;
        if pieces.len() < self.samples {
            let len = pieces.first().map_or(0, |piece| piece.len());
            note(&format!(
                "the bundled sample gives {} pieces of {len} tokens; --text reads more",
                pieces.len()
            ));
        }
        Ok(Read { engine, samples: pieces, card })
    }
}

fn followed(id: Option<u32>, vocab: usize) -> Result<Answer> {
    match id {
        None => Ok(Answer::Top),
        Some(id) if (id as usize) < vocab => Ok(Answer::Id(id)),
        Some(id) => Err(Error::Input(format!("token id {id} is past the vocabulary of {vocab}"))),
    }
}

fn write(folder: &Path, findings: &impl Serialize) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    let json = serde_json::to_string_pretty(findings).map_err(|error| Error::Internal(error.to_string()))?;
    write_atomic(&folder.join("findings.json"), (json + "\n").as_bytes())
}
