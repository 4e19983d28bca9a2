//! What variants beside each other cost: each as much as a scene of its own, and what was run is not run again.

use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use sluice_core::method::view::{LensAsk, NextAsk, Side, StripAsk};
use sluice_core::plan::{Change, Part, Plan, Positions, Skip, Sublayer};
use sluice_core::worker::*;
use sluice_core::{Error, Result};

use super::engine::gpt2;
use super::{Row, random_checkpoint};

/// Pins beside the live plan.
const PINS: usize = 5;
/// Tokens of the prompt.
const LENGTH: u32 = 32;
const REPEATS: usize = 5;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measure a checkpoint, or GPT-2 small's shape.
pub fn run(checkpoint: Option<&Path>, folder: &Path) -> Result<Vec<Row>> {
    if checkpoint.is_none() {
        random_checkpoint(folder, &gpt2(12))?;
    }
    let client = Client::new();
    client.worker.send(Request::Open(Target::Path(checkpoint.unwrap_or(folder).to_owned())));
    client.until(|event| matches!(event, Event::Opened(..)))?;
    let (mut alone, mut beside, mut live) = (Vec::new(), Vec::new(), Vec::new());
    for repeat in 0..REPEATS {
        // A prompt that nobody ran, alone and beside each other in turn.
        let prompt = prompt(2 * repeat as u32);
        alone.push(client.scenes(&prompt)?);
        let prompt = self::prompt(2 * repeat as u32 + 1);
        beside.push(client.columns(&prompt, None)?);
        // Another live plan beside the same pins.
        live.push(client.columns(&prompt, Some(PINS + 1 + repeat))?);
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (alone, beside, live) = (median(alone), median(beside), median(live));
    let share = live / (alone / PINS as f64);
    Ok(vec![
        Row {
            what: format!("{PINS} pins of a new prompt"),
            figures: vec![("scenes", alone), ("columns", beside), ("ratio", beside / alone)],
            unit: "ms",
            target: Some(("at most the cost of as many scenes".into(), beside <= 1.1 * alone)),
        },
        Row {
            what: format!("a toggle beside {PINS} pins"),
            figures: vec![("one scene", alone / PINS as f64), ("columns", live), ("ratio", share)],
            unit: "ms",
            target: Some((format!("at most the cost of {PINS}"), share <= PINS as f64)),
        },
    ])
}

fn prompt(number: u32) -> Prompt {
    Words::Tokens((0..LENGTH).map(|i| 1 + (number * 131 + i * 17) % 400).collect()).into()
}

/// A plan of its own for each number.
fn plan(number: usize) -> Plan {
    let part = if number.is_multiple_of(2) { Part::Ffn } else { Part::Attn };
    let skip = Skip { sublayer: Sublayer { layer: number / 2, part }, positions: Positions::All };
    Plan { items: vec![Change::Skip(skip).into()], ..Plan::default() }
}

struct Client {
    worker: Worker,
    woken: Receiver<()>,
}

impl Client {
    fn new() -> Self {
        let (wake, woken) = bounded(1);
        Self {
            worker: Worker::spawn(move || {
                // Full means that a wake-up is in store.
                let _ = wake.try_send(());
            }),
            woken,
        }
    }

    fn until(&self, mut done: impl FnMut(&Event) -> bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let mut over = false;
            for event in self.worker.poll() {
                if let Event::Failed(_, _, failure) = &event {
                    return Err(Error::asked(&failure.cause, &failure.next_step));
                }
                over |= done(&event);
            }
            if over {
                return Ok(());
            }
            if self.woken.recv_deadline(end).is_err() {
                return Err(Error::Internal("the worker does not answer".into()));
            }
        }
    }

    /// Milliseconds of the pins as scenes, one after the other.
    fn scenes(&self, prompt: &Prompt) -> Result<f64> {
        let begin = Instant::now();
        for number in 0..PINS {
            let views = vec![NextAsk::default().into(), StripAsk {}.into(), view()];
            let scene = Scene { prompt: prompt.clone(), plan: plan(number), views };
            let id = self.worker.send(Request::Scene(scene));
            self.until(|event| matches!(event, Event::SceneDone(of, _) if *of == id))?;
        }
        Ok(1e3 * begin.elapsed().as_secs_f64())
    }

    /// Milliseconds of the pins as columns, with a live plan beside them or without.
    fn columns(&self, prompt: &Prompt, live: Option<usize>) -> Result<f64> {
        let begin = Instant::now();
        let numbers = (0..PINS).chain(live);
        let variants = numbers.map(|number| {
            (number.to_string(), Variant { prompt: prompt.clone(), plan: plan(number).into() })
        });
        let ask = Columns { variants: variants.collect(), view: view(), against: 0 };
        let mut left = ask.variants.len();
        let id = self.worker.send(Request::Columns(ask));
        self.until(|event| {
            left -= usize::from(matches!(event, Event::Column(of, _, Ok(_)) if *of == id));
            left == 0
        })?;
        Ok(1e3 * begin.elapsed().as_secs_f64())
    }
}

fn view() -> View {
    LensAsk { side: Side::Plan }.into()
}
