//! Intermediate representation injection (IRI, arXiv 2511.05923, equations 3-5): what the layers of the highest recovery
//! rates wrote at the last token is added again at later layers, and the sum is turned back to the norm it had.

use std::collections::HashMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::compile::{Compiler, Place};
use super::kind::Kind;
use super::source::Source;
use crate::error::{Error, Result};
use crate::metric;
use crate::model::schedule::{Following, Op, Values};
use crate::site::{Hook, Site};
use crate::spec::{Field, FieldKind, Positions};

const RECOVERY: &str =
    "a rate per layer: ranks the layers and weighs the sources; an empty list = no injection here";
const K1: &str =
    "so many layers of the highest rates are sources; left out = max(1, round(3 L / 32)) of L layers";
const K2: &str =
    "so many layers of the highest rates are targets; left out = max(1, round(10 L / 32)) of L layers";
const LAMBDA: &str = "factor on the weighted sum";

/// The paper's lambda for attention on LLaVA-1.5-7B.
pub const ATTN_LAMBDA: f32 = 0.26;
/// The paper's lambda for FFNs on LLaVA-1.5-7B.
pub const FFN_LAMBDA: f32 = 0.16;

/// Injection into attention outputs and FFN outputs, at the prompt's last token and every one generated after it.
///
/// Our reading where the paper leaves it open: a source's vector is that of the unmodified run, so before any injection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Iri {
    /// Into `hook_attn_out`.
    pub attn: Injected,
    /// Into `hook_mlp_out`.
    pub ffn: Injected,
    /// Whose vector generated tokens get.
    pub vector: InjectedVector,
    /// Turn the sum back to the norm it had.
    pub keep_norm: bool,
    /// Layers of rates of 0 and below count too, as in the paper.
    pub all: bool,
}

/// Whose vector is injected at tokens past the prompt; the paper is silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InjectedVector {
    /// What the unmodified run has at the prompt's last token, at each.
    #[default]
    Prompt,
    /// What the unmodified run has at the token itself.
    Current,
}

/// Injection into one kind of sublayer: a~(l) = a(l) + lambda * sum over sources k < l of RR(k) * a(k), rescaled to the
/// norm of a(l), at each target l.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Injected {
    /// RR: recovery rate of each layer at the last token, as many as layers. Ranks the layers and weighs the sources. Empty
    /// = no injection.
    pub recovery: Vec<f32>,
    /// k1: so many layers of the highest rates are sources; `None` = [`default_sources`].
    pub sources: Option<usize>,
    /// k2: so many layers of the highest rates are targets; at most every layer; `None` = [`default_targets`].
    pub targets: Option<usize>,
    /// Factor on the weighted sum; 0 changes nothing.
    pub lambda: f32,
}

/// k1 where a plan names none: the paper's 3 of 32 layers, as a share.
pub fn default_sources(layers: usize) -> usize {
    share(3, layers)
}

/// k2 where a plan names none: the paper's 10 of 32 layers, as a share.
pub fn default_targets(layers: usize) -> usize {
    share(10, layers)
}

/// `of_32` L / 32, to the nearest whole number, halves up; at least 1.
fn share(of_32: usize, layers: usize) -> usize {
    ((layers.saturating_mul(of_32) + 16) / 32).max(1)
}

/// As a plan file has it.
#[derive(Deserialize)]
struct Written {
    attn: Option<Part>,
    ffn: Option<Part>,
    /// Of the parts that name none.
    sources: Option<usize>,
    targets: Option<usize>,
    #[serde(default)]
    lambda: Lambdas,
    #[serde(default)]
    vector: InjectedVector,
    #[serde(default)]
    order: Order,
    #[serde(default = "yes")]
    keep_norm: bool,
    #[serde(default)]
    all: bool,
}

/// One kind of sublayer in a plan file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    recovery: Vec<f32>,
    sources: Option<usize>,
    targets: Option<usize>,
    lambda: Option<f32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lambdas {
    attn: Option<f32>,
    ffn: Option<f32>,
}

/// When a source's vector is taken. There is one way.
#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// Before any injection.
    #[default]
    Before,
}

