//! Runs and their caches: the same tokens and weights, under one plan or another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;

use crate::checkpoint::{Preprocessor, TensorFile, Tokenizer};
use crate::error::{Error, Result};
use crate::model::schedule::RouterMatrices;
use crate::model::{Ask, Captures, Ffn, Input, KvCache, Logits, Model, Output, Pass, Schedule, Work};
use crate::plan::{Plan, Resolve, Source, Surrogate};
use crate::site::Site;
use crate::spec::Lane;
use crate::world::World;

mod answer;
mod boundaries;
mod branch;
mod card;
mod chat;
mod decode;
mod expert_use;
mod fold;
mod generate;
mod held;
mod inspect;
mod limits;
pub(crate) mod memory;
pub(crate) mod names;
mod open;
mod prompt;
mod reader;
mod resident;
mod sampler;
mod surrogate;
mod text;
mod tokens;

pub use answer::{Answer, encode_after};
pub use boundaries::Boundaries;
pub use card::Card;
pub use chat::chat_words;
pub use decode::Decoder;
pub use expert_use::{BlockUse, EXPERT_SITES, ExpertTally, ExpertUse, block_use, entropy};
pub use generate::{Continue, Continued, Ending, Stops};
pub use inspect::{Inspected, inspect};
pub use memory::{
    RunSize, available_bytes, budget, keep_freed_blocks, peak_since, picture_bytes, reset_peak, set_budget,
};
pub use open::{Opened, bundled, open};
pub use prompt::{Prompt, Words};
pub use reader::Reader;
pub use resident::Resident;
pub use sampler::Sampler;
pub use surrogate::{SURROGATE_TOKENS, describe as describe_small, label as small_label};
pub(crate) use text::SAMPLE;
pub use text::{CalibrationText, pieces, pieces_at_most};
pub use tokens::{Patch, Token};

/// A model with its tokenizer and what is kept between runs. Lives on one thread.
pub struct Engine {
    /// The model.
    pub model: Arc<Model>,
    /// Its tokenizer, where it has one.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// Why it has none, where the checkpoint has one that cannot be read.
    pub no_tokenizer: Option<Error>,
    /// How pictures are prepared, where the model reads any.
    pub preprocessor: Option<Preprocessor>,
    /// What the model was trained on, where it is a generated world.
    pub world: Option<World>,
    /// Told about work that no request asked for by name: what, steps done, steps in all.
    pub report: Report,
    /// Small FFNs, and how they were chosen.
    small: Option<(Surrogate, Arc<[Ffn]>)>,
    /// What the neurons of each layer are worth, and the text that says so.
    worths: Option<(Option<PathBuf>, Vec<Vec<f32>>)>,
    base: Option<Arc<Run>>,
    pictures: prompt::Pictures,
}

/// Tokens, a plan, and what was computed.
#[derive(Debug)]
pub struct Run {
    /// The prompt.
    pub tokens: Input,
    /// The compiled plan.
    pub schedule: Arc<Schedule>,
    /// Keys and values of the prompt. A run that began behind its first blocks lacks theirs, and every run those of attention
    /// that was taken out: branches are taken from whole runs.
    pub cache: Arc<KvCache>,
    /// The residual stream between sublayers: see [`Engine::boundary`].
    pub boundaries: Arc<Boundaries>,
    /// Logits after the last token, `[vocab]`.
    pub last: Vec<f32>,
    /// Cost so far.
    pub work: Work,
    /// The lanes that a learned router chose, layer by layer; empty without one.
    pub lanes: BTreeMap<usize, Vec<Lane>>,
}

/// A question asked between sublayers: stop?
pub type Cancelled<'a> = &'a dyn Fn() -> bool;

/// Hears what is being done, steps done, and steps in all.
pub type Report = Box<dyn Fn(&str, u64, u64) + Send + Sync>;

/// Never stop.
pub fn never() -> bool {
    false
}

impl Engine {
    /// An engine over a model.
    pub fn new(model: Arc<Model>, tokenizer: Option<Arc<Tokenizer>>) -> Self {
        Self {
            model,
            tokenizer,
            no_tokenizer: None,
            preprocessor: None,
            world: None,
            report: Box::new(|_, _, _| {}),
            small: None,
            worths: None,
            base: None,
            pictures: prompt::Pictures::default(),
        }
    }

