//! The window's own work per frame, headless with the real panels: CPU time of this thread in `logic`, `ui` and
//! tessellation, while a study and forwards run; latency of a toggle with and without a study; repaints of an idle window.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use eframe::egui::{Context, Event, Pos2, RawInput, Rect, vec2};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use sluice::app::SluiceApp;
use sluice::command::Command;
use sluice::keep;
use sluice::panels::panels;
use sluice::state::Settings;
use sluice_core::method::trace::TRACE;
use sluice_core::plan::edits::Preset;
use sluice_core::plan::{Lane, Part, Sublayer};
use sluice_core::rng;
use sluice_core::worker::{Slot, Target, ViewData};
use sluice_core::{Error, Result};

use super::{Row, in_scratch, random_checkpoint};
use crate::cli::note;

const TOKENS: usize = 512;
/// Frames per panel while the study runs.
const FRAMES: usize = 60;
/// Time between frames.
const TICK: Duration = Duration::from_millis(16);
/// Frames that a typed prompt rests.
const REST: usize = 20;
/// Toggles, each on so many prompts: medians stand against a noisy machine.
const TOGGLES: usize = 5;
const REPEATS: u64 = 3;
/// Steps of a history.
const STEPS: usize = 400;
/// Variants that are pinned.
const PINS: usize = 5;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(300);
/// Targets, milliseconds.
const FRAME_P99: f64 = 8.0;
const PIECE: f64 = 4.0;
const TOGGLE_MORE: f64 = 50.0;

/// Measure a checkpoint, or GPT-2 small's shape and a thin one of 48 layers.
pub fn run(checkpoint: Option<&Path>) -> Result<Vec<Row>> {
    if let Some(checkpoint) = checkpoint {
        return measure("given checkpoint", checkpoint);
    }
    let mut rows = Vec::new();
    for (name, config) in shapes() {
        rows.extend(in_scratch(|folder| {
            random_checkpoint(folder, &config)?;
            measure(name, folder)
        })?);
    }
    Ok(rows)
}

