//! What the engine does: whole passes, captures, toggles, traces, leave-one-out and decoding, each against what it would
//! cost at least or what another program takes for it on the same machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, Answer, Decoder, Engine, Opened, Run, Sampler, never};
use sluice_core::method::leave_one_out::{LeaveOneOutAsk, LeaveOneOutRun};
use sluice_core::method::trace::{TraceAsk, TraceFound, TraceRun};
use sluice_core::method::{Case, Picks, finish};
use sluice_core::model::{Ask, Input, Logits, Schedule, fused};
use sluice_core::plan::{Change, Lane, Part, Plan, Positions, Route, Skip, Sublayer};
use sluice_core::site::Site;
use sluice_core::{Error, Result, rng};

use super::{Peers, Row, in_scratch, random_checkpoint};

/// Repeats of what takes milliseconds, and of what takes seconds.
const REPEATS: usize = 9;
const FEW: usize = 3;
/// Length of the traced prompt, as in the peers' script.
pub const LEN: usize = 32;
/// New tokens of what is decoded.
pub const NEW: usize = 32;

/// Measure a checkpoint, or GPT-2 small's shape.
pub fn run(checkpoint: Option<&Path>, peers: &Peers) -> Result<Vec<Row>> {
    if let Some(checkpoint) = checkpoint {
        return measure(checkpoint, peers);
    }
    in_scratch(|folder| {
        random_checkpoint(folder, &gpt2(12))?;
        measure(folder, peers)
    })
}

/// GPT-2 small's shape, with as many layers.
pub fn gpt2(layers: usize) -> Value {
    json!({
        "model_type": "gpt2", "n_embd": 768, "n_layer": layers, "n_head": 12, "n_positions": 1024,
        "vocab_size": 50257, "activation_function": "gelu_new"
    })
}

fn measure(checkpoint: &Path, peers: &Peers) -> Result<Vec<Row>> {
    let Opened { mut engine, .. } =
        engine::open(&Checkpoint::open(checkpoint)?, &mut |_, _| {}, &engine::never)?;
    let engine = &mut engine;
    let mut rows = Vec::new();
    for len in [LEN, 128] {
        rows.extend(passes(engine, len, peers)?);
    }
    rows.extend(toggles(engine)?);
    rows.push(traced(engine, peers)?);
    rows.push(left_out(engine, peers)?);
    rows.push(decoded(engine, peers)?);
    Ok(rows)
}

/// Ids that depend on nothing but their number.
pub fn tokens(engine: &Engine, len: usize) -> Input {
    let vocab = engine.model.spec.vocab as u64;
    (0..len as u64).map(|i| (rng::bits(0, 0, i) % vocab) as u32).collect::<Vec<_>>().into()
}

/// Least, median and most milliseconds of some repeats, after one that does not count.
fn timed(repeats: usize, work: impl FnMut() -> Result<()>) -> Result<[f64; 3]> {
    paired(repeats, || Ok(()), work).map(|(times, _)| times)
}

/// The same of the second of two works in turn, so that a machine that slows down slows both; and the median of what it
/// takes as a multiple of the first.
pub fn paired(
    repeats: usize,
    mut first: impl FnMut() -> Result<()>,
    mut second: impl FnMut() -> Result<()>,
) -> Result<([f64; 3], f64)> {
    first()?;
    second()?;
    let (mut times, mut ratios) = (Vec::with_capacity(repeats), Vec::with_capacity(repeats));
    for _ in 0..repeats {
        let begin = Instant::now();
        first()?;
        let before = begin.elapsed().as_secs_f64();
        second()?;
        let own = begin.elapsed().as_secs_f64() - before;
        times.push(1e3 * own);
        ratios.push(own / before);
    }
    times.sort_by(f64::total_cmp);
    ratios.sort_by(f64::total_cmp);
    let at = |sorted: &[f64], index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    Ok(([at(&times, 0), at(&times, repeats / 2), at(&times, repeats - 1)], at(&ratios, repeats / 2)))
}

pub fn spread([least, median, most]: [f64; 3]) -> Vec<(&'static str, f64)> {
    vec![("median", median), ("least", least), ("most", most)]
}

fn whole(engine: &Engine, tokens: &Input, ask: &Ask) -> Result<()> {
    engine.pass(tokens, &Schedule::none(), ask.clone(), &never).map(|_| ())
}

/// Whole passes with all logits, and with everything captured.
fn passes(engine: &Engine, len: usize, peers: &Peers) -> Result<Vec<Row>> {
    let tokens = tokens(engine, len);
    let plain = Ask { logits: Logits::All, ..Ask::default() };
    let capture = Site::all(&engine.model.spec).into_iter().collect();
    let everything = Ask { capture, ..plain.clone() };
    let time = timed(REPEATS, || whole(engine, &tokens, &plain))?;
    let (captured, ratio) =
        paired(REPEATS, || whole(engine, &tokens, &plain), || whole(engine, &tokens, &everything))?;
    let work = engine.pass(&tokens, &Schedule::none(), plain, &never)?.0.work;
    let rate = (work.layers + work.unembedding) as f64 / time[1] / 1e6;
    let mut figures = spread(time);
    figures.push(("GFLOP/s", rate));
    let peer = if len == LEN { peers.against("hf.forward", time[1], 1.1, &mut figures) } else { None };
    let forward =
        Row { what: format!("forward, {len} tokens, all logits"), figures, unit: "ms", target: peer };
    let mut figures = spread(captured);
    figures.push(("ratio", ratio));
    let target = Some(("ratio at most 1.10 of the same without".into(), ratio <= 1.10));
    Ok(vec![
        forward,
        Row { what: format!("the same, every site captured, {len}"), figures, unit: "ms", target },
    ])
}

