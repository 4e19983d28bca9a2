//! Inject a vector: from another position, layer or run, scaled, with or without the target's norm kept (the
//! building block of IRI, arXiv 2511.05923, equations 3-5).

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::compile::Compiler;
use super::kind::{Kind, SITE};
use super::source::{Source, row, values_vector};
use super::target::Target;
use crate::error::Result;
use crate::model::schedule::Op;
use crate::site::{Hook, Site};
use crate::spec::{Field, FieldKind, Positions};

/// x = x + scale * v; with `keep_norm` then rescaled to x's own norm. Scale 0 changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Add {
    /// Where it is added.
    pub site: Site,
    /// At which positions.
    #[serde(default = "last")]
    pub positions: Positions,
    /// The run the vector is taken from.
    pub source: Source,
    /// Its site; left out = the same site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_site: Option<Site>,
    /// Its position; left out = the source's last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_position: Option<usize>,
    /// Factor on the vector.
    #[serde(default = "one")]
    pub scale: f32,
    /// Rescale the sum to the norm that x had.
    #[serde(default)]
    pub keep_norm: bool,
}

impl Kind for Add {
    const NAME: &'static str = "add";
    const RANK: u32 = 640;
    const HELP: &'static str = "Add a vector of a run, scaled; optionally the sum gets the norm that the value had. Scale 0 \
        changes nothing.";
    const FIELDS: &'static [Field] = &[
        SITE,
        Field::new("positions", FieldKind::Positions, "where").or(|| json!("last")),
        Field::new("source", FieldKind::Other, "the source of the vector"),
        Field::new("from_site", FieldKind::Site, "site of the source; left out = the same site"),
        Field::new("from_position", FieldKind::Int, "position of the source; left out = its last"),
        Field::new("scale", FieldKind::Float, "factor on the vector").range(-4.0, 4.0).or(|| json!(1.0)),
        Field::new("keep_norm", FieldKind::Bool, "rescale the sum to the norm that the value had")
            .or(|| json!(false)),
    ];

    fn example() -> Self {
        Self {
            site: Site::block(0, Hook::ResidPost),
            positions: Positions::Last,
            source: Source::Base,
            from_site: None,
            from_position: Some(0),
            scale: 2.0,
            keep_norm: false,
        }
    }

    fn other_examples() -> Vec<Self> {
        let site = Site::block(0, Hook::MlpOut);
        let source = Source::Tokens(vec![4, 4]);
        vec![Self { site, source, from_position: None, scale: 1.5, keep_norm: true, ..Self::example() }]
    }

    fn summary(&self) -> String {
        let norm = if self.keep_norm { ", norm kept" } else { "" };
        let from = self.from_site.unwrap_or(self.site);
        format!(
            "add {} × {from} of {} to {}{}{norm}",
            self.scale,
            self.source.summary(),
            self.site,
            self.positions.summary()
        )
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        if self.scale == 0.0 {
            return Ok(());
        }
        let from = self.from_site.unwrap_or(self.site);
        let vector = match &self.source {
            Source::Values(values) => values_vector(values)?,
            source => row(&compiler.resolve.site(source, from)?, from, self.from_position)?,
        };
        let op = Op::Add { vector: vector.flatten_all()?, scale: self.scale, keep_norm: self.keep_norm };
        compiler.edit(Target::site(self.site), &self.positions, strength, op)
    }
}

fn one() -> f32 {
    1.0
}

fn last() -> Positions {
    Positions::Last
}