fn shapes() -> [(&'static str, Value); 2] {
    [
        (
            "GPT-2 small's shape",
            json!({
                "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024,
                "vocab_size": 50257, "activation_function": "gelu_new"
            }),
        ),
        (
            "48 thin layers",
            json!({
                "model_type": "llama", "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 48,
                "num_attention_heads": 4, "vocab_size": 512, "max_position_embeddings": 1024
            }),
        ),
    ]
}

/// A window without a window.
struct Bench {
    ctx: Context,
    app: SluiceApp,
    woken: Receiver<()>,
    begin: Instant,
    next: Instant,
    frame: usize,
    /// CPU milliseconds per frame, by piece.
    times: BTreeMap<&'static str, Vec<f64>>,
    /// Whole frames that uploaded textures.
    uploads: Vec<f64>,
}

/// Latencies of each toggle, by repeat.
struct Pairs {
    alone: Vec<Vec<f64>>,
    studied: Vec<Vec<f64>>,
    /// What each toggle waited for the study before the worker turned to it, milliseconds.
    waited: Vec<f64>,
    /// The trace outlasted the toggles.
    studying: bool,
}

impl Pairs {
    /// What each toggle takes longer while a study runs: the median over the repeats.
    fn more(&self) -> Vec<f64> {
        let pairs = self.alone.iter().zip(&self.studied);
        pairs
            .map(|(alone, studied)| {
                let more: Vec<f64> =
                    studied.iter().zip(alone).map(|(studied, alone)| studied - alone).collect();
                quantile(&more, 0.5)
            })
            .collect()
    }
}

fn measure(name: &str, checkpoint: &Path) -> Result<Vec<Row>> {
    let ctx = Context::default();
    let (wake, woken) = bounded(1);
    ctx.set_request_repaint_callback(move |_| {
        let _ = wake.try_send(());
    });
    let app = SluiceApp::new(&ctx, Some(Target::Path(checkpoint.to_owned())), Settings::default());
    let mut bench = Bench {
        ctx,
        app,
        woken,
        begin: Instant::now(),
        next: Instant::now(),
        frame: 0,
        times: BTreeMap::new(),
        uploads: Vec::new(),
    };
    let first = bench.step();
    bench.until("the checkpoint", |app| app.state.card.is_some())?;
    let (vocab, context) =
        bench.app.state.card.as_ref().map_or((1, 1), |card| (card.spec.vocab, card.spec.context));
    let len = TOKENS.min(context);
    bench.prompt(1, len, vocab);
    bench.until("the prompt", |app| !app.state.busy)?;
    bench.apply(Command::Fill(Preset::Coin));
    bench.until("the surrogate", SluiceApp::is_settled)?;
    bench.times.clear();
    bench.uploads.clear();
    bench.trace();
    for panel in panels() {
        let info = panel.info();
        note(&format!("{name}: {} while a trace runs", info.name));
        bench.apply(Command::Show(info.id));
        for _ in 0..FRAMES {
            bench.step();
        }
    }
    bench.apply(Command::Cancel(Slot::Study));
    bench.apply(Command::Show("routing"));
    bench.apply(Command::Clear);
    let toggles = bench.toggle_pairs(len, vocab)?;
    bench.until("the end", SluiceApp::is_settled)?;
    let repaints = bench.idle();
    let kept = bench.keeping(name, len);
    let mut rows = bench.rows(name, first, len, &toggles, repaints);
    rows.extend(kept);
    rows.extend(bench.beside(name, len)?);
    Ok(rows)
}

impl Bench {
    fn apply(&mut self, command: Command) {
        let ctx = self.ctx.clone();
        self.app.apply(&ctx, command);
    }

    /// Random token ids as the prompt, where the checkpoint takes ids.
    fn prompt(&mut self, seed: u64, len: usize, vocab: usize) {
        if self.app.state.ids_only() {
            let id = |i| (rng::bits(seed, 0, i) % vocab as u64).to_string();
            self.app.state.prompt = (0..len as u64).map(id).collect::<Vec<_>>().join(", ");
        }
        // The prompt rests before it is run.
        for _ in 0..REST {
            self.step();
        }
    }

    /// One frame, with the pointer somewhere else each time. Returns its CPU time.
    fn step(&mut self) -> f64 {
        // As a display would: not before the next tick, whatever asks for a repaint.
        while self.woken.recv_deadline(self.next).is_ok() {}
        self.next = Instant::now() + TICK;
        self.frame += 1;
        let at = Pos2::new(320.0 + (7 * self.frame % 700) as f32, 160.0 + (3 * self.frame % 600) as f32);
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, vec2(1440.0, 900.0))),
            time: Some(self.begin.elapsed().as_secs_f64()),
            max_texture_side: Some(8192),
            events: vec![Event::PointerMoved(at)],
            ..RawInput::default()
        };
        let mut mark = cpu_ms();
        let mut lap = || {
            let now = cpu_ms();
            now - std::mem::replace(&mut mark, now)
        };
        self.app.logic(&self.ctx);
        let logic = lap();
        let (ctx, app) = (self.ctx.clone(), &mut self.app);
        let mut output = ctx.run_ui(input, |ui| app.ui(ui));
        let ui = lap();
        let shapes = std::mem::take(&mut output.shapes);
        drop(ctx.tessellate(shapes, output.pixels_per_point));
        let tessellation = lap();
        let total = logic + ui + tessellation;
        if output.textures_delta.set.is_empty() {
            for (piece, time) in
                [("logic", logic), ("ui", ui), ("tessellation", tessellation), ("frame", total)]
            {
                self.times.entry(piece).or_default().push(time);
            }
        } else {
            self.uploads.push(total);
        }
        output.drop_without_applying_deltas();
        total
    }

    fn until(&mut self, what: &str, done: impl Fn(&SluiceApp) -> bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !done(&self.app) {
            self.step();
            if let Some((_, failure)) = &self.app.state.results.failure {
                return Err(Error::asked(&failure.cause, &failure.next_step));
            }
            if Instant::now() > end {
                return Err(Error::Internal(format!("{what} did not come in {} s", PATIENCE.as_secs())));
            }
        }
        Ok(())
    }

    /// Toggles without and with a trace running, in turn, so that both meet the same machine.
    fn toggle_pairs(&mut self, len: usize, vocab: usize) -> Result<Pairs> {
        let mut pairs = Pairs {
            alone: vec![Vec::new(); TOGGLES],
            studied: vec![Vec::new(); TOGGLES],
            waited: Vec::new(),
            studying: true,
        };
        for repeat in 0..REPEATS {
            // Other tokens each time, so that nothing is kept from before.
            let (alone, _) = self.toggles(2 * repeat + 2, len, vocab, false)?;
            let (studied, waited) = self.toggles(2 * repeat + 3, len, vocab, true)?;
            pairs.waited.extend(waited);
            pairs.studying &= !self.app.is_settled();
            self.apply(Command::Cancel(Slot::Study));
            pairs.alone.iter_mut().zip(alone).for_each(|(times, time)| times.push(time));
            pairs.studied.iter_mut().zip(studied).for_each(|(times, time)| times.push(time));
        }
        Ok(pairs)
    }

    /// Trace with the second token corrupted.
    fn trace(&mut self) {
        let corrupt = TRACE.picks.first().map(|pick| Command::Mark(&TRACE, pick, vec![1], Some(true)));
        corrupt.into_iter().chain([Command::Run(&TRACE)]).for_each(|command| self.apply(command));
    }

    /// Milliseconds from taking out one FFN after another to the new next-token table, and what of it was waiting. Each
    /// toggle comes after all of the one before is there, so that only the study can be waited for.
    fn toggles(&mut self, seed: u64, len: usize, vocab: usize, study: bool) -> Result<(Vec<f64>, Vec<f64>)> {
        let layers = self.app.state.layers();
        self.prompt(seed, len, vocab);
        self.until("the prompt", |app| !app.state.busy)?;
        if study {
            self.trace();
            self.apply(Command::Show("routing"));
            self.until("the trace", |app| app.state.studies.findings(TRACE.id).is_some())?;
        }
        let (mut times, mut waited) = (Vec::new(), Vec::new());
        for index in 0..TOGGLES {
            let before = next_of(&self.app);
            let sublayer = Sublayer { layer: (2 * index) % layers, part: Part::Ffn };
            let begin = Instant::now();
            self.apply(Command::Toggle(sublayer));
            self.until("the answer", |app| {
                let now = next_of(app);
                now.is_some() && now.as_ref().map(Arc::as_ptr) != before.as_ref().map(Arc::as_ptr)
            })?;
            times.push(1e3 * begin.elapsed().as_secs_f64());
            self.until("the rest of it", |app| !app.state.busy)?;
            waited.extend(self.app.state.results.recomputed.map(|cost| f64::from(cost.waited)));
        }
        self.apply(Command::Clear);
        Ok((times, waited))
    }

    /// What it costs the window that steps are kept: one more of them on a full map, and a snapshot of all.
    fn keeping(&mut self, name: &str, len: usize) -> Vec<Row> {
        self.apply(Command::Fill(Preset::Coin));
        let layers = self.app.state.layers().max(1);
        let timed = |bench: &mut Self, work: &mut dyn FnMut(&mut Self, usize)| -> Vec<f64> {
            (0..STEPS)
                .map(|step| {
                    let begin = cpu_ms();
                    work(bench, step);
                    cpu_ms() - begin
                })
                .collect()
        };
        let painted = timed(self, &mut |bench, step| {
            let lane = if step % 2 == 0 { Lane::Small } else { Lane::SkipFfn };
            bench.apply(Command::Paint(step % layers, Some(step % len.max(1)), lane));
        });
        let snapshots = timed(self, &mut |bench, _| {
            let session = keep::session(&bench.app.state, &bench.app.layout);
            std::hint::black_box((session, keep::looks(&bench.ctx)));
        });
        let row = |what: &str, times: &[f64]| Row {
            what: format!("{name}: {what}"),
            figures: vec![("p50", quantile(times, 0.5)), ("max", quantile(times, 1.0))],
            unit: "ms CPU",
            target: Some((format!("none over {PIECE} ms"), quantile(times, 1.0) <= PIECE)),
        };
        vec![
            row("one more step of a full map", &painted),
            row(&format!("a snapshot of {STEPS} steps"), &snapshots),
        ]
    }

    /// Frames while pinned variants come in, and once all are there.
    fn beside(&mut self, name: &str, len: usize) -> Result<Vec<Row>> {
        note(&format!("{name}: {PINS} pins of full maps"));
        self.apply(Command::Clear);
        self.apply(Command::Fill(Preset::Coin));
        for pin in 0..PINS {
            self.apply(Command::Paint(0, Some(pin % len.max(1)), Lane::SkipFfn));
            self.apply(Command::PinVariant);
        }
        self.times.clear();
        self.apply(Command::Show("variants"));
        self.until("the columns", |app| app.state.results.beside.is_whole())?;
        for _ in 0..FRAMES {
            self.step();
        }
        let all = |piece: &str| self.times.get(piece).map_or(&[] as &[f64], Vec::as_slice);
        Ok([("logic", PIECE), ("ui", PIECE), ("frame", FRAME_P99)]
            .map(|(piece, most)| {
                let (p50, p99) = (quantile(all(piece), 0.5), quantile(all(piece), 0.99));
                Row {
                    what: format!("{name}: {PINS} pins of full maps, {piece}"),
                    figures: vec![("p50", p50), ("p99", p99), ("max", quantile(all(piece), 1.0))],
                    unit: "ms CPU",
                    target: Some((format!("p99 at most {most} ms"), p99 <= most)),
                }
            })
            .into())
    }

    /// Repaints that a settled window asks for in a second.
    fn idle(&mut self) -> usize {
        // What is animated comes to rest, and the pointer's tooltip fades in.
        for _ in 0..FRAMES {
            self.step();
        }
        while self.woken.try_recv().is_ok() {}
        let end = Instant::now() + Duration::from_secs(1);
        std::iter::from_fn(|| self.woken.recv_deadline(end).ok()).count()
    }

    fn rows(&self, name: &str, first: f64, len: usize, toggles: &Pairs, repaints: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        for (piece, times) in &self.times {
            let (p50, p99, max) = (quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1.0));
            let target = if *piece == "frame" {
                (format!("p99 under {FRAME_P99} ms"), p99 < FRAME_P99)
            } else {
                (format!("none over {PIECE} ms"), max <= PIECE)
            };
            rows.push(Row {
                what: format!("{name}, {len} tokens: {piece}"),
                figures: vec![("p50", p50), ("p99", p99), ("max", max)],
                unit: "ms CPU",
                target: Some(target),
            });
        }
        rows.push(Row {
            what: format!("{name}: first frame; frames with uploads"),
            figures: vec![
                ("first", first),
                ("p50", quantile(&self.uploads, 0.5)),
                ("max", quantile(&self.uploads, 1.0)),
            ],
            unit: "ms CPU",
            target: None,
        });
        rows.push(Row {
            what: format!("{name}: toggle to new table"),
            figures: vec![
                ("alone p50", quantile(&toggles.alone.concat(), 0.5)),
                ("in a study p50", quantile(&toggles.studied.concat(), 0.5)),
                ("more, p50", quantile(&toggles.more(), 0.5)),
            ],
            unit: "ms",
            target: None,
        });
        let worst = quantile(&toggles.waited, 1.0);
        rows.push(Row {
            what: format!("{name}: a toggle's wait for a study"),
            figures: vec![("p50", quantile(&toggles.waited, 0.5)), ("max", worst)],
            unit: "ms",
            target: Some((
                format!("answers within its own cost + {TOGGLE_MORE} ms"),
                toggles.studying && worst <= TOGGLE_MORE,
            )),
        });
        rows.push(Row {
            what: format!("{name}: repaints of an idle window"),
            figures: vec![("in 1 s", repaints as f64)],
            unit: "",
            target: Some(("none".into(), repaints == 0)),
        });
        rows
    }
}

fn next_of(app: &SluiceApp) -> Option<Arc<sluice_core::figure::Figure>> {
    match app.state.data(&app.state.next_view()) {
        Some(ViewData::Next(next)) => Some(Arc::clone(&next.figure)),
        _ => None,
    }
}

/// CPU time of this thread.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    1e3 * time.tv_sec as f64 + 1e-6 * time.tv_nsec as f64
}

/// NaN where there is nothing.
fn quantile(times: &[f64], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
