//! Texts, read window by window.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::Engine;
use sluice_core::figure::csv;
use sluice_core::files::Growing;
use sluice_core::records::{Head, Records, Shard};
use sluice_core::score::{Ask, Record, Score as Found, Scored, Scorer, Source, Step, Tally, question};
use sluice_core::{Error, Result};

use super::{Score, WORK, begin, conclude, opened};
use crate::cli::{name_failure, note, signals, there};

/// Time between two words of progress.
const OFTEN: Duration = Duration::from_secs(5);

pub fn run(asked: &Score, source: Source, checkpoint: &Checkpoint) -> Result<()> {
    let (plans, names) = asked.plans()?;
    let shard = asked.shard.unwrap_or(Shard::ALL);
    let ask = Ask { source, items: asked.items, length: asked.length, stride: asked.stride, plans, shard };
    let table = asked.per_token.as_deref().map(|path| Table::begin(path, asked)).transpose()?;
    let (mut known, mut last) = (Tally::default(), None);
    let head = || Head::new(WORK, &checkpoint.fingerprint()?, &question(&ask, &names)?, shard);
    let begun = begin(asked, head, |record: Record| {
        known.add(&record);
        last = Some(record);
    })?;
    let mut tally = known;
    if !begun.done {
        let mut engine = opened(checkpoint)?;
        let mut scorer = Scorer::new(&engine, ask)?;
        if let Some(last) = &last {
            scorer.go_on_behind(last);
        }
        let to = To { records: begun.records, table, tally, names: &names };
        tally = to.score(&mut scorer, &mut engine)?;
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
struct To<'a> {
    records: Option<Records>,
    table: Option<Table>,
    tally: Tally,
    names: &'a [String],
}

impl To<'_> {
    /// Everything to the end.
    fn score(mut self, scorer: &mut Scorer, engine: &mut Engine) -> Result<Tally> {
        let (begin, mut said) = (Instant::now(), Instant::now());
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
                progress(&self.tally.score(self.names), begin);
                super::interrupted(self.records.as_ref());
                return Err(Error::Cancelled);
            }
            if said.elapsed() >= OFTEN {
                said = Instant::now();
                progress(&self.tally.score(self.names), begin);
            }
        }
        if let Some(table) = self.table {
            table.file.finish()?;
        }
        if let Some(records) = self.records {
            records.finish(scorer.items())?;
        }
        note(&format!("{:.3} s", begin.elapsed().as_secs_f64()));
        Ok(self.tally)
    }

    fn keep(&mut self, record: &Record) -> Result<()> {
        self.tally.add(record);
        self.records.as_mut().map_or(Ok(()), |records| records.write(record))
    }
}

fn progress(score: &Found, begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    let Found { tokens, items, nats, .. } = score;
    let rate = *tokens as f64 / seconds;
    note(&format!("{tokens} tokens, {items} items, {nats:.4} nats, {rate:.0} tokens/s"));
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
