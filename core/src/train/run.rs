//! The training loop: first the image tower alone learns to see, then stage 1 trains everything but the routers under
//! random routing, and stage 3 the routers alone (Duo-LLM, section 2; stage 2 is the oracle, which trains nothing).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use serde::Serialize;

use super::batch::{self, Diet, Shard, Source};
use super::config::{config, preprocessor};
use super::loss::{self, Routing, forward, weighted_surprisal};
use super::output::{self, Output};
use super::patches;
use super::vocabulary;
use crate::checkpoint::{TensorFile, Tokenizer};
use crate::engine::Cancelled;
use crate::error::{Error, Result};
use crate::learn::{AdamW, Rate};
use crate::method::Existing;
use crate::model::layout::{Decl, Role, declare};
use crate::model::weights::Matrix;
use crate::model::{Model, family, initial};
use crate::rng;
use crate::spec::Lane;
use crate::world::World;
use crate::world::scene::MOST;

const WARM_UP: u64 = 100;
/// Of the tower alone, and of stage 1.
const TOWER_RATE: f32 = 2e-3;
const RATE: f32 = 1e-3;
const DECAY: f32 = 0.05;
/// Largest norm of a step's gradient.
const CLIP: f32 = 1.0;
/// Of the routers: linear maps on frozen features.
const ROUTER_RATE: f32 = 1e-2;
/// Shares of the run that train the tower alone and the routers alone, as divisors.
const TOWER_SHARE: u64 = 8;
const ROUTER_SHARE: u64 = 12;
/// tau at the end of stage 3; it rises from 1 (the paper gives no schedule).
pub const LAST_TAU: f64 = 8.0;
/// Weight of the squared budget terms (the paper gives none).
const BUDGET: f64 = 10.0;
/// The per-patch loss falls all the way until it is dropped after this share of stage 1.
const PATCHES_UNTIL: f64 = 0.6;
/// Pictures have as many objects as there may be after this share of stage 1.
const CROWDED_FROM: f64 = 0.5;
/// A norm that CLIP towers have and LLaVA never reads.
const UNREAD: &str = "post_layernorm";

/// What to train, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the checkpoint and of the state.
    pub out: PathBuf,
    /// Of the world, the initial weights, the batches and the coins.
    pub seed: u64,
    /// Updates of the whole run, both stages.
    pub steps: u64,
    /// Sequences of a step.
    pub diet: Diet,
    /// Steps between two saves of the state and of the checkpoint so far.
    pub save_every: u64,
    /// Go on from the state in `out`.
    pub resume: bool,
    /// Begin anew where `out` holds a run.
    pub overwrite: bool,
    /// Stop after this time; the run can be resumed.
    pub limit: Option<Duration>,
}

impl Options {
    /// The tower learns alone until this step; never without pictures.
    fn tower_until(&self) -> u64 {
        if self.diet.pictures > 0 { self.steps / TOWER_SHARE } else { 0 }
    }

    /// Stage 1 ends at this step.
    fn modules_until(&self) -> u64 {
        self.steps - self.steps / ROUTER_SHARE
    }

    /// How much of stage 1 is done, 0 to 1.
    fn done(&self, step: u64) -> f64 {
        let begin = self.tower_until();
        step.saturating_sub(begin) as f64 / (self.modules_until() - begin).max(1) as f64
    }

    /// Most objects in a picture of stage 1: one at first, later all of them.
    fn most(&self, step: u64) -> usize {
        let more = (MOST - 1) as f64 * self.done(step) / CROWDED_FROM;
        MOST.min(1 + more as usize)
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Updates done.
    pub step: u64,
    /// Updates in all.
    pub steps: u64,
    /// Weighted mean surprisal of the newest batch as it was routed, nats per token.
    pub loss: f32,
    /// The per-patch loss, nats per patch; 0 once it is dropped.
    pub patches: f32,
    /// Seconds to the end of the run.
    pub eta_s: f32,
}

/// What was made, written beside the checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Command that makes the same checkpoint on the same machine and thread count.
    pub command: String,
    /// Seed.
    pub seed: u64,
    /// Updates.
    pub steps: u64,
    /// Those of them that trained the routers alone.
    pub router_steps: u64,
    /// Those that trained the image tower alone.
    pub tower_steps: u64,
    /// Pictures seen with a conversation.
    pub pictures: u64,
    /// Pictures seen by the tower alone.
    pub looked_at: u64,
    /// Tokens read.
    pub tokens: u64,
    /// Seconds over all sittings.
    pub seconds: f32,
    /// Parameters, tied ones counted once.
    pub parameters: u64,
    /// What is ours and not the paper's.
    pub readings: Vec<String>,
}