    /// The unmodified run of `tokens`; the newest one is kept.
    ///
    /// # Errors
    /// As [`Engine::run_schedule`].
    pub fn base(&mut self, tokens: &Input, cancelled: Cancelled) -> Result<Arc<Run>> {
        if let Some(run) = self.base.as_ref().filter(|run| run.tokens == *tokens) {
            return Ok(Arc::clone(run));
        }
        // What was typed before the first difference is known.
        let epoch = |tokens: &Input| self.model.epoch(tokens.len());
        let known = self.base.clone().filter(|run| epoch(&run.tokens) == epoch(tokens));
        let known = known.as_ref().map(|run| {
            let rows = run.tokens.shared_with(tokens).min(tokens.len().saturating_sub(1));
            Known { run, rows, sublayer: None }
        });
        let run = Arc::new(self.run_from(tokens, Schedule::none(), known, cancelled)?);
        self.base = Some(Arc::clone(&run));
        Ok(run)
    }

    /// Whether [`Engine::base`] of these tokens is kept.
    pub fn has_base(&self, tokens: &Input) -> bool {
        self.base.as_ref().is_some_and(|run| run.tokens == *tokens)
    }

    /// Compile a plan for a prompt.
    ///
    /// # Errors
    /// [`Error::Plan`] where an intervention does not fit model or prompt, what runs that it reads from refuse, or
    /// [`Error::Cancelled`].
    pub fn schedule(&mut self, plan: &Plan, tokens: &Input, cancelled: Cancelled) -> Result<Arc<Schedule>> {
        self.schedule_ahead(plan, tokens, 0, cancelled)
    }

    /// Compile a plan for a prompt that at most `new_tokens` follow; it may name positions of these too.
    ///
    /// # Errors
    /// As [`Engine::schedule`].
    pub fn schedule_ahead(
        &mut self,
        plan: &Plan,
        tokens: &Input,
        new_tokens: usize,
        cancelled: Cancelled,
    ) -> Result<Arc<Schedule>> {
        if plan.active().is_empty() {
            return Ok(Schedule::none());
        }
        let spec = Arc::clone(&self.model.spec);
        let mut resolver = Resolver { engine: self, tokens, cancelled };
        Ok(Arc::new(plan.compile(&spec, tokens.len(), new_tokens, &mut resolver)?))
    }

    /// Run `tokens` under a compiled plan, keeping boundaries, keys and values, and the last logits.
    ///
    /// # Errors
    /// A prompt that is empty, past the context or outside the vocabulary, more memory than there is, or
    /// [`Error::Cancelled`].
    pub fn run_schedule(&self, tokens: &Input, schedule: Arc<Schedule>, cancelled: Cancelled) -> Result<Run> {
        self.run_from(tokens, schedule, None, cancelled)
    }

    /// Run a plan on the tokens of a base run, from the first sublayer and position on that the plan can change; what comes
    /// before is the base run's.
    ///
    /// # Errors
    /// As [`Engine::run_schedule`].
    pub fn run_after(&self, base: &Run, schedule: Arc<Schedule>, cancelled: Cancelled) -> Result<Run> {
        let len = base.tokens.len();
        let known = Known {
            run: base,
            // The last row is computed in any case: it has the logits.
            rows: schedule.first_position(len).unwrap_or(len).min(len.saturating_sub(1)),
            sublayer: schedule.first_sublayer(self.model.spec.n_layers()).map(|first| self.entry(first)),
        };
        self.run_from(&base.tokens, schedule, Some(known), cancelled)
    }

    fn run_from(
        &self,
        tokens: &Input,
        schedule: Arc<Schedule>,
        known: Option<Known>,
        cancelled: Cancelled,
    ) -> Result<Run> {
        let spec = &self.model.spec;
        RunSize::new(spec, tokens.len()).with_boundaries().check()?;
        let schedule = self.fed(&schedule, tokens)?;
        let len = tokens.len().min(spec.context);
        let stride = memory::stride(spec, len);
        let ask = Ask { boundaries: stride, ..Ask::default() };
        let rows = known.as_ref().map_or(0, |known| known.rows);
        let cache = match &known {
            Some(known) if rows > 0 => known.run.cache.grown(rows, len)?,
            _ => KvCache::new(spec, len)?,
        };
        let cache = Arc::new(cache);
        let (earlier, own) = tokens.split_at(rows);
        let mut pass =
            Pass::new(Arc::clone(&self.model), Arc::clone(&schedule), Arc::clone(&cache), own, rows, ask)?;
        pass.show(tokens.image(), earlier);
        let mut kept: Vec<Option<Tensor>> = Vec::with_capacity(2 * spec.n_layers() + 1);
        if let Some(Known { run, sublayer: Some(sublayer), .. }) = known {
            pass.enter_before(sublayer, self.rows_before(run, sublayer, rows)?);
            kept.extend(run.boundaries.first(sublayer));
        }
        let output = pass.run(cancelled)?;
        kept.resize(2 * spec.n_layers() + 1, None);
        for (number, new) in output.boundaries {
            let whole = match &known {
                Some(known) if rows > 0 => Tensor::cat(&[self.rows_until(known.run, number, rows)?, new], 0)?,
                _ => new,
            };
            if let Some(slot) = kept.get_mut(number) {
                *slot = Some(whole);
            }
        }
        let boundaries = Arc::new(Boundaries::new(kept, Arc::clone(&schedule)));
        let last = match &output.logits {
            Some(logits) => logits.flatten_all()?.to_vec1()?,
            None => Vec::new(),
        };
        Ok(Run {
            tokens: tokens.clone(),
            schedule,
            cache,
            boundaries,
            last,
            work: output.work,
            lanes: output.lanes,
        })
    }

