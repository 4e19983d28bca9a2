//! What the forward pass reads of a plan: per site its edits, per layer its lanes and rules about experts. The pass only
//! looks up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candle_core::Tensor;

use super::Ffn;
use crate::error::Result;
use crate::site::{Hook, Site};
use crate::spec::{Lane, LayerRoute, Positions};

mod edit;
mod experts;
mod following;
mod router;

pub(crate) use edit::{Edit, Op, RowMap, Rows, Values};
pub use experts::{Choice, Rules};
pub(crate) use following::Following;
pub use router::RouterMatrices;

/// A compiled plan. Cloning shares the tensors.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    edits: HashMap<Site, Vec<Edit>>,
    layers: Vec<Option<Routing>>,
    small: Option<Arc<[Ffn]>>,
    choices: BTreeMap<usize, Vec<Choice>>,
    /// A learned router with its strength; painted lanes lie over what it chooses.
    router: Option<(Arc<RouterMatrices>, f32)>,
    /// Past the prompt, injections of what the same token has without a plan.
    following: Vec<Following>,
}

/// Routing of one layer: every map of the stack merged into one. Later maps win where they leave the big lane;
/// strengths are not mixed, the last one counts.
#[derive(Clone, Debug)]
struct Routing {
    route: LayerRoute,
    strength: f32,
    prompt_len: usize,
}

impl Schedule {
    /// The schedule of no plan.
    pub fn none() -> Arc<Self> {
        Arc::default()
    }

    /// Change `site`, after what changes it already.
    pub(crate) fn push_edit(&mut self, site: Site, edit: Edit) {
        self.edits.entry(site).or_default().push(edit);
    }

    /// One more rule about the experts of `layer`.
    pub(crate) fn push_choice(&mut self, layer: usize, choice: Choice) {
        self.choices.entry(layer).or_default().push(choice);
    }

    /// Lay a routing map over those before it, for a prompt of `prompt_len` tokens.
    pub(crate) fn lay_over(&mut self, map: &[LayerRoute], strength: f32, prompt_len: usize, n_layers: usize) {
        self.layers.resize(n_layers, None);
        for lanes in map {
            let Some(slot) = self.layers.get_mut(lanes.layer) else { continue };
            let known = slot.get_or_insert_with(|| {
                let route = LayerRoute { layer: lanes.layer, ..LayerRoute::default() };
                Routing { route, strength, prompt_len }
            });
            known.strength = strength;
            known.route.lay_over(lanes, prompt_len);
        }
    }

    /// Route by a learned router, with a strength.
    pub(crate) fn set_router(&mut self, router: Arc<RouterMatrices>, strength: f32) {
        self.router = Some((router, strength));
    }

    /// The small FFNs, one per layer.
    pub(crate) fn set_small(&mut self, small: Arc<[Ffn]>) {
        self.small = Some(small);
    }

    /// Whether there are small FFNs.
    pub(crate) fn has_small(&self) -> bool {
        self.small.is_some()
    }

    /// Take from tokens that skip a layer what its attention adds. Once all lanes are laid, before any edit.
    pub(crate) fn skip_attention(&mut self, prompt_len: usize) {
        for (index, routing) in self.layers.iter().enumerate() {
            let Some(Routing { route, strength, .. }) = routing else { continue };
            if route.next == Lane::SkipLayer || route.tokens.contains(&Lane::SkipLayer) {
                let rows = Rows::Skipping(route.clone(), prompt_len);
                let edit = Edit { rows, unit: None, strength: *strength, op: Op::Zero, label: None };
                self.edits.entry(Site::block(index, Hook::AttnOut)).or_default().push(edit);
            }
        }
    }

    /// This schedule, with `site` at `positions` replaced by what it was in `source` (a whole run's value, of the site's shape), after
    /// everything else.
    pub fn restoring(&self, site: Site, positions: &[usize], source: &Tensor) -> Self {
        let rows = Rows::Positions(Positions::At(positions.to_vec()), 0);
        let op = Op::Put(Values::Rows(source.clone(), RowMap::Same));
        let mut schedule = self.clone();
        schedule.push_edit(site, Edit { rows, unit: None, strength: 1.0, op, label: None });
        schedule
    }

    /// This schedule, with `site` set to zero at every position, after everything else.
    pub fn zeroing(&self, site: Site) -> Self {
        let rows = Rows::Positions(Positions::All, 0);
        let mut schedule = self.clone();
        schedule.push_edit(site, Edit { rows, unit: None, strength: 1.0, op: Op::Zero, label: None });
        schedule
    }

    /// This schedule, with every position through one lane at `layer` instead of what a routing map says there. `small` has
    /// the small FFNs.
    pub fn through(&self, layer: usize, lane: Lane, n_layers: usize, small: Option<&Arc<[Ffn]>>) -> Self {
        let mut schedule = Self { router: None, ..self.clone() };
        schedule.layers.resize(n_layers, None);
        if let Some(slot) = schedule.layers.get_mut(layer) {
            let route = LayerRoute { layer, tokens: Vec::new(), next: lane };
            // Past a prompt of no tokens, everything is what comes next.
            *slot = Some(Routing { route, strength: 1.0, prompt_len: 0 });
        }
        schedule.small = small.cloned().or(schedule.small);
        schedule
    }

    /// This schedule, with what another says of the lanes at `layer`.
    pub fn with_lanes_of(&self, layer: usize, other: &Self) -> Self {
        let mut schedule = self.clone();
        if let (Some(slot), Some(own)) = (schedule.layers.get_mut(layer), other.layers.get(layer)) {
            slot.clone_from(own);
        }
        schedule
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty() && self.layers.is_empty() && self.choices.is_empty() && self.router.is_none()
    }

