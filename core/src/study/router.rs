//! Train a router on the open checkpoint and a text (Duo-LLM, arXiv 2410.10846, section 2, stage 3): everything else is
//! frozen, each layer's output is the mixture of its lanes with softmax(tau h), and tau rises.
//!
//! Our reading of what the paper leaves open: tau goes from 1 to [`LAST_TAU`]; the squared budget term counts [`BUDGET`]
//! times, and there is one per lane but the last; the router reads what the FFN reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};

use super::estimate::graph;
use super::foresight::{Foreseen, Foresight};
use super::oracle;
use crate::checkpoint::{SaveDtype, safetensors_bytes, write_atomic};
use crate::engine::{self, Cancelled, Engine, RunSize};
use crate::error::{Error, Result};
use crate::figure::{Figure, Lines, Plot, Provenance, Series};
use crate::model::{Ask, Ffn, Input, Logits, Mixture, Pass, Schedule, fused};
use crate::plan::{Change, Plan, Route, Router};
use crate::protocol::{RouterFindings, RouterStudy};
use crate::rng;
use crate::spec::Lane;
use crate::train::adamw::AdamW;
use crate::train::run::{BUDGET, CLIP, LAST_TAU, ROUTER_RATE};

/// Points of the loss curve at most.
const POINTS: u64 = 200;
/// Steps that the rate rises over.
const WARM_UP: u64 = 20;

/// What a step found.
struct Step {
    /// Of the mixture, nats per token.
    loss: f32,
    /// Of the lanes.
    shares: Vec<f32>,
}

/// A training run under way.
pub struct RouterRun {
    ask: RouterStudy,
    name: String,
    lanes: Vec<Lane>,
    budget: Vec<f32>,
    small: Arc<[Ffn]>,
    pieces: Vec<Input>,
    /// Held back from training: the router is measured on it.
    held: Input,
    optimiser: AdamW,
    under_way: Option<Pass>,
    /// At the end: passes over what was held back, routed and all big.
    measured: Vec<(Vec<f32>, Vec<Lane>)>,
    measuring: Option<Foresight>,
    curve: Vec<Step>,
    /// Shares of the lanes and nats per token with hard routing on what was held back, and nats with every FFN big.
    hard: Option<(Vec<f32>, f32, f32)>,
    saved: Option<PathBuf>,
    small_label: String,
    provenance: Provenance,
}

impl RouterRun {
    /// Begin, with a text's ids.
    pub fn new(
        engine: &mut Engine,
        ask: RouterStudy,
        ids: &[u32],
        provenance: Provenance,
        cancelled: Cancelled,
    ) -> Result<Self> {
        let (lanes, budget) = ask.lanes()?;
        let name = ask.name();
        let spec = Arc::clone(&engine.model.spec);
        let len = ask.length;
        if len > spec.context {
            let context = spec.context;
            return Err(Error::Study(format!("pieces of {len} tokens are past the context of {context}")));
        }
        let mut pieces: Vec<Input> = ids.chunks_exact(len.max(2)).map(Input::from).collect();
        if ask.steps == 0 || len < 2 || pieces.len() < 2 {
            return Err(Error::Study(format!(
                "a router needs a step or more and two pieces of {len} tokens, the text has {} tokens",
                ids.len()
            )));
        }
        writable(&ask.folder)?;
        let held = pieces.pop().unwrap_or_else(|| ids.into());
        RunSize::new(&spec, len).with_elements(graph(&spec, len)).with_all_logits().check()?;
        let small: Arc<[Ffn]> = if lanes.contains(&Lane::Small) {
            engine.small(&ask.surrogate, cancelled)?
        } else {
            Arc::default()
        };
        let mut vars = BTreeMap::new();
        for layer in 0..spec.n_layers() {
            // Nothing is preferred at first: every lane has an equal share.
            let var = Var::zeros((lanes.len(), spec.d_model), DType::F32, &Device::Cpu)?;
            vars.insert(Router::tensor(&name, layer), var);
        }
        Ok(Self {
            optimiser: AdamW::new(vars, 0.0),
            small_label: engine::small_label(engine, &ask.surrogate),
            small,
            name,
            lanes,
            budget,
            pieces,
            held,
            ask,
            under_way: None,
            measured: Vec::new(),
            measuring: None,
            curve: Vec::new(),
            hard: None,
            saved: None,
            provenance,
        })
    }