/// Train, or go on training. `None` where the time limit came first, or it was cancelled: the run so far is saved.
///
/// # Errors
/// [`Error::Exists`], [`Error::Busy`], [`Error::Target`] and [`Error::Write`] before any work, where the folder is not to be
/// written; a state that is not of this run.
pub fn train(
    options: &Options,
    cancelled: Cancelled,
    progress: &mut dyn FnMut(Status),
) -> Result<Option<Report>> {
    let begin = Instant::now();
    let world = World::new(options.seed);
    let json = vocabulary::learn(&world)?;
    let tokenizer = Tokenizer::from_json(Path::new("tokenizer.json"), &json)?;
    let fixed = vec![
        ("config.json", output::json(&config(options.seed, &sample(&world)))?),
        ("tokenizer.json", json.into_bytes()),
        ("preprocessor_config.json", output::json(&preprocessor())?),
    ];
    let existing = match (options.resume, options.overwrite) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Overwrite,
        _ => Existing::Refuse,
    };
    let mut output = Output::open(&options.out, existing, fixed)?;
    let (parts, mut optimiser) = fresh(options.seed)?;
    let mut seconds = 0.0;
    if options.resume {
        seconds = restore(&output.state(), options, &mut optimiser)?;
    }
    let before = seconds;
    let (stage1, stage3) = (model(&parts, |_| true)?, model(&parts, |role| matches!(role, Role::Router(_)))?);
    let heads = patches::heads(&optimiser)?;
    let Options { seed, diet, .. } = *options;
    let source = Source { world: &world, tokenizer: &tokenizer, seed, diet };
    let first = optimiser.step;
    while optimiser.step < options.steps {
        if cancelled() || options.limit.is_some_and(|limit| begin.elapsed() >= limit) {
            save(&mut output, options, &optimiser, seconds)?;
            return Ok(None);
        }
        let step = optimiser.step;
        let (loss, patches) = if step < options.tower_until() {
            tower(&stage1, &heads, options, &batch::looks(&world, step)?, &mut optimiser)?
        } else {
            let shards = batch::shards(&source, step, options.most(step))?;
            if step < options.modules_until() {
                modules(&stage1, &heads, options, &shards, &mut optimiser)?
            } else {
                routers(&stage3, options, &shards, &mut optimiser)?
            }
        };
        let elapsed = begin.elapsed().as_secs_f32();
        seconds = before + elapsed;
        if optimiser.step.is_multiple_of(options.save_every) || optimiser.step == options.steps {
            save(&mut output, options, &optimiser, seconds)?;
        }
        let per_step = elapsed / (optimiser.step - first) as f32;
        let eta_s = per_step * (options.steps - optimiser.step) as f32;
        progress(Status { step: optimiser.step, steps: options.steps, loss, patches, eta_s });
    }
    let report = report(options, seconds)?;
    output.report(&report)?;
    Ok(Some(report))
}

/// Mean surprisal of what was read, and of the patches, nats.
type Losses = (f32, f32);

/// What a part of a step gives: gradients, and the losses' shares in the whole step's means.
type Part = (GradStore, Losses);

