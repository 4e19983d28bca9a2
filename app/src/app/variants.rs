//! Variants: pinned, compared, continued, measured on a text.

use std::sync::Arc;

use sluice_core::method::plan_cost::{PLAN_COST, PlanCostFound};
use sluice_core::method::{Asked, Findings, Subject};
use sluice_core::session::{Pinned, PlanCost};
use sluice_core::worker::Request;

use super::SluiceApp;
use crate::panels::variants;
use crate::state::Remedy;
use crate::theme;

/// Letters of a plan in the name of a pin.
const NAME: usize = 32;

impl SluiceApp {
    /// Ask for the columns while they are on screen and something else than was asked.
    pub(super) fn ask_columns(&mut self) {
        if self.state.card.is_none() || !self.answered {
            return;
        }
        let Some(columns) = variants::request(&self.state) else { return };
        if self.state.results.beside.asked.as_ref() == Some(&columns) {
            return;
        }
        self.state.results.beside.ask(columns.clone());
        self.columns = self.worker.send(Request::Columns(columns));
    }

    /// Pin prompt and plan as they are; the same twice is one.
    pub(super) fn pin(&mut self) {
        self.state.take_typed();
        let document = self.state.history.document().clone();
        if let Some(known) = self.state.variants.iter_mut().find(|pinned| pinned.document == document) {
            known.shown = true;
            let text = format!("already pinned as {}", known.name);
            return self.state.say(text);
        }
        let name = match document.plan.active().is_empty() {
            true => theme::short(&document.words, NAME),
            false => theme::short(&document.plan.summary(), NAME),
        };
        let taken = |name: &str| self.state.variants.iter().any(|pinned| *pinned.name == *name);
        let numbered = |number: usize| if number == 1 { name.clone() } else { format!("{name} ({number})") };
        let name = (1..).map(numbered).find(|name| !taken(name)).unwrap_or_default();
        self.state.say(format!("pinned: {name}"));
        self.state.variants.push(Pinned::new(name, document));
    }

    /// Take a pin away; the message offers it back.
    pub(super) fn unpin(&mut self, index: usize) {
        if index < self.state.variants.len() {
            let pinned = self.state.variants.remove(index);
            // Those to be measured are known by their place.
            self.measuring.clear();
            let text = format!("unpinned: {}", pinned.name);
            self.state.offer(text, Remedy::Pin(index, Box::new(pinned)));
        }
    }

    /// Put prompt, picture and plan of a pin on screen; one step of the history.
    pub(super) fn take_variant(&mut self, index: usize) {
        let Some(pinned) = self.state.variants.get(index) else { return };
        let (name, document) = (format!("variant: {}", pinned.name), pinned.document.clone());
        self.state.take_typed();
        if self.state.history.replace(name.as_str(), None, document) {
            self.show_document();
            self.state.offer(name, Remedy::Undo);
        }
    }

    /// Continue every column.
    pub(super) fn continue_variants(&mut self) {
        self.layout.show(variants::ID);
        let Some(request) = variants::continuations(&self.state) else { return };
        let beside = &mut self.state.results.beside;
        (beside.text, beside.text_of) = (None, request.streams.iter().map(|(_, of)| of.clone()).collect());
        self.column_text = self.worker.send(Request::Generate(request));
    }

    /// Measure what each pinned plan costs on a text, one after the other.
    pub(super) fn measure(&mut self) {
        self.measuring = (0..self.state.variants.len()).collect();
        self.measure_next();
    }

    fn measure_next(&mut self) {
        let next = self.measuring.front().and_then(|&index| self.state.variants.get(index));
        let plan = next.map(|pinned| Arc::clone(&pinned.document.plan));
        let (Some(plan), Ok(own)) = (plan, self.state.ask_of(&PLAN_COST)) else {
            return self.measuring.clear();
        };
        self.state.studies.get_mut(PLAN_COST.id).findings = None;
        self.ask_cost(Asked { plan: (*plan).clone(), ..own });
    }

    /// Findings came in: those of a pin are its cost, and the next is measured.
    pub(super) fn measured(&mut self, findings: &Findings) {
        let Some(&index) = self.measuring.front().filter(|_| findings.done) else { return };
        let Some(found) = findings.value::<PlanCostFound>() else { return self.measuring.clear() };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let difference = found.difference();
        let [low, high] = difference.interval;
        let text = match &findings.asked.subject {
            Subject::Text(Some(path)) => path.display().to_string(),
            _ => "the checkpoint's own text".into(),
        };
        let compared = (found.compared * found.same.len() as u64).max(1);
        let cost = PlanCost {
            text,
            loss: mean(&found.plan),
            difference: [difference.mean, low, high],
            kl: mean(&found.kl),
            same: found.same.iter().sum::<u64>() as f64 / compared as f64,
        };
        if let Some(pinned) = self.state.variants.get_mut(index) {
            pinned.cost = Some(cost);
        }
        self.measuring.pop_front();
        self.measure_next();
    }
}
