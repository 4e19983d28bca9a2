//! Variants beside each other: each is a prompt under a plan, run once and kept while it is on screen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Board;
use super::drawn::draw;
use super::guard::{caught, failure};
use crate::engine::{Cancelled, Card, Engine, RunSize, available_bytes};
use crate::error::{Error, Result};
use crate::method::view::{NextAsk, Runs, StripAsk};
use crate::metric;
use crate::protocol::{Column, Columns, Event, RequestId, Slot, Variant, View, ViewData};

/// Views kept of the same runs, newest last.
const MOST_VIEWS: usize = 16;
/// Share of the free memory that kept variants may take.
const SHARE: u64 = 4;

/// How often figures of those that are there are told.
const OFTEN: Duration = Duration::from_millis(50);

/// Runs with the views computed of them.
pub(super) struct Shown {
    pub runs: Runs,
    pub views: Vec<(View, Arc<ViewData>)>,
}

impl Shown {
    /// A view, computed once. Cancelled or failed, nothing is kept.
    pub(super) fn view(
        &mut self,
        view: &View,
        engine: &mut Engine,
        cancelled: Cancelled,
    ) -> Result<Arc<ViewData>> {
        let known = self.views.iter().position(|(known, _)| known == view);
        let data = match known {
            Some(index) => self.views.remove(index).1,
            None => {
                let of = &mut self.runs.provenance;
                (of.method, of.ask) = (view.method().id.into(), view.ask());
                Arc::new(view.compute(engine, &self.runs, cancelled)?)
            }
        };
        self.views.push((view.clone(), Arc::clone(&data)));
        let excess = self.views.len().saturating_sub(MOST_VIEWS);
        self.views.drain(..excess);
        Ok(data)
    }
}

/// Variants under way.
pub(super) struct Comparing {
    id: RequestId,
    ask: Columns,
    /// The next one: the one that others are compared with comes first.
    next: usize,
    /// By index, as far as they are there.
    there: Vec<Option<Arc<Column>>>,
    /// When their figures were told.
    told: Option<Instant>,
    /// The one that others are compared with cannot be run.
    baseless: bool,
}

impl Comparing {
    pub(super) fn new(id: RequestId, ask: Columns) -> Self {
        let there = vec![None; ask.variants.len()];
        Self { id, ask, next: 0, there, told: None, baseless: false }
    }

    /// One variant; what a person changes meanwhile comes first, and it is begun again. Whether there are more.
    pub(super) fn go_on(
        &mut self,
        board: &Board,
        engine: &mut Engine,
        card: &Card,
        (scenes, kept): (&[Shown], &mut Vec<Shown>),
    ) -> bool {
        let id = self.id;
        let urgent = || board.has(Slot::Open) || board.has(Slot::Scene);
        let cancelled = || board.stale(Slot::Columns, id) || urgent();
        if cancelled() {
            return !board.stale(Slot::Columns, id);
        }
        if self.next == 0 {
            // What an earlier request left.
            self.forget(engine, kept);
        }
        let mut order = std::iter::once(self.ask.against)
            .chain((0..self.ask.variants.len()).filter(|&i| i != self.ask.against));
        let Some(index) = order.nth(self.next) else { return false };
        let column = caught(|| self.column(index, engine, card, (scenes, kept), &cancelled));
        if matches!(column, Err(Error::Cancelled)) {
            // Begun again after what is more urgent.
            return !board.stale(Slot::Columns, id);
        }
        // One that cannot be run takes none of the others with it.
        self.next += 1;
        self.baseless |= column.is_err() && index == self.ask.against;
        let column = column.map(Arc::new).map_err(|error| failure(&error));
        if let (Some(slot), Ok(column)) = (self.there.get_mut(index), &column) {
            *slot = Some(Arc::clone(column));
        }
        board.post(Event::Column(id, index, column));
        let last = self.next == self.ask.variants.len();
        if last || self.told.is_none_or(|told| told.elapsed() >= OFTEN) {
            if let Ok(compared) = caught(|| Ok(draw(&self.ask, &self.there))) {
                board.post(Event::Compared(id, Arc::new(compared)));
            }
            self.told = Some(Instant::now());
        }
        let more = self.next < self.ask.variants.len() && !board.stale(Slot::Columns, id);
        if !more {
            self.forget(engine, kept);
        }
        more
    }