impl TryFrom<Written> for Iri {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { attn, ffn, sources, targets, lambda, vector, order: Order::Before, keep_norm, all } =
            written;
        if attn.is_none() && ffn.is_none() {
            return Err("iri needs attn, ffn or both, each with its recovery rates");
        }
        let part = |part: Option<Part>, lambda: f32| match part {
            Some(part) => Injected {
                recovery: part.recovery,
                sources: part.sources.or(sources),
                targets: part.targets.or(targets),
                lambda: part.lambda.unwrap_or(lambda),
            },
            None => Injected { recovery: Vec::new(), sources, targets, lambda },
        };
        Ok(Self {
            attn: part(attn, lambda.attn.unwrap_or(ATTN_LAMBDA)),
            ffn: part(ffn, lambda.ffn.unwrap_or(FFN_LAMBDA)),
            vector,
            keep_norm,
            all,
        })
    }
}

fn yes() -> bool {
    true
}

impl Kind for Iri {
    const NAME: &'static str = "iri";
    const RANK: u32 = 650;
    const HELP: &'static str = "Intermediate representation injection (arXiv 2511.05923) at the last position and everything \
        generated: each of the `targets` layers of the highest rates adds `lambda` · Σ rate · output of the `sources` best \
        layers before it, then gets back the norm it had. `lambda` 0 changes nothing.";
    const NOTES: &'static str = "Our reading where IRI leaves it open: a source's output is that of the unmodified run, so before \
        any injection (`\"order\": \"before\"` says so). At generated tokens `\"prompt\"` adds the vector of the prompt's last \
        token again, `\"current\"` that of the token itself; at the prompt's last token both are the same. The paper's k1 = 3 and \
        k2 = 10 are of 32 layers, and become that share of others where a plan names none. Layers whose rate is 0 or below are \
        neither sources nor targets; `\"all\": true` is the paper's rule, which knows no sign. `sources`, `targets` and \
        `\"lambda\": {\"attn\": 0.26, \"ffn\": 0.16}` beside `attn` and `ffn` are read for both. Where the rates come from is up \
        to the plan; the window takes them from an FCCT grid's last token. Lambdas are LLaVA-1.5-7B's.";
    const FIELDS: &'static [Field] = &[
        Field::new("attn.recovery", FieldKind::Other, RECOVERY),
        Field::new("attn.sources", FieldKind::Int, K1),
        Field::new("attn.targets", FieldKind::Int, K2),
        Field::new("attn.lambda", FieldKind::Float, LAMBDA).range(0.0, 1.0).or(|| json!(0.26)),
        Field::new("ffn.recovery", FieldKind::Other, RECOVERY),
        Field::new("ffn.sources", FieldKind::Int, K1),
        Field::new("ffn.targets", FieldKind::Int, K2),
        Field::new("ffn.lambda", FieldKind::Float, LAMBDA).range(0.0, 1.0).or(|| json!(0.16)),
        Field::new("vector", FieldKind::Enum(&["prompt", "current"]), "whose vector generated tokens get")
            .or(|| json!("prompt")),
        Field::new("keep_norm", FieldKind::Bool, "turn the sum back to the norm it had").or(|| json!(true)),
        Field::new("all", FieldKind::Bool, "layers of rates of 0 and below count too").or(|| json!(false)),
    ];
    const ALIASES: &'static [&'static str] = &["sources", "targets", "lambda", "order"];

    fn example() -> Self {
        let mut iri = Self::new(vec![0.9, 0.1], vec![0.8, 0.3]);
        (iri.attn.lambda, iri.ffn.sources, iri.ffn.targets) = (0.7, Some(1), Some(2));
        iri.attn.targets = Some(2);
        iri
    }

    fn other_examples() -> Vec<Self> {
        let vector = InjectedVector::Current;
        vec![Self { vector, keep_norm: false, all: true, ..Self::example() }]
    }

    fn summary(&self) -> String {
        let part = |name: &str, part: &Injected| {
            if part.recovery.is_empty() {
                return format!("{name} none");
            }
            let layers = part.recovery.len();
            let (k1, k2) = (part.source_layers(self.all).len(), part.target_layers(self.all).len());
            let counts = match (part.sources, part.targets) {
                (Some(_), Some(_)) => String::new(),
                _ => format!(" (k1 {}, k2 {} of {layers} layers)", part.k1(), part.k2()),
            };
            format!("{name} λ {} from {k1} to {k2} layers{counts}", part.lambda)
        };
        let vector = match self.vector {
            InjectedVector::Prompt => "",
            InjectedVector::Current => ", each generated token by its own vector",
        };
        let (attn, ffn) = (part("attention", &self.attn), part("FFN", &self.ffn));
        format!("IRI: {attn}, {ffn} at the last position{vector}")
    }

    fn positions(&self) -> Positions {
        Positions::Last
    }

    fn compile(&self, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        for (name, part, hook) in [("attn", &self.attn, Hook::AttnOut), ("ffn", &self.ffn, Hook::MlpOut)] {
            part.check(name, compiler.spec.n_layers())?;
            if part.lambda != 0.0 {
                self.inject(part, hook, compiler, strength)?;
            }
        }
        Ok(())
    }
}

