//! Intermediate representation injection (IRI, arXiv 2511.05923, equations 3-5): what the layers of the highest recovery
//! rates wrote at the last token is added again at later layers, and the sum is turned back to the norm it had.

use std::collections::HashMap;

use candle_core::Tensor;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::compile::{Compiler, Resolve};
use super::kind::Kind;
use super::source::{Source, row};
use super::target::Target;
use crate::error::{Error, Result};
use crate::metric;
use crate::model::schedule::Op;
use crate::site::{Hook, Site};
use crate::spec::{Field, FieldKind, Positions};

const RECOVERY: &str = "a rate per layer: ranks the layers and weighs the sources";
const K1: &str = "so many layers of the highest rates are sources";
const K2: &str = "so many layers of the highest rates are targets; at most every layer";
const LAMBDA: &str = "factor on the weighted sum";

/// The paper's lambda for attention on LLaVA-1.5-7B.
pub const ATTN_LAMBDA: f32 = 0.26;
/// The paper's lambda for FFNs on LLaVA-1.5-7B.
pub const FFN_LAMBDA: f32 = 0.16;
/// The paper's number of source layers, k1.
pub const SOURCES: usize = 3;
/// The paper's number of target layers, k2.
pub const TARGETS: usize = 10;

/// Injection into attention outputs and FFN outputs, at the prompt's last token and every one generated after it.
///
/// Our reading where the paper leaves it open: a source's vector is that of the unmodified run at the prompt's last token,
/// so before any injection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Iri {
    /// Into `hook_attn_out`.
    #[serde(deserialize_with = "attn")]
    pub attn: Injected,
    /// Into `hook_mlp_out`.
    #[serde(deserialize_with = "ffn")]
    pub ffn: Injected,
}

/// Injection into one kind of sublayer: a~(l) = a(l) + lambda * sum over sources k < l of RR(k) * a(k), rescaled to the
/// norm of a(l), at each target l.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Injected {
    /// RR: recovery rate of each layer at the last token, as many as layers. Ranks the layers and weighs the sources.
    pub recovery: Vec<f32>,
    /// k1: so many layers of the highest rates are sources.
    pub sources: usize,
    /// k2: so many layers of the highest rates are targets; at most every layer.
    pub targets: usize,
    /// Factor on the weighted sum; 0 changes nothing.
    pub lambda: f32,
}

/// As a plan file has it.
#[derive(Deserialize)]
struct Written {
    recovery: Vec<f32>,
    sources: Option<usize>,
    targets: Option<usize>,
    lambda: Option<f32>,
}

impl Written {
    fn or(self, lambda: f32) -> Injected {
        Injected {
            recovery: self.recovery,
            sources: self.sources.unwrap_or(SOURCES),
            targets: self.targets.unwrap_or(TARGETS),
            lambda: self.lambda.unwrap_or(lambda),
        }
    }
}

impl Kind for Iri {
    const NAME: &'static str = "iri";
    const RANK: u32 = 650;
    const HELP: &'static str = "Intermediate representation injection (arXiv 2511.05923) at the last position and everything \
        generated: each of the `targets` layers of the highest rates adds `lambda` · Σ rate · output of the `sources` best \
        layers before it, then gets back the norm it had. `lambda` 0 changes nothing.";
    const NOTES: &'static str = "Our reading where IRI leaves it open: a source's output is that of the unmodified run at the \
        prompt's last token, so before any injection, and the same vector is added at every generated token. Where the rates \
        come from is up to the plan; the window takes them from an FCCT grid's last token. Defaults are LLaVA-1.5-7B's.";
    const FIELDS: &'static [Field] = &[
        Field::new("attn.recovery", FieldKind::Other, RECOVERY),
        Field::new("attn.sources", FieldKind::Int, K1).or(|| json!(SOURCES)),
        Field::new("attn.targets", FieldKind::Int, K2).or(|| json!(TARGETS)),
        Field::new("attn.lambda", FieldKind::Float, LAMBDA).range(0.0, 1.0).or(|| json!(0.26)),
        Field::new("ffn.recovery", FieldKind::Other, RECOVERY),
        Field::new("ffn.sources", FieldKind::Int, K1).or(|| json!(SOURCES)),
        Field::new("ffn.targets", FieldKind::Int, K2).or(|| json!(TARGETS)),
        Field::new("ffn.lambda", FieldKind::Float, LAMBDA).range(0.0, 1.0).or(|| json!(0.16)),
    ];

    fn example() -> Self {
        let mut iri = Self::new(vec![0.9, 0.1], vec![0.8, 0.3]);
        (iri.attn.lambda, iri.ffn.sources) = (0.7, 1);
        iri
    }

    fn summary(&self) -> String {
        let part = |name: &str, part: &Injected| {
            let (k1, k2) = (part.source_layers().len(), part.target_layers().len());
            format!("{name} λ {} from {k1} to {k2} layers", part.lambda)
        };
        format!("IRI: {}, {} at the last position", part("attention", &self.attn), part("FFN", &self.ffn))
    }

    fn positions(&self) -> Positions {
        Positions::Last
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        for (name, part, hook) in [("attn", &self.attn, Hook::AttnOut), ("ffn", &self.ffn, Hook::MlpOut)] {
            part.check(name, compiler.spec.n_layers())?;
            for (site, vector) in injections(part, hook, compiler.resolve)? {
                let op = Op::Add { vector, scale: part.lambda, keep_norm: true };
                compiler.edit(Target::site(site), &Positions::Last, strength, op)?;
            }
        }
        Ok(())
    }
}