    /// A whole pass over `tokens`.
    ///
    /// # Errors
    /// As [`Engine::start`], or [`Error::Cancelled`].
    pub fn pass(
        &self,
        tokens: &Input,
        schedule: &Arc<Schedule>,
        ask: Ask,
        cancelled: Cancelled,
    ) -> Result<(Output, Arc<KvCache>)> {
        let (pass, cache) = self.start(tokens, schedule, ask)?;
        Ok((pass.run(cancelled)?, cache))
    }

    /// A pass over `tokens`, not yet stepped.
    ///
    /// # Errors
    /// A prompt that is empty, past the context or outside the vocabulary.
    pub fn start(&self, tokens: &Input, schedule: &Arc<Schedule>, ask: Ask) -> Result<(Pass, Arc<KvCache>)> {
        let model = Arc::clone(&self.model);
        // Not more than the context, whatever was asked: the pass refuses longer prompts.
        let cache = Arc::new(KvCache::new(&model.spec, tokens.len().min(model.spec.context))?);
        let schedule = self.fed(schedule, tokens)?;
        let mut pass = Pass::new(model, schedule, Arc::clone(&cache), tokens, 0, ask)?;
        pass.show(tokens.image(), &[]);
        Ok((pass, cache))
    }

    /// A schedule for more tokens than its prompt has: what is injected there is of the unmodified run of all of them.
    fn fed(&self, schedule: &Arc<Schedule>, tokens: &Input) -> Result<Arc<Schedule>> {
        let capture = schedule.followed(tokens.len());
        if capture.is_empty() {
            return Ok(Arc::clone(schedule));
        }
        let ask = Ask { capture, logits: Logits::None, ..Ask::default() };
        let (output, _) = self.pass(tokens, &Schedule::none(), ask, &never)?;
        Ok(Arc::new(schedule.fed(&output.captures, 0)?))
    }

    /// Sites of one block of a run, by doing that block again from its kept input.
    ///
    /// # Errors
    /// A block that the model does not have, or [`Error::Cancelled`].
    pub fn replay(
        &self,
        run: &Run,
        layer: usize,
        capture: BTreeSet<Site>,
        cancelled: Cancelled,
    ) -> Result<Captures> {
        let ask = Ask { capture, logits: Logits::None, ..Ask::default() };
        let mut pass = Pass::new(
            Arc::clone(&self.model),
            Arc::clone(&run.schedule),
            Arc::clone(&run.cache),
            &run.tokens,
            0,
            ask,
        )?;
        if layer >= self.model.spec.n_layers() {
            return Err(Error::Input(format!("there is no layer {layer}")));
        }
        let input = self.boundary(run, 2 * layer)?;
        pass.enter_before(2 * layer, input);
        pass.stop_after(layer);
        Ok(pass.run(cancelled)?.captures)
    }

    /// Logits after one position of a run, `[vocab]`: one row of the unembedding.
    ///
    /// # Errors
    /// A position that the run does not have.
    pub fn row_logits(&self, run: &Run, position: usize) -> Result<Vec<f32>> {
        Ok(self.rows_logits(run, position, 1, &never)?.swap_remove(0))
    }

    /// Logits after the positions `start .. start + len` of a run, `len` rows of `[vocab]`.
    ///
    /// # Errors
    /// Positions that the run does not have, or more memory than there is.
    pub fn rows_logits(
        &self,
        run: &Run,
        start: usize,
        len: usize,
        cancelled: Cancelled,
    ) -> Result<Vec<Vec<f32>>> {
        let missing = || Error::Input(format!("the prompt has no positions {start} to {}", start + len));
        let rows = run.tokens.get(start..start + len).filter(|rows| !rows.is_empty()).ok_or_else(missing)?;
        let stream = self.boundary(run, 2 * self.model.spec.n_layers())?;
        RunSize::logits(&self.model.spec, len).check()?;
        if cancelled() {
            return Err(Error::Cancelled);
        }
        let (logits, _) = self.unembed(&run.schedule, rows, start, stream.narrow(0, start, len)?)?;
        Ok(logits.to_vec2()?)
    }