    /// Steps done and steps in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.curve.len(), self.ask.steps as usize)
    }

    /// Whether it has been trained, measured and saved.
    pub fn is_done(&self) -> bool {
        self.hard.is_some()
    }

    /// One sublayer of a step, or its backward pass and update.
    pub fn step(&mut self, engine: &mut Engine) -> Result<()> {
        let done = self.curve.len() as u64;
        if done >= self.ask.steps {
            return self.finish(engine);
        }
        let mut pass = match self.under_way.take() {
            Some(pass) => pass,
            None => self.begin(engine, done)?,
        };
        pass.step()?;
        if pass.is_done() {
            return self.learn(pass, done);
        }
        self.under_way = Some(pass);
        Ok(())
    }

    fn piece(&self, step: u64) -> Option<&Input> {
        self.pieces.get((step % self.pieces.len().max(1) as u64) as usize)
    }

    fn begin(&self, engine: &Engine, step: u64) -> Result<Pass> {
        let missing = || Error::Internal("no text to train on".into());
        let way = step as f64 / self.ask.steps.max(1) as f64;
        let weights = self.optimiser.weights();
        let router = |layer| weights.get(&Router::tensor(&self.name, layer)).cloned();
        let mixture = Mixture {
            lanes: self.lanes.clone(),
            routers: (0..engine.model.spec.n_layers()).filter_map(router).collect(),
            small: Arc::clone(&self.small),
            tau: 1.0 + (LAST_TAU - 1.0) * way,
        };
        let ask = Ask { logits: Logits::All, mixture: Some(mixture), ..Ask::default() };
        Ok(engine.start(self.piece(step).ok_or_else(missing)?, &Schedule::none(), ask)?.0)
    }

    fn learn(&mut self, pass: Pass, step: u64) -> Result<()> {
        let output = pass.finish();
        let (Some(logits), Some(shares), Some(piece)) = (output.logits, output.shares, self.piece(step))
        else {
            return Err(Error::Internal("a mixture without shares".into()));
        };
        let targets: Vec<u32> = piece.iter().skip(1).copied().collect();
        let text = fused::surprisal(&logits.narrow(0, 0, targets.len())?, &targets)?.mean_all()?;
        let budget = Tensor::from_slice(&self.budget, self.budget.len(), &Device::Cpu)?;
        let off = (&shares - budget)?.narrow(0, 0, self.budget.len() - 1)?.sqr()?.sum_all()?;
        let loss = (&text + (off * BUDGET)?)?;
        let warm = ((step + 1) as f32 / WARM_UP as f32).min(1.0);
        let cosine = (std::f32::consts::PI * step as f32 / self.ask.steps.max(1) as f32).cos();
        let rate = ROUTER_RATE * warm * (0.05 + 0.95 * (0.5 + 0.5 * cosine));
        self.optimiser.update(&[loss.backward()?], rate, CLIP, |_| true)?;
        self.curve.push(Step { loss: text.to_scalar()?, shares: shares.to_vec1()? });
        Ok(())
    }

    /// Save the router, and measure it with hard choices on the piece that was held back: one sublayer.
    fn finish(&mut self, engine: &mut Engine) -> Result<()> {
        let mut pass = match self.measuring.take() {
            Some(pass) => pass,
            None => {
                let schedule = match self.measured.len() {
                    0 => {
                        self.save()?;
                        let mut plan =
                            Plan { items: vec![Change::Router(self.router()).into()], ..Plan::default() };
                        let surrogate = self.ask.surrogate.clone();
                        plan.items.push(Change::Route(Route { surrogate, ..Route::default() }).into());
                        engine.schedule(&plan, &self.held, &engine::never)?
                    }
                    _ => Schedule::none(),
                };
                Foresight::new(engine, &self.held, &schedule)?
            }
        };
        if !pass.step()? {
            self.measuring = Some(pass);
            return Ok(());
        }
        let Foreseen { losses, lanes } = pass.finish()?;
        self.measured.push((losses, lanes.into_values().flatten().collect()));
        if let [(hard, chosen), (big, _)] = self.measured.as_slice() {
            let share = |lane: &Lane| {
                chosen.iter().filter(|own| *own == lane).count() as f32 / chosen.len().max(1) as f32
            };
            let mean = |losses: &[f32]| oracle::average(losses) as f32;
            self.hard = Some((self.lanes.iter().map(share).collect(), mean(hard), mean(big)));
        }
        Ok(())
    }

    /// Under the name that was asked for, else under one that tells routers of one budget apart.
    fn save(&mut self) -> Result<()> {
        let bytes = safetensors_bytes(&self.optimiser.weights(), SaveDtype::F32)?;
        let file = self.ask.file.clone().unwrap_or_else(|| {
            let words =
                bytes.chunks(8).map(|word| word.iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte)));
            let print = words.fold(0, |hash, word| rng::bits(hash, word, 0)) >> 32;
            format!("{}-{print:08x}.safetensors", self.name)
        });
        let path = self.ask.folder.join(file);
        write_atomic(&path, &bytes)?;
        self.saved = Some(path);
        Ok(())
    }

    /// As a plan names it.
    fn router(&self) -> Router {
        Router { name: self.name.clone(), file: self.saved.clone() }
    }

    /// The findings so far.
    pub fn findings(&self) -> RouterFindings {
        // Means over stretches, so that long runs stay short curves.
        let stretch = (self.curve.len() as u64).div_ceil(POINTS).max(1) as usize;
        let mean = |of: &dyn Fn(&Step) -> f32| -> Arc<[f32]> {
            self.curve
                .chunks(stretch)
                .map(|part| part.iter().map(of).sum::<f32>() / part.len() as f32)
                .collect()
        };
        let mut series =
            vec![Series { name: "loss of the mixture (nats)".into(), y: mean(&|step| step.loss) }];
        for (index, lane) in self.lanes.iter().enumerate() {
            let y = mean(&|step| step.shares.get(index).copied().unwrap_or(f32::NAN));
            series.push(Series { name: format!("share of {}", lane.name()), y });
        }
        let mut notes = vec![
            format!(
                "softmax(tau h), tau 1 to {LAST_TAU}; squared budget terms x {BUDGET}; everything else frozen: our reading, the \
                 paper gives no values"
            ),
            format!("small FFN: {}", self.small_label),
        ];
        if let Some((shares, hard, big)) = &self.hard {
            let shares: Vec<String> = self
                .lanes
                .iter()
                .zip(shares)
                .map(|(lane, share)| format!("{:.1} % {}", 100.0 * share, lane.name()))
                .collect();
            notes.push(format!(
                "hard choices on {} tokens that were held back: {hard:.4} nats per token, {big:.4} with every FFN big; {}",
                self.held.len(),
                shares.join(", ")
            ));
        }
        if let Some(path) = &self.saved {
            notes.push(format!("saved as {}", path.display()));
        }
        let figure = Figure {
            name: "router".into(),
            detail: self.name.clone(),
            title: format!("Router {}", self.name),
            plot: Plot::Lines(Lines {
                x_name: "step".into(),
                y_name: "nats per token; shares".into(),
                x_labels: (0..self.curve.len().div_ceil(stretch))
                    .map(|i| (i * stretch).to_string())
                    .collect(),
                series,
            }),
            notes,
            provenance: self.provenance.clone(),
        };
        RouterFindings {
            figure: Arc::new(figure),
            router: self.router(),
            shares: self.hard.as_ref().map(|(shares, ..)| shares.clone()).unwrap_or_default(),
            hard: self.hard.as_ref().map(|(_, hard, big)| [*hard, *big]),
            done: self.is_done(),
        }
    }
}

