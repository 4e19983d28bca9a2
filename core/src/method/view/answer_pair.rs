//! Two answers before and after: "yes" and "no" after a yes/no question, else the followed token and its rival. With an
//! injection (IRI, arXiv 2511.05923) in the plan, how well it keeps the norms.

use std::sync::Arc;

use serde::Serialize;

use super::kind::{Shown, ViewKind, on_the_prompt};
use super::next::NextRow;
use super::run::start;
use super::runs::Runs;
use crate::engine::{Answer, Cancelled, Engine, Run};
use crate::error::{Error, Result};
use crate::figure::{Cell, Figure, FigureId, Plot, Table};
use crate::method::{Fact, Group, Method, Params as _, Source, SubjectKind, as_it_is, params};
use crate::metric;
use crate::plan::{Change, Injected, Iri, Item, Plan};
use crate::site::{Hook, Site};

/// Two answers before and after.
pub static ANSWER_PAIR: Method = Method {
    id: "verdict",
    aliases: &[],
    group: Group::Change,
    name: "Answer pair",
    title: "Does the plan change the answer?",
    line: "yes and no after a yes/no question, else the followed token and its rival, without and with the plan",
    reading: "a repair moves probability from the wrong of the two answers to the right one",
    source: Source { paper: "FCCT and IRI", arxiv: "2511.05923", section: "yes/no questions" },
    subject: SubjectKind::Prompt,
    picks: &[],
    needs: &[],
    measures: &[],
    fields: AnswerPairAsk::FIELDS,
    plan: as_it_is,
    start: start::<AnswerPairAsk>,
    samples: on_the_prompt,
};

params! {
    /// Parameters of the answer pair.
    #[derive(Eq, Hash)]
    pub struct AnswerPairAsk {
        /// Token that is followed where the prompt is no yes/no question; left out = the unmodified model's most likely one
        answer: Answer = Answer::Top;
    }
}

/// How a yes/no answer may begin; the spelling that the unmodified model gives most counts.
const SPELLINGS: [[&str; 2]; 4] = [["Yes", "No"], ["yes", "no"], [" Yes", " No"], [" yes", " no"]];
/// What a prompt says that asks for one of the two.
const ASKS: &str = "yes or no";

/// Two answers before and after.
#[derive(Clone, Debug, Serialize)]
pub struct AnswerPair {
    /// The prompt asks for yes or no: the rows are these, else the followed token and its rival.
    pub yes_no: bool,
    /// The two.
    pub rows: [NextRow; 2],
    /// Largest |norm after / norm before - 1| at an injection's targets; `None` without an injection (IRI) in the plan.
    pub drift: Option<f64>,
    /// The table as a figure.
    #[serde(skip)]
    pub figure: Arc<Figure>,
}

impl Shown for AnswerPair {
    fn figure(&self) -> &Arc<Figure> {
        &self.figure
    }

    fn facts(&self) -> Vec<Fact> {
        let drift = self.drift.map(|drift| Fact::new("largest change of a norm at a target", drift, ""));
        self.rows.iter().flat_map(NextRow::facts).chain(drift).collect()
    }
}

impl ViewKind for AnswerPairAsk {
    type Data = AnswerPair;
    const METHOD: &'static Method = &ANSWER_PAIR;

    fn compute(&self, engine: &mut Engine, runs: &Runs, cancelled: Cancelled) -> Result<AnswerPair> {
        let base = metric::log_softmax(&runs.base.last);
        let plan = metric::log_softmax(&runs.plan.last);
        // Who names an answer means that one.
        let pair = if self.answer == Answer::Top { yes_no(engine, runs, &base) } else { None };
        let ids = match pair {
            Some(pair) => pair,
            None => {
                let answer = engine.answer_id(&self.answer, &base)?;
                let mut best = metric::top_k(&base, 2).into_iter().map(|(id, _)| id);
                [answer, best.find(|&id| id != answer).unwrap_or(answer)]
            }
        };
        let rows = ids.map(|id| NextRow::new(engine, id, &base, &plan));
        let drift = drift(engine, runs, cancelled)?;
        let cells = |row: &NextRow| {
            let percent = |p: f32| Cell::Number(100.0 * f64::from(p));
            vec![Cell::Text(row.token.text.clone()), percent(row.base), percent(row.plan)]
        };
        let table = Table {
            columns: ["Token", "p base (%)", "p plan (%)"].map(Into::into).into(),
            rows: rows.iter().map(cells).collect(),
        };
        let kind = if pair.is_some() {
            "yes and no, in the spelling that the unmodified model gives most"
        } else if self.answer == Answer::Top {
            "no yes/no question: the followed token and its rival in the unmodified model"
        } else {
            "the followed token and its rival in the unmodified model"
        };
        let mut notes = vec![format!("after the last token; {kind}")];
        notes.extend(drift.map(|drift| format!("largest change of a norm at a target: {drift:.1e} of it")));
        let figure =
            runs.figure(FigureId(ANSWER_PAIR.id), "", "Answer before and after", Plot::Table(table), notes);
        Ok(AnswerPair { yes_no: pair.is_some(), rows, drift, figure })
    }
}

