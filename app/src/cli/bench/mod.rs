//! `sluice bench`: measurements as a table, each with the target it is held against.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use sluice_core::checkpoint::{SaveDtype, save};
use sluice_core::{Error, Result, model};

use super::{note, out};

mod frames;

/// What can be measured.
const BENCHES: [&str; 1] = ["frames"];

#[derive(Args)]
pub struct Bench {
    /// Checkpoint folder (left out: random weights of the shapes that the targets name), and what to measure: frames
    #[arg(num_args = 0..=2)]
    what: Vec<String>,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub fn run(&self) -> Result<()> {
        let mut paths = self.what.iter().filter(|what| !BENCHES.contains(&what.as_str()));
        let checkpoint = paths.next().map(PathBuf::from);
        if let Some(other) = paths.next() {
            let known = BENCHES.join(", ");
            return Err(Error::Input(format!("\"{other}\" is not measured here (known: {known})")));
        }
        if let Some(path) = checkpoint.as_ref().filter(|path| !path.exists()) {
            let cause =
                format!("no such checkpoint, and nothing of this name is measured ({})", BENCHES.join(", "));
            return Err(Error::checkpoint(path, cause));
        }
        let rows = frames::run(checkpoint.as_deref())?;
        if self.json {
            out(&format!("{}\n", json!(rows.iter().map(Row::json).collect::<Vec<_>>())));
            return Ok(());
        }
        for row in &rows {
            out(&format!("{}\n", row.line()));
        }
        Ok(())
    }
}

/// One measurement.
pub struct Row {
    what: String,
    /// Name and value of each figure.
    figures: Vec<(&'static str, f64)>,
    unit: &'static str,
    /// What it is held against: in words, and whether it holds.
    target: Option<(String, bool)>,
}

impl Row {
    fn json(&self) -> Value {
        let figures: serde_json::Map<String, Value> =
            self.figures.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let target = self.target.as_ref().map(|(text, holds)| json!({"text": text, "holds": holds}));
        json!({"what": self.what, "unit": self.unit, "figures": figures, "target": target})
    }

    fn line(&self) -> String {
        let figures: Vec<String> =
            self.figures.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
        let verdict = match &self.target {
            Some((text, true)) => format!("   holds: {text}"),
            Some((text, false)) => format!("   MISSED: {text}"),
            None => String::new(),
        };
        format!("{:<44} {} {}{verdict}", self.what, figures.join("  "), self.unit)
    }
}

/// A folder with random weights of a config's shapes, bf16.
fn random_checkpoint(folder: &Path, config: &Value) -> Result<()> {
    note(&format!("writing random weights into {}", folder.display()));
    save(folder, config, &model::random_tensors(config, 1)?, SaveDtype::Bf16, None)
}