/// What cannot be saved is not begun.
fn writable(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    let probe = folder.join(format!(".{}.sluice-probe", std::process::id()));
    write_atomic(&probe, b"")?;
    std::fs::remove_file(&probe).map_err(|error| Error::write(&probe, error))
}

impl RouterStudy {
    /// Its lanes with their budgets as shares, those of 0 left out.
    pub fn lanes(&self) -> Result<(Vec<Lane>, Vec<f32>)> {
        let all =
            [(Lane::Big, self.percent[0]), (Lane::Small, self.percent[1]), (Lane::SkipFfn, self.percent[2])];
        let kept: Vec<(Lane, u8)> = all.into_iter().filter(|(_, percent)| *percent > 0).collect();
        if kept.iter().map(|(_, percent)| u32::from(*percent)).sum::<u32>() != 100 || kept.len() < 2 {
            return Err(Error::Study(
                "the budgets of a router add up to 100 %, and two lanes or more have some".into(),
            ));
        }
        Ok(kept.into_iter().map(|(lane, percent)| (lane, f32::from(percent) / 100.0)).unzip())
    }

    /// Its name, by lanes and budgets.
    pub fn name(&self) -> String {
        let parts = ["big", "small", "skip"].into_iter().zip(self.percent);
        let parts =
            parts.filter(|(_, percent)| *percent > 0).map(|(lane, percent)| format!("{lane}{percent}"));
        parts.collect::<Vec<_>>().join("_")
    }
}
