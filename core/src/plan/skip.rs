//! Take out a sublayer: it adds nothing to the residual stream (FinerCut, method of the same name).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::compile::{Compiler, Place};
use super::kind::{Fold, Kind, POSITIONS};
use crate::error::Result;
use crate::model::schedule::Op;
use crate::site::{Hook, Site};
use crate::spec::{Field, FieldKind, Positions};

/// Attention or FFN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The attention sublayer.
    Attn,
    /// The FFN sublayer.
    Ffn,
}

/// One of the 2L sublayers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sublayer {
    /// Block index from 0.
    pub layer: usize,
    /// Attention or FFN.
    pub part: Part,
}

/// Take out a sublayer at some positions. Equal, bit for bit, to zeroing its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skip {
    /// Which one.
    #[serde(flatten)]
    pub sublayer: Sublayer,
    /// Where.
    #[serde(default)]
    pub positions: Positions,
}

impl Sublayer {
    /// The one of this number, in the order of the pass: attention 0, FFN 0, attention 1 and so on.
    pub fn of(number: usize) -> Self {
        Self { layer: number / 2, part: if number.is_multiple_of(2) { Part::Attn } else { Part::Ffn } }
    }

    /// The site of what it adds to the stream.
    pub fn output(self) -> Site {
        let hook = match self.part {
            Part::Attn => Hook::AttnOut,
            Part::Ffn => Hook::MlpOut,
        };
        Site::block(self.layer, hook)
    }
}

impl fmt::Display for Sublayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Attn => "attention",
            Part::Ffn => "FFN",
        };
        write!(f, "{part} {}", self.layer)
    }
}

impl Kind for Skip {
    const NAME: &'static str = "skip";
    const RANK: u32 = 500;
    const HELP: &'static str = "Take out a sublayer: it adds nothing to the residual stream.";
    const FIELDS: &'static [Field] = &[
        Field::new("layer", FieldKind::Int, "block index from 0"),
        Field::new("part", FieldKind::Enum(&["attn", "ffn"]), "attention or FFN"),
        POSITIONS,
    ];

    fn example() -> Self {
        Self { sublayer: Sublayer { layer: 1, part: Part::Ffn }, positions: Positions::All }
    }

    fn other_examples() -> Vec<Self> {
        let sublayer = Sublayer { layer: 0, part: Part::Attn };
        vec![Self { sublayer, positions: Positions::At(vec![2, 3]) }]
    }

    fn summary(&self) -> String {
        format!("take out {}{}", self.sublayer, self.positions.summary())
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn takes_out_ffn(&self, layer: usize, position: usize, len: usize) -> bool {
        self.sublayer == Sublayer { layer, part: Part::Ffn } && self.positions.contains(position, len)
    }

    fn fold(&self) -> Fold {
        Fold::AsCompiled
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        compiler.layer(self.sublayer.layer)?;
        let place = Place { site: self.sublayer.output(), unit: None, positions: &self.positions };
        compiler.edit(place, strength, Op::Zero)
    }
}
