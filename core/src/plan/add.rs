//! Inject a vector: from another position, layer or run, scaled, with or without the target's norm kept (the
//! building block of IRI, arXiv 2511.05923, equations 3-5).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::compile::{Compiler, Place};
use super::kind::{Fold, Kind, SITE};
use super::source::{FromPosition, Source};
use super::values::Taking;
use crate::error::{Error, Result};
use crate::model::schedule::Op;
use crate::site::{Hook, Shape, Site, Sites};
use crate::spec::{Field, FieldKind, Positions};

/// x = x + scale * v; with `keep_norm` then rescaled to x's own norm. Scale 0 changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Add {
    /// Where it is added.
    pub site: Sites,
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
    pub from_position: Option<FromPosition>,
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
        Field::new(
            "from_position",
            FieldKind::Other,
            "position of the source, or `\"last\"`; a list has one for each of `{\"at\": [...]}`; left out = its last",
        ),
        Field::new("scale", FieldKind::Float, "factor on the vector").range(-4.0, 4.0).or(|| json!(1.0)),
        Field::new("keep_norm", FieldKind::Bool, "rescale the sum to the norm that the value had")
            .or(|| json!(false)),
    ];

    fn example() -> Self {
        Self {
            site: Site::block(0, Hook::ResidPost).into(),
            positions: Positions::Last,
            source: Source::Base,
            from_site: None,
            from_position: Some(0.into()),
            scale: 2.0,
            keep_norm: false,
        }
    }

    fn other_examples() -> Vec<Self> {
        let site = Site::block(0, Hook::MlpOut).into();
        let source = Source::Tokens(vec![4, 4]);
        vec![Self { site, source, from_position: None, scale: 1.5, keep_norm: true, ..Self::example() }]
    }

    fn summary(&self) -> String {
        let norm = if self.keep_norm { ", norm kept" } else { "" };
        let from = self.from_site.map_or_else(|| self.site.to_string(), |site| site.to_string());
        let row = self.from_position.as_ref().map_or_else(String::new, FromPosition::summary);
        format!(
            "add {} × {from} of {row}{} to {}{}{norm}",
            self.scale,
            self.source.summary(),
            self.site,
            self.positions.summary()
        )
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn fold(&self) -> Fold {
        Fold::AsCompiled
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        if self.scale == 0.0 {
            return Ok(());
        }
        let last = FromPosition::LAST;
        for site in compiler.sites(&self.site)? {
            let (source, positions) = (&self.source, &self.positions);
            let from = self.from_site.unwrap_or(site);
            if from.shape() == Shape::Square || site.shape() == Shape::Square {
                return Err(Error::Plan(format!("{site} has no vector per position: nothing can be added")));
            }
            let rows = Some(self.from_position.as_ref().unwrap_or(&last));
            let values = compiler.values(&Taking { source, from, to: site, positions, rows })?;
            let op = Op::Add { values, scale: self.scale, keep_norm: self.keep_norm };
            compiler.edit(Place { site, unit: None, positions }, strength, op)?;
        }
        Ok(())
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        self.source.file().into_iter().collect()
    }
}

fn one() -> f32 {
    1.0
}

fn last() -> Positions {
    Positions::Last
}
