//! `sluice bench`: measurements as a table, each with the target it is held against.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use sluice_core::checkpoint::{NumberFormat, save};
use sluice_core::files::Scratch;
use sluice_core::{Error, Result, model};

use super::{note, out};

mod engine;
mod frames;
mod growth;
mod held;
mod lists;
mod memory;
mod open;
mod product;
mod studies;
mod variants;

/// What can be measured. Growth takes minutes, and is measured where it is named only.
const BENCHES: [&str; 10] =
    ["engine", "product", "held", "frames", "studies", "variants", "lists", "memory", "open", "growth"];

#[derive(Args)]
pub struct Bench {
    /// Checkpoint folder (left out: what the targets name: random weights, or for studies the bundled one), and what to
    /// measure: engine, product, held, frames, studies, variants, lists, memory, open, growth; left out = all but growth
    #[arg(num_args = 0..=2)]
    what: Vec<String>,
    /// What other programs took on this machine, as "name value unit" lines
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// Text that studies read
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
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
            let cause = format!("\"{other}\" is not measured here (known: {known})");
            return Err(Error::asked(cause, "name one checkpoint folder, and what to measure of it"));
        }
        if let Some(path) = checkpoint.as_ref().filter(|path| !path.exists()) {
            let cause =
                format!("no such checkpoint, and nothing of this name is measured ({})", BENCHES.join(", "));
            return Err(Error::missing(path, cause));
        }
        let wanted = |bench: &str| {
            let named: Vec<&String> =
                self.what.iter().filter(|what| BENCHES.contains(&what.as_str())).collect();
            named.is_empty() && bench != "growth" || named.iter().any(|name| *name == bench)
        };
        let peers = Peers::read(self.peers.as_deref())?;
        note(&format!(
            "{} {}, {} threads",
            std::env::consts::OS,
            std::env::consts::ARCH,
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        ));
        let (mut rows, mut failed) = (Vec::new(), None);
        for part in BENCHES.into_iter().filter(|part| wanted(part)) {
            match self.part(part, checkpoint.as_deref(), &peers) {
                Ok(own) => {
                    if !self.json {
                        own.iter().for_each(|row| out(&format!("{}\n", row.line())));
                    }
                    rows.extend(own);
                }
                // The others are measured all the same.
                Err(error) => {
                    note(&format!("{part}: {error}"));
                    failed = Some(error);
                }
            }
        }
        if self.json {
            out(&format!("{}\n", json!(rows.iter().map(Row::json).collect::<Vec<_>>())));
        }
        failed.map_or(Ok(()), Err)
    }

    fn part(&self, part: &str, checkpoint: Option<&Path>, peers: &Peers) -> Result<Vec<Row>> {
        match part {
            "engine" => engine::run(checkpoint, peers),
            "frames" => frames::run(checkpoint),
            "studies" => studies::run(checkpoint, self.text.as_deref()),
            "variants" => in_scratch(|folder| variants::run(checkpoint, folder)),
            "lists" => in_scratch(|folder| lists::run(checkpoint, folder, peers)),
            "memory" => in_scratch(|folder| memory::run(checkpoint, folder)),
            "open" => in_scratch(|folder| open::run(checkpoint, folder)),
            "product" => product::run(),
            "held" => in_scratch(|folder| held::run(checkpoint, folder)),
            _ if checkpoint.is_some() => {
                Err(Error::asked("growth is measured on shapes of its own", "leave the checkpoint out"))
            }
            _ => in_scratch(growth::run),
        }
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

/// Milliseconds that other programs took.
pub struct Peers(BTreeMap<String, f64>);

impl Peers {
    fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(BTreeMap::new())) };
        let text = std::fs::read_to_string(path).map_err(|error| Error::read(path, &error))?;
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let (name, value, unit) = (words.next()?, words.next()?.parse::<f64>().ok()?, words.next()?);
            Some((name.to_owned(), if unit == "s" { 1e3 * value } else { value }))
        };
        Ok(Self(text.lines().filter_map(line).collect()))
    }

    /// Our time as a multiple of a peer's, at most `bound`.
    fn against(
        &self,
        name: &str,
        ours: f64,
        bound: f64,
        figures: &mut Vec<(&'static str, f64)>,
    ) -> Option<(String, bool)> {
        let peer = self.0.get(name)?;
        figures.extend([("peer", *peer), ("ratio", ours / peer)]);
        Some((format!("at most {bound} of {name}"), ours <= bound * peer))
    }

    /// A peer's time as a multiple of ours, at least `bound`.
    fn ahead(
        &self,
        name: &str,
        ours: f64,
        bound: f64,
        figures: &mut Vec<(&'static str, f64)>,
    ) -> Option<(String, bool)> {
        let peer = self.0.get(name)?;
        figures.extend([("peer", *peer), ("times as fast", peer / ours)]);
        Some((format!("at least {bound} times as fast as {name}"), bound * ours <= *peer))
    }
}

/// Do something in a folder of its own, which is gone afterwards.
fn in_scratch<T>(work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    work(Scratch::new("sluice-bench")?.path())
}

/// A folder with random weights of a config's shapes, bf16.
fn random_checkpoint(folder: &Path, config: &Value) -> Result<()> {
    note(&format!("writing random weights into {}", folder.display()));
    save(folder, config, &model::random_tensors(config, 1)?, NumberFormat::Bf16, None)
}
