//! Activation patching: put in what another run had at the same site.

use serde::{Deserialize, Serialize};

use super::compile::Compiler;
use super::kind::{Kind, SITE, UNIT};
use super::source::Source;
use super::target::Target;
use crate::error::Result;
use crate::site::{Hook, Site};
use crate::spec::{Field, FieldKind, Positions};

/// x\[p\] = source\[p\] at the chosen positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Patch {
    /// What.
    #[serde(flatten)]
    pub target: Target,
    /// Where; positions past the source's end stay as they are.
    pub positions: Positions,
    /// The other run.
    pub source: Source,
}

impl Kind for Patch {
    const NAME: &'static str = "patch";
    const RANK: u32 = 610;
    const HELP: &'static str =
        "Put in the value that another run had at the same position; positions past its end stay.";
    const FIELDS: &'static [Field] = &[
        SITE,
        UNIT,
        Field::new("positions", FieldKind::Positions, "where"),
        Field::new("source", FieldKind::Other, "the source"),
    ];

    fn example() -> Self {
        let target = Target { site: Site::block(1, Hook::Z), unit: Some(1) };
        Self { target, positions: Positions::At(vec![3]), source: Source::Tokens(vec![9, 8, 7, 6]) }
    }

    fn summary(&self) -> String {
        format!("patch {}{} from {}", self.target.summary(), self.positions.summary(), self.source.summary())
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn past_the_prompt(&self) -> String {
        "unmodified past the source's end".into()
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        let op = compiler.replacement(&self.source, self.target.site)?;
        compiler.edit(self.target, &self.positions, strength, op)
    }
}
