//! The compiler: from the interventions of a plan to the schedule that the forward pass reads.

use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;

use super::source::Source;
use super::surrogate::Surrogate;
use super::target::unit_count;
use crate::error::{Error, Result};
use crate::model::Ffn;
use crate::model::schedule::{Edit, Following, Op, RouterMatrices, Rows, Rules, Schedule};
use crate::site::{Hook, Site, Sites};
use crate::spec::{LayerSpec, Positions, Spec};

/// What a plan needs beyond itself: the values of other runs, and small FFNs where the checkpoint has none.
pub trait Resolve {
    /// The whole value of `site` in the run that `source` names, position axis as in the site's shape.
    fn site(&mut self, source: &Source, site: Site) -> Result<Tensor>;
    /// Positions of the prompt at which rows of a picture stand; empty without one.
    fn picture(&self) -> Vec<usize>;
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
    /// The item that is compiled, in a few words.
    pub(super) label: Option<Arc<str>>,
}

/// Where an edit acts.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The site.
    pub site: Site,
    /// Part of it; `None` = all of it.
    pub unit: Option<usize>,
    /// At which positions.
    pub positions: &'a Positions,
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

    /// The sites that a plan names; of several, those that are used for something.
    pub(super) fn sites(&self, named: &Sites) -> Result<Vec<Site>> {
        let measured = |site: &Site| matches!(site, Site::Block { hook: Hook::ExpertNorms, .. });
        let mut sites = named.of(self.spec)?;
        if sites.iter().any(|site| !measured(site)) {
            sites.retain(|site| !measured(site));
        }
        match sites.first().filter(|site| measured(site)) {
            Some(site) => Err(Error::Plan(format!(
                "{site} is measured, nothing reads it: change mlp.hook_expert_gates instead"
            ))),
            None => Ok(sites),
        }
    }

    /// Change a site, or one of its units; refused where it has no such unit.
    pub(super) fn edit(&mut self, place: Place<'_>, strength: f32, op: Op) -> Result<()> {
        let Place { site, unit, positions } = place;
        if let Op::Noise { std, .. } = &op
            && *std < 0.0
        {
            return Err(Error::Plan("sigma of noise is 0 or more: it is a standard deviation".into()));
        }
        let width = unit_count(site, self.spec);
        if let Some(unit) = unit.filter(|&unit| unit >= width) {
            let last = width.saturating_sub(1);
            return Err(Error::Plan(format!("{site} has units 0 to {last}, not {unit}")));
        }
        let edit = Edit { rows: self.rows(positions), unit, strength, op, label: self.label.clone() };
        self.schedule.push_edit(site, edit);
        Ok(())
    }

    /// Inject past the prompt what the unmodified run has at the same token.
    pub(super) fn follow(&mut self, following: Following) {
        self.schedule.push_following(Following { label: self.label.clone(), ..following });
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
