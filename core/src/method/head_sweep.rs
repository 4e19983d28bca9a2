//! Leave out every attention head in turn, and see how far the output moves (head ablation as in Michel et al. 2019, "Are
//! Sixteen Heads Really Better than One?", arXiv 1905.10650, section 3.2, with KL as the distance).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::measure::{by_head, flat};
use super::trace::MOST_CELLS;
use super::{
    Ask, Case, Fact, Found, Group, Measure, Measured, Method, Offer, Params as _, Sample, Source, State,
    Stepper, Steps, Subject, SubjectKind, as_it_is, bits64, choices, params, raw, read,
};
use crate::engine::{Cancelled, Card, Engine, Prompt, Run, RunSize};
use crate::error::{Error, Result};
use crate::figure::{Axis, Figure, FigureId, Map, Plot, Provenance, Scale};
use crate::metric;
use crate::model::{Logits, Pass, Work};
use crate::plan::{Ablate, AblateTo, Change, Plan, Target};
use crate::site::{Hook, Site};
use crate::spec::Positions;

/// Leave out every attention head in turn.
pub static HEAD_SWEEP: Method = Method {
    id: "head-sweep",
    aliases: &[],
    group: Group::Explain,
    name: "Head sweep",
    title: "Which attention heads does the output rest on?",
    line: "leave out every attention head in turn, and see how far the output moves",
    reading: "a bright cell is a head that the output rests on; heads that stand in for each other look dark",
    source: Source {
        paper: "Are Sixteen Heads Really Better than One?",
        arxiv: "1905.10650",
        section: "3.2",
    },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[],
    measures: &[Measure {
        name: "kl",
        title: "KL without a head",
        quantity: "KL(base || without), nats",
        unit: "nats",
        signed: false,
        shape: by_head,
    }],
    fields: HeadSweepAsk::FIELDS,
    plan: as_it_is,
    start,
    samples,
};

params! {
    /// Parameters of the head sweep.
    pub struct HeadSweepAsk {
        /// What a head's output becomes at every position
        to: HeadTo = HeadTo::Zero;
        /// Compare after the last position, or after all and take the mean
        positions: Compared = Compared::Last;
    }
}

choices! {
    /// What becomes of a head that is left out.
    pub enum HeadTo {
        /// Zero
        Zero = "zero",
        /// Its mean over the prompt in the unmodified run
        Mean = "mean",
    }
}

choices! {
    /// Where outputs are compared.
    pub enum Compared {
        /// After the last position
        Last = "last",
        /// After every position
        All = "all",
    }
}

/// KL by layer and head.
const KL: FigureId = FigureId("head-sweep");

fn start(case: Case<'_>, ask: &Ask) -> Result<Box<dyn Stepper>> {
    Ok(Box::new(HeadSweepRun::new(case, read(ask)?)?))
}

fn samples(card: &Card) -> Vec<Sample> {
    vec![Sample::of(Subject::Prompt(Prompt::from(card.sample_prompt.clone()))).with("positions", "all")]
}

/// The ablation of a head.
fn ablation(to: HeadTo, layer: usize, head: usize) -> Change {
    let target = Target::unit(Site::block(layer, Hook::Z), head);
    let to = if to == HeadTo::Zero { AblateTo::Zero } else { AblateTo::Mean };
    Change::Ablate(Ablate { target, to, positions: Positions::All })
}

/// Findings of the head sweep.
#[derive(Clone, Debug, Serialize)]
pub struct HeadSweepFound {
    /// Heads of each layer.
    pub heads: Vec<usize>,
    /// KL(base || without), nats, `[layer][head]`, after the last position or as a mean over all; NaN = not done yet.
    pub kl: Vec<Vec<f64>>,
    /// KL by layer and head.
    #[serde(skip)]
    pub figure: Arc<Figure>,
    #[serde(skip)]
    to: HeadTo,
}

impl Found for HeadSweepFound {
    fn facts(&self) -> Vec<Fact> {
        let all = self.kl.iter().enumerate().flat_map(|(layer, row)| {
            row.iter().enumerate().filter(|(_, kl)| !kl.is_nan()).map(move |(head, kl)| (*kl, layer, head))
        });
        let fact = |what: &str, (kl, layer, head): (f64, usize, usize)| {
            Fact::new(format!("{what} KL, head {head} of layer {layer}"), kl, "nats")
        };
        let most = all.clone().max_by(|a, b| a.0.total_cmp(&b.0)).map(|one| fact("largest", one));
        let least = all.min_by(|a, b| a.0.total_cmp(&b.0)).map(|one| fact("smallest", one));
        most.into_iter().chain(least).collect()
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        vec![Arc::clone(&self.figure)]
    }

    fn measured(&self) -> Measured {
        Ok(vec![flat(&self.kl)])
    }

