//! `sluice merge`: what shards did, as if one run had done it all.

use std::path::PathBuf;

use clap::Args;
use sluice_core::Result;
use sluice_core::files::{Lock, claim_folder};
use sluice_core::records::merge;

use super::{score, there};

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
        score::claim_score(&self.out, there)?;
        merge(&self.shards, &self.out, there)?;
        score::merged(&self.out, self.json)
    }
}
