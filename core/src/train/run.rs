//! The training loop.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor, Var};
use serde::Serialize;
use serde_json::{Value, json};

use super::adamw::AdamW;
use super::loss::{Batch, coins, surprisals};
use super::text::{Stream, World};
use super::vocabulary;
use crate::checkpoint::{SaveDtype, TensorFile, Tokenizer, safetensors_bytes, save, write_atomic};
use crate::error::{Error, Result};
use crate::model::layout::{Decl, declare};
use crate::model::{Model, family, initial};
use crate::rng;

/// Tokens per sequence; the model's context.
const LEN: usize = 192;
/// Sequences per step.
const SEQUENCES: usize = 10;
const WARM_UP: u64 = 60;
const RATE: f32 = 4e-3;
const DECAY: f32 = 0.05;
const CLIP: f32 = 1.0;
/// Steps between two saves.
const SAVE_EVERY: u64 = 100;
/// Documents that the report's losses are taken on.
const VALIDATION_DOCUMENTS: u64 = 200;
/// The state of an unfinished run, in the output folder.
const STATE: &str = "training-state.safetensors";

/// What to train, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the checkpoint and of the state.
    pub out: PathBuf,
    /// Of the world, the initial weights, the batches and the coins.
    pub seed: u64,
    /// Updates of the whole run; the learning rate falls to 0 over them.
    pub steps: u64,
    /// Go on from the state in `out`.
    pub resume: bool,
    /// Stop after this time; the run can be resumed.
    pub limit: Option<Duration>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Updates done.
    pub step: u64,
    /// Updates in all.
    pub steps: u64,
    /// Mean surprisal of the newest batch under random routing, nats per token.
    pub loss: f32,
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
    /// Tokens read.
    pub tokens: u64,
    /// Seconds in this sitting.
    pub seconds: f32,
    /// Parameters, tied ones counted once.
    pub parameters: u64,
    /// Nats per token on documents that training never read, every token through the big FFNs.
    pub all_big: f32,
    /// The same through the small FFNs.
    pub all_small: f32,
    /// Documents that both are taken on.
    pub documents: u64,
    /// Share of people whose home is the most likely continuation of `NAME lives in`, all big.
    pub homes_known: f32,
}

/// Train, or go on training. `None` where the time limit came first: the state is saved.
pub fn train(options: &Options, progress: &mut dyn FnMut(Status)) -> Result<Option<Report>> {
    std::fs::create_dir_all(&options.out).map_err(|error| Error::write(&options.out, error))?;
    refuse_foreign(&options.out)?;
    let begin = Instant::now();
    let world = World::new(options.seed);
    let json = vocabulary::learn(&world)?;
    let tokenizer = Tokenizer::from_json(Path::new("tokenizer.json"), &json, None)?;
    let (model, mut optimiser) = fresh(options.seed)?;
    let state = options.out.join(STATE);
    if options.resume {
        restore(&state, options, &mut optimiser)?;
    }
    let first = optimiser.step;
    while optimiser.step < options.steps {
        if options.limit.is_some_and(|limit| begin.elapsed() >= limit) {
            write_state(&state, options, &optimiser)?;
            return Ok(None);
        }
        let step = optimiser.step;
        let batch = batch(&world, &tokenizer, step)?;
        let coins = coins(&toss(options.seed, step, model.spec.n_layers(), batch.inputs.len()))?;
        let loss = surprisals(&model, &batch, &coins)?.mean_all()?;
        let grads = loss.backward()?;
        optimiser.update(&grads, rate(step, options.steps), CLIP)?;
        if optimiser.step.is_multiple_of(SAVE_EVERY) {
            write_state(&state, options, &optimiser)?;
        }
        let per_step = begin.elapsed().as_secs_f32() / (optimiser.step - first) as f32;
        progress(Status {
            step: optimiser.step,
            steps: options.steps,
            loss: loss.to_scalar()?,
            eta_s: per_step * (options.steps - optimiser.step) as f32,
        });
    }
    let sample = world.people().first().map_or_else(String::new, |person| {
        format!("Once upon a time there was a {} named {} who lived in", person.craft, person.name)
    });
    save(&options.out, &config(&sample), &optimiser.weights(), SaveDtype::Bf16, Some(&json))?;
    let report = report(options, &world, &tokenizer, &model, begin)?;
    let text = serde_json::to_string_pretty(&report).map_err(|error| Error::Internal(error.to_string()))?;
    write_atomic(&options.out.join("report.json"), (text + "\n").as_bytes())?;
    // The checkpoint is there: the state has done its work.
    let _ = std::fs::remove_file(&state);
    Ok(Some(report))
}

