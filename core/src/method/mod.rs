//! Methods: what a person can ask of the open checkpoint, each a value of one list. A method is one file or folder beside
//! this one and a line in [`METHODS`] (`list.rs`); window, command line, reports, pictures and docs are loops over that list.

mod answers;
mod asked;
mod content;
mod document;
mod findings;
mod list;
mod measure;
mod params;
mod provenance;
mod reached;
mod record;
mod running;
mod state;
mod stepper;
mod token_losses;

pub mod experts;
pub mod fcct;
pub mod head_sweep;
pub mod leave_one_out;
pub mod oracle;
pub mod over;
pub mod plan_cost;
pub mod prune;
pub mod router;
pub mod trace;
pub mod view;

pub use asked::{Asked, Gesture, ListOf, Pick, Picks, Place, Subject, SubjectKind, positions};
pub use content::Content;
pub use document::document;
pub use findings::{Cost, Fact, Findings, Found, Offer, VERSION, WARNING, question, raw};
pub use list::{METHODS, find};
pub use measure::{Labels, Measure, Measured};
pub use params::{Ask, Parameter, Params, complete, read};
pub(crate) use params::{choices, params};
pub use reached::Reached;
pub use record::{Existing, FINDINGS, Record, STATE, prepare, write_whole};
pub use running::{Ready, Running};
pub use state::{State, bits, bits64, number};
pub use stepper::{Case, Stepper, Steps, finish};

use crate::engine::{Card, Token};
use crate::error::Result;
use crate::plan::{KINDS, Plan};
use crate::spec::{Field, Spec};

/// A method of the field.
pub struct Method {
    /// Kebab-case, final: `leave-one-out`.
    pub id: &'static str,
    /// Ids that it had before.
    pub aliases: &'static [&'static str],
    /// Where it stands in the window.
    pub group: Group,
    /// On its tab.
    pub name: &'static str,
    /// What it answers, as a question.
    pub title: &'static str,
    /// What it does, in one line.
    pub line: &'static str,
    /// How its first figure is read, in one line.
    pub reading: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// What it is asked about.
    pub subject: SubjectKind,
    /// Positions of a prompt that it asks for.
    pub picks: &'static [Pick],
    /// What a checkpoint must have.
    pub needs: &'static [Need],
    /// What it measures of a prompt whatever its length: it can be asked about a list of them where there is anything.
    pub measures: &'static [Measure],
    /// Its parameters.
    pub fields: &'static [Field],
    /// The plan without what it replaces.
    pub plan: fn(&Plan) -> Plan,
    /// Begin. Fails where the question does not fit the checkpoint or its subject.
    pub start: fn(Case<'_>, &Ask) -> Result<Box<dyn Stepper>>,
    /// Runs that show something on a checkpoint: for reports, pictures, examples and tests. The first shows most.
    pub samples: fn(&Card) -> Vec<Sample>,
}

/// Where a method stands in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// What is in the model.
    Look,
    /// What is changed.
    Change,
    /// Where an answer comes from.
    Explain,
    /// Something else in an FFN's place.
    Replace,
    /// Small networks that learn.
    Learn,
    /// Models beside each other.
    Compare,
}

impl Group {
    /// All of them, in the order shown.
    pub const ALL: [Self; 6] =
        [Self::Look, Self::Change, Self::Explain, Self::Replace, Self::Learn, Self::Compare];

    /// Name in the window and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Look => "Look",
            Self::Change => "Change",
            Self::Explain => "Explain",
            Self::Replace => "Replace",
            Self::Learn => "Learn",
            Self::Compare => "Compare",
        }
    }
}

/// Where a method comes from.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Source {
    /// Short title.
    pub paper: &'static str,
    /// arXiv number; empty for ours.
    pub arxiv: &'static str,
    /// Section, equation or algorithm.
    pub section: &'static str,
}

/// What a checkpoint must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// An image tower.
    Images,
    /// Blocks of experts.
    Experts,
    /// FFNs without experts.
    DenseFfn,
}