/// Ids of yes and no, after a prompt that asks for one of them or that the unmodified model answers by one.
fn yes_no(engine: &Engine, runs: &Runs, base: &[f32]) -> Option<[u32; 2]> {
    let tokenizer = engine.tokenizer.as_ref()?;
    let single = |text: &str| match tokenizer.encode(text, false).ok()?.as_slice() {
        [id] => Some(*id),
        _ => None,
    };
    let pair = |[yes, no]: [&str; 2]| Some([single(yes)?, single(no)?]).filter(|[yes, no]| yes != no);
    let pairs: Vec<[u32; 2]> = SPELLINGS.into_iter().filter_map(pair).collect();
    let (top, _) = metric::top_k(base, 1).first().copied()?;
    let asked = runs.provenance.prompt.to_lowercase().contains(ASKS);
    if !asked && !pairs.iter().any(|pair| pair.contains(&top)) {
        return None;
    }
    let p =
        |pair: &[u32; 2]| pair.iter().filter_map(|&id| base.get(id as usize)).map(|x| x.exp()).sum::<f32>();
    pairs.into_iter().max_by(|a, b| p(a).total_cmp(&p(b)))
}

/// The largest |norm after / norm before - 1| that the plan's injections cause at the last token of their targets; `None`
/// without an injection.
fn drift(engine: &mut Engine, runs: &Runs, cancelled: Cancelled) -> Result<Option<f64>> {
    let attn = (Hook::AttnOut, (|iri: &Iri| &iri.attn) as fn(&Iri) -> &Injected);
    let ffn = (Hook::MlpOut, (|iri: &Iri| &iri.ffn) as fn(&Iri) -> &Injected);
    let mut largest: Option<f64> = None;
    for (hook, part) in [attn, ffn] {
        let mut targets: Vec<usize> = active(&runs.source)
            .flat_map(|iri| {
                let all = iri.all;
                let reached = move |&l: &usize| !part(iri).sources_of(l, all).is_empty();
                part(iri).target_layers(all).into_iter().filter(reached)
            })
            .collect();
        targets.sort_unstable();
        targets.dedup();
        if targets.is_empty() {
            continue;
        }
        // The same run but for this kind of sublayer's injections: what each was before its own.
        let schedule = engine.schedule(&without(&runs.source, hook), &runs.plan.tokens, cancelled)?;
        let before = Run {
            tokens: runs.plan.tokens.clone(),
            schedule,
            cache: Arc::clone(&runs.plan.cache),
            boundaries: Arc::clone(&runs.plan.boundaries),
            last: Vec::new(),
            work: crate::model::Work::default(),
            lanes: runs.plan.lanes.clone(),
        };
        for layer in targets {
            let was = norm(engine, &before, layer, hook, cancelled)?;
            let is = norm(engine, &runs.plan, layer, hook, cancelled)?;
            let change = if was == is { 0.0 } else { (is / was - 1.0).abs() };
            largest = Some(largest.map_or(change, |largest| largest.max(change)));
        }
    }
    Ok(largest)
}

/// The injections that are on.
fn active(plan: &Plan) -> impl Iterator<Item = &Iri> {
    plan.active()
        .into_iter()
        .filter_map(|item| if let Change::Iri(iri) = &item.change { Some(iri) } else { None })
}

/// The plan without injections into `hook`.
fn without(plan: &Plan, hook: Hook) -> Plan {
    let mut plan = plan.clone();
    for Item { change, .. } in &mut plan.items {
        let Change::Iri(iri) = change else { continue };
        let part = if hook == Hook::AttnOut { &mut iri.attn } else { &mut iri.ffn };
        part.lambda = 0.0;
    }
    plan
}

/// Norm of a site at the last token of a run.
fn norm(engine: &Engine, run: &Run, layer: usize, hook: Hook, cancelled: Cancelled) -> Result<f64> {
    let site = Site::block(layer, hook);
    let captures = engine.replay(run, layer, [site].into(), cancelled)?;
    let value = captures.get(&site).ok_or_else(|| Error::Internal(format!("{site} was not kept")))?;
    let row: Vec<f32> = value.get(value.dim(0)?.saturating_sub(1))?.to_vec1()?;
    Ok(row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt())
}