/// A folder that holds somebody else's checkpoint is not written into.
fn refuse_foreign(folder: &Path) -> Result<()> {
    let path = folder.join("config.json");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
    let ours = serde_json::from_str::<Value>(&text).is_ok_and(|config| config.get("sluice").is_some());
    if ours { Ok(()) } else { Err(Error::write(path, "the folder holds another checkpoint")) }
}

/// config.json of the bundled checkpoint.
fn config(sample_prompt: &str) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary::ENTRIES,
        "hidden_size": 96,
        "intermediate_size": 288,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "hidden_act": "silu",
        "max_position_embeddings": LEN,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": true,
        "attention_bias": false,
        "mlp_bias": false,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "bfloat16",
        "sluice": { "small_intermediate_size": 18, "sample_prompt": sample_prompt }
    })
}

/// A fresh model whose weights are the optimiser's parameters.
fn fresh(seed: u64) -> Result<(Model, AdamW)> {
    let family::Read { spec, layout, .. } = family::read(&config(""))?;
    let (mut parts, mut vars) = (HashMap::new(), BTreeMap::new());
    for (decl, stream) in declare(&spec, &layout).iter().zip(0..) {
        let var = Var::from_tensor(&initial(decl, &spec, seed, stream)?)?;
        parts.insert(decl.slot, var.as_tensor().clone());
        vars.insert(name(decl, layout.prefix), var);
    }
    Ok((Model::new(spec, &layout, parts)?, AdamW::new(vars, DECAY)))
}

fn name(decl: &Decl, prefix: &str) -> String {
    format!("{}{}", if decl.prefixed { prefix } else { "" }, decl.name)
}

/// Linear warm-up, then half a cosine down to 0.
fn rate(step: u64, steps: u64) -> f32 {
    let warm = ((step + 1) as f32 / WARM_UP as f32).min(1.0);
    let done = step as f32 / steps.max(1) as f32;
    RATE * warm * 0.5 * (1.0 + (std::f32::consts::PI * done).cos())
}

/// Batch `step`: documents one after another, each with its BOS, cut to the length.
fn batch(world: &World, tokenizer: &Tokenizer, step: u64) -> Result<Batch> {
    let mut batch = Batch { inputs: Vec::new(), targets: Vec::new(), len: LEN };
    for sequence in 0..SEQUENCES as u64 {
        // Far apart, so that sequences of one run never share a document.
        let mut document = (step * SEQUENCES as u64 + sequence) << 8;
        let mut ids = Vec::with_capacity(LEN + 1);
        while ids.len() <= LEN {
            ids.extend(tokenizer.encode(&world.document(Stream::Train, document), true)?);
            document += 1;
        }
        batch.inputs.extend(ids.iter().take(LEN));
        batch.targets.extend(ids.iter().skip(1).take(LEN));
    }
    Ok(batch)
}

/// A fair coin per layer and row: big or small (Duo-LLM, section 2: p = 0.5, independent).
fn toss(seed: u64, step: u64, layers: usize, rows: usize) -> Vec<Vec<bool>> {
    let coin = |layer: u64, row: u64| rng::bits(seed ^ 0xC0, step * layers as u64 + layer, row) >> 63 == 1;
    (0..layers as u64).map(|layer| (0..rows as u64).map(|row| coin(layer, row)).collect()).collect()
}