    fn data(&self) -> Result<Box<RawValue>> {
        raw(self)
    }

    fn offer_at(&self, _: FigureId, layer: usize, head: usize) -> Option<Offer> {
        self.heads.get(layer).filter(|&&heads| head < heads)?;
        Some(Offer {
            label: format!("Leave out head {head} of layer {layer}"),
            hint: "puts its ablation into the plan".into(),
            items: vec![ablation(self.to, layer, head).into()],
            replaces: &[],
        })
    }
}

/// Heads being left out.
pub struct HeadSweepRun {
    ask: HeadSweepAsk,
    plan: Plan,
    base: Run,
    /// Log probabilities of the base run, by row compared.
    rows: Vec<Vec<f32>>,
    /// Layer and head, in the order of the model.
    heads: Vec<(usize, usize)>,
    /// Branches beside each other.
    together: usize,
    pass: Option<Pass>,
    provenance: Provenance,
    kept: Kept,
}

/// State that a later run goes on from.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// Of the heads that are done.
    #[serde(with = "bits64")]
    kl: Vec<f64>,
    work: Work,
}

impl HeadSweepRun {
    /// Do the base run.
    ///
    /// # Errors
    /// A plan that does not fit, findings of another number of heads, or too little memory.
    pub fn new(case: Case<'_>, ask: HeadSweepAsk) -> Result<Self> {
        let resumed: Option<Kept> = case.resumed()?;
        let Case { engine, tokens, plan, provenance, cancelled, .. } = case;
        let schedule = engine.schedule(&plan, &tokens, cancelled)?;
        let base = engine.run_schedule(&tokens, schedule, cancelled)?;
        let (len, mut work) = (tokens.len(), base.work);
        let rows = match ask.positions {
            Compared::Last => vec![base.last.clone()],
            Compared::All => {
                work.unembedding += base.work.unembedding * len as u64;
                engine.rows_logits(&base, 0, len, cancelled)?
            }
        };
        let spec = &engine.model.spec;
        let of_layer = |layer: usize, heads: usize| (0..heads).map(move |head| (layer, head));
        let heads =
            spec.layers.iter().enumerate().flat_map(|(l, layer)| of_layer(l, layer.attn.heads)).collect();
        // Every row of logits is as long as the vocabulary.
        let most = if rows.len() > 1 { MOST_CELLS } else { engine.rows_at_once() };
        let together = (most / len.max(1)).max(1);
        RunSize::new(spec, together * rows.len()).with_all_logits().check()?;
        Ok(Self {
            rows: rows.iter().map(|row| metric::log_softmax(row)).collect(),
            kept: resumed.unwrap_or(Kept { kl: Vec::new(), work }),
            ask,
            plan,
            base,
            heads,
            together,
            pass: None,
            provenance,
        })
    }

    /// The heads that are next.
    fn group(&self) -> &[(usize, usize)] {
        let first = self.kept.kl.len().min(self.heads.len());
        let end = (first + self.together).min(self.heads.len());
        self.heads.get(first..end).unwrap_or_default()
    }

    /// Each head's ablation comes on top of the plan, and leaves the base run at its own attention.
    fn begin(&self, engine: &mut Engine, cancelled: Cancelled) -> Result<Pass> {
        let mut branches = Vec::with_capacity(self.together);
        for &(layer, head) in self.group() {
            let mut plan = self.plan.clone();
            plan.items.push(ablation(self.ask.to, layer, head).into());
            let schedule = engine.schedule(&plan, &self.base.tokens, cancelled)?;
            branches.push(engine.branch_at(&self.base, schedule, 2 * layer, 0)?);
        }
        let logits = if self.rows.len() > 1 { Logits::All } else { Logits::Last };
        engine.branches(&self.base, branches, logits)
    }

    fn take(&mut self, pass: Pass) -> Result<()> {
        let output = pass.finish();
        self.kept.work += output.work;
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        let rows: Vec<Vec<f32>> = logits.to_vec2()?;
        let group = self.group().len();
        for rows in rows.chunks(self.rows.len().max(1)).take(group) {
            let kls =
                rows.iter().zip(&self.rows).map(|(row, base)| metric::kl(base, &metric::log_softmax(row)));
            self.kept.kl.push(kls.sum::<f64>() / self.rows.len().max(1) as f64);
        }
        Ok(())
    }

    /// Findings so far.
    pub fn findings(&self) -> HeadSweepFound {
        let layers = self.heads.last().map_or(0, |(layer, _)| layer + 1);
        let mut kl: Vec<Vec<f64>> = vec![Vec::new(); layers];
        let done = self.kept.kl.iter().copied().chain(std::iter::repeat(f64::NAN));
        for (&(layer, _), value) in self.heads.iter().zip(done) {
            if let Some(row) = kl.get_mut(layer) {
                row.push(value);
            }
        }
        let heads = kl.iter().map(Vec::len).collect();
        HeadSweepFound { heads, figure: Arc::new(self.figure(&kl)), kl, to: self.ask.to }
    }

