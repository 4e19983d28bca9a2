//! The shape of an intervention kind.

use std::path::PathBuf;

use serde_json::json;

use super::compile::Compiler;
use crate::error::Result;
use crate::spec::{Field, FieldKind, Positions};

/// An intervention kind. One file in this folder holds its value, how it compiles, and what documents and controls need to
/// know of it; its name stands once in the list of `change.rs`.
pub trait Kind: Sized {
    /// Name in plan files.
    const NAME: &'static str;
    /// Place in the order of effects; lower ones apply first. 100 weight edits, 200 quantisation, 300 routing, 350 experts,
    /// 400 activation thresholds, 500 removal of sublayers, 600 to 699 values of sites, 700 weights of the final sum.
    const RANK: u32;
    /// What it does, in a sentence or two of Markdown.
    const HELP: &'static str;
    /// What else a reader of `docs/plan.md` should know: our reading where a paper leaves something open.
    const NOTES: &'static str = "";
    /// Its parameters, in the order of the documentation.
    const FIELDS: &'static [Field];
    /// Fields that are read too: older names, and settings that stand for several.
    const ALIASES: &'static [&'static str] = &[];

    /// A setting that changes something, on a model of two layers and four heads with whatever the kind is about.
    fn example() -> Self;

    /// More of them, for tests: its other forms.
    fn other_examples() -> Vec<Self> {
        Vec::new()
    }

    /// One line for the plan stack.
    fn summary(&self) -> String;

    /// The positions that it changes.
    fn positions(&self) -> Positions;

    /// What becomes of positions past the prompt, in a few words.
    fn past_the_prompt(&self) -> String {
        match self.positions() {
            Positions::All | Positions::Last => "changed too".into(),
            Positions::Prompt | Positions::At(_) => "unmodified".into(),
        }
    }

    /// Whether, as it is, it takes the FFN of a layer out at a position of a prompt of `len` tokens: it then costs nothing.
    fn takes_out_ffn(&self, _layer: usize, _position: usize, _len: usize) -> bool {
        false
    }

    /// The files that it names: a plan's file says where relative ones lie.
    fn files(&mut self) -> Vec<&mut PathBuf> {
        Vec::new()
    }

    /// Add what it does to the schedule: value = untouched + `strength` * (changed - untouched). Fails where it does not
    /// fit the model or the prompt.
    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()>;

    /// Whether weights can do what it does (`sluice save`).
    fn fold(&self) -> Fold {
        Fold::Never("it depends on positions or on values of the run, which weights do not know")
    }
}

/// Whether weights can do what an intervention does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// What it compiles to, wherever that is a factor or a sum at a site behind weights.
    AsCompiled,
    /// They cannot, and why.
    Never(&'static str),
}

/// The parameter that most kinds have.
pub(super) const POSITIONS: Field =
    Field::new("positions", FieldKind::Positions, "where").or(|| json!("all"));
/// The place of kinds that act at one.
pub(super) const SITE: Field = Field::new("site", FieldKind::Site, "the site");
/// Part of a site.
pub(super) const UNIT: Field = Field::new(
    "unit",
    FieldKind::Int,
    "head of a head-shaped site, neuron or channel of any other; left out = all of it",
);
/// Rows of a source of values.
pub(super) const FROM_POSITION: Field = Field::new(
    "from_position",
    FieldKind::Other,
    "position of the source, or `\"last\"`; a list has one for each of `{\"at\": [...]}`; left out = the same positions, for \
     the last position the source's last",
);
