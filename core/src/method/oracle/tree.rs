//! Every route of FFN lanes over the layers, as a tree: routes that agree up to a layer share all that comes before it.

use std::collections::HashSet;
use std::sync::Arc;

use candle_core::Tensor;

use super::labels::{Labels, drawn_target, wrong_targets};
use super::table::count_patterns;
use crate::engine::{Cancelled, Engine, memory};
use crate::error::{Error, Result};
use crate::model::{Ask, Branch, Ffn, Input, Logits, Pass, Schedule, Work, fused};
use crate::plan::Plan;
use crate::spec::Lane;

/// Most patterns that are enumerated.
pub const MOST_PATTERNS: usize = 1 << 16;
/// Logits of one batch at most.
const MOST_LOGITS: usize = 1 << 25;

/// Losses of a route, a value per token that is scored.
pub struct RouteLosses {
    /// Its number, as in [`super::table::LossTable`].
    pub pattern: usize,
    /// Nats, by labels: the next tokens; then those of the controls, where they are scored.
    pub of: Labels<Vec<f32>>,
}

/// Labels that routes are scored with beside the next tokens: they say what choosing among many routes gives by itself.
#[derive(Clone, Copy, Debug)]
pub enum Controls<'a> {
    /// None.
    Without,
    /// For each scored token another one of similar frequency, and one drawn from the prediction with every FFN big.
    With {
        /// Those of similar frequency, where they are of a longer text; none = of this prompt.
        wrong: Option<&'a [u32]>,
        /// Number of the sequence in its text: other ones have other draws.
        sequence: usize,
    },
}

impl Controls<'_> {
    /// Of a prompt that stands alone.
    pub const PROMPT: Self = Self::With { wrong: None, sequence: 0 };
}

/// The tree, on its way.
pub struct RouteTree {
    layers: usize,
    len: usize,
    lanes: usize,
    /// By layer and lane.
    schedules: Vec<Vec<Arc<Schedule>>>,
    /// Positions whose next token is a word: not the last one, nor those before a patch of a picture.
    scored: Vec<usize>,
    /// By labels, for every position: the next tokens; then those of the controls, where they are scored.
    targets: Labels<Vec<u32>>,
    /// The deepest last.
    waiting: Vec<Group>,
    under_way: Option<(Group, Pass)>,
    /// The beginnings of the routes that are wanted, by the number of layers that they decide less one; none = all routes.
    wanted: Option<Vec<HashSet<usize>>>,
    /// Routes done, and routes in all.
    done: [usize; 2],
    /// What it cost so far.
    pub work: Work,
}

/// Routes that are decided up to a layer.
struct Group {
    /// The next to decide.
    layer: usize,
    /// Their digits up to there.
    patterns: Vec<usize>,
    /// Their streams where that layer's FFN comes in, one after the other, `[patterns * T, d]`.
    x: Tensor,
}

impl RouteTree {
    /// All routes of `lanes` (the big one last) under a plan, whose own routing maps they replace.
    ///
    /// # Errors
    /// More routes than [`MOST_PATTERNS`], a prompt without a next token, or too little memory.
    pub fn new(
        engine: &mut Engine,
        plan: &Plan,
        tokens: &Input,
        lanes: &[Lane],
        controls: Controls,
        cancelled: Cancelled,
    ) -> Result<Self> {
        let layers = engine.model.spec.n_layers();
        let all = count_patterns(lanes.len(), layers).filter(|&all| all <= MOST_PATTERNS);
        let too_many = Error::Routes { lanes: lanes.len(), layers, most: MOST_PATTERNS, beam: false };
        let all = all.ok_or(too_many)?;
        Self::over(engine, plan, tokens, lanes, (all, None, controls), cancelled)
    }

    /// Some routes, by their numbers.
    ///
    /// # Errors
    /// As [`RouteTree::new`].
    pub fn of(
        engine: &mut Engine,
        plan: &Plan,
        tokens: &Input,
        lanes: &[Lane],
        (patterns, controls): (&[usize], Controls),
        cancelled: Cancelled,
    ) -> Result<Self> {
        let layers = engine.model.spec.n_layers();
        if count_patterns(lanes.len(), layers).is_none() || patterns.len() > MOST_PATTERNS {
            return Err(Error::Study(format!("routes over {layers} layers cannot be numbered")));
        }
        let beginnings = |depth: usize| {
            let base = lanes.len().pow(depth as u32);
            patterns.iter().map(|pattern| pattern % base).collect()
        };
        let wanted: Vec<HashSet<usize>> = (1..=layers).map(beginnings).collect();
        let count = patterns.iter().collect::<HashSet<_>>().len();
        Self::over(engine, plan, tokens, lanes, (count, Some(wanted), controls), cancelled)
    }