impl Iri {
    /// With the paper's settings for LLaVA-1.5-7B, its numbers of layers as shares.
    pub fn new(attn: Vec<f32>, ffn: Vec<f32>) -> Self {
        let part = |recovery, lambda| Injected { recovery, sources: None, targets: None, lambda };
        Self {
            attn: part(attn, ATTN_LAMBDA),
            ffn: part(ffn, FFN_LAMBDA),
            vector: InjectedVector::Prompt,
            keep_norm: true,
            all: false,
        }
    }

    /// At each target the weighted sum of the sources before it, as the unmodified run has them; targets without a source
    /// before them are left out.
    fn inject(&self, part: &Injected, hook: Hook, compiler: &mut Compiler<'_>, strength: f32) -> Result<()> {
        let mut recorded: HashMap<usize, Tensor> = HashMap::new();
        let (scale, keep_norm) = (part.lambda, self.keep_norm);
        let prompt_len = compiler.prompt_len;
        let positions = match self.vector {
            InjectedVector::Prompt => Positions::Last,
            InjectedVector::Current => Positions::At(vec![prompt_len.saturating_sub(1)]),
        };
        for target in part.target_layers(self.all) {
            let sources = part.sources_of(target, self.all);
            let site = Site::block(target, hook);
            let mut sum: Option<Tensor> = None;
            for &(source, rate) in &sources {
                let vector = match recorded.get(&source) {
                    Some(vector) => vector.clone(),
                    None => {
                        let value = compiler.resolve.site(&Source::Base, Site::block(source, hook))?;
                        let vector = value.get(value.dim(0)?.saturating_sub(1))?;
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
            let Some(sum) = sum else { continue };
            let op = Op::Add { values: Values::One(sum), scale, keep_norm };
            compiler.edit(Place { site, unit: None, positions: &positions }, strength, op)?;
            if self.vector == InjectedVector::Current {
                let sources =
                    sources.into_iter().map(|(layer, rate)| (Site::block(layer, hook), rate)).collect();
                let label = None;
                let following =
                    Following { target: site, sources, scale, keep_norm, strength, prompt_len, label };
                compiler.follow(following);
            }
        }
        Ok(())
    }
}

impl Injected {
    /// k1.
    pub fn k1(&self) -> usize {
        self.sources.unwrap_or_else(|| default_sources(self.recovery.len()))
    }

    /// k2.
    pub fn k2(&self) -> usize {
        self.targets.unwrap_or_else(|| default_targets(self.recovery.len()))
    }

    /// Layers that are injected from, ascending. `all`: also those of rates of 0 and below.
    pub fn source_layers(&self, all: bool) -> Vec<usize> {
        self.best(self.k1(), all)
    }

    /// Layers that are injected into, ascending. `all`: also those of rates of 0 and below.
    pub fn target_layers(&self, all: bool) -> Vec<usize> {
        self.best(self.k2(), all)
    }

    /// The sources before `target` with their weights RR, ascending.
    pub fn sources_of(&self, target: usize, all: bool) -> Vec<(usize, f32)> {
        let weight = |layer: usize| self.recovery.get(layer).map(|&rate| (layer, rate));
        self.source_layers(all).into_iter().filter(|&source| source < target).filter_map(weight).collect()
    }

    /// The `count` layers of the highest rates, ascending; of equal ones the earlier.
    fn best(&self, count: usize, all: bool) -> Vec<usize> {
        let best = metric::top_k(&self.recovery, count).into_iter().filter(|(_, rate)| all || *rate > 0.0);
        let mut layers: Vec<usize> = best.map(|(layer, _)| layer as usize).collect();
        layers.sort_unstable();
        layers
    }

    /// Whether it fits a model of `layers` layers. `name` is the field's, for the cause.
    fn check(&self, name: &str, layers: usize) -> Result<()> {
        if !self.recovery.is_empty() && self.recovery.len() != layers {
            return Err(Error::Plan(format!(
                "iri.{name}.recovery has {} rates, this model {layers} layers",
                self.recovery.len()
            )));
        }
        for (what, count) in [("sources", self.sources), ("targets", self.targets)] {
            if let Some(count) = count.filter(|&count| count > layers && !self.recovery.is_empty()) {
                return Err(Error::Plan(format!(
                    "iri.{name}.{what} is {count}, this model has {layers} layers"
                )));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_layers_than_there_are_are_refused() {
        let part = |sources, targets| Injected { recovery: vec![0.1, 0.2], sources, targets, lambda: 0.5 };
        assert!(part(Some(2), Some(2)).check("attn", 2).is_ok());
        for (part, what) in [(part(Some(3), None), "sources is 3"), (part(None, Some(99)), "targets is 99")] {
            let error = part.check("attn", 2).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("2 layers"), "{error}");
        }
    }

    #[test]
    fn layers_are_ranked_by_rate_and_sources_come_before_their_target() {
        let rates = vec![0.5, -0.1, 0.9, 0.5, 0.2];
        let part = Injected { recovery: rates, sources: Some(2), targets: Some(99), lambda: 0.1 };
        assert_eq!(part.source_layers(true), [0, 2]);
        assert_eq!(part.target_layers(true), [0, 1, 2, 3, 4]);
        assert_eq!(part.target_layers(false), [0, 2, 3, 4], "a rate below 0 hinders");
        assert_eq!(part.sources_of(0, true), []);
        assert_eq!(part.sources_of(2, true), [(0, 0.5)]);
        assert_eq!(part.sources_of(4, false), [(0, 0.5), (2, 0.9)]);
        let none = Injected { recovery: vec![0.0, -0.3, 0.0], ..part };
        assert_eq!((none.source_layers(false).len(), none.target_layers(true).len()), (0, 3));
    }

    #[test]
    fn counts_are_the_papers_share_of_the_layers() {
        let counts = |layers| (default_sources(layers), default_targets(layers));
        for (layers, k1, k2) in [
            (1, 1, 1),
            (2, 1, 1),
            (5, 1, 2),
            (8, 1, 3),
            (12, 1, 4),
            (16, 2, 5),
            (24, 2, 8),
            (32, 3, 10),
            (80, 8, 25),
        ] {
            assert_eq!(counts(layers), (k1, k2), "{layers} layers");
        }
        let iri = Iri::new(vec![0.9, 0.1, -0.2, 0.4, 0.3, 0.2, 0.1, 0.0], vec![-1.0; 8]);
        let text = iri.summary();
        assert!(text.contains("attention λ 0.26 from 1 to 3 layers (k1 1, k2 3 of 8 layers)"), "{text}");
        assert!(text.contains("FFN λ 0.16 from 0 to 0 layers"), "{text}");
    }

    #[test]
    fn what_a_plan_leaves_out_is_the_papers() {
        let read = |json: &str| serde_json::from_str::<Iri>(json).unwrap();
        let mut papers = Iri::new(vec![0.1], vec![0.2]);
        papers.ffn.targets = Some(4);
        assert_eq!(
            read(r#"{"attn": {"recovery": [0.1]}, "ffn": {"recovery": [0.2], "targets": 4}}"#),
            papers
        );
        // Settings for both parts, and a part alone.
        let both = read(
            r#"{"attn": {"recovery": [0.1]}, "ffn": {"recovery": [0.2], "sources": 2}, "sources": 1, "targets": 3,
                "lambda": {"ffn": 0.5}, "vector": "current", "order": "before", "keep_norm": false, "all": true}"#,
        );
        assert_eq!((both.attn.sources, both.ffn.sources, both.ffn.targets), (Some(1), Some(2), Some(3)));
        assert_eq!((both.attn.lambda, both.ffn.lambda), (ATTN_LAMBDA, 0.5));
        assert!(both.vector == InjectedVector::Current && !both.keep_norm && both.all);
        assert!(read(r#"{"ffn": {"recovery": [0.2]}}"#).attn.recovery.is_empty());
        for json in [r#"{}"#, r#"{"attn": {"recovery": [0.1], "k1": 2}}"#, r#"{"attn": {}}"#] {
            assert!(serde_json::from_str::<Iri>(json).is_err(), "{json}");
        }
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
