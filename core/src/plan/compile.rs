//! A plan compiled for one prompt to the schedule that the forward pass reads.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::{AblateTo, Change, Injected, Item, Noise, Plan, Route, Router, Source, Surrogate, Target};
use crate::error::{Error, Result};
use crate::model::Ffn;
use crate::model::schedule::{Choice, Edit, Op, RouterMatrices, Rows, Rules, Schedule};
use crate::site::{Hook, Shape, Site};
use crate::spec::{Lane, Positions, Spec};

/// What a plan needs beyond itself: the values of other runs, and small FFNs where the checkpoint has none.
pub trait Resolve {
    /// The whole value of `site` in the run that `source` names, position axis as in the site's shape.
    fn site(&mut self, source: &Source, site: Site) -> Result<Tensor>;
    /// A small FFN per layer: the checkpoint's own, or the labelled surrogate.
    fn small(&mut self, surrogate: &Surrogate) -> Result<Arc<[Ffn]>>;
    /// A learned router.
    fn router(&mut self, router: &Router) -> Result<Arc<RouterMatrices>>;
}

/// A plan on its way to a schedule.
struct Compiler<'a> {
    spec: &'a Spec,
    /// Tokens of the prompt.
    prompt_len: usize,
    /// How small FFNs are chosen, of the whole plan.
    surrogate: Surrogate,
    resolve: &'a mut dyn Resolve,
    schedule: Schedule,
}

impl Plan {
    /// Compile for a prompt of `prompt_len` tokens.
    pub fn compile(&self, spec: &Spec, prompt_len: usize, resolve: &mut dyn Resolve) -> Result<Schedule> {
        let (surrogate, schedule) = (self.surrogate(), Schedule::default());
        let mut compiler = Compiler { spec, prompt_len, surrogate, resolve, schedule };
        let items = self.active();
        for item in &items {
            match &item.change {
                Change::Route(route) => compiler.route(route, item.strength)?,
                Change::Router(router) => compiler.router(router, item.strength)?,
                _ => {}
            }
        }
        compiler.schedule.skip_attention(prompt_len);
        for item in items {
            compiler.add(item)?;
        }
        compiler.check_choices()?;
        Ok(compiler.schedule)
    }
}

impl Compiler<'_> {
    /// Lay a routing map over those before it.
    fn route(&mut self, route: &Route, strength: f32) -> Result<()> {
        if route.needs_small() {
            self.needs_small()?;
        }
        for layer in &route.layers {
            let (painted, index, prompt_len) = (layer.tokens.len(), layer.layer, self.prompt_len);
            if painted > prompt_len {
                return Err(Error::Plan(format!(
                    "the routing map has lanes for {painted} tokens at layer {index}, the prompt has {prompt_len}"
                )));
            }
            if index >= self.spec.n_layers() {
                return Err(no_layer(index, self.spec));
            }
        }
        self.schedule.lay_over(&route.layers, strength, self.prompt_len, self.spec.n_layers());
        Ok(())
    }

    fn router(&mut self, router: &Router, strength: f32) -> Result<()> {
        if self.schedule.router().is_some() {
            return Err(Error::Plan("one learned router at a time can route".into()));
        }
        let matrices = self.resolve.router(router)?;
        if matrices.lanes.contains(&Lane::Small) {
            self.needs_small()?;
        }
        self.schedule.set_router(matrices, strength);
        Ok(())
    }

    fn needs_small(&mut self) -> Result<()> {
        if !self.schedule.has_small() {
            self.schedule.set_small(self.resolve.small(&self.surrogate)?);
        }
        Ok(())
    }

    fn rows(&self, positions: &Positions) -> Rows {
        Rows::Positions(positions.clone(), self.prompt_len)
    }

    /// Rules that are fine one by one may leave a token no choice together.
    fn check_choices(&self) -> Result<()> {
        for (layer, choices) in self.schedule.all_choices() {
            let Some(experts) = self.spec.layers.get(layer).and_then(|layer| layer.experts) else { continue };
            if choices.len() > 1 && choices.iter().any(|choice| choice.strength != 1.0) {
                return Err(Error::Plan(format!(
                    "experts of block {layer}: a rule with a strength other than 1 goes with no other rule"
                )));
            }
            // Position `prompt_len` stands for what is generated.
            for position in 0..=self.prompt_len {
                let mut rules = Rules::new(experts.count, experts.top_k);
                for choice in self.schedule.choices(layer, position) {
                    rules.add(&choice.knock_out, &choice.force, choice.k);
                }
                rules.check(layer)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, item: &Item) -> Result<()> {
        let (strength, spec) = (item.strength, self.spec);
        match &item.change {
            // Merged with the other maps before anything else.
            Change::Route(_) | Change::Router(_) => {}
            Change::Experts(experts) => {
                for layer in experts.layers(spec)? {
                    let choice = Choice {
                        rows: self.rows(&experts.positions),
                        strength,
                        knock_out: experts.knock_out.clone(),
                        force: experts.force.clone(),
                        k: experts.k,
                    };
                    self.schedule.push_choice(layer, choice);
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
                    self.edit(target, &threshold.positions, strength, Op::Threshold(threshold.value))?;
                }
            }
            Change::Skip(skip) => {
                let target = Target::site(skip.sublayer.output());
                self.edit(target, &skip.positions, strength, Op::Zero)?;
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
                        let base = self.resolve.site(&Source::Base, corrupt.site)?;
                        Op::Noise { std: sigma * deviation(&base)?, seed: *seed }
                    }
                    Noise::Tensor(source) => replacement(source, corrupt.site, spec, self.resolve)?,
                };
                self.edit(Target::site(corrupt.site), &corrupt.positions, strength, op)?;
            }
            Change::Patch(patch) => {
                let op = replacement(&patch.source, patch.target.site, spec, self.resolve)?;
                self.edit(patch.target, &patch.positions, strength, op)?;
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
                    AblateTo::Mean => {
                        Op::Constant(self.resolve.site(&Source::Base, ablate.target.site)?.mean(0)?)
                    }
                };
                self.edit(ablate.target, &ablate.positions, strength, op)?;
            }
            Change::Scale(scale) => {
                self.edit(scale.target, &scale.positions, strength, Op::Scale(scale.factor))?;
            }
            Change::Add(add) => {
                if add.scale == 0.0 {
                    return Ok(());
                }
                let from = add.from_site.unwrap_or(add.site);
                let vector = match &add.source {
                    Source::Values(values) => values_vector(values)?,
                    source => row(&self.resolve.site(source, from)?, from, add.from_position)?,
                };
                let op =
                    Op::Add { vector: vector.flatten_all()?, scale: add.scale, keep_norm: add.keep_norm };
                self.edit(Target::site(add.site), &add.positions, strength, op)?;
            }
            Change::Iri(iri) => {
                for (name, part, hook) in
                    [("attn", &iri.attn, Hook::AttnOut), ("ffn", &iri.ffn, Hook::MlpOut)]
                {
                    part.check(name, spec.n_layers())?;
                    for (site, vector) in injections(part, hook, self.resolve)? {
                        let op = Op::Add { vector, scale: part.lambda, keep_norm: true };
                        self.edit(Target::site(site), &Positions::Last, strength, op)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Change a site, or one of its units.
    fn edit(&mut self, target: Target, positions: &Positions, strength: f32, op: Op) -> Result<()> {
        let (site, spec) = (target.site, self.spec);
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
        let edit = Edit { rows: self.rows(positions), unit: target.unit, strength, op };
        self.schedule.push_edit(site, edit);
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
