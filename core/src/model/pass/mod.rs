//! The one forward pass: a resumable walk over the sublayers of some rows, with every site in reach.
//!
//! One step is one sublayer, so that a caller can cancel, slice or interleave passes. Sites are offered to the
//! schedule (which may change the value) and to the captures (which may keep it); with neither, a site costs a look
//! into an empty table.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use candle_core::Tensor;

use super::attend::{Keep, Readers};
use super::fused::{self, Masked, Visible};
use super::ops::{self, RopeTable};
use super::schedule::Schedule;
use super::weights::{LayerWeights, NormWeights};
use super::{ImageRows, KvCache, Model};
use crate::error::{Error, Result};
use crate::site::{Hook, Site};
use crate::spec::{LayerSpec, NormSpec, QkNormOver, Residual};

mod ask;
mod experts;
mod ffn;
mod finite;
mod strand;
mod top;

pub use ask::{Ask, Captures, Logits, Mixture, Output, Work};
pub use ffn::plain_ffn;
use finite::Watch;
pub use strand::Branch;
use strand::{Strand, select};

/// A forward pass under way.
pub struct Pass {
    model: Arc<Model>,
    cache: Arc<KvCache>,
    ask: Ask,
    /// What the rows belong to, in their order.
    strands: Vec<Strand>,
    /// Strands that join later: before which stage, and their rows there.
    waiting: Vec<(usize, Strand, Tensor)>,
    /// Strands only read the cache.
    forks: bool,
    tokens: Vec<u32>,
    /// An image, and how many of its tokens stand before the first row.
    image: Option<(Arc<ImageRows>, usize)>,
    visible: HashMap<Option<usize>, Visible>,
    ropes: Vec<Option<RopeTable>>,
    stage: usize,
    end: usize,
    x: Option<Tensor>,
    /// Attention output of a parallel block, waiting for its FFN.
    parallel: Option<(Tensor, Tensor)>,
    /// How closely values are looked at.
    watch: Watch,
    out: Output,
}

