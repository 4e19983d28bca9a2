//! A plan compiled for one prompt: per layer, which edits happen at which hook. The forward pass only looks up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::edit::{Edit, Op, Rows};
use super::{
    AblateTo, Change, Injected, Item, Noise, Plan, Route, Router, RouterMatrices, Rules, Source, Surrogate,
    Target,
};
use crate::error::{Error, Result};
use crate::model::Ffn;
use crate::site::{Hook, Shape, Site};
use crate::spec::{Lane, LayerRoute, Positions, Spec};

/// What a plan needs beyond itself: the values of other runs, and small FFNs where the checkpoint has none.
pub trait Resolve {
    /// The whole value of `site` in the run that `source` names, position axis as in the site's shape.
    fn site(&mut self, source: &Source, site: Site) -> Result<Tensor>;
    /// A small FFN per layer: the checkpoint's own, or the labelled surrogate.
    fn small(&mut self, surrogate: &Surrogate) -> Result<Arc<[Ffn]>>;
    /// A learned router.
    fn router(&mut self, router: &Router) -> Result<Arc<RouterMatrices>>;
}

/// A compiled plan. Cloning shares the tensors.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    edits: HashMap<Site, Vec<Edit>>,
    layers: Vec<Option<Routing>>,
    small: Option<Arc<[Ffn]>>,
    choices: BTreeMap<usize, Vec<Choice>>,
    /// A learned router with its strength; painted lanes lie over what it chooses.
    router: Option<(Arc<RouterMatrices>, f32)>,
}

/// A rule about the experts of a block.
#[derive(Clone, Debug)]
pub struct Choice {
    rows: Rows,
    /// How far the gate weights go from what they were.
    pub strength: f32,
    /// Cannot be chosen.
    pub knock_out: Vec<usize>,
    /// Always chosen.
    pub force: Vec<usize>,
    /// Experts per token.
    pub k: Option<usize>,
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

    /// Compile `plan` for a prompt of `prompt_len` tokens.
    pub fn compile(plan: &Plan, spec: &Spec, prompt_len: usize, resolve: &mut dyn Resolve) -> Result<Self> {
        let mut schedule = Self::default();
        let items = plan.active();
        for item in &items {
            if let Change::Route(route) = &item.change {
                let surrogate = plan.surrogate();
                schedule.route(route, &surrogate, item.strength, spec, prompt_len, resolve)?;
            }
            if let Change::Router(router) = &item.change {
                if schedule.router.is_some() {
                    return Err(Error::Plan("one learned router at a time can route".into()));
                }
                let matrices = resolve.router(router)?;
                if matrices.lanes.contains(&Lane::Small) && schedule.small.is_none() {
                    schedule.small = Some(resolve.small(&plan.surrogate())?);
                }
                schedule.router = Some((matrices, item.strength));
            }
        }
        schedule.skip_attention(prompt_len);
        for item in items {
            schedule.add(item, spec, prompt_len, resolve)?;
        }
        schedule.check_choices(spec, prompt_len)?;
        Ok(schedule)
    }

    /// This schedule, with `site` at `positions` replaced by what it was in `source` (a whole run's value), after
    /// everything else.
    pub fn restoring(&self, site: Site, positions: &[usize], source: &Tensor) -> Self {
        let rows = Rows::Positions(Positions::At(positions.to_vec()), 0);
        let op = Op::Replace(source.clone());
        let mut schedule = self.clone();
        schedule.edits.entry(site).or_default().push(Edit { rows, unit: None, strength: 1.0, op });
        schedule
    }