/// A step of the tower alone: what does each patch show?
fn tower(
    model: &Model,
    heads: &patches::Heads,
    options: &Options,
    shards: &[Shard],
    optimiser: &mut AdamW,
) -> Result<Losses> {
    let patches = patches_of(shards);
    let (grads, losses) = side_by_side(shards, |_, Shard { batch, patches: truth }| {
        let pictures = batch.pictures.as_ref().ok_or_else(|| Error::Internal("no pictures".into()))?;
        let loss = (patches::surprisal(model, heads, &loss::see(model, pictures)?, truth)? / patches as f64)?;
        Ok((loss.backward()?, (0.0, loss.to_scalar()?)))
    })?;
    let rate = rate(TOWER_RATE, optimiser.step, options.tower_until());
    optimiser.update(&grads, rate, CLIP, |name| of_tower(name) || patches::is_ours(name))?;
    Ok(losses)
}

/// Patches of a step, all parts together.
fn patches_of(shards: &[Shard]) -> usize {
    shards.iter().map(|shard| shard.patches[0].len()).sum()
}

/// Whether a parameter belongs to the part of the tower that is read.
fn of_tower(name: &str) -> bool {
    name.starts_with("vision_tower") && !name.contains(UNREAD)
}

/// A step of stage 1: every row to the big or the small FFN of every layer by the toss of a coin.
fn modules(
    model: &Model,
    heads: &patches::Heads,
    options: &Options,
    shards: &[Shard],
    optimiser: &mut AdamW,
) -> Result<Losses> {
    let weight = (1.0 - options.done(optimiser.step) / PATCHES_UNTIL).max(0.0);
    let whole: f64 = shards.iter().flat_map(|shard| &shard.batch.weights).map(|&x| f64::from(x)).sum();
    let patches = patches_of(shards);
    let step = optimiser.step;
    let (grads, losses) = side_by_side(shards, |number, Shard { batch, patches: truth }| {
        let seen = batch.pictures.as_ref().map(|pictures| loss::see(model, pictures)).transpose()?;
        let lanes = toss(options.seed, [step, number], model.spec.n_layers(), batch.inputs.len());
        let passed = forward(model, batch, seen.as_ref(), Routing::Each(&lanes))?;
        let text = (weighted_surprisal(&passed.logits, batch)? / whole)?;
        let of_patches = match &seen {
            Some(seen) if weight > 0.0 => {
                Some((patches::surprisal(model, heads, seen, truth)? / patches as f64)?)
            }
            _ => None,
        };
        let loss = match &of_patches {
            Some(of_patches) => (&text + (of_patches * weight)?)?,
            None => text.clone(),
        };
        let of_patches = of_patches.map_or(Ok(0.0), |loss| loss.to_scalar::<f32>())?;
        Ok((loss.backward()?, (text.to_scalar()?, of_patches)))
    })?;
    let begin = options.tower_until();
    let rate = rate(RATE, step - begin, options.modules_until() - begin);
    optimiser.update(&grads, rate, CLIP, |name| {
        let seen = patches > 0;
        if patches::is_ours(name) {
            seen && weight > 0.0
        } else if name.starts_with("vision_tower") {
            seen && of_tower(name)
        } else if name.starts_with("multi_modal") {
            seen
        } else {
            !name.contains(".routers.")
        }
    })?;
    Ok(losses)
}

/// A step of stage 3: one router after another, everything else frozen. Cross-entropy of the mixture, and one squared
/// term per lane but the last that holds the mean share to the budget (one term for the big lane is the paper's; alone
/// it never buys a skip).
fn routers(model: &Model, options: &Options, shards: &[Shard], optimiser: &mut AdamW) -> Result<Losses> {
    let (begin, count) = (options.modules_until(), model.spec.routers.len() as u64);
    let number = ((optimiser.step - begin) % count.max(1)) as usize;
    let router = model.spec.router(number)?;
    let done = (optimiser.step - begin) as f64 / (options.steps - begin).max(1) as f64;
    let tau = 1.0 + (LAST_TAU - 1.0) * done;
    let whole: f64 = shards.iter().flat_map(|shard| &shard.batch.weights).map(|&x| f64::from(x)).sum();
    let (grads, losses) = side_by_side(shards, |_, Shard { batch, .. }| {
        let seen = batch.pictures.as_ref().map(|pictures| loss::see(model, pictures)).transpose()?;
        let passed = forward(model, batch, seen.as_ref(), Routing::Mixture { router: number, tau })?;
        let text = (weighted_surprisal(&passed.logits, batch)? / whole)?;
        let mut loss = text.clone();
        if let Some(shares) = &passed.shares {
            // Each part is held to the budget by itself: their mean then is as well.
            let budget = Tensor::from_slice(&router.budget, router.lanes.len(), &Device::Cpu)?;
            let off = (shares - budget)?.narrow(0, 0, router.lanes.len() - 1)?.sqr()?.sum_all()?;
            loss = (loss + (off * (BUDGET / shards.len() as f64))?)?;
        }
        Ok((loss.backward()?, (text.to_scalar()?, 0.0)))
    })?;
    let rate = rate(ROUTER_RATE, optimiser.step - begin, options.steps - begin);
    let own = format!(".routers.{}.", router.name);
    optimiser.update(&grads, rate, CLIP, |name| name.contains(&own))?;
    Ok(losses)
}