impl Need {
    /// Name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Images => "image",
            Self::Experts => "experts",
            Self::DenseFfn => "dense FFN",
        }
    }

    /// The same in two words, of a checkpoint that does not have it.
    pub fn lacking(self) -> &'static str {
        match self {
            Self::Images => "text only",
            Self::Experts => "no experts",
            Self::DenseFfn => "all experts",
        }
    }

    /// Why a checkpoint does not have it.
    pub fn missing(self, spec: &Spec) -> Option<&'static str> {
        match self {
            Self::Images => spec.vision.is_none().then_some("this checkpoint reads text only"),
            Self::Experts => (!spec.has_experts()).then_some("this checkpoint has no experts"),
            Self::DenseFfn => spec
                .layers
                .iter()
                .all(|layer| layer.experts.is_some())
                .then_some("every FFN of this checkpoint is made of experts"),
        }
    }
}

/// A run that shows something.
#[derive(Clone, Debug)]
pub struct Sample {
    /// About what.
    pub subject: Subject,
    /// Parameters that are not the defaults.
    pub ask: Ask,
    /// What is marked, once the tokens are known.
    pub picks: fn(&[Token]) -> Picks,
    /// Under which plan.
    pub plan: Plan,
}

impl Sample {
    /// About a subject, nothing marked, all defaults.
    pub fn of(subject: Subject) -> Self {
        Self { subject, ask: Ask::new(), picks: |_| Picks::new(), plan: Plan::default() }
    }

    /// About the first pieces of the checkpoint's own text; none where it comes without a tokenizer to read it.
    pub fn of_text(card: &Card, samples: usize) -> Option<Self> {
        const LENGTH: usize = 32;
        let sample = Self::of(Subject::Text(None)).with("samples", samples);
        card.reads_text().then(|| sample.with("length", card.spec.context.min(LENGTH)))
    }

    /// The sample with another parameter.
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.ask.insert(name.to_owned(), value.into());
        self
    }
}

impl Method {
    /// Whether it runs under a plan; some methods always study the unmodified model.
    pub fn takes_plans(&self) -> bool {
        let examples = KINDS.iter().flat_map(|kind| (kind.examples)());
        let all = Plan { items: examples.map(Into::into).collect(), ..Plan::default() };
        !(self.plan)(&all).items.is_empty()
    }

    /// Whether it can be asked about a list of prompts: its findings are then means over them.
    pub fn takes_lists(&self) -> bool {
        !self.measures.is_empty()
    }

    /// What it does and how its figure is read, as two sentences.
    pub fn about(&self) -> String {
        format!("{} {}", sentence(self.line), sentence(self.reading))
    }

    /// What a checkpoint lacks for it.
    pub fn lacks(&self, spec: &Spec) -> Option<Need> {
        self.needs.iter().copied().find(|need| need.missing(spec).is_some())
    }

    /// Why it cannot be asked of a checkpoint.
    pub fn unavailable(&self, spec: &Spec) -> Option<&'static str> {
        self.lacks(spec).and_then(|need| need.missing(spec))
    }
}

/// Methods are told apart by their ids.
impl PartialEq for Method {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

impl Source {
    /// Paper, number and place.
    pub fn line(&self) -> String {
        let arxiv = if self.arxiv.is_empty() { "" } else { ", arXiv " };
        format!("{}{arxiv}{}, {}", self.paper, self.arxiv, self.section)
    }

    /// Where the paper is read; none for ours, and for what is on no server of papers.
    pub fn url(&self) -> Option<String> {
        (!self.arxiv.is_empty()).then(|| format!("https://arxiv.org/abs/{}", self.arxiv))
    }
}

/// With a capital and a full stop.
pub fn sentence(text: &str) -> String {
    format!("{}.", capital(text))
}

/// With a capital.
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A plan as it is.
pub fn as_it_is(plan: &Plan) -> Plan {
    plan.clone()
}
