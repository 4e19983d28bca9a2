//! The compiler: from the interventions of a plan to the schedule that the forward pass reads.

use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;

use super::source::{Source, values_vector};
use super::surrogate::Surrogate;
use super::target::{Target, row_width, unit_count};
use crate::error::{Error, Result};
use crate::model::Ffn;
use crate::model::schedule::{Edit, Op, RouterMatrices, Rows, Rules, Schedule};
use crate::site::{Hook, Shape, Site};
use crate::spec::{LayerSpec, Positions, Spec};

/// What a plan needs beyond itself: the values of other runs, and small FFNs where the checkpoint has none.
pub trait Resolve {
    /// The whole value of `site` in the run that `source` names, position axis as in the site's shape.
    fn site(&mut self, source: &Source, site: Site) -> Result<Tensor>;
    /// A small FFN per layer: the checkpoint's own, or the labelled surrogate.
    fn small(&mut self, surrogate: &Surrogate) -> Result<Arc<[Ffn]>>;
    /// A learned router by its name: the checkpoint's own, or one of a file.
    fn router(&mut self, name: &str, file: Option<&Path>) -> Result<Arc<RouterMatrices>>;
}

/// A plan on its way to a schedule: what kinds compile against.
pub struct Compiler<'a> {
    pub(super) spec: &'a Spec,
    /// Tokens of the prompt.
    pub(super) prompt_len: usize,
    /// How small FFNs are chosen, of the whole plan.
    pub(super) surrogate: Surrogate,
    pub(super) resolve: &'a mut dyn Resolve,
    pub(super) schedule: Schedule,
}

impl Compiler<'_> {
    /// Spec of a block; refused where there is none of this index.
    pub(super) fn layer(&self, index: usize) -> Result<&LayerSpec> {
        self.spec.layers.get(index).ok_or_else(|| no_layer(index, self.spec))
    }

    /// Have small FFNs.
    pub(super) fn needs_small(&mut self) -> Result<()> {
        if !self.schedule.has_small() {
            self.schedule.set_small(self.resolve.small(&self.surrogate)?);
        }
        Ok(())
    }

    pub(super) fn rows(&self, positions: &Positions) -> Rows {
        Rows::Positions(positions.clone(), self.prompt_len)
    }

    /// Change a site, or one of its units; refused where the model has no such place.
    pub(super) fn edit(
        &mut self,
        target: Target,
        positions: &Positions,
        strength: f32,
        op: Op,
    ) -> Result<()> {
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

    /// Put in the values of a source at `site`.
    pub(super) fn replacement(&mut self, source: &Source, site: Site) -> Result<Op> {
        let spec = self.spec;
        let Source::Values(values) = source else {
            let value = self.resolve.site(source, site)?;
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

    /// Rules that are fine one by one may leave a token no choice together.
    pub(super) fn check_choices(&self) -> Result<()> {
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
}

pub(super) fn no_layer(layer: usize, spec: &Spec) -> Error {
    Error::Plan(format!("this model has layers 0 to {}, not {layer}", spec.n_layers().saturating_sub(1)))
}