    fn figure(&self, kl: &[Vec<f64>]) -> Figure {
        let widest = kl.iter().map(Vec::len).max().unwrap_or(0);
        let value = |row: &Vec<f64>, head: usize| row.get(head).map_or(f32::NAN, |kl| *kl as f32);
        let values: Vec<f32> =
            kl.iter().flat_map(|row| (0..widest).map(move |head| value(row, head))).collect();
        let map = Map {
            rows: Axis::counted("Layer", kl.len()),
            cols: Axis::counted("Head", widest),
            scale: Scale::sequential(&values),
            values: values.into(),
            quantity: "KL(base || without), nats".into(),
            text: None,
        };
        let place = match self.ask.positions {
            Compared::Last => "after the last position",
            Compared::All => "mean over all positions",
        };
        let to = match self.ask.to {
            HeadTo::Zero => "zero",
            HeadTo::Mean => "its mean over the prompt in the unmodified run",
        };
        Figure {
            id: KL,
            name: "head-sweep".into(),
            detail: format!("{} {}", self.ask.to.name(), self.ask.positions.name()),
            short: "KL".into(),
            title: "KL without each attention head".into(),
            plot: Plot::Map(map),
            notes: vec![format!("{place}; a head's output (hook_z) is set to {to} at every position")],
            provenance: self.provenance.clone(),
        }
    }
}

impl Stepper for HeadSweepRun {
    fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => self.begin(engine, cancelled)?,
        };
        pass.step()?;
        if pass.is_done() {
            return self.take(pass);
        }
        self.pass = Some(pass);
        Ok(())
    }

    fn progress(&self) -> Steps {
        Steps { done: self.kept.kl.len(), all: self.heads.len(), unit: "heads" }
    }

    fn found(&self, _: &Engine) -> Arc<dyn Found> {
        Arc::new(self.findings())
    }

    fn work(&self) -> Work {
        self.kept.work
    }

    fn state(&self) -> Result<State> {
        State::new(&self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{bundled, never, open};
    use crate::method::finish;
    use crate::model::Input;
    use crate::plan::{Part, Skip, Sublayer};

    /// KL of a whole run of its own without a head.
    fn whole(
        engine: &mut Engine,
        prompt: &Input,
        plan: &Plan,
        ask: &HeadSweepAsk,
        at: (usize, usize),
    ) -> f64 {
        let rows = |engine: &mut Engine, plan: &Plan| -> Vec<Vec<f32>> {
            let schedule = engine.schedule(plan, prompt, &never).unwrap();
            let run = engine.run_schedule(prompt, schedule, &never).unwrap();
            match ask.positions {
                Compared::Last => vec![run.last],
                Compared::All => engine.rows_logits(&run, 0, prompt.len(), &never).unwrap(),
            }
        };
        let mut without = plan.clone();
        without.items.push(ablation(ask.to, at.0, at.1).into());
        let (base, changed) = (rows(engine, plan), rows(engine, &without));
        let kl = |(base, row): (&Vec<f32>, &Vec<f32>)| {
            metric::kl(&metric::log_softmax(base), &metric::log_softmax(row))
        };
        base.iter().zip(&changed).map(kl).sum::<f64>() / base.len() as f64
    }

    #[test]
    fn values_are_those_of_a_whole_run_per_head() {
        let mut engine = open(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap().engine;
        let prompt: Input = engine.encode("People call Taren the sailor.").unwrap().into();
        let sublayer = Sublayer { layer: 2, part: Part::Ffn };
        let skip = Skip { sublayer, positions: Positions::All };
        for plan in [Plan::default(), Plan { items: vec![Change::Skip(skip).into()], ..Plan::default() }] {
            for (to, positions) in
                HeadTo::ALL.iter().flat_map(|to| Compared::ALL.iter().map(move |at| (*to, *at)))
            {
                let ask = HeadSweepAsk { to, positions };
                let case = Case { plan: plan.clone(), ..Case::new(&mut engine, prompt.clone()) };
                let mut run = HeadSweepRun::new(case, ask.clone()).unwrap();
                finish(&mut run, &mut engine, &never).unwrap();
                let found = run.findings();
                assert!(found.kl.iter().flatten().any(|kl| *kl > 1e-4), "nothing moves");
                for (layer, row) in found.kl.iter().enumerate() {
                    for (head, kl) in row.iter().enumerate() {
                        let brute = whole(&mut engine, &prompt, &plan, &ask, (layer, head));
                        assert_eq!(kl.to_bits(), brute.to_bits(), "{ask:?}, head {head} of layer {layer}");
                    }
                }
            }
        }
    }
}