    /// This schedule, with `site` set to zero at every position, after everything else.
    pub fn zeroing(&self, site: Site) -> Self {
        let rows = Rows::Positions(Positions::All, 0);
        let mut schedule = self.clone();
        schedule.edits.entry(site).or_default().push(Edit { rows, unit: None, strength: 1.0, op: Op::Zero });
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

    /// Apply the edits of `site` to `x`, whose position axis holds `positions`.
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

    /// The small FFN of `layer`.
    pub fn small(&self, layer: usize) -> Option<&Ffn> {
        self.small.as_ref()?.get(layer)
    }

    /// Rules that are fine one by one may leave a token no choice together.
    fn check_choices(&self, spec: &Spec, prompt_len: usize) -> Result<()> {
        for (&layer, choices) in &self.choices {
            let Some(experts) = spec.layers.get(layer).and_then(|layer| layer.experts) else { continue };
            if choices.len() > 1 && choices.iter().any(|choice| choice.strength != 1.0) {
                return Err(Error::Plan(format!(
                    "experts of block {layer}: a rule with a strength other than 1 goes with no other rule"
                )));
            }
            // Position `prompt_len` stands for what is generated.
            for position in 0..=prompt_len {
                let mut rules = Rules::new(experts.count, experts.top_k);
                for choice in self.choices(layer, position) {
                    rules.add(&choice.knock_out, &choice.force, choice.k);
                }
                rules.check(layer)?;
            }
        }
        Ok(())
    }

    /// Lay a routing map over those before it.
    fn route(
        &mut self,
        route: &Route,
        surrogate: &Surrogate,
        strength: f32,
        spec: &Spec,
        prompt_len: usize,
        resolve: &mut dyn Resolve,
    ) -> Result<()> {
        if route.needs_small() && self.small.is_none() {
            self.small = Some(resolve.small(surrogate)?);
        }
        self.layers.resize(spec.n_layers(), None);
        for layer in &route.layers {
            let (painted, layer_index) = (layer.tokens.len(), layer.layer);
            if painted > prompt_len {
                return Err(Error::Plan(format!(
                    "the routing map has lanes for {painted} tokens at layer {layer_index}, the prompt has {prompt_len}"
                )));
            }
            let slot = self.layers.get_mut(layer.layer).ok_or_else(|| no_layer(layer.layer, spec))?;
            let known = slot.get_or_insert_with(|| {
                let route = LayerRoute { layer: layer.layer, ..LayerRoute::default() };
                Routing { route, strength, prompt_len }
            });
            known.strength = strength;
            known.route.lay_over(layer, prompt_len);
        }
        Ok(())
    }

    /// Tokens that skip a layer take nothing from its attention.
    fn skip_attention(&mut self, prompt_len: usize) {
        for (index, routing) in self.layers.iter().enumerate() {
            let Some(Routing { route, strength, .. }) = routing else { continue };
            if route.next == Lane::SkipLayer || route.tokens.contains(&Lane::SkipLayer) {
                let rows = Rows::Skipping(route.clone(), prompt_len);
                let edit = Edit { rows, unit: None, strength: *strength, op: Op::Zero };
                self.edits.entry(Site::block(index, Hook::AttnOut)).or_default().push(edit);
            }
        }
    }

    fn add(&mut self, item: &Item, spec: &Spec, prompt_len: usize, resolve: &mut dyn Resolve) -> Result<()> {
        let strength = item.strength;
        let at = |positions: &Positions| Rows::Positions(positions.clone(), prompt_len);
        match &item.change {
            // Merged with the other maps before anything else.
            Change::Route(_) | Change::Router(_) => {}
            Change::Experts(experts) => {
                for layer in experts.layers(spec)? {
                    let choice = Choice {
                        rows: at(&experts.positions),
                        strength,
                        knock_out: experts.knock_out.clone(),
                        force: experts.force.clone(),
                        k: experts.k,
                    };
                    self.choices.entry(layer).or_default().push(choice);
                }
            }
            Change::Threshold(threshold) => {
                let one = threshold.layer.map(|layer| vec![layer]);
                // Experts have no row of activations to threshold.
                let dense = || {
                    let layers = spec.layers.iter().enumerate();
                    let dense: Vec<usize> =
                        layers.filter(|(_, layer)| layer.experts.is_none()).map(|(index, _)| index).collect();
                    dense
                };
                let layers = one.unwrap_or_else(dense);
                if layers.is_empty() {
                    return Err(Error::Plan(
                        "every FFN of this model is made of experts: none to threshold".into(),
                    ));
                }
                for index in layers {
                    let layer = spec.layers.get(index).ok_or_else(|| no_layer(index, spec))?;
                    let hook = if layer.ffn.gated { Hook::MlpGatePost } else { Hook::MlpPost };
                    let target = Target::site(Site::block(index, hook));
                    self.push(
                        target,
                        spec,
                        at(&threshold.positions),
                        strength,
                        Op::Threshold(threshold.value),
                    )?;
                }
            }
            Change::Skip(skip) => {
                let target = Target::site(skip.sublayer.output());
                self.push(target, spec, at(&skip.positions), strength, Op::Zero)?;
            }
            Change::Corrupt(corrupt) => {
                let op = match &corrupt.noise {
                    Noise::Noise { .. } if corrupt.site.shape() == Shape::Square => {
                        return Err(Error::Plan(format!(
                            "{} takes no noise; corrupt hook_q or hook_k",
                            corrupt.site
                        )));
                    }
                    Noise::Noise { sigma, seed } => {
                        let base = resolve.site(&Source::Base, corrupt.site)?;
                        Op::Noise { std: sigma * deviation(&base)?, seed: *seed }
                    }
                    Noise::Tensor(source) => replacement(source, corrupt.site, spec, resolve)?,
                };
                self.push(Target::site(corrupt.site), spec, at(&corrupt.positions), strength, op)?;
            }
            Change::Patch(patch) => {
                let op = replacement(&patch.source, patch.target.site, spec, resolve)?;
                self.push(patch.target, spec, at(&patch.positions), strength, op)?;
            }
            Change::Ablate(ablate) => {
                let op = match ablate.to {
                    AblateTo::Zero => Op::Zero,
                    AblateTo::Mean if ablate.target.site.shape() == Shape::Square => {
                        return Err(Error::Plan(format!(
                            "{} has no mean over positions",
                            ablate.target.site
                        )));
                    }
                    AblateTo::Mean => Op::Constant(resolve.site(&Source::Base, ablate.target.site)?.mean(0)?),
                };
                self.push(ablate.target, spec, at(&ablate.positions), strength, op)?;
            }
            Change::Scale(scale) => {
                self.push(scale.target, spec, at(&scale.positions), strength, Op::Scale(scale.factor))?;
            }
            Change::Add(add) => {
                if add.scale == 0.0 {
                    return Ok(());
                }
                let from = add.from_site.unwrap_or(add.site);
                let vector = match &add.source {
                    Source::Values(values) => values_vector(values)?,
                    source => row(&resolve.site(source, from)?, from, add.from_position)?,
                };
                let op =
                    Op::Add { vector: vector.flatten_all()?, scale: add.scale, keep_norm: add.keep_norm };
                self.push(Target::site(add.site), spec, at(&add.positions), strength, op)?;
            }
            Change::Iri(iri) => {
                for (name, part, hook) in
                    [("attn", &iri.attn, Hook::AttnOut), ("ffn", &iri.ffn, Hook::MlpOut)]
                {
                    part.check(name, spec.n_layers())?;
                    for (site, vector) in injections(part, hook, resolve)? {
                        let op = Op::Add { vector, scale: part.lambda, keep_norm: true };
                        self.push(Target::site(site), spec, at(&Positions::Last), strength, op)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, target: Target, spec: &Spec, rows: Rows, strength: f32, op: Op) -> Result<()> {
        let site = target.site;
        if let Site::Block { layer, .. } = site
            && layer >= spec.n_layers()
        {
            return Err(no_layer(layer, spec));
        }
        if !Site::all(spec).contains(&site) {
            return Err(Error::Plan(format!("this model has no {site}")));
        }
        if matches!(site, Site::Block { hook: Hook::ExpertNorms, .. }) {
            return Err(Error::Plan(format!(
                "{site} is measured, nothing reads it: change mlp.hook_expert_gates instead"
            )));
        }
        let width = unit_count(site, spec);
        if let Some(unit) = target.unit.filter(|&unit| unit >= width) {
            return Err(Error::Plan(format!(
                "{site} has units 0 to {}, not {unit}",
                width.saturating_sub(1)
            )));
        }
        if let Op::Add { vector, .. } = &op {
            let (got, want) = (vector.elem_count(), row_width(site, spec));
            if got != want {
                return Err(Error::Plan(format!("{site} is {want} wide, the vector {got}")));
            }
        }
        self.edits.entry(site).or_default().push(Edit { rows, unit: target.unit, strength, op });
        Ok(())
    }
}

/// What IRI adds at each target before lambda: the weighted sum of the sources before it, as they were at the last token of
/// the unmodified run. Targets without a source before them are left out.
fn injections(part: &Injected, hook: Hook, resolve: &mut dyn Resolve) -> Result<Vec<(Site, Tensor)>> {
    let mut recorded: HashMap<usize, Tensor> = HashMap::new();
    let mut injections = Vec::new();
    if part.lambda == 0.0 {
        return Ok(injections);
    }
    for target in part.target_layers() {
        let mut sum: Option<Tensor> = None;
        for (source, rate) in part.sources_of(target) {
            let vector = match recorded.get(&source) {
                Some(vector) => vector.clone(),
                None => {
                    let site = Site::block(source, hook);
                    let vector = row(&resolve.site(&Source::Base, site)?, site, None)?;
                    recorded.insert(source, vector.clone());
                    vector
                }
            };
            let weighed = (vector * f64::from(rate))?;
            sum = Some(match sum {
                Some(sum) => (sum + weighed)?,
                None => weighed,
            });
        }
        injections.extend(sum.map(|sum| (Site::block(target, hook), sum)));
    }
    Ok(injections)
}

/// Standard deviation over all values.
fn deviation(x: &Tensor) -> Result<f32> {
    let x = x.flatten_all()?;
    let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
    Ok(centred.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()?)
}

/// Units that [`Target::unit`] counts: heads, neurons or channels.
fn unit_count(site: Site, spec: &Spec) -> usize {
    let layer = match site {
        Site::Block { layer, .. } => spec.layers.get(layer),
        _ => None,
    };
    match (site.shape(), layer) {
        (Shape::Heads | Shape::Square, Some(layer)) => layer.attn.heads,
        (Shape::KvHeads, Some(layer)) => layer.attn.kv_heads,
        (Shape::Mlp, Some(layer)) => layer.ffn.d_mlp,
        (Shape::Experts, Some(layer)) => layer.experts.map_or(1, |experts| experts.count),
        (Shape::Scalar, _) => 1,
        _ => spec.d_model,
    }
}

/// Values per position.
fn row_width(site: Site, spec: &Spec) -> usize {
    let d_head = match site {
        Site::Block { layer, .. } => spec.layers.get(layer).map_or(1, |layer| layer.attn.d_head),
        _ => 1,
    };
    match site.shape() {
        Shape::Heads | Shape::KvHeads => unit_count(site, spec) * d_head,
        Shape::Square => 0,
        _ => unit_count(site, spec),
    }
}

fn replacement(source: &Source, site: Site, spec: &Spec, resolve: &mut dyn Resolve) -> Result<Op> {
    let Source::Values(values) = source else {
        let value = resolve.site(source, site)?;
        let wanted = match site.shape() {
            Shape::Square => None,
            _ => Some(row_width(site, spec)),
        };
        let width: usize = value.dims().iter().skip(1).product();
        let rank = if site.shape() == Shape::Square { 3 } else { 2 };
        if value.rank() < rank || wanted.is_some_and(|wanted| wanted != width) {
            return Err(Error::Plan(format!("a source of shape {:?} does not fit {site}", value.dims())));
        }
        return Ok(Op::Replace(value));
    };
    let width = row_width(site, spec);
    if values.len() != width {
        return Err(Error::Plan(format!("{site} is {width} wide, the vector {}", values.len())));
    }
    let vector = values_vector(values)?;
    Ok(Op::Constant(match site.shape() {
        Shape::Heads | Shape::KvHeads => {
            vector.reshape((unit_count(site, spec), width / unit_count(site, spec)))?
        }
        _ => vector,
    }))
}

fn values_vector(values: &[f32]) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, values.len(), &Device::Cpu)?)
}

/// One position of a site's value.
fn row(x: &Tensor, site: Site, position: Option<usize>) -> Result<Tensor> {
    if site.shape() == Shape::Square {
        return Err(Error::Plan(format!("{site} has no vector per position")));
    }
    let len = x.dim(0)?;
    let position = position.unwrap_or(len.saturating_sub(1));
    if position >= len {
        return Err(Error::Plan(format!(
            "the source has positions 0 to {}, not {position}",
            len.saturating_sub(1)
        )));
    }
    Ok(x.get(position)?)
}

pub(super) fn no_layer(layer: usize, spec: &Spec) -> Error {
    Error::Plan(format!("this model has layers 0 to {}, not {layer}", spec.n_layers().saturating_sub(1)))
}