fn attn<'de, D: Deserializer<'de>>(written: D) -> Result<Injected, D::Error> {
    Written::deserialize(written).map(|written| written.or(ATTN_LAMBDA))
}

fn ffn<'de, D: Deserializer<'de>>(written: D) -> Result<Injected, D::Error> {
    Written::deserialize(written).map(|written| written.or(FFN_LAMBDA))
}

impl Iri {
    /// With the paper's settings for LLaVA-1.5-7B.
    pub fn new(attn: Vec<f32>, ffn: Vec<f32>) -> Self {
        let injected = |recovery| Injected { recovery, sources: SOURCES, targets: TARGETS, lambda: 0.0 };
        Self {
            attn: Injected { lambda: ATTN_LAMBDA, ..injected(attn) },
            ffn: Injected { lambda: FFN_LAMBDA, ..injected(ffn) },
        }
    }
}

impl Injected {
    /// Layers that are injected from, ascending.
    pub fn source_layers(&self) -> Vec<usize> {
        self.best(self.sources)
    }

    /// Layers that are injected into, ascending.
    pub fn target_layers(&self) -> Vec<usize> {
        self.best(self.targets)
    }

    /// The sources before `target` with their weights RR, ascending.
    pub fn sources_of(&self, target: usize) -> Vec<(usize, f32)> {
        let weight = |layer: usize| self.recovery.get(layer).map(|&rate| (layer, rate));
        self.source_layers().into_iter().filter(|&source| source < target).filter_map(weight).collect()
    }

    /// The `count` layers of the highest rates, ascending; of equal ones the earlier.
    fn best(&self, count: usize) -> Vec<usize> {
        let best = metric::top_k(&self.recovery, count);
        let mut layers: Vec<usize> = best.into_iter().map(|(layer, _)| layer as usize).collect();
        layers.sort_unstable();
        layers
    }

    /// Whether it fits a model of `layers` layers. `name` is the field's, for the cause.
    fn check(&self, name: &str, layers: usize) -> Result<()> {
        if self.recovery.len() != layers {
            return Err(Error::Plan(format!(
                "iri.{name}.recovery has {} rates, this model {layers} layers",
                self.recovery.len()
            )));
        }
        if let Some(layer) = self.recovery.iter().position(|rate| !rate.is_finite()) {
            let rate = self.recovery.get(layer).copied().unwrap_or(f32::NAN);
            return Err(Error::Plan(format!(
                "iri.{name}.recovery[{layer}] is {rate}: a rate that is no finite number ranks and weighs nothing"
            )));
        }
        if !self.lambda.is_finite() {
            return Err(Error::Plan(format!("iri.{name}.lambda is {}, not a finite number", self.lambda)));
        }
        Ok(())
    }
}

/// What IRI adds at each target before lambda: the weighted sum of the sources before it, as they were at the last token of
/// the unmodified run. Targets without a source before them are left out.
fn injections(part: &Injected, hook: Hook, resolve: &mut dyn Resolve) -> Result<Vec<(Site, Tensor)>> {
    let mut recorded: HashMap<usize, Tensor> = HashMap::new();
    let mut injections = Vec::new();
    if part.lambda == 0.0 {
        return Ok(injections);
    }
    for target in part.target_layers() {
        let mut sum: Option<Tensor> = None;
        for (source, rate) in part.sources_of(target) {
            let vector = match recorded.get(&source) {
                Some(vector) => vector.clone(),
                None => {
                    let site = Site::block(source, hook);
                    let vector = row(&resolve.site(&Source::Base, site)?, site, None)?;
                    recorded.insert(source, vector.clone());
                    vector
                }
            };
            let weighed = (vector * f64::from(rate))?;
            sum = Some(match sum {
                Some(sum) => (sum + weighed)?,
                None => weighed,
            });
        }
        injections.extend(sum.map(|sum| (Site::block(target, hook), sum)));
    }
    Ok(injections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_ranked_by_rate_and_sources_come_before_their_target() {
        let rates = vec![0.5, -0.1, 0.9, 0.5, 0.2];
        let part = Injected { recovery: rates, sources: 2, targets: 99, lambda: 0.1 };
        assert_eq!(part.source_layers(), [0, 2]);
        assert_eq!(part.target_layers(), [0, 1, 2, 3, 4]);
        assert_eq!(part.sources_of(0), []);
        assert_eq!(part.sources_of(2), [(0, 0.5)]);
        assert_eq!(part.sources_of(4), [(0, 0.5), (2, 0.9)]);
    }

    #[test]
    fn what_a_plan_leaves_out_is_the_papers() {
        let json = r#"{"attn": {"recovery": [0.1]}, "ffn": {"recovery": [0.2], "targets": 4}}"#;
        let read: Iri = serde_json::from_str(json).unwrap();
        let mut papers = Iri::new(vec![0.1], vec![0.2]);
        papers.ffn.targets = 4;
        assert_eq!(read, papers);
    }

    #[test]
    fn rates_that_do_not_fit_are_named() {
        let iri = Iri::new(vec![0.1, f32::NAN], vec![0.2; 3]);
        let cause = |part: &Injected, name| part.check(name, 2).unwrap_err().to_string();
        assert!(cause(&iri.attn, "attn").contains("iri.attn.recovery[1] is NaN"));
        assert!(cause(&iri.ffn, "ffn").contains("iri.ffn.recovery has 3 rates, this model 2 layers"));
        let endless = Injected { lambda: f32::INFINITY, recovery: vec![0.0; 2], ..iri.ffn };
        assert!(cause(&endless, "ffn").contains("iri.ffn.lambda is inf"));
    }
}
