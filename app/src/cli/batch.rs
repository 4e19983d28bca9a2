//! `sluice batch`: many prompts, one load. JSON lines in, JSON lines out, in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use sluice_core::batch::{Archive, Ask, Batch, Reply, Written};
use sluice_core::engine::{Card, Opened};
use sluice_core::files::{Entries, Grown, claim_file, json_line};
use sluice_core::plan::Plan;
use sluice_core::site::Site;
use sluice_core::{Error, Result};

use super::progress::{Progress, name_failure};
use super::{HeldArgs, apart, checkpoint, has_enough, mapped, note, opened, out, signals, there};

#[derive(Args)]
pub struct BatchArgs {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    held: HeldArgs,
    /// Questions, JSON lines or an array: {"id"?, "prompt" or "tokens", "image"?, "plan"?, "answers"?, "foils"?, "max_new_tokens"?,
    /// "temperature"?, "seed"?, "stop"?, "top"?}; - is stdin. Pictures and plans lie beside the file
    #[arg(long = "in", value_name = "FILE", default_value = "-")]
    list: PathBuf,
    /// Answers, JSON lines in the order of the questions; - is stdout
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Plan file of lines without a plan
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// What stands for a field of a question in this list: prompt=text, or a text with it: 'prompt={question} is'
    #[arg(long, value_name = "OURS=THEIRS", allow_hyphen_values = true)]
    map: Vec<String>,
    /// Folder for captured sites: numbered safetensors files with tensors LINE/site, and index.json
    #[arg(long, value_name = "DIR", requires = "capture")]
    captures: Option<PathBuf>,
    /// Keep sites: a TransformerLens name or a glob such as '*.hook_resid_post'; may be given more than once
    #[arg(long, value_name = "GLOB", requires = "captures")]
    capture: Vec<String>,
    /// Go on behind the last answer of the file
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Write over what is there
    #[arg(long)]
    overwrite: bool,
}

/// Where answers go.
enum To {
    Stdout,
    File(Grown),
}

impl BatchArgs {
    pub fn run(&self) -> Result<()> {
        self.held.apply();
        let pipe = Path::new("-");
        if self.resume && [&self.list, &self.out].iter().any(|path| *path == pipe) {
            return Err(Error::asked("a pipe cannot be gone on with", "name files with --in and --out"));
        }
        let same = |one: &Path, other: &Path| {
            let whole = |path: &Path| std::fs::canonicalize(path).ok();
            whole(one).is_some_and(|one| Some(one) == whole(other))
        };
        if self.list == self.out && self.out != pipe || same(&self.list, &self.out) {
            return Err(Error::asked("the answers would go over the questions", "give another --out"));
        }
        let checkpoint = checkpoint(self.checkpoint.as_deref())?;
        for path in [&self.out].into_iter().filter(|path| *path != pipe).chain(&self.captures) {
            apart(path, &checkpoint)?;
        }
        let map = mapped(&self.map)?;
        let plan = self.plan.as_deref().map(Plan::read).transpose()?.unwrap_or_default();
        if self.out != pipe && !self.resume {
            claim_file(&self.out, there(self.overwrite))?;
        }
        signals::watch()?;
        let Opened { mut engine, card } = opened(&checkpoint, &signals::came)?;
        let mut capture = BTreeSet::new();
        for glob in &self.capture {
            capture.extend(Site::select(&engine.model.spec, glob)?);
        }
        let ask = Ask { list: self.list.clone(), map, plan: plan.clone(), capture };
        let mut batch = Batch::new(ask)?;
        // What is there goes once everything else is open.
        let (mut to, last, mut failed) = self.begin()?;
        let behind = last.as_ref().map_or(0, |last| last.line);
        if let Some(last) = last {
            batch.go_on_behind(last);
        }
        let mut archive = self.archive(&card, &plan, behind)?;
        let (mut progress, mut lines) = (Progress::begin(), 0_u64);
        loop {
            let replies = match batch.next(&mut engine, &signals::came) {
                Err(Error::Cancelled) => {
                    note(&format!(
                        "interrupted after {lines} lines{}",
                        if self.out == pipe { "" } else { "; --resume goes on" }
                    ));
                    return Err(Error::Cancelled);
                }
                replies => replies?,
            };
            if replies.is_empty() {
                break;
            }
            for mut reply in replies {
                if let Some(error) = &reply.error {
                    failed += 1;
                    name_failure(failed, &error.cause);
                } else if let Some(archive) = &mut archive {
                    reply.captures = Some(archive.add(reply.line, &reply.captured)?);
                }
                to.write(&reply)?;
                lines += 1;
            }
            if has_enough() {
                return Ok(());
            }
            progress.say(|seconds| format!("{lines} lines, {:.1} a second", lines as f64 / seconds));
        }
        if let Some(archive) = archive {
            archive.finish()?;
        }
        if let To::File(file) = to {
            file.sync()?;
        }
        note(&format!("{lines} lines in {:.3} s", progress.seconds()));
        match failed {
            0 => Ok(()),
            _ => Err(Error::asked(
                format!("{failed} lines could not be answered; all others are"),
                "correct the lines that are named above",
            )),
        }
    }

    /// The file of answers, the last that it has, and how many of them failed.
    fn begin(&self) -> Result<(To, Option<Written>, u64)> {
        if self.out == Path::new("-") {
            return Ok((To::Stdout, None, 0));
        }
        let known = if self.resume { Grown::behind_lines(&self.out)? } else { None };
        let Some(file) = known else {
            return Ok((To::File(Grown::begin(&self.out, there(self.overwrite))?), None, 0));
        };
        let mut entries = Entries::open(&self.out)?;
        let (mut last, mut failed) = (None, 0);
        while let Some(entry) = entries.entry()? {
            let written =
                Written::read(&entry.json).ok_or_else(|| entries.broken("it is no answer of a batch"))?;
            failed += u64::from(written.failed());
            last = Some(written);
        }
        Ok((To::File(file), last, failed))
    }

    fn archive(&self, card: &Card, plan: &Plan, behind: u64) -> Result<Option<Archive>> {
        let Some(folder) = &self.captures else { return Ok(None) };
        let about = [
            ("kind", "capture".to_owned()),
            ("sluice", env!("CARGO_PKG_VERSION").into()),
            ("checkpoint", card.name.clone()),
            ("fingerprint", card.fingerprint.clone()),
            ("plan", json!(plan).to_string()),
            ("capture", json!(self.capture).to_string()),
        ];
        let about: BTreeMap<String, String> =
            about.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        Ok(Some(match self.resume {
            true => Archive::resume(folder, about, behind)?,
            false => Archive::begin(folder, about, there(self.overwrite))?,
        }))
    }
}

impl To {
    fn write(&mut self, reply: &Reply) -> Result<()> {
        match self {
            Self::Stdout => out(&json_line(reply)?),
            Self::File(file) => file.line(reply)?,
        }
        Ok(())
    }
}