    /// Whether tokens go through other lanes, or to experts that they would not choose.
    pub fn is_routed(&self) -> bool {
        self.layers.iter().any(Option::is_some) || !self.choices.is_empty() || self.router.is_some()
    }

    /// The first of the 2L sublayers that can compute something else than without a plan (2L = the unembedding); `None` =
    /// the embedding itself.
    pub fn first_sublayer(&self, n_layers: usize) -> Option<usize> {
        let edited = self.edits.keys().map(|site| match *site {
            Site::Embed | Site::PosEmbed => None,
            Site::Block { layer, hook } => Some(2 * layer + usize::from(hook.in_ffn())),
            Site::FinalScale | Site::FinalNormalized => Some(2 * n_layers),
        });
        let routed = self.layers.iter().enumerate().filter(|(_, routing)| routing.is_some());
        let routed = routed.map(|(layer, _)| Some(2 * layer + 1));
        let chosen = self.choices.keys().map(|layer| Some(2 * layer + 1));
        // `None` is the least of options.
        let learned = self.router.iter().map(|_| Some(1));
        edited.chain(routed).chain(chosen).chain(learned).min().unwrap_or(Some(2 * n_layers))
    }

    /// The first of `len` positions whose row can be another than without a plan.
    pub fn first_position(&self, len: usize) -> Option<usize> {
        let edited = |position| self.edits.values().flatten().any(|edit| edit.rows.contains(position));
        let routed = |position| {
            let lane = |routing: &Routing| routing.route.lane(position, routing.prompt_len);
            self.layers.iter().flatten().any(|routing| lane(routing) != Lane::Big)
        };
        let chosen = |position| self.choices.values().flatten().any(|choice| choice.rows.contains(position));
        if self.router.is_some() && len > 0 {
            return Some(0);
        }
        (0..len).find(|&position| edited(position) || routed(position) || chosen(position))
    }

    /// A site's value after its edits. `x` has the site's shape, `[positions, ..]` or `[heads, positions, keys]`.
    pub fn apply(&self, site: Site, x: Tensor, positions: &[usize]) -> Result<Tensor> {
        if self.edits.is_empty() {
            return Ok(x);
        }
        match self.edits.get(&site) {
            None => Ok(x),
            Some(edits) => edits.iter().try_fold(x, |x, edit| edit.apply(site, x, positions)),
        }
    }

    /// Whether an edit sets all of `site` to zero at every position, so that nothing before it need be computed.
    pub fn zeroes(&self, site: Site) -> bool {
        let all = |edit: &Edit| {
            matches!(edit.op, Op::Zero)
                && edit.unit.is_none()
                && edit.strength == 1.0
                && matches!(edit.rows, Rows::Positions(Positions::All, _))
        };
        !self.edits.is_empty() && self.edits.get(&site).is_some_and(|edits| edits.iter().any(all))
    }

    /// The items of the plan that change `site` or one before it, in the order of the pass.
    pub fn items_until(&self, site: Option<Site>) -> Vec<String> {
        let mut edited: Vec<(Site, &str)> = Vec::new();
        for (&at, edits) in self.edits.iter().filter(|(at, _)| site.is_none_or(|site| **at <= site)) {
            edited.extend(edits.iter().filter_map(|edit| Some((at, edit.label.as_deref()?))));
        }
        edited.sort_unstable();
        let mut items: Vec<String> = Vec::new();
        for (_, label) in edited {
            if !items.iter().any(|known| known == label) {
                items.push(label.to_owned());
            }
        }
        items
    }

    /// Whether anything changes `site`.
    pub fn edits_site(&self, site: Site) -> bool {
        !self.edits.is_empty() && self.edits.contains_key(&site)
    }

    /// The lane of each position at `layer`, with the strength of the routing; `None` where every position goes big.
    pub fn lanes(&self, layer: usize, positions: &[usize]) -> Option<(Vec<Lane>, f32)> {
        let routing = self.layers.get(layer)?.as_ref()?;
        let lane = |&position: &usize| routing.route.lane(position, routing.prompt_len);
        let lanes: Vec<Lane> = positions.iter().map(lane).collect();
        lanes.iter().any(|&lane| lane != Lane::Big).then_some((lanes, routing.strength))
    }

    /// The learned router, and its strength.
    pub fn router(&self) -> Option<&(Arc<RouterMatrices>, f32)> {
        self.router.as_ref()
    }

    /// The rules about the experts of `layer` at a position, in their order.
    pub fn choices(&self, layer: usize, position: usize) -> impl Iterator<Item = &Choice> {
        let rules = self.choices.get(&layer).map(Vec::as_slice).unwrap_or_default();
        rules.iter().filter(move |choice| choice.rows.contains(position))
    }

    /// All edits, in the order of the pass and of the plan.
    pub(crate) fn all_edits(&self) -> Vec<(Site, &Edit)> {
        let mut all: Vec<(Site, &Edit)> =
            self.edits.iter().flat_map(|(&site, edits)| edits.iter().map(move |edit| (site, edit))).collect();
        // Stable: those of one site stay in their order.
        all.sort_by_key(|(site, _)| *site);
        all
    }

    /// All rules about experts, by layer.
    pub(crate) fn all_choices(&self) -> impl Iterator<Item = (usize, &[Choice])> {
        self.choices.iter().map(|(&layer, choices)| (layer, choices.as_slice()))
    }

    /// The small FFN of `layer`.
    pub fn small(&self, layer: usize) -> Option<&Ffn> {
        self.small.as_ref()?.get(layer)
    }
}