    /// Logits `[rows, vocab]` of the stream `[rows, d]` after the last block at the positions of `tokens`, `start` and on, and
    /// what they cost.
    ///
    /// # Errors
    /// Positions past the context, or logits that are no finite numbers.
    pub fn unembed(
        &self,
        schedule: &Arc<Schedule>,
        tokens: &[u32],
        start: usize,
        stream: Tensor,
    ) -> Result<(Tensor, Work)> {
        let ask = Ask { logits: Logits::All, ..Ask::default() };
        let cache = Arc::new(KvCache::new(&self.model.spec, 0)?);
        let mut pass = Pass::new(Arc::clone(&self.model), Arc::clone(schedule), cache, tokens, start, ask)?;
        pass.enter_before(2 * self.model.spec.n_layers(), stream);
        let output = pass.run(&never)?;
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        Ok((logits, output.work))
    }

    /// The small FFN of every layer: the checkpoint's own, or a labelled surrogate, computed on first use.
    ///
    /// # Errors
    /// A checkpoint with blocks of experts, a text for the choice that cannot be read, or [`Error::Cancelled`].
    pub fn small(&mut self, surrogate: &Surrogate, cancelled: Cancelled) -> Result<Arc<[Ffn]>> {
        let own = self.model.spec.is_duo();
        if let Some((known, small)) = &self.small
            && (own || known == surrogate)
        {
            return Ok(Arc::clone(small));
        }
        let small: Arc<[Ffn]> = if own {
            self.model.weights.layers.iter().filter_map(|layer| layer.small.clone()).collect()
        } else {
            let known = self.worths.take().filter(|(sample, _)| *sample == surrogate.sample);
            let worths = match known {
                Some((_, worths)) => worths,
                None => surrogate::worths(self, surrogate.sample.as_deref(), cancelled)?,
            };
            let small = surrogate::choose(self, &worths, surrogate.share());
            self.worths = Some((surrogate.sample.clone(), worths));
            small?.into()
        };
        self.small = Some((surrogate.clone(), Arc::clone(&small)));
        Ok(small)
    }
}

/// What another run says about one that is to be done.
struct Known<'a> {
    run: &'a Run,
    /// All rows before this position are the same.
    rows: usize,
    /// The rows from there on are the same before this sublayer; `None` = not even the embedding is.
    sublayer: Option<usize>,
}

struct Resolver<'a> {
    engine: &'a mut Engine,
    tokens: &'a Input,
    cancelled: Cancelled<'a>,
}

impl Resolve for Resolver<'_> {
    fn picture(&self) -> Vec<usize> {
        let Some(image) = self.tokens.image() else { return Vec::new() };
        (0..).zip(self.tokens.iter()).filter(|(_, id)| **id == image.token).map(|(at, _)| at).collect()
    }

    fn site(&mut self, source: &Source, site: Site) -> Result<Tensor> {
        let tokens: Input = match source {
            Source::Base => self.tokens.clone(),
            Source::Tokens(tokens) => tokens.as_slice().into(),
            Source::Prompt(text) => self.engine.encode(text)?.into(),
            Source::File { path, tensor } => return file_tensor(path, tensor),
            Source::Values(_) => return Err(Error::Plan("a single vector is not a run".into())),
        };
        let missing = || Error::Plan(format!("this model has no {site}"));
        // The kept base run saves all but one block.
        if let (Site::Block { layer, .. }, true) = (site, self.engine.has_base(&tokens)) {
            let run = self.engine.base(&tokens, self.cancelled)?;
            let mut captures = self.engine.replay(&run, layer, [site].into(), self.cancelled)?;
            return captures.remove(&site).ok_or_else(missing);
        }
        let logits = if matches!(site, Site::FinalScale | Site::FinalNormalized) {
            Logits::Last
        } else {
            Logits::None
        };
        RunSize::new(&self.engine.model.spec, tokens.len()).check()?;
        let ask = Ask { capture: [site].into(), logits, ..Ask::default() };
        let (mut output, _) = self.engine.pass(&tokens, &Schedule::none(), ask, self.cancelled)?;
        output.captures.remove(&site).ok_or_else(missing)
    }

    fn small(&mut self, surrogate: &Surrogate) -> Result<Arc<[Ffn]>> {
        self.engine.small(surrogate, self.cancelled)
    }

    fn router(&mut self, name: &str, file: Option<&Path>) -> Result<Arc<RouterMatrices>> {
        let model = &self.engine.model;
        let matrices = match file {
            None => RouterMatrices::of_checkpoint(name, &model.spec, &model.weights.layers)?,
            Some(file) => RouterMatrices::of_file(name, file, &model.spec)?,
        };
        Ok(Arc::new(matrices))
    }
}

/// A tensor of a safetensors file that a plan names.
fn file_tensor(path: &Path, tensor: &str) -> Result<Tensor> {
    TensorFile::open(path)?.named(tensor)
}
