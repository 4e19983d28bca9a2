//! Set a site, head or neuron to zero or to its mean.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::compile::{Compiler, Place};
use super::kind::{Fold, Kind, POSITIONS, SITE, UNIT};
use super::source::Source;
use super::target::Target;
use crate::error::{Error, Result};
use crate::model::schedule::{Op, Values};
use crate::site::{Hook, Shape, Site, Sites};
use crate::spec::{Field, FieldKind, Positions};

/// Ablation of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ablate {
    /// What.
    #[serde(flatten)]
    pub target: Target,
    /// Zero or mean.
    #[serde(default)]
    pub to: AblateTo,
    /// Where.
    #[serde(default)]
    pub positions: Positions,
}

/// What an ablated value becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AblateTo {
    /// Zero.
    #[default]
    Zero,
    /// The mean over the prompt's positions in the unmodified run.
    Mean,
}

impl Kind for Ablate {
    const NAME: &'static str = "ablate";
    const RANK: u32 = 620;
    const HELP: &'static str =
        "Set a site, head or neuron to zero, or to its mean over the prompt in the unmodified run.";
    const FIELDS: &'static [Field] = &[
        SITE,
        UNIT,
        Field::new("to", FieldKind::Enum(&["zero", "mean"]), "what it becomes").or(|| json!("zero")),
        POSITIONS,
    ];

    fn example() -> Self {
        let target = Target::unit(Site::block(0, Hook::MlpPost), 3);
        Self { target, to: AblateTo::Zero, positions: Positions::All }
    }

    fn other_examples() -> Vec<Self> {
        let target = Target::site(Site::block(1, Hook::V));
        let every = Target { site: Sites::Pattern("blocks.*.hook_mlp_out".into()), unit: None };
        vec![
            Self { target, to: AblateTo::Mean, positions: Positions::All },
            Self { target: every, to: AblateTo::Mean, positions: Positions::At(vec![2]) },
        ]
    }

    fn summary(&self) -> String {
        let to = match self.to {
            AblateTo::Zero => "zero",
            AblateTo::Mean => "its prompt mean",
        };
        format!("set {} to {to}{}", self.target.summary(), self.positions.summary())
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn fold(&self) -> Fold {
        Fold::AsCompiled
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        for site in compiler.sites(&self.target.site)? {
            let op = match self.to {
                AblateTo::Zero => Op::Zero,
                AblateTo::Mean if site.shape() == Shape::Square => {
                    return Err(Error::Plan(format!("{site} has no mean over positions")));
                }
                AblateTo::Mean => Op::Put(Values::One(compiler.resolve.site(&Source::Base, site)?.mean(0)?)),
            };
            compiler.edit(
                Place { site, unit: self.target.unit, positions: &self.positions },
                strength,
                op,
            )?;
        }
        Ok(())
    }
}
