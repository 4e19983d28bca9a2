//! Multiply a site, head or neuron.

use serde::{Deserialize, Serialize};

use super::compile::{Compiler, Place};
use super::kind::{Fold, Kind, POSITIONS, SITE, UNIT};
use super::target::Target;
use crate::error::Result;
use crate::model::schedule::Op;
use crate::site::{Hook, Site};
use crate::spec::{Field, FieldKind, Positions};

/// x = factor * x at a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// What.
    #[serde(flatten)]
    pub target: Target,
    /// The factor.
    pub factor: f32,
    /// Where.
    #[serde(default)]
    pub positions: Positions,
}

impl Kind for Scale {
    const NAME: &'static str = "scale";
    const RANK: u32 = 630;
    const HELP: &'static str = "Multiply a site, head or neuron.";
    const FIELDS: &'static [Field] =
        &[SITE, UNIT, Field::new("factor", FieldKind::Float, "the factor").range(-2.0, 4.0), POSITIONS];

    fn example() -> Self {
        let target = Target::site(Site::block(0, Hook::AttnOut));
        Self { target, factor: 0.5, positions: Positions::All }
    }

    fn summary(&self) -> String {
        format!("scale {} by {}{}", self.target.summary(), self.factor, self.positions.summary())
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn fold(&self) -> Fold {
        Fold::AsCompiled
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        for site in compiler.sites(&self.target.site)? {
            let place = Place { site, unit: self.target.unit, positions: &self.positions };
            compiler.edit(place, strength, Op::Scale(self.factor))?;
        }
        Ok(())
    }
}
