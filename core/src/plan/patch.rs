//! Activation patching: put in what another run had at the same site.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::compile::{Compiler, Place};
use super::kind::{FROM_POSITION, Fold, Kind, POSITIONS, SITE, UNIT};
use super::source::{FromPosition, Source};
use super::target::Target;
use super::values::Taking;
use crate::error::Result;
use crate::model::schedule::Op;
use crate::site::{Hook, Site};
use crate::spec::{Field, FieldKind, Positions};

/// x\[p\] = source\[p\] at the chosen positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Patch {
    /// What.
    #[serde(flatten)]
    pub target: Target,
    /// Where; what is generated past the source's end stays as it is.
    #[serde(default)]
    pub positions: Positions,
    /// The other run.
    pub source: Source,
    /// Its rows; left out = those of the same positions, for the prompt's last position its last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_position: Option<FromPosition>,
}

impl Kind for Patch {
    const NAME: &'static str = "patch";
    const RANK: u32 = 610;
    const HELP: &'static str = "Put in the value that another run had at the same position, or at `from_position`; one vector is put in at each.";
    const NOTES: &'static str = "`\"last\"` is put in from the source's last position, however long it is. A position past the \
        source's end is refused; what is generated past it stays as it is. A file's tensor of one vector, `[d]` or `[1, d]`, is \
        put in at each position, one of `[T, d]` row by row.";
    const FIELDS: &'static [Field] =
        &[SITE, UNIT, POSITIONS, Field::new("source", FieldKind::Other, "the source"), FROM_POSITION];

    fn example() -> Self {
        Self {
            target: Target::unit(Site::block(1, Hook::Z), 1),
            positions: Positions::At(vec![3]),
            source: Source::Tokens(vec![9, 8, 7, 6]),
            from_position: None,
        }
    }

    fn other_examples() -> Vec<Self> {
        let target = Target::site(Site::block(0, Hook::ResidPost));
        let source = Source::Tokens(vec![9, 8]);
        vec![Self { target, positions: Positions::Last, source, from_position: Some(0.into()) }]
    }

    fn summary(&self) -> String {
        let row = match (&self.from_position, &self.positions) {
            (Some(rows), _) => rows.summary(),
            (None, Positions::Last) if !matches!(self.source, Source::Values(_)) => {
                "the last position of ".into()
            }
            (None, _) => String::new(),
        };
        let (target, positions) = (self.target.summary(), self.positions.summary());
        format!("patch {target}{positions} from {row}{}", self.source.summary())
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn past_the_prompt(&self) -> String {
        match (&self.positions, &self.source, &self.from_position) {
            (Positions::At(_) | Positions::Prompt, ..) => "unmodified".into(),
            (_, Source::Values(_), _) | (_, _, Some(_)) => "changed too".into(),
            _ => "unmodified past the source's end".into(),
        }
    }

    fn fold(&self) -> Fold {
        Fold::AsCompiled
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        for site in compiler.sites(&self.target.site)? {
            let (source, positions) = (&self.source, &self.positions);
            let rows = self.from_position.as_ref();
            let values = compiler.values(&Taking { source, from: site, to: site, positions, rows })?;
            compiler.edit(Place { site, unit: self.target.unit, positions }, strength, Op::Put(values))?;
        }
        Ok(())
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        self.source.file().into_iter().collect()
    }
}
