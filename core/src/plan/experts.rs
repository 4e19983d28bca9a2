//! Which experts tokens go through, in blocks that have experts.
//!
//! Scores stay as they are: who is knocked out cannot be chosen, and the next best takes the place with a score of its
//! own. Gate weights are then made of the scores of the chosen as the model does. To drop an expert's part without
//! anybody in its place, ablate `mlp.hook_expert_gates`.

use serde::{Deserialize, Serialize};

use super::compile::{Compiler, no_layer};
use super::kind::{Fold, Kind, POSITIONS};
use crate::error::{Error, Result};
use crate::model::schedule::{Choice, Rules};
use crate::spec::{Field, FieldKind, Positions, Spec};

/// Change the choice of experts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Experts {
    /// Block index from 0; left out = every block that has experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// Cannot be chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub knock_out: Vec<usize>,
    /// Always chosen, in place of the least of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub force: Vec<usize>,
    /// Experts per token; left out = as many as the model takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<usize>,
    /// Where.
    #[serde(default)]
    pub positions: Positions,
}

impl Experts {
    /// The blocks that it changes; refused where it does not fit them.
    ///
    /// # Errors
    /// [`Error::Plan`] where the model has no such block, or the block no such expert.
    pub fn layers(&self, spec: &Spec) -> Result<Vec<usize>> {
        let of_experts: Vec<usize> = (0..spec.n_layers()).filter(|&layer| has_experts(spec, layer)).collect();
        let layers = match self.layer {
            None if of_experts.is_empty() => {
                return Err(Error::Plan("this model has no experts".into()));
            }
            None => of_experts,
            Some(layer) if of_experts.contains(&layer) => vec![layer],
            Some(layer) if layer < spec.n_layers() => {
                return Err(Error::Plan(format!("block {layer} has no experts")));
            }
            Some(layer) => return Err(no_layer(layer, spec)),
        };
        for &layer in &layers {
            if let Some(experts) = spec.layers.get(layer).and_then(|layer| layer.experts) {
                self.fits(layer, experts.count, experts.top_k)?;
            }
        }
        Ok(layers)
    }

    fn fits(&self, layer: usize, count: usize, top_k: usize) -> Result<()> {
        if let Some(expert) = self.knock_out.iter().chain(&self.force).find(|&&expert| expert >= count) {
            let last = count.saturating_sub(1);
            return Err(Error::Plan(format!("block {layer} has experts 0 to {last}, not {expert}")));
        }
        if let Some(both) = self.force.iter().find(|expert| self.knock_out.contains(expert)) {
            return Err(Error::Plan(format!("expert {both} cannot be both knocked out and forced")));
        }
        let mut rules = Rules::new(count, top_k);
        rules.add(&self.knock_out, &self.force, self.k);
        rules.check(layer)
    }
}

impl Kind for Experts {
    const NAME: &'static str = "experts";
    const RANK: u32 = 350;
    const HELP: &'static str =
        "Blocks of experts: which cannot be chosen, which always are, and how many a token goes through.";
    const NOTES: &'static str = "An expert that is knocked out cannot be chosen; the next best takes its place with a score of \
        its own, and the gate weights are made of the scores of the chosen as the model does. A forced expert takes the place \
        of the least of the others. To drop an expert's part with nobody in its place, ablate \
        `blocks.N.mlp.hook_expert_gates` with the expert as `unit`. A rule with a strength other than 1 goes with no other \
        rule about the same block, and rules that together leave a token too few experts, or force too many, are refused.";
    const FIELDS: &'static [Field] = &[
        Field::new("layer", FieldKind::Int, "block index from 0; left out = every block that has experts"),
        Field::new("knock_out", FieldKind::Other, "list of experts that cannot be chosen; left out = none"),
        Field::new("force", FieldKind::Other, "list of experts that always are; left out = none"),
        Field::new("k", FieldKind::Int, "experts per token; left out = as many as the model takes"),
        POSITIONS,
    ];

    fn example() -> Self {
        let positions = Positions::At(vec![3]);
        Self { layer: Some(1), knock_out: vec![2], force: vec![0], k: Some(2), positions }
    }

    fn summary(&self) -> String {
        let list = |ids: &[usize]| ids.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let mut parts = Vec::new();
        if !self.knock_out.is_empty() {
            parts.push(format!("knock out {}", list(&self.knock_out)));
        }
        if !self.force.is_empty() {
            parts.push(format!("force {}", list(&self.force)));
        }
        parts.extend(self.k.map(|k| format!("k = {k}")));
        let what = if parts.is_empty() { "as chosen".into() } else { parts.join(", ") };
        let layer = self.layer.map_or_else(|| "every block".into(), |layer| format!("block {layer}"));
        format!("experts of {layer}: {what}{}", self.positions.summary())
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn fold(&self) -> Fold {
        Fold::AsCompiled
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        for layer in self.layers(compiler.spec)? {
            let choice = Choice {
                rows: compiler.rows(&self.positions),
                strength,
                knock_out: self.knock_out.clone(),
                force: self.force.clone(),
                k: self.k,
            };
            compiler.schedule.push_choice(layer, choice);
        }
        Ok(())
    }
}

fn has_experts(spec: &Spec, layer: usize) -> bool {
    spec.layers.get(layer).is_some_and(|layer| layer.experts.is_some())
}