    fn over(
        engine: &mut Engine,
        plan: &Plan,
        tokens: &Input,
        lanes: &[Lane],
        (all, wanted, controls): (usize, Option<Vec<HashSet<usize>>>, Controls),
        cancelled: Cancelled,
    ) -> Result<Self> {
        let (layers, len) = (engine.model.spec.n_layers(), tokens.len());
        let scored = scored(tokens);
        if scored.is_empty() || lanes.is_empty() {
            return Err(Error::Input("a loss needs a next token: the prompt must have two tokens".into()));
        }
        let Unrouted { schedule, through: schedules } = through(engine, plan, tokens, lanes, cancelled)?;
        let spec = &engine.model.spec;
        let rows = room(engine, len, lanes.len()) * lanes.len() * len;
        // Losses of all routes, streams that wait at every layer, the rows under way, and their logits with a copy.
        let widest = spec.layers.iter().map(|layer| layer.ffn_width()).max().unwrap_or(0);
        let values = 3 * all * scored.len()
            + rows * ((layers + 8) * spec.d_model + widest)
            + 2 * MOST_LOGITS.max(len * lanes.len() * spec.vocab);
        memory::check(&format!("{all} routes of {len} tokens"), 4 * values as u64)?;
        let (mut root, _) = engine.start(tokens, &schedule, Ask::default())?;
        root.stop_before(engine.entry(1));
        while !root.is_done() {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            root.step()?;
        }
        let (x, work) = root.into_stream()?;
        let words: Vec<u32> =
            scored.iter().filter_map(|position| tokens.get(position + 1).copied()).collect();
        let mut tree = Self {
            layers,
            len,
            lanes: lanes.len(),
            schedules,
            targets: Labels::of(spread(len, &scored, &words)),
            scored,
            waiting: vec![Group { layer: 0, patterns: vec![0], x }],
            under_way: None,
            wanted,
            done: [0, all],
            work,
        };
        if let Controls::With { wrong, sequence } = controls {
            let own = || wrong_targets(&[&words], engine.model.spec.vocab).pop().unwrap_or_default();
            let wrong = wrong.map_or_else(own, <[u32]>::to_vec);
            tree.targets.wrong = spread(len, &tree.scored, &wrong);
            tree.targets.drawn = tree.draw(engine, tokens, sequence as u64, cancelled)?;
        }
        Ok(tree)
    }

    /// A label of every scored position from the prediction with every FFN in the last lane, the big one.
    fn draw(
        &mut self,
        engine: &Engine,
        tokens: &Input,
        sequence: u64,
        cancelled: Cancelled,
    ) -> Result<Vec<u32>> {
        let ask = Ask { logits: Logits::All, ..Ask::default() };
        let big = self.uniform(self.lanes.saturating_sub(1));
        let output = engine.start(tokens, &big, ask)?.0.run(cancelled)?;
        self.work += output.work;
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        let mut drawn = vec![0; self.len];
        for &position in &self.scored {
            let row: Vec<f32> = logits.get(position)?.to_vec1()?;
            if let Some(slot) = drawn.get_mut(position) {
                *slot = drawn_target(&row, sequence, position as u64);
            }
        }
        Ok(drawn)
    }

    /// What a layer's FFN can be, counted.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// One lane at every layer.
    pub fn uniform(&self, digit: usize) -> Arc<Schedule> {
        let of_layer = |lanes: &Vec<Arc<Schedule>>| lanes.get(digit).cloned();
        let mut layers =
            self.schedules.iter().enumerate().filter_map(|(layer, lanes)| Some((layer, of_layer(lanes)?)));
        let Some((_, first)) = layers.next() else { return Schedule::none() };
        Arc::new(layers.fold((*first).clone(), |all, (layer, own)| all.with_lanes_of(layer, &own)))
    }

    /// Positions that are scored, in order.
    pub fn scored(&self) -> &[usize] {
        &self.scored
    }

    /// The labels of every position.
    pub fn targets(&self) -> &Labels<Vec<u32>> {
        &self.targets
    }

    /// Routes done, and routes in all.
    pub fn progress(&self) -> [usize; 2] {
        self.done
    }

    /// Whether all are done.
    pub fn is_done(&self) -> bool {
        self.done[0] >= self.done[1]
    }

    /// One sublayer. The routes that it brings to their end.
    ///
    /// # Errors
    /// What a pass refuses, or more memory than there is.
    pub fn step(&mut self, engine: &Engine) -> Result<Vec<RouteLosses>> {
        let (group, mut pass) = match self.under_way.take() {
            Some(under_way) => under_way,
            None => match self.waiting.pop() {
                Some(group) => self.begin(engine, group)?,
                None => return Ok(Vec::new()),
            },
        };
        pass.step()?;
        if !pass.is_done() {
            self.under_way = Some((group, pass));
            return Ok(Vec::new());
        }
        if group.layer + 1 < self.layers {
            let (x, work) = pass.into_stream()?;
            self.work += work;
            self.waiting.push(Group { layer: group.layer + 1, patterns: group.patterns, x });
            return Ok(Vec::new());
        }
        let output = pass.finish();
        self.work += output.work;
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        self.losses(&group.patterns, &logits)
    }