impl Pass {
    /// A pass over `tokens` at positions `start ..`, whose earlier positions are in `cache`.
    pub fn new(
        model: Arc<Model>,
        schedule: Arc<Schedule>,
        cache: Arc<KvCache>,
        tokens: &[u32],
        start: usize,
        ask: Ask,
    ) -> Result<Self> {
        let vocab = model.spec.vocab;
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= vocab) {
            return Err(Error::Input(format!("token id {id} is past the vocabulary of {vocab}")));
        }
        let (len, context) = (start + tokens.len(), model.spec.context);
        if tokens.is_empty() {
            return Err(Error::Input("the prompt has no tokens".into()));
        }
        if len > context {
            return Err(Error::Context { tokens: len, context });
        }
        let end = 2 * model.spec.n_layers() + 2;
        Ok(Self {
            strands: vec![Strand::new(schedule, (start..len).collect())],
            waiting: Vec::new(),
            forks: false,
            tokens: tokens.to_vec(),
            image: None,
            visible: HashMap::new(),
            ropes: vec![None; model.ropes.len()],
            stage: 0,
            end,
            x: None,
            parallel: None,
            watch: Watch::default(),
            out: Output::default(),
            model,
            cache,
            ask,
        })
    }

    /// A pass over the rows of many branches of one run, whose keys and values are in `cache`. The logits come branch by
    /// branch, in their order. Branches that end at other positions than the rest keep and change no scores and no pattern.
    pub fn of_branches(
        model: Arc<Model>,
        cache: Arc<KvCache>,
        branches: Vec<Branch>,
        ask: Ask,
    ) -> Result<Self> {
        let ends: BTreeSet<usize> = branches.iter().map(|branch| branch.end).collect();
        let epochs: BTreeSet<usize> = ends.iter().map(|end| model.epoch(*end)).collect();
        let square = |layer| [Hook::AttnScores, Hook::Pattern].map(|hook| Site::block(layer, hook));
        let looked_at = |site: Site| {
            ask.capture.contains(&site) || branches.iter().any(|branch| branch.schedule.edits_site(site))
        };
        let apart = ends.len() > 1 && (0..model.spec.n_layers()).flat_map(square).any(looked_at);
        if epochs.len() != 1 || apart {
            return Err(Error::Internal("branches of one pass end at one position".into()));
        }
        let waiting = |(number, branch): (usize, Branch)| {
            let strand =
                Strand { number, ..Strand::new(branch.schedule, (branch.start..branch.end).collect()) };
            (1 + branch.sublayer, strand, branch.x)
        };
        let waiting: Vec<_> = branches.into_iter().enumerate().map(waiting).collect();
        Ok(Self {
            strands: Vec::new(),
            stage: waiting.iter().map(|(stage, ..)| *stage).min().unwrap_or(0),
            waiting,
            forks: true,
            tokens: Vec::new(),
            image: None,
            visible: HashMap::new(),
            ropes: vec![None; model.ropes.len()],
            end: 2 * model.spec.n_layers() + 2,
            x: None,
            parallel: None,
            watch: Watch::default(),
            out: Output::default(),
            ask,
            model,
            cache,
        })
    }

    /// Let the first image tokens stand for an image; `earlier` are the tokens before the pass's own.
    pub fn show(&mut self, image: Option<&Arc<ImageRows>>, earlier: &[u32]) {
        let before = |image: &ImageRows| earlier.iter().filter(|&&id| id == image.token).count();
        self.image = image.map(|image| (Arc::clone(image), before(image)));
    }

    /// Start before one of the 2L sublayers (2L = the unembedding) from the stream there, `[rows, d]`. An FFN beside
    /// its attention starts with the block.
    pub fn enter_before(&mut self, sublayer: usize, x: Tensor) {
        self.stage = 1 + sublayer;
        self.x = Some(x);
    }

    /// End after block `layer`, without logits.
    pub fn stop_after(&mut self, layer: usize) {
        self.end = (3 + 2 * layer).min(self.end);
    }

    /// End before one of the 2L sublayers, without logits.
    pub fn stop_before(&mut self, sublayer: usize) {
        self.end = (1 + sublayer).min(self.end);
    }

    /// Whether the pass has ended.
    pub fn is_done(&self) -> bool {
        self.stage >= self.end
    }

    /// Do one stage: the embedding, a sublayer, or the unembedding.
    ///
    /// # Errors
    /// [`Error::NotFinite`], but for [`Ask::lenient`], once the stream or the logits are no finite numbers.
    pub fn step(&mut self) -> Result<()> {
        let stage = self.stage;
        self.join(stage)?;
        self.stage += 1;
        let before = self.before(stage);
        self.stage_of(stage)?;
        self.look(stage, before)
    }

    fn stage_of(&mut self, stage: usize) -> Result<()> {
        let last = 2 * self.model.spec.n_layers() + 1;
        if stage == 0 {
            self.embed()
        } else if stage < last {
            let layer = (stage - 1) / 2;
            self.out.work.rows += self.rows() as u64;
            if stage % 2 == 1 { self.attention(layer) } else { self.ffn(layer) }
        } else {
            self.unembed()
        }
    }

    /// Do all stages, asking `cancelled` before each.
    pub fn run(mut self, cancelled: &dyn Fn() -> bool) -> Result<Output> {
        while !self.is_done() {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            self.step()?;
        }
        Ok(self.finish())
    }

    /// The stream that the first block reads, `[rows, d]`.
    pub fn embedded(mut self) -> Result<Tensor> {
        self.embed()?;
        self.stream()
    }

    /// The stream where the pass stopped, branch by branch, `[rows, d]`, and what it cost.
    pub fn into_stream(mut self) -> Result<(Tensor, Work)> {
        let x = self.stream()?;
        Ok((self.in_order(x)?, self.out.work))
    }

    /// What was computed.
    pub fn finish(self) -> Output {
        self.out
    }

    /// The stream as it is now, `[rows, d]`, taken out.
    fn stream(&mut self) -> Result<Tensor> {
        self.x.take().ok_or_else(|| Error::Internal("a pass was stepped past its end".into()))
    }

    /// Keep the stream `[rows, d]` before a sublayer.
    fn boundary(&mut self, number: usize, x: &Tensor) -> Result<()> {
        let last = 2 * self.model.spec.n_layers();
        if self.ask.boundaries == 0 || !number.is_multiple_of(self.ask.boundaries) && number != last {
            return Ok(());
        }
        if !self.forks {
            self.out.boundaries.insert(number, x.clone());
            return Ok(());
        }
        let mut first = 0;
        for strand in &self.strands {
            let rows = strand.positions.len();
            if self.out.of_branches.len() <= strand.number {
                self.out.of_branches.resize_with(strand.number + 1, Vec::new);
            }
            if let Some(own) = self.out.of_branches.get_mut(strand.number) {
                // A copy: a view would keep all branches.
                own.push(x.narrow(0, first, rows)?.force_contiguous()?);
            }
            first += rows;
        }
        Ok(())
    }

    /// Offer a site's value, of the site's shape, to the schedule and the captures.
    fn site(&mut self, site: Site, x: Tensor) -> Result<Tensor> {
        let mut x = self.edited(site, x)?;
        self.watch_site(site, &x)?;
        if let Some(probe) = self.ask.probes.get(&site) {
            x = fused::add(&x, probe)?;
        }
        if self.ask.capture.contains(&site) {
            self.out.captures.insert(site, x.clone());
        }
        Ok(x)
    }

    /// Whether a site is changed or kept.
    fn looks_at(&self, site: Site) -> bool {
        self.ask.capture.contains(&site) || self.edits(site)
    }

    /// [`Pass::site`] of a block.
    fn hook(&mut self, layer: usize, hook: Hook, x: Tensor) -> Result<Tensor> {
        self.site(Site::block(layer, hook), x)
    }

    fn embed(&mut self) -> Result<()> {
        let model = Arc::clone(&self.model);
        let mut x = model.weights.embed.rows(&self.tokens)?;
        if let Some((image, before)) = &self.image {
            x = image.put(&x, &self.tokens, *before)?;
        }
        if let Some(project) = &model.weights.project_in {
            x = project.apply(&x)?;
        }
        if let Some(scale) = model.spec.embed.scale {
            x = (x * f64::from(scale))?;
        }
        x = self.site(Site::Embed, x)?;
        if let (Some(table), Some(spec)) = (&model.weights.positions, model.spec.embed.positions) {
            let rows: Vec<u32> = self.positions().map(|p| (p + spec.offset) as u32).collect();
            let positions = self.site(Site::PosEmbed, ops::embedding(table, &rows)?)?;
            x = fused::add(&x, &positions)?;
        }
        self.x = Some(x);
        Ok(())
    }

    /// A norm with its two sites, scale and normalized. `x` `[rows, d]`; returns `[rows, d]`.
    fn norm(
        &mut self,
        spec: Option<&NormSpec>,
        weights: &NormWeights,
        x: &Tensor,
        sites: [Site; 2],
    ) -> Result<Tensor> {
        let Some(spec) = spec else { return Ok(x.clone()) };
        let mut normalized = fused::normalized(x, spec)?;
        if self.looks_at(sites[0]) || self.watch.closely() {
            let plain = fused::scale(x, spec)?;
            let scale = self.site(sites[0], plain.clone())?;
            if self.edits(sites[0]) {
                // A changed scale has to reach what is divided by it.
                normalized = normalized.broadcast_mul(&(plain / scale)?)?;
            }
        }
        let normalized = self.site(sites[1], normalized)?;
        fused::affine(&normalized, weights.weight.as_ref(), weights.bias.as_ref())
    }

    /// [`Pass::norm`] of a block.
    fn block_norm(
        &mut self,
        layer: usize,
        spec: Option<&NormSpec>,
        weights: &NormWeights,
        x: &Tensor,
        hooks: [Hook; 2],
    ) -> Result<Tensor> {
        self.norm(spec, weights, x, hooks.map(|hook| Site::block(layer, hook)))
    }

    fn attention(&mut self, layer: usize) -> Result<()> {
        let model = Arc::clone(&self.model);
        let (spec, weights) = model.layer(layer)?;
        let x = self.stream()?;
        // Before the edits: whoever enters the block here applies them again.
        self.boundary(2 * layer, &x)?;
        let x = self.hook(layer, Hook::ResidPre, x)?;
        let ln1 = [Hook::Ln1Scale, Hook::Ln1Normalized];
        let post_norm = spec.residual == Residual::PostNorm;
        let read = if post_norm {
            x.clone()
        } else {
            self.block_norm(layer, spec.ln1.as_ref(), &weights.ln1, &x, ln1)?
        };
        let inside = |hook: Hook| !hook.in_ffn() && hook > Hook::Ln1Normalized;
        let out = self.unless_zero(layer, Hook::AttnOut, inside, &read, |pass, read| {
            let mixed = pass.attend(layer, spec, weights, read)?;
            let post = [Hook::Ln1PostScale, Hook::Ln1PostNormalized];
            pass.block_norm(layer, spec.ln1_post.as_ref(), &weights.ln1_post, &mixed, post)
        })?;
        let out = self.hook(layer, Hook::AttnOut, out)?;
        if spec.residual == Residual::Parallel {
            self.parallel = Some((out, read));
            self.x = Some(x);
            return Ok(());
        }
        let mut x = fused::add(&x, &out)?;
        if post_norm {
            x = self.block_norm(layer, spec.ln1.as_ref(), &weights.ln1, &x, ln1)?;
        }
        self.x = Some(self.hook(layer, Hook::ResidMid, x)?);
        Ok(())
    }

    /// Queries read keys; returns the output projection, `[rows, d]`.
    fn attend(
        &mut self,
        layer: usize,
        spec: &LayerSpec,
        weights: &LayerWeights,
        read: &Tensor,
    ) -> Result<Tensor> {
        let attn = &spec.attn;
        let rows = read.dim(0)?;
        let heads = |x: Tensor, heads: usize| x.reshape((rows, heads, attn.d_head));
        let q = heads(weights.query.apply(read)?, attn.heads)?;
        let k = heads(weights.key.apply(read)?, attn.kv_heads)?;
        let v = heads(weights.value.apply(read)?, attn.kv_heads)?;
        let mut q = self.hook(layer, Hook::Q, q)?;
        let mut k = self.hook(layer, Hook::K, k)?;
        let mut v = self.hook(layer, Hook::V, v)?;
        if let Some(qk) = &attn.qk_norm {
            q = qk_norm(&q, &qk.norm, qk.over, &weights.query_norm)?;
            k = qk_norm(&k, &qk.norm, qk.over, &weights.key_norm)?;
        }
        if let Some(bound) = attn.clip {
            [q, k, v] = clipped([q, k, v], bound)?;
        }
        if let Some(table) = self.rope(layer)? {
            let rotated = fused::rotate(&q, &table)?;
            q = self.hook(layer, Hook::RotQ, rotated)?;
            let rotated = fused::rotate(&k, &table)?;
            k = self.hook(layer, Hook::RotK, rotated)?;
        }
        let readers = if self.forks {
            let spans: Vec<(usize, usize)> = self.strands.iter().map(Strand::span).collect();
            Readers::of_forks(&spans, &k, &v)?
        } else {
            let keys = self.strands.first().map_or(0, Strand::end);
            self.cache.write(layer, keys - rows, &k, &v)?;
            Readers::of_cache(rows, keys)
        };
        let masked = Masked {
            scale: attn.scale,
            cap: attn.soft_cap,
            visible: self.visible(attn.window),
            sinks: weights.sinks.clone(),
        };
        let projections = 2 * (attn.heads + attn.kv_heads) * attn.d_head * self.model.spec.d_model;
        // Counted as if nobody changed scores or pattern.
        let pairs = readers.pairs(&masked.visible) * attn.heads * attn.d_head;
        self.out.work.layers += (2 * (rows * projections + 2 * pairs)) as u64;
        let [scores, pattern] = [Hook::AttnScores, Hook::Pattern].map(|hook| Site::block(layer, hook));
        // Fused attention has no backward.
        let tracked = [&q, &k, &v].into_iter().any(|x| x.track_op())
            || [scores, pattern].iter().any(|site| self.ask.probes.contains_key(site));
        let whole = !self.forks && self.strands.first().is_some_and(|strand| strand.end() == rows);
        if tracked && !whole {
            return Err(Error::Internal("gradients need a pass from the first position on".into()));
        }
        let mixed = if tracked || self.watch.closely() || self.edits(scores) || self.edits(pattern) {
            let raw = match tracked {
                true => ops::attention_raw(&by_head(&q)?, &by_head(&k)?)?,
                false => readers.raw(&self.cache, layer, &q)?,
            };
            let scores = self.site(scores, fused::scores(&raw, &masked)?)?;
            let pattern = self.site(pattern, fused::softmax(&scores, &masked.sinks)?)?;
            match tracked {
                true => ops::attention_mix(&pattern, &by_head(&v)?)?,
                false => readers.mix(&self.cache, layer, &pattern)?,
            }
        } else {
            let [keep_scores, keep_pattern] = [scores, pattern].map(|site| self.ask.capture.contains(&site));
            let keep = Keep { scores: keep_scores, pattern: keep_pattern };
            let attended = readers.attend(&self.cache, layer, &q, &masked, keep)?;
            let kept = [(scores, attended.scores), (pattern, attended.pattern)];
            self.out.captures.extend(kept.into_iter().filter_map(|(site, value)| Some((site, value?))));
            attended.mixed
        };
        let z = self.hook(layer, Hook::Z, mixed)?;
        weights.out.apply(&z.reshape((rows, attn.heads * attn.d_head))?)
    }

    /// The keys that each row's query sees: its own and those before it, within the window.
    fn visible(&mut self, window: Option<usize>) -> Visible {
        let seen = |query: usize| window.map_or(0, |window| (query + 1).saturating_sub(window))..query + 1;
        if let Some(known) = self.visible.get(&window) {
            return Arc::clone(known);
        }
        let visible: Visible = self.positions().map(seen).collect();
        self.visible.insert(window, Arc::clone(&visible));
        visible
    }

    fn rope(&mut self, layer: usize) -> Result<Option<RopeTable>> {
        let Some(index) = self.model.rope_of.get(layer).copied().flatten() else { return Ok(None) };
        if let Some(Some(known)) = self.ropes.get(index) {
            return Ok(Some(known.clone()));
        }
        let positions: Vec<usize> = self.positions().collect();
        let (Some(slot), Some(spec)) = (self.ropes.get_mut(index), self.model.ropes.get(index)) else {
            return Ok(None);
        };
        let len = positions.last().map_or(0, |last| last + 1);
        Ok(slot.insert(RopeTable::new(spec, &positions, len)?).clone().into())
    }

    fn unembed(&mut self) -> Result<()> {
        let model = Arc::clone(&self.model);
        let x = self.stream()?;
        self.boundary(2 * model.spec.n_layers(), &x)?;
        if self.ask.logits == Logits::None {
            return Ok(());
        }
        // Without a capture of the final norm only the asked rows go through it.
        let sites = [Site::FinalScale, Site::FinalNormalized];
        let last = self.ask.logits == Logits::Last;
        let early = last && !sites.iter().any(|site| self.ask.capture.contains(site));
        let x = match early.then(|| self.keep_last()).flatten() {
            Some(rows) => select(&x, &rows)?,
            None => x,
        };
        let normed = self.norm(model.spec.ln_final.as_ref(), &model.weights.ln_final, &x, sites)?;
        let normed = match last.then(|| self.keep_last()).flatten() {
            Some(rows) => select(&normed, &rows)?,
            None => normed,
        };
        self.out.work.unembedding += (2 * normed.elem_count() * model.spec.vocab) as u64;
        self.out.logits = Some(model.project(&self.in_order(normed)?)?);
        Ok(())
    }
}

/// `[rows, heads, d_head]` as `[heads, rows, d_head]`.
fn by_head(x: &Tensor) -> Result<Tensor> {
    Ok(x.transpose(0, 1)?.contiguous()?)
}

/// Values no lower than minus `bound` and no higher than `bound`; a negative bound wins over its opposite.
fn clipped<const N: usize>(values: [Tensor; N], bound: f32) -> Result<[Tensor; N]> {
    let bound = f64::from(bound);
    let mut out = values;
    for x in &mut out {
        *x = x.maximum(-bound)?.minimum(bound)?;
    }
    Ok(out)
}

/// Norm of queries or keys `[rows, heads, d_head]`.
fn qk_norm(x: &Tensor, norm: &NormSpec, over: QkNormOver, weights: &NormWeights) -> Result<Tensor> {
    let shape = x.shape().clone();
    let x = if over == QkNormOver::Full { x.flatten_from(1)? } else { x.clone() };
    let normed = fused::normalized(&x, norm)?;
    let y = fused::affine(&normed, weights.weight.as_ref(), weights.bias.as_ref())?;
    Ok(y.reshape(shape)?)
}