/// Sublayers taken out one by one: the share of the full pass's operations, and the time.
fn toggles(engine: &mut Engine) -> Result<Vec<Row>> {
    let tokens = tokens(engine, LEN);
    let base = engine.run_schedule(&tokens, Schedule::none(), &never)?;
    let all = (base.work.layers + base.work.unembedding) as f64;
    let layers = engine.model.spec.n_layers();
    let mut rows = Vec::new();
    let mut toggles = Vec::new();
    for layer in [0, layers / 2, layers.saturating_sub(1)] {
        let skip = Skip { sublayer: Sublayer { layer, part: Part::Attn }, positions: Positions::All };
        toggles.push((format!("toggle attention {layer}"), Change::Skip(skip)));
    }
    // One cell of the routing map; no small FFN stands beside experts.
    let cheap = if engine.model.spec.has_experts() { Lane::SkipFfn } else { Lane::Small };
    for (layer, position) in [(0, 0), (layers / 2, LEN / 2), (layers.saturating_sub(1), LEN - 1)] {
        let mut route = Route::default();
        route.set(layer, Some(position), cheap);
        toggles.push((format!("paint layer {layer}, token {position}"), Change::Route(route)));
    }
    for (what, change) in toggles {
        let plan = Plan { items: vec![change.into()], ..Plan::default() };
        let schedule = engine.schedule(&plan, &tokens, &never)?;
        let (time, ratio) = paired(
            REPEATS,
            || whole(engine, &tokens, &Ask::default()),
            || last(engine, &base, &schedule).map(|_| ()),
        )?;
        let work = last(engine, &base, &schedule)?;
        let share = work as f64 / all;
        let mut figures = spread(time);
        figures.extend([("share of the operations", share), ("of a full pass", ratio)]);
        rows.push(Row {
            what: format!("{what}, {LEN} tokens, last row"),
            figures,
            unit: "ms",
            target: Some(("share + 0.10 of a full pass".into(), ratio <= share + 0.10)),
        });
    }
    Ok(rows)
}

/// The last row under a schedule, as a branch; returns its operations.
fn last(engine: &Engine, base: &Run, schedule: &Arc<Schedule>) -> Result<u64> {
    let branch = engine.branch(base, Arc::clone(schedule))?;
    let branch = branch.ok_or_else(|| Error::Internal("a toggle that changes nothing".into()))?;
    let work = engine.branches(base, vec![branch], Logits::Last)?.run(&never)?.work;
    Ok(work.layers + work.unembedding)
}

/// The residual grid of the peers' script: three tokens corrupted, one sample of noise.
pub fn grid_of(engine: &mut Engine, tokens: &Input) -> Result<TraceFound> {
    let picks = Picks::from([("corrupt".to_owned(), vec![2, 3, 4])]);
    let case = Case { picks, ..Case::new(engine, tokens.clone()) };
    let ask = TraceAsk { answer: Answer::Id(5), seeds: 1, estimate: Some(false), ..TraceAsk::default() };
    let mut run = TraceRun::new(case, ask)?;
    finish(&mut run, engine, &never)?;
    Ok(run.findings())
}

fn traced(engine: &mut Engine, peers: &Peers) -> Result<Row> {
    let tokens = tokens(engine, LEN);
    let mut share = 0.0;
    let mut flops = 0;
    let time = timed(FEW, || {
        let found = grid_of(engine, &tokens)?;
        share = found.rows_computed as f64 / found.rows_full as f64;
        flops = found.flops.iter().sum();
        Ok(())
    })?;
    let mut figures = spread(time);
    let rate = f64::from(flops as f32) / time[1] / 1e6;
    figures.extend([
        ("share of the rows", share),
        ("GFLOP/s", rate),
        ("of the matmul peak", 1e9 * rate / fused::peak()?),
    ]);
    let target = peers.ahead("tl.trace_grid", time[1], 10.0, &mut figures);
    let layers = engine.model.spec.n_layers();
    Ok(Row { what: format!("residual trace {layers} x {LEN}"), figures, unit: "ms", target })
}

fn left_out(engine: &mut Engine, peers: &Peers) -> Result<Row> {
    let tokens = tokens(engine, LEN);
    let mut share = 0.0;
    let time = timed(FEW, || {
        let mut run = LeaveOneOutRun::new(Case::new(engine, tokens.clone()), LeaveOneOutAsk::default())?;
        finish(&mut run, engine, &never)?;
        let found = run.findings();
        share = found.flops_layers as f64 / found.flops_layers_full as f64;
        Ok(())
    })?;
    let mut figures = spread(time);
    figures.push(("share of the layers' operations", share));
    peers.ahead("tl.ablate_all", time[1], 1.0, &mut figures);
    let what = format!("leave one out, {} sublayers", 2 * engine.model.spec.n_layers());
    Ok(Row { what, figures, unit: "ms", target: Some(("share at most 0.55".into(), share <= 0.55)) })
}

/// [`NEW`] tokens after [`LEN`], greedy, prompt included, as the peers' script.
pub fn decode(engine: &Engine) -> Result<()> {
    let greedy = Sampler::default();
    let mut decoder = Decoder::new(Arc::clone(&engine.model), Schedule::none(), &tokens(engine, LEN), NEW)?;
    for step in 0..NEW {
        let next = greedy.pick(&decoder.logits(&never)?, step);
        decoder.push(next);
    }
    Ok(())
}

fn decoded(engine: &Engine, peers: &Peers) -> Result<Row> {
    let time = timed(FEW, || decode(engine))?;
    let mut figures = spread(time);
    let target = peers.against("hf.generate32", time[1], 1.0, &mut figures);
    Ok(Row { what: format!("decode {NEW} tokens after {LEN}"), figures, unit: "ms", target })
}
