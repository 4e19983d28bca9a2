//! Texts, read window by window.

use std::fmt::Write as _;
use std::path::Path;

use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{Engine, Opened};
use sluice_core::figure::csv;
use sluice_core::files::Growing;
use sluice_core::records::{Head, Records, Shard};
use sluice_core::score::{Ask, Record, Score as Found, Scored, Scorer, Source, Step, Tally, question};
use sluice_core::{Error, Result};

use super::{Score, WORK, begin, claim, conclude};
use crate::cli::progress::{Progress, name_failure};
use crate::cli::{note, opened, signals, there};

pub fn run(asked: &Score, source: Source, checkpoint: &Checkpoint) -> Result<()> {
    let (plans, names) = asked.plans()?;
    let shard = asked.shard.unwrap_or(Shard::ALL);
    let ask = Ask { source, items: asked.items, length: asked.length, stride: asked.stride, plans, shard };
    let _lock = claim(asked)?;
    let head = match asked.out {
        Some(_) => Some(Head::new(WORK, &checkpoint.fingerprint()?, &question(&ask, &names)?, shard)?),
        None => None,
    };
    let table = asked.per_token.as_deref().map(|path| Table::begin(path, asked)).transpose()?;
    let Opened { mut engine, .. } = opened(checkpoint, &signals::came)?;
    let mut scorer = Scorer::new(&engine, ask)?;
    let (mut tally, mut last) = (Tally::default(), None);
    let known = |record: Record| {
        tally.add(&record);
        last = Some(record);
    };
    let (records, done) = head.map_or(Ok((None, false)), |head| begin(asked, &head, known))?;
    if !done {
        if let Some(last) = &last {
            scorer.go_on_behind(last);
        }
        tally = To { records, table, tally }.score(&mut scorer, &mut engine)?;
    }
    print(&tally, &names, asked.out.as_deref(), asked.json)
}

/// What texts came to, on stdout and into the folder of their records.
pub fn print(tally: &Tally, names: &[String], folder: Option<&Path>, json: bool) -> Result<()> {
    let score = tally.score(names);
    if score.tokens == 0 && score.failed == 0 {
        return Err(Error::asked("the texts have no token to be foretold", "give a longer text"));
    }
    conclude(&score, &written(&score), folder, json, score.failed)
}

/// Where records go.
struct To {
    records: Option<Records>,
    table: Option<Table>,
    tally: Tally,
}

impl To {
    /// Everything to the end.
    fn score(mut self, scorer: &mut Scorer, engine: &mut Engine) -> Result<Tally> {
        let mut progress = Progress::begin();
        loop {
            match scorer.step(engine, &signals::came)? {
                Step::More => {}
                Step::Done(record, scored) => {
                    if let (Some(table), Some(scored)) = (&mut self.table, scored) {
                        table.window(&scored, engine)?;
                    }
                    self.keep(&record)?;
                }
                Step::Failed(record, error) => {
                    self.keep(&record)?;
                    name_failure(self.tally.failed(), &error.to_string());
                }
                Step::End => break,
            }
            if signals::came() {
                note(&self.word(progress.seconds()));
                super::interrupted(self.records.as_ref());
                return Err(Error::Cancelled);
            }
            progress.say(|seconds| self.word(seconds));
        }
        if let Some(table) = self.table {
            table.file.finish()?;
        }
        if let Some(records) = self.records {
            records.finish(scorer.items())?;
        }
        note(&format!("{:.3} s", progress.seconds()));
        Ok(self.tally)
    }

    fn word(&self, seconds: f64) -> String {
        let (tokens, items, nats) = self.tally.so_far();
        let rate = tokens as f64 / seconds;
        format!("{tokens} tokens, {items} items, {nats:.4} nats, {rate:.0} tokens/s")
    }

    fn keep(&mut self, record: &Record) -> Result<()> {
        self.tally.add(record);
        self.records.as_mut().map_or(Ok(()), |records| records.write(record))
    }
}

/// For people.
fn written(score: &Found) -> String {
    let Found { tokens, bytes, items, windows, nats, perplexity, bits_per_byte, plans, .. } = score;
    let mut text = format!(
        "{tokens} tokens of {items} items in {windows} windows, {bytes} bytes\n\
         nats per token {nats:.6}\nperplexity     {perplexity:.4}\nbits per byte  {bits_per_byte:.6}\n"
    );
    for plan in plans {
        let _ = writeln!(
            text,
            "under {}: nats {:.6}, difference {:+.6} [{:+.6}, {:+.6}], KL {:.6}, same next token {:.2} %",
            plan.plan,
            plan.nats,
            plan.difference,
            plan.low,
            plan.high,
            plan.kl,
            100.0 * plan.agreement
        );
    }
    text
}

/// The file of every token.
struct Table {
    file: Growing,
}

impl Table {
    fn begin(path: &Path, asked: &Score) -> Result<Self> {
        let mut file = Growing::begin(path, there(asked.overwrite))?;
        let plans = (1..=asked.plan.len()).map(|number| format!(",nats_{number},kl_{number}"));
        file.write(format!("item,position,id,text,nats{}\n", plans.collect::<String>()).as_bytes())?;
        Ok(Self { file })
    }

    fn window(&mut self, scored: &Scored, engine: &Engine) -> Result<()> {
        let Scored { item, window, losses } = scored;
        let mut lines = String::new();
        for (at, id) in window.ids.iter().enumerate().skip(window.first) {
            let own = at - window.first;
            let _ = write!(lines, "{item},{},{id},", window.start + at);
            csv::field(&mut lines, &engine.token(*id).exact);
            for (run, losses) in losses.iter().enumerate() {
                let value = |values: &[f32]| values.get(own).copied().unwrap_or(f32::NAN);
                let _ = write!(lines, ",{}", value(&losses.nats));
                if run > 0 {
                    let _ = write!(lines, ",{}", value(&losses.kl));
                }
            }
            lines.push('\n');
        }
        self.file.write(lines.as_bytes())
    }
}
