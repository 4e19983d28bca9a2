//! Disturb a site: add seeded Gaussian noise or given values to it, or put given values in its place (the corrupted run of
//! causal tracing).

use std::path::PathBuf;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::compile::{Compiler, Place};
use super::kind::{FROM_POSITION, Kind, POSITIONS};
use super::source::{FromPosition, Source};
use super::values::Taking;
use crate::error::{Error, Result};
use crate::model::schedule::Op;
use crate::site::{Hook, Shape, Site, Sites};
use crate::spec::{Field, FieldKind, Positions};

/// Corruption of a site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Corrupt {
    /// Usually `hook_embed`.
    pub site: Sites,
    /// What disturbs it.
    pub by: Disturbance,
    /// Where.
    pub positions: Positions,
    /// Rows of the source of given values; left out = those of the same positions, for the prompt's last position its last.
    pub from_position: Option<FromPosition>,
}

/// Disturbance of a site.
#[derive(Clone, Debug, PartialEq)]
pub enum Disturbance {
    /// x + noise.
    Noise(Noise),
    /// x + the source's row.
    Add(Source),
    /// The source's row in place of x.
    Replace(Source),
}

/// Noise ~ N(0, (sigma * s)^2), s = the standard deviation of the site's values over the prompt's words in the unmodified run,
/// or for rows of a picture over those; ROME's default is sigma 3 (arXiv 2202.05262, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// In standard deviations.
    pub sigma: f32,
    /// Seed of the counter-based generator: the same position gets the same noise however it is computed.
    #[serde(default)]
    pub seed: u64,
}

/// As a plan file has it.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(default = "embed")]
    site: Sites,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    noise: Option<Noise>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    add: Option<Source>,
    /// `tensor` is what it was called.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "tensor")]
    replace: Option<Source>,
    #[serde(default)]
    positions: Positions,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_position: Option<FromPosition>,
}

impl TryFrom<Written> for Corrupt {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { site, noise, add, replace, positions, from_position } = written;
        let by = match (noise, add, replace) {
            (Some(noise), None, None) => Disturbance::Noise(noise),
            (None, Some(source), None) => Disturbance::Add(source),
            (None, None, Some(source)) => Disturbance::Replace(source),
            _ => {
                return Err(
                    "corrupt takes one of noise (drawn and added), add (a source's values added) and replace (a \
                            source's values put in)",
                );
            }
        };
        if matches!(by, Disturbance::Noise(_)) && from_position.is_some() {
            return Err("corrupt with noise takes no from_position: it is drawn");
        }
        Ok(Self { site, by, positions, from_position })
    }
}

impl From<Corrupt> for Written {
    fn from(corrupt: Corrupt) -> Self {
        let Corrupt { site, by, positions, from_position } = corrupt;
        let (noise, add, replace) = match by {
            Disturbance::Noise(noise) => (Some(noise), None, None),
            Disturbance::Add(source) => (None, Some(source), None),
            Disturbance::Replace(source) => (None, None, Some(source)),
        };
        Self { site, noise, add, replace, positions, from_position }
    }
}