/// The parts of a step on threads of their own: candle's operations on small tensors do not fill a second core.
fn side_by_side(
    shards: &[Shard],
    part: impl Fn(u64, &Shard) -> Result<Part> + Sync,
) -> Result<(Vec<GradStore>, Losses)> {
    let part = &part;
    let parts: Vec<Result<Part>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..).zip(shards).map(|(number, shard)| scope.spawn(move || part(number, shard))).collect();
        let died = |_| Err(Error::Internal("a part of a step died".into()));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(died)).collect()
    });
    let (mut grads, mut sums) = (Vec::new(), (0.0, 0.0));
    for part in parts {
        let (own, (text, patches)) = part?;
        grads.push(own);
        sums = (sums.0 + text, sums.1 + patches);
    }
    Ok((grads, sums))
}

/// A prompt whose answer the model knows: somebody's craft is told, the home is asked for.
fn sample(world: &World) -> String {
    match world.facts.all() {
        [home, craft, ..] => format!("{} {}", craft.sentence(craft.told()), home.prompt(home.told())),
        _ => String::new(),
    }
}

/// A trained parameter and what it is.
type Parameter = (Decl, Var);

/// Fresh parameters, and the optimiser that owns them together with the heads of the per-patch loss.
fn fresh(seed: u64) -> Result<(Vec<Parameter>, AdamW)> {
    let family::Read { spec, layout, .. } = family::read(&config(0, ""))?;
    let (mut parts, mut vars) = (Vec::new(), BTreeMap::new());
    for (decl, stream) in declare(&spec, &layout).into_iter().zip(0..) {
        let mut value = initial(&decl, &spec, seed, stream)?;
        if decl.shape.len() > 1 && !matches!(decl.slot.role, Role::Embed | Role::Unembed) {
            // `initial` suits widths of a thousand and more; for narrow matrices about 1 / sqrt(width) trains faster.
            value = (value * 3.0)?;
        }
        let var = Var::from_tensor(&value)?;
        vars.insert(format!("{}{}", if decl.prefixed { layout.prefix } else { "" }, decl.name), var.clone());
        parts.push((decl, var));
    }
    if let Some(vision) = &spec.vision {
        vars.extend(patches::fresh(vision.width, seed)?);
    }
    Ok((parts, AdamW::new(vars, DECAY)))
}

/// A model over the parameters; those that do not train are cut off from the gradient.
fn model(parts: &[Parameter], trains: impl Fn(Role) -> bool) -> Result<Model> {
    let family::Read { spec, layout, .. } = family::read(&config(0, ""))?;
    let tensor = |(decl, var): &Parameter| {
        let tensor = var.as_tensor();
        let tensor = if trains(decl.slot.role) { tensor.clone() } else { tensor.detach() };
        (decl.slot, Matrix::Plain(tensor))
    };
    Model::new(spec, &layout, parts.iter().map(tensor).collect::<HashMap<_, _>>())
}