fn write_state(path: &Path, options: &Options, optimiser: &AdamW) -> Result<()> {
    let mut state = optimiser.state()?;
    // Exact in f32 up to 2^24 steps; seeds are split into two halves of 24 bits and 16 more.
    let seed = options.seed;
    let numbers = [optimiser.step, options.steps, seed & 0xFF_FFFF, (seed >> 24) & 0xFF_FFFF, seed >> 48];
    let numbers: Vec<f32> = numbers.iter().map(|&x| x as f32).collect();
    state.insert("run".into(), Tensor::from_vec(numbers, 5, &Device::Cpu)?);
    write_atomic(path, &safetensors_bytes(&state, SaveDtype::F32)?)
}

fn restore(path: &Path, options: &Options, optimiser: &mut AdamW) -> Result<()> {
    let file = TensorFile::open(path)?;
    let run: Vec<f32> = file.load_f32("run")?.0.to_vec1()?;
    let &[step, steps, low, middle, high] = run.as_slice() else {
        return Err(Error::checkpoint(path, "is not a training state"));
    };
    let seed = low as u64 | (middle as u64) << 24 | (high as u64) << 48;
    if (steps as u64, seed) != (options.steps, options.seed) {
        let cause = format!("is of a run of {steps} steps with seed {seed}");
        return Err(Error::checkpoint(path, cause));
    }
    optimiser.restore(step as u64, |name| Ok(file.load_f32(name)?.0))
}

fn report(
    options: &Options,
    world: &World,
    tokenizer: &Tokenizer,
    model: &Model,
    begin: Instant,
) -> Result<Report> {
    let mut sums = [0.0f64; 2];
    let mut count = 0;
    for index in 0..VALIDATION_DOCUMENTS {
        let mut ids = tokenizer.encode(&world.document(Stream::Validation, index), true)?;
        ids.truncate(LEN + 1);
        let len = ids.len().saturating_sub(1);
        let batch = Batch {
            inputs: ids.iter().copied().take(len).collect(),
            targets: ids.iter().copied().skip(1).collect(),
            len,
        };
        let small = coins(&vec![vec![false; len]; model.spec.n_layers()])?;
        for (sum, coins) in sums.iter_mut().zip([&None, &small]) {
            *sum += f64::from(surprisals(model, &batch, coins)?.sum_all()?.to_scalar::<f32>()?);
        }
        count += len;
    }
    let [all_big, all_small] = sums.map(|sum| (sum / count as f64) as f32);
    let Options { seed, steps, .. } = options;
    Ok(Report {
        command: format!("sluice train --out DIR --seed {seed} --steps {steps}"),
        seed: *seed,
        steps: *steps,
        tokens: steps * (SEQUENCES * LEN) as u64,
        seconds: begin.elapsed().as_secs_f32(),
        parameters: model_parameters()?,
        all_big,
        all_small,
        documents: VALIDATION_DOCUMENTS,
        homes_known: homes_known(world, tokenizer, model)?,
    })
}

fn model_parameters() -> Result<u64> {
    let family::Read { spec, layout, .. } = family::read(&config(""))?;
    Ok(crate::model::layout::parameters(&spec, &layout))
}

/// The home is known where its spelling beats the spelling of every other place.
fn homes_known(world: &World, tokenizer: &Tokenizer, model: &Model) -> Result<f32> {
    let homes: std::collections::BTreeSet<&str> = world.people().iter().map(|p| p.home.as_str()).collect();
    let mut known = 0;
    for person in world.people() {
        let start = tokenizer.encode(&format!("{} lives in", person.name), true)?;
        let mut best = (f32::INFINITY, "");
        for home in &homes {
            let ids = tokenizer.encode(&format!("{} lives in {home}.", person.name), true)?;
            let len = ids.len() - 1;
            let batch = Batch { inputs: ids[..len].to_vec(), targets: ids[1..].to_vec(), len };
            let surprisals: Vec<f32> = surprisals(model, &batch, &None)?.to_vec1()?;
            let sum: f32 = surprisals.iter().skip(start.len() - 1).sum();
            if sum < best.0 {
                best = (sum, home);
            }
        }
        known += usize::from(best.1 == person.home);
    }
    Ok(known as f32 / world.people().len() as f32)
}