impl Kind for Corrupt {
    const NAME: &'static str = "corrupt";
    const RANK: u32 = 600;
    const HELP: &'static str = "Disturb a site: `noise` is drawn and added, `add` adds a source's values, `replace` puts a source's \
        values in place of the site's. One of the three.";
    const NOTES: &'static str = "`replace` was called `tensor`, and is read under that name too. A source's rows go to the same \
        positions as in `patch`; one vector goes to each.";
    const FIELDS: &'static [Field] = &[
        Field::new("site", FieldKind::Site, "the site; a glob, a range of layers or a list stands for several")
            .or(|| json!("hook_embed")),
        Field::new(
            "noise.sigma",
            FieldKind::Float,
            "standard deviation, in those of the site over the prompt's words in the unmodified run, and over a picture's rows \
             for those; needed with `noise`",
        )
        .range(0.0, 10.0)
        .unit("σ"),
        Field::new("noise.seed", FieldKind::Int, "a position gets the same noise however it is computed")
            .or(|| json!(0)),
        Field::new("add", FieldKind::Other, "in place of `noise`: a source, whose values are added to the site's"),
        Field::new("replace", FieldKind::Other, "in place of `noise`: a source, whose values stand in place of the site's"),
        POSITIONS,
        FROM_POSITION,
    ];
    const ALIASES: &'static [&'static str] = &["tensor"];

    fn example() -> Self {
        Self::embeddings(Positions::At(vec![1, 2]), 3.0, 1)
    }

    fn other_examples() -> Vec<Self> {
        let source = || Source::Tokens(vec![5, 6, 7, 8]);
        let site: Sites = Site::block(1, Hook::ResidPre).into();
        let given = |by, position| Self {
            site: site.clone(),
            by,
            positions: Positions::At(vec![position]),
            from_position: None,
        };
        vec![given(Disturbance::Replace(source()), 1), given(Disturbance::Add(source()), 2)]
    }

    fn summary(&self) -> String {
        let rows = self.from_position.as_ref().map_or_else(String::new, FromPosition::summary);
        let positions = self.positions.summary();
        match &self.by {
            Disturbance::Noise(Noise { sigma, seed }) => {
                format!("add noise of {sigma} σ (seed {seed}) to {}{positions}", self.site)
            }
            Disturbance::Add(source) => format!("add {rows}{} to {}{positions}", source.summary(), self.site),
            Disturbance::Replace(source) => {
                format!("replace {}{positions} by {rows}{}", self.site, source.summary())
            }
        }
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn past_the_prompt(&self) -> String {
        match (&self.positions, &self.by) {
            (Positions::At(_) | Positions::Prompt, _) => "unmodified".into(),
            (_, Disturbance::Noise(_)) => "changed too".into(),
            _ => "unmodified past the source's end".into(),
        }
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        for site in compiler.sites(&self.site)? {
            let square = site.shape() == Shape::Square;
            let place = Place { site, unit: None, positions: &self.positions };
            let op = match &self.by {
                Disturbance::Noise(_) if square => {
                    return Err(Error::Plan(format!("{site} takes no noise; corrupt hook_q or hook_k")));
                }
                Disturbance::Add(_) if square => {
                    return Err(Error::Plan(format!(
                        "{site} has no vector per position: nothing can be added"
                    )));
                }
                Disturbance::Noise(Noise { sigma, seed }) => {
                    let base = compiler.resolve.site(&Source::Base, site)?;
                    let rows = compiler.resolve.picture();
                    let words: Vec<usize> =
                        (0..base.dim(0)?).filter(|position| !rows.contains(position)).collect();
                    let picture = match rows.is_empty() {
                        true => None,
                        false => Some((sigma * deviation(&base, &rows)?, rows.into())),
                    };
                    Op::Noise { std: sigma * deviation(&base, &words)?, picture, seed: *seed }
                }
                Disturbance::Add(source) => {
                    let values = compiler.values(&self.taking(source, site))?;
                    Op::Add { values, scale: 1.0, keep_norm: false }
                }
                Disturbance::Replace(source) => Op::Put(compiler.values(&self.taking(source, site))?),
            };
            compiler.edit(place, strength, op)?;
        }
        Ok(())
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        match &mut self.by {
            Disturbance::Noise(_) => Vec::new(),
            Disturbance::Add(source) | Disturbance::Replace(source) => source.file().into_iter().collect(),
        }
    }
}

impl Corrupt {
    /// Noise on the embeddings.
    pub fn embeddings(positions: Positions, sigma: f32, seed: u64) -> Self {
        let by = Disturbance::Noise(Noise { sigma, seed });
        Self { site: embed(), by, positions, from_position: None }
    }

    fn taking<'a>(&'a self, source: &'a Source, site: Site) -> Taking<'a> {
        Taking { source, from: site, to: site, positions: &self.positions, rows: self.from_position.as_ref() }
    }
}

fn embed() -> Sites {
    Site::Embed.into()
}

/// Standard deviation over all values of some positions; 0 of none.
fn deviation(x: &Tensor, positions: &[usize]) -> Result<f32> {
    if positions.is_empty() {
        return Ok(0.0);
    }
    let rows: Vec<u32> = positions.iter().map(|&position| position as u32).collect();
    let x = x.index_select(&Tensor::from_vec(rows, positions.len(), x.device())?, 0)?.flatten_all()?;
    let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
    Ok(centred.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()?)
}
