//! Disturb a site with seeded Gaussian noise or replace it by a given tensor (the corrupted run of causal tracing).

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::compile::Compiler;
use super::kind::{Kind, POSITIONS};
use super::source::Source;
use super::target::Target;
use crate::error::{Error, Result};
use crate::model::schedule::Op;
use crate::site::{Hook, Shape, Site};
use crate::spec::{Field, FieldKind, Positions};

/// Corruption of a site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Corrupt {
    /// Usually `hook_embed`.
    #[serde(default = "embed")]
    pub site: Site,
    /// Noise, or what to put in.
    #[serde(flatten)]
    pub noise: Noise,
    /// Where.
    #[serde(default)]
    pub positions: Positions,
}

/// What disturbs the site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noise {
    /// x + noise, noise ~ N(0, (sigma * s)^2), s = the standard deviation of the site's values over the prompt in
    /// the unmodified run; ROME's default is sigma 3 (arXiv 2202.05262, section 2.1).
    Noise {
        /// In standard deviations.
        sigma: f32,
        /// Seed of the counter-based generator: the same position gets the same noise however it is computed.
        #[serde(default)]
        seed: u64,
    },
    /// x = this tensor's row of the same position.
    Tensor(Source),
}

impl Kind for Corrupt {
    const NAME: &'static str = "corrupt";
    const RANK: u32 = 600;
    const HELP: &'static str = "Disturb a site by seeded Gaussian noise, or put in given values.";
    const FIELDS: &'static [Field] = &[
        Field::new("site", FieldKind::Site, "the site").or(|| json!("hook_embed")),
        Field::new(
            "noise.sigma",
            FieldKind::Float,
            "standard deviation, in those of the site over the prompt in the unmodified run; needed with `noise`",
        )
        .range(0.0, 10.0)
        .unit("σ"),
        Field::new("noise.seed", FieldKind::Int, "a position gets the same noise however it is computed")
            .or(|| json!(0)),
        Field::new("tensor", FieldKind::Other, "in place of `noise`: a source, whose values stand in place of the site's"),
        POSITIONS,
    ];

    fn example() -> Self {
        let noise = Noise::Noise { sigma: 3.0, seed: 1 };
        Self { site: Site::Embed, noise, positions: Positions::At(vec![1, 2]) }
    }

    fn other_examples() -> Vec<Self> {
        let noise = Noise::Tensor(Source::Tokens(vec![5, 6, 7, 8]));
        vec![Self { site: Site::block(1, Hook::ResidPre), noise, positions: Positions::At(vec![1]) }]
    }

    fn summary(&self) -> String {
        let what = match &self.noise {
            Noise::Noise { sigma, seed } => format!("noise of {sigma} σ (seed {seed}) on"),
            Noise::Tensor(_) => "given values in".into(),
        };
        format!("{what} {}{}", self.site, self.positions.summary())
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        let op = match &self.noise {
            Noise::Noise { .. } if self.site.shape() == Shape::Square => {
                return Err(Error::Plan(format!("{} takes no noise; corrupt hook_q or hook_k", self.site)));
            }
            Noise::Noise { sigma, seed } => {
                let base = compiler.resolve.site(&Source::Base, self.site)?;
                Op::Noise { std: sigma * deviation(&base)?, seed: *seed }
            }
            Noise::Tensor(source) => compiler.replacement(source, self.site)?,
        };
        compiler.edit(Target::site(self.site), &self.positions, strength, op)
    }
}

fn embed() -> Site {
    Site::Embed
}

/// Standard deviation over all values.
fn deviation(x: &Tensor) -> Result<f32> {
    let x = x.flatten_all()?;
    let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
    Ok(centred.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()?)
}
