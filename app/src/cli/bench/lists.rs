//! What texts and many prompts cost: scoring in windows, and a batch beside single runs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use sluice_core::batch::{self, Batch};
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, Engine, Opened, never, peak_since, reset_peak};
use sluice_core::files::{There, json_line, write};
use sluice_core::model::{Ask as Asks, Logits, Schedule};
use sluice_core::records::Shard;
use sluice_core::score::{Ask, Scorer, Source, Step};
use sluice_core::{Error, Result, rng};

use super::engine::gpt2;
use super::{Peers, Row, random_checkpoint};

/// Windows that are scored, of so many tokens at most.
const WINDOWS: u64 = 4;
const LENGTH: usize = 1024;
/// Prompts of a batch, and tokens that they have.
const PROMPTS: u64 = 1000;
const SHORT: std::ops::Range<u64> = 4..17;
/// Longer ones.
const LONG: u64 = 400;
const LONG_PROMPTS: u64 = 10;
/// Single runs of the program, and passes, that stand for as many as there are prompts.
const RUNS: u64 = 5;
const PASSES: u64 = 50;
/// Memory of scoring beside the weights.
const MEMORY: u64 = 256 << 20;

/// Measure a checkpoint, or GPT-2 small's shape.
pub fn run(checkpoint: Option<&Path>, folder: &Path, peers: &Peers) -> Result<Vec<Row>> {
    let weights = folder.join("weights");
    if checkpoint.is_none() {
        random_checkpoint(&weights, &gpt2(12))?;
    }
    let path = checkpoint.unwrap_or(&weights);
    let Opened { mut engine, .. } = engine::open(&Checkpoint::open(path)?, &mut |_, _| {}, &never)?;
    let list = folder.join("list.jsonl");
    Ok(vec![scored(&mut engine, &list, peers)?, short(&mut engine, path, &list)?, long(&mut engine, &list)?])
}

/// Prompts of random tokens, `len` of each by its number.
fn prompts(engine: &Engine, count: u64, len: impl Fn(u64) -> u64) -> Vec<Vec<u32>> {
    let vocab = engine.model.spec.vocab as u64;
    let most = engine.model.spec.context as u64;
    let token = |number, at| (rng::bits(3, number, at) % vocab) as u32;
    (0..count).map(|number| (0..len(number).min(most)).map(|at| token(number, at)).collect()).collect()
}

fn written(list: &Path, prompts: &[Vec<u32>]) -> Result<()> {
    let lines = prompts.iter().map(|tokens| json_line(&serde_json::json!({"tokens": tokens})));
    write(list, lines.collect::<Result<String>>()?.as_bytes(), There::Replace)
}

fn scored(engine: &mut Engine, list: &Path, peers: &Peers) -> Result<Row> {
    let length = LENGTH.min(engine.model.spec.context);
    written(list, &prompts(engine, WINDOWS, |_| length as u64))?;
    let source = Source::List(list.to_owned(), None);
    let ask = Ask { source, items: None, length: None, stride: None, plans: Vec::new(), shard: Shard::ALL };
    let mut scorer = Scorer::new(engine, ask)?;
    let before = reset_peak();
    let begin = Instant::now();
    while !matches!(scorer.step(engine, &never)?, Step::End) {}
    let ms = 1e3 * begin.elapsed().as_secs_f64();
    let peak = before.and_then(peak_since).unwrap_or(0);
    let tokens = WINDOWS as f64 * (length as f64 - 1.0);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut figures =
        vec![("took", ms), ("tokens a second", 1e3 * tokens / ms), ("MiB beside the weights", mib(peak))];
    let peer = peers.against("score-4x1024", ms, 1.0, &mut figures);
    Ok(Row {
        what: format!("score, {WINDOWS} windows of {length}"),
        figures,
        unit: "ms",
        target: peer.or_else(|| Some((format!("at most {} MiB", MEMORY >> 20), peak <= MEMORY))),
    })
}

/// Milliseconds of a batch.
fn batched(engine: &mut Engine, list: &Path) -> Result<f64> {
    let begin = Instant::now();
    let mut batch = Batch::new(batch::Ask { list: list.to_owned(), ..batch::Ask::default() })?;
    loop {
        let replies = batch.next(engine, &never)?;
        if replies.is_empty() {
            return Ok(1e3 * begin.elapsed().as_secs_f64());
        }
        if let Some(error) = replies.into_iter().find_map(|reply| reply.error) {
            return Err(Error::asked(error.cause, &error.next_step));
        }
    }
}

/// Milliseconds of passes of their own.
fn passes(engine: &Engine, prompts: &[Vec<u32>]) -> Result<f64> {
    let begin = Instant::now();
    for prompt in prompts {
        let ask = Asks { logits: Logits::Last, ..Asks::default() };
        engine.pass(&prompt.as_slice().into(), &Schedule::none(), ask, &never)?;
    }
    Ok(1e3 * begin.elapsed().as_secs_f64())
}

fn short(engine: &mut Engine, checkpoint: &Path, list: &Path) -> Result<Row> {
    let len = |number| SHORT.start + rng::bits(4, number, 0) % (SHORT.end - SHORT.start);
    let all = prompts(engine, PROMPTS, len);
    written(list, &all)?;
    let batch = batched(engine, list)?;
    let some = all.get(..PASSES as usize).unwrap_or_default();
    let alone = passes(engine, some)? * PROMPTS as f64 / PASSES as f64;
    let begin = Instant::now();
    let program = std::env::current_exe().map_err(|error| Error::Internal(error.to_string()))?;
    for prompt in all.iter().take(RUNS as usize) {
        let ids: Vec<String> = prompt.iter().map(u32::to_string).collect();
        let mut run = Command::new(&program);
        run.arg("run").arg(checkpoint).args(["--json", "--tokens", &ids.join(",")]).stdout(Stdio::null());
        let ended = run.status().map_err(|error| Error::read(&program, &error))?;
        if !ended.success() {
            return Err(Error::Internal(format!("a single run ended with {ended}")));
        }
    }
    let single = 1e3 * begin.elapsed().as_secs_f64() * PROMPTS as f64 / RUNS as f64;
    let times = single / batch;
    Ok(Row {
        what: format!("batch of {PROMPTS} prompts of {} to {} tokens", SHORT.start, SHORT.end - 1),
        figures: vec![
            ("took", batch),
            ("passes alone", alone),
            ("single runs", single),
            ("times as fast", times),
        ],
        unit: "ms",
        target: Some(("at least 20 times as fast as single runs".into(), times >= 20.0)),
    })
}

fn long(engine: &mut Engine, list: &Path) -> Result<Row> {
    let all = prompts(engine, LONG_PROMPTS, |_| LONG);
    written(list, &all)?;
    // In turn, so that a machine that warms up favours neither.
    let (mut batch, mut alone) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..2 {
        alone = alone.min(passes(engine, &all)?);
        batch = batch.min(batched(engine, list)?);
    }
    Ok(Row {
        what: format!("batch of {LONG_PROMPTS} prompts of {LONG} tokens"),
        figures: vec![("took", batch), ("passes alone", alone), ("ratio", batch / alone)],
        unit: "ms",
        target: Some(("at most 1.1 of the passes alone".into(), batch <= 1.1 * alone)),
    })
}