    fn column(
        &self,
        index: usize,
        engine: &mut Engine,
        card: &Card,
        (scenes, kept): (&[Shown], &mut Vec<Shown>),
        cancelled: Cancelled,
    ) -> Result<Column> {
        let missing = || Error::Internal("there is no such variant".into());
        let (_, variant) = self.ask.variants.get(index).ok_or_else(missing)?;
        let at = place(variant, engine, card, (scenes, kept), cancelled)?;
        let (_, against) = self.ask.variants.get(self.ask.against).ok_or_else(missing)?;
        let other = match self.baseless {
            true => None,
            false => Some(place(against, engine, card, (scenes, kept), cancelled)?),
        };
        let log =
            |kept: &[Shown], at: usize| kept.get(at).map(|shown| metric::log_softmax(&shown.runs.plan.last));
        let kl = other
            .and_then(|other| log(kept, other))
            .zip(log(kept, at))
            .map_or(f64::NAN, |(other, own)| metric::kl(&other, &own));
        let shown = kept.get_mut(at).ok_or_else(missing)?;
        Ok(Column {
            tokens: Arc::clone(&shown.runs.tokens),
            next: shown.view(&NextAsk::default().into(), engine, cancelled)?,
            strip: shown.view(&StripAsk {}.into(), engine, cancelled)?,
            view: shown.view(&self.ask.view, engine, cancelled)?,
            kl,
        })
    }

    /// Drop variants that are not asked for, and the oldest past their share of memory.
    fn forget(&self, engine: &mut Engine, kept: &mut Vec<Shown>) {
        let asked =
            |shown: &Shown| self.ask.variants.iter().any(|(_, variant)| is_of(shown, variant, engine));
        let keeps: Vec<bool> = kept.iter().map(asked).collect();
        let mut keeps = keeps.into_iter();
        kept.retain(|_| keeps.next().unwrap_or(false));
        let tokens = kept.iter().map(|shown| shown.runs.tokens.len()).max().unwrap_or(0);
        let each = RunSize::new(&engine.model.spec, tokens).with_boundaries().bytes().max(1);
        let most = available_bytes().map_or(usize::MAX, |free| (free / SHARE / each) as usize);
        let excess = kept.len().saturating_sub(most.max(1));
        kept.drain(..excess);
    }
}

/// Where a variant is kept; run where it is not.
fn place(
    variant: &Variant,
    engine: &mut Engine,
    card: &Card,
    (scenes, kept): (&[Shown], &mut Vec<Shown>),
    cancelled: Cancelled,
) -> Result<usize> {
    let ids = engine.input(&variant.prompt)?;
    let context = engine.model.spec.context;
    if ids.len() > context {
        return Err(Error::Context { tokens: ids.len(), context });
    }
    let plan = variant.plan.fitted(ids.len());
    let is = |shown: &Shown| shown.runs.base.tokens == ids && shown.runs.source == plan;
    if let Some(at) = kept.iter().position(is) {
        return Ok(at);
    }
    // What is on screen, or another plan of the same prompt, was run already.
    let same = scenes.iter().chain(kept.iter()).find(|shown| shown.runs.base.tokens == ids);
    let known = same.map(|shown| Arc::clone(&shown.runs.base));
    let provenance = card.provenance(&variant.prompt, &plan);
    let runs = match scenes.iter().find(|shown| is(shown)) {
        Some(shown) => Runs {
            base: Arc::clone(&shown.runs.base),
            plan: Arc::clone(&shown.runs.plan),
            source: plan,
            tokens: Arc::clone(&shown.runs.tokens),
            provenance,
        },
        None => {
            let base = known.map_or_else(|| engine.base(&ids, cancelled), Ok)?;
            Runs::under(engine, base, plan, provenance, cancelled)?
        }
    };
    kept.push(Shown { runs, views: Vec::new() });
    Ok(kept.len() - 1)
}

fn is_of(shown: &Shown, variant: &Variant, engine: &mut Engine) -> bool {
    let ids = engine.input(&variant.prompt);
    ids.is_ok_and(|ids| shown.runs.base.tokens == ids && shown.runs.source == variant.plan.fitted(ids.len()))
}
