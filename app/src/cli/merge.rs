//! `sluice merge`: what shards did, as if one run had done it all.

use std::path::PathBuf;

use clap::Args;
use sluice_core::Result;
use sluice_core::files::{Lock, claim_folder};
use sluice_core::method::over::is_work;
use sluice_core::records::{Reading, merge};

use super::{score, study, there};

#[derive(Args)]
pub struct Merge {
    /// The folder of each shard
    #[arg(required = true, value_name = "DIR")]
    shards: Vec<PathBuf>,
    /// Folder for what they come to together
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Write over what is there
    #[arg(long)]
    overwrite: bool,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl Merge {
    pub fn run(&self) -> Result<()> {
        claim_folder(&self.out)?;
        let _lock = Lock::take(&self.out)?;
        let there = there(self.overwrite);
        let of_a_study = self.of_a_study()?;
        if of_a_study {
            study::list::claim(&self.out, there)?;
        } else {
            score::claim_score(&self.out, there)?;
        }
        merge(&self.shards, &self.out, there)?;
        match of_a_study {
            true => study::list::merged(&self.out, there, self.json),
            false => score::merged(&self.out, self.json),
        }
    }

    /// Whether the first shard is of a study; all are of one question.
    fn of_a_study(&self) -> Result<bool> {
        let first = self.shards.first().map(|folder| Reading::open(folder)).transpose()?.flatten();
        Ok(first.is_some_and(|reading| is_work(&reading.head.work)))
    }
}