    /// Decide a layer for as many routes as fit beside each other; the others wait.
    fn begin(&mut self, engine: &Engine, mut group: Group) -> Result<(Group, Pass)> {
        let fit = room(engine, self.len, self.lanes);
        if group.patterns.len() > fit {
            let later = group.patterns.split_off(fit);
            let x = group.x.narrow(0, fit * self.len, later.len() * self.len)?.force_contiguous()?;
            group.x = group.x.narrow(0, 0, fit * self.len)?;
            self.waiting.push(Group { layer: group.layer, patterns: later, x });
        }
        let layer = group.layer;
        let weight = self.lanes.pow(layer as u32);
        let sublayer = engine.entry(2 * layer + 1);
        let mut branches = Vec::with_capacity(group.patterns.len() * self.lanes);
        let mut patterns = Vec::with_capacity(branches.capacity());
        let schedules = self.schedules.get(layer).map_or(&[][..], Vec::as_slice);
        for (digit, schedule) in schedules.iter().enumerate() {
            for (place, pattern) in group.patterns.iter().enumerate() {
                let next = pattern + digit * weight;
                if self.wanted.as_ref().is_some_and(|of| of.get(layer).is_none_or(|of| !of.contains(&next))) {
                    continue;
                }
                let x = group.x.narrow(0, place * self.len, self.len)?;
                let schedule = Arc::clone(schedule);
                branches.push(Branch { schedule, sublayer, start: 0, end: self.len, x });
                patterns.push(next);
            }
        }
        let ask = Ask { logits: Logits::All, ..Ask::default() };
        let mut pass = engine.from_the_start(branches, ask)?;
        if layer + 1 < self.layers {
            pass.stop_before(engine.entry(2 * layer + 3));
        }
        Ok((Group { patterns, ..group }, pass))
    }

    fn losses(&mut self, patterns: &[usize], logits: &Tensor) -> Result<Vec<RouteLosses>> {
        let of = |targets: &Vec<u32>| -> Result<Vec<f32>> {
            if targets.is_empty() {
                return Ok(Vec::new());
            }
            let all: Vec<u32> = std::iter::repeat_n(targets, patterns.len()).flatten().copied().collect();
            Ok(fused::surprisal(logits, &all)?.to_vec1()?)
        };
        let values = self.targets.try_map(of)?;
        self.done[0] += patterns.len();
        let pick = |place: usize, values: &Vec<f32>| -> Vec<f32> {
            let row = values.chunks_exact(self.len).nth(place).unwrap_or_default();
            self.scored.iter().filter_map(|position| row.get(*position).copied()).collect()
        };
        let losses = patterns
            .iter()
            .enumerate()
            .map(|(place, &pattern)| RouteLosses { pattern, of: values.map(|values| pick(place, values)) });
        Ok(losses.collect())
    }
}

/// A plan without its own routing.
pub(super) struct Unrouted {
    /// As it is.
    pub schedule: Arc<Schedule>,
    /// Through one lane, by layer and lane.
    pub through: Vec<Vec<Arc<Schedule>>>,
}

/// Compile a plan without its own routing.
pub(super) fn through(
    engine: &mut Engine,
    plan: &Plan,
    tokens: &Input,
    lanes: &[Lane],
    cancelled: Cancelled,
) -> Result<Unrouted> {
    let layers = engine.model.spec.n_layers();
    let small: Option<Arc<[Ffn]>> =
        if lanes.contains(&Lane::Small) { Some(engine.small(&plan.surrogate(), cancelled)?) } else { None };
    let schedule = engine.schedule(&plan.unrouted(), tokens, cancelled)?;
    let one = |layer, lane: &Lane| Arc::new(schedule.through(layer, *lane, layers, small.as_ref()));
    let through = (0..layers).map(|layer| lanes.iter().map(|lane| one(layer, lane)).collect()).collect();
    Ok(Unrouted { through, schedule })
}

/// Labels of the scored positions as a list of all; what is not scored has any.
fn spread(len: usize, scored: &[usize], ids: &[u32]) -> Vec<u32> {
    let mut all = vec![0; len];
    for (position, id) in scored.iter().zip(ids) {
        if let Some(slot) = all.get_mut(*position) {
            *slot = *id;
        }
    }
    all
}

/// Positions whose next token is a word: not the last one, nor those before a patch of a picture.
pub(super) fn scored(tokens: &Input) -> Vec<usize> {
    let patch = tokens.image().map(|image| image.token);
    let next = tokens.iter().skip(1).copied();
    (0..).zip(next).filter(|(_, next)| Some(*next) != patch).map(|(position, _)| position).collect()
}

/// Routes that may be decided beside each other.
pub(super) fn room(engine: &Engine, len: usize, lanes: usize) -> usize {
    let rows = engine.rows_at_once().min(MOST_LOGITS / engine.model.spec.vocab.max(1));
    (rows / (len * lanes).max(1)).max(1)
}