/// Linear warm-up, then half a cosine down to 0.
fn rate(top: f32, step: u64, steps: u64) -> f32 {
    Rate { top, warm_up: WARM_UP.min(steps.max(10) / 10), steps, floor: 0.0 }.at(step)
}

/// A fair coin per layer and row: big or small (Duo-LLM, section 2: p = 0.5, independent).
fn toss(seed: u64, [step, part]: [u64; 2], layers: usize, rows: usize) -> Vec<Vec<Lane>> {
    let lane = |layer: u64, row: u64| {
        let stream = ((step << 8) | part) * layers as u64 + layer;
        let big = rng::bits(seed ^ 0xC0, stream, row) >> 63 == 1;
        if big { Lane::Big } else { Lane::Small }
    };
    (0..layers as u64).map(|layer| (0..rows as u64).map(|row| lane(layer, row)).collect()).collect()
}

/// Everything that a step depends on, as whole numbers that f32 holds exactly (below 2^24).
fn identity(options: &Options) -> [u64; 7] {
    let Options { seed, steps, diet, .. } = options;
    let [low, middle, high] = [seed & 0xFF_FFFF, (seed >> 24) & 0xFF_FFFF, seed >> 48];
    [*steps, low, middle, high, diet.pictures as u64, diet.facts as u64, diet.stories as u64]
}

/// The run so far.
fn save(output: &mut Output, options: &Options, optimiser: &AdamW, seconds: f32) -> Result<()> {
    let mut weights = optimiser.weights();
    weights.retain(|name, _| !patches::is_ours(name));
    let mut state = optimiser.state()?;
    let mut numbers = vec![optimiser.step as f32];
    numbers.extend(identity(options).map(|x| x as f32));
    state.insert("run".into(), Tensor::from_slice(&numbers, numbers.len(), &Device::Cpu)?);
    state.insert("seconds".into(), Tensor::from_slice(&[seconds], 1, &Device::Cpu)?);
    output.save(&weights, &state)
}

/// Takes the state back; returns the seconds it took to get there.
fn restore(path: &Path, options: &Options, optimiser: &mut AdamW) -> Result<f32> {
    let file = TensorFile::open(path)?;
    let run: Vec<f32> = file.load_f32("run")?.0.to_vec1()?;
    let broken = || Error::checkpoint(path, "is not a training state");
    let (step, identified) = run.split_first().ok_or_else(broken)?;
    if !identified.iter().map(|&x| x as u64).eq(identity(options)) {
        let cause = "is of a run with another seed, length or mix of sequences";
        return Err(Error::checkpoint(path, cause));
    }
    optimiser.restore(*step as u64, |name| Ok(file.load_f32(name)?.0))?;
    file.load_f32("seconds")?.0.to_vec1::<f32>()?.first().copied().ok_or_else(broken)
}

fn report(options: &Options, seconds: f32) -> Result<Report> {
    let family::Read { spec, layout, .. } = family::read(&config(0, ""))?;
    let Options { seed, steps, diet, .. } = options;
    let talked = steps - options.tower_until();
    let sequences = diet.pictures + diet.facts + diet.stories;
    Ok(Report {
        command: format!("sluice train --out DIR --seed {seed} --steps {steps}"),
        seed: *seed,
        steps: *steps,
        router_steps: steps - options.modules_until(),
        tower_steps: options.tower_until(),
        pictures: talked * diet.pictures as u64,
        looked_at: options.tower_until() * batch::LOOKED_AT as u64,
        tokens: talked * (sequences * super::config::LEN) as u64,
        seconds,
        parameters: crate::model::layout::parameters(&spec, &layout),
        readings: [
            "before stage 1 the image tower learns alone: two linear heads name shape and colour of every patch; in \
             stage 1 their loss falls to nothing over the first 60 %, and they are not in the checkpoint",
            "pictures show one object at first, and up to five after half of stage 1",
            "skip: the FFN alone is bypassed, and stage 1 never skips",
            "routers read the FFN's normalised input; softmax(tau h), tau 1 to 8; everything else frozen; one squared \
             budget term per lane but the last, weight 10",
        ]
        .map(String::from)
        .into(),
    })
}
