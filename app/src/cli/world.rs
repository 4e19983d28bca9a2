//! `sluice world`: the world of a checkpoint that `sluice train` made, as files for others.

use std::path::PathBuf;

use clap::Args;
use sluice_core::world::export::{FACTS, PRESENCE, TEXT, export};
use sluice_core::world::{Split, World};
use sluice_core::{Error, Result};

use super::evaluate::On;
use super::progress::Progress;
use super::whole::whole;
use super::{apart, checkpoint, out, signals, there};

#[derive(Args)]
pub struct WorldArgs {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    /// Which part: what training never saw
    #[arg(long, value_enum, default_value = "test")]
    split: On,
    /// Questions of each sort about pictures, and documents
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole::<u64>, allow_negative_numbers = true)]
    count: u64,
    /// Folder for images/, presence.jsonl, facts.jsonl and text.txt
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Write over a world that is there
    #[arg(long)]
    overwrite: bool,
}

impl WorldArgs {
    pub fn run(&self) -> Result<()> {
        let checkpoint = checkpoint(self.checkpoint.as_deref())?;
        apart(&self.out, &checkpoint)?;
        let none = || {
            let cause = format!("{} was not made in a world", checkpoint.name());
            Error::asked(cause, "name a checkpoint of `sluice train`, or leave it out for the bundled one")
        };
        let world = World::of(checkpoint.config()).ok_or_else(none)?;
        signals::watch()?;
        let split = Split::from(self.split);
        let mut progress = Progress::begin();
        let mut report = |done: u64, all: u64| {
            progress.say(|_| format!("{done} of {all} pictures"));
            signals::came()
        };
        export(&world, split, self.count, &self.out, there(self.overwrite), &mut report)?;
        out(&format!(
            "wrote {PRESENCE}, {FACTS}, {TEXT} and {} pictures into {}\n",
            3 * self.count,
            self.out.display()
        ));
        Ok(())
    }
}
