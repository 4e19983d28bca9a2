//! Zero FFN activations whose magnitude does not exceed a threshold (CATS, arXiv 2404.08763; CHESS, arXiv
//! 2409.01366, keeps strictly larger ones).

use serde::{Deserialize, Serialize};

use super::compile::{Compiler, Place};
use super::kind::{Kind, POSITIONS};
use crate::error::{Error, Result};
use crate::model::schedule::Op;
use crate::site::{Hook, Site};
use crate::spec::{Field, FieldKind, Positions};

/// Keep where `|x| > value`. Acts at `mlp.hook_gate_post` of a gated FFN, at `mlp.hook_post` of any other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Block index from 0; left out = every block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// The threshold, in units of the activation.
    pub value: f32,
    /// Where.
    #[serde(default)]
    pub positions: Positions,
}

impl Kind for Threshold {
    const NAME: &'static str = "threshold";
    const RANK: u32 = 400;
    const HELP: &'static str =
        "FFN activations with |x| ≤ value become 0; those of a gated FFN are act(gate).";
    const FIELDS: &'static [Field] = &[
        Field::new("layer", FieldKind::Int, "block index from 0; left out = every block"),
        Field::new("value", FieldKind::Float, "the threshold, in units of the activation").range(0.0, 4.0),
        POSITIONS,
    ];

    fn example() -> Self {
        Self { layer: Some(1), value: 0.2, positions: Positions::All }
    }

    fn summary(&self) -> String {
        let layer = self.layer.map_or_else(|| "all FFNs".into(), |layer| format!("FFN {layer}"));
        format!("threshold {layer} at {}{}", self.value, self.positions.summary())
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        if self.value < 0.0 {
            let value = self.value;
            return Err(Error::Plan(format!("a threshold is 0 or more, not {value}: it is of magnitudes")));
        }
        let layers = match self.layer {
            Some(layer) => vec![layer],
            // Experts have no row of activations to threshold.
            None => {
                let layers = compiler.spec.layers.iter().enumerate();
                layers.filter(|(_, layer)| layer.experts.is_none()).map(|(index, _)| index).collect()
            }
        };
        if layers.is_empty() {
            return Err(Error::Plan("every FFN of this model is made of experts: none to threshold".into()));
        }
        for index in layers {
            let gated = compiler.layer(index)?.ffn.gated;
            let site = Site::block(index, if gated { Hook::MlpGatePost } else { Hook::MlpPost });
            for site in compiler.sites(&site.into())? {
                let place = Place { site, unit: None, positions: &self.positions };
                compiler.edit(place, strength, Op::Threshold(self.value))?;
            }
        }
        Ok(())
    }
}
