//! What each event of the worker changes.

use std::sync::Arc;

use sluice_core::method::find;
use sluice_core::session::Document;
use sluice_core::worker::{Event, Failure, Request, Slot, Target};

use super::{Folding, SluiceApp};
use crate::state::Kept;

impl SluiceApp {
    /// Take an event of the worker; what answers a superseded request changes nothing.
    pub(super) fn take(&mut self, event: Event) {
        let results = &mut self.state.results;
        match event {
            Event::Opened(id, card) => {
                // A prompt that was typed stays where a new checkpoint can read it.
                let old = self.state.card.clone();
                let typed = old.filter(|old| {
                    old.tokenizer == card.tokenizer && self.state.prompt != old.sample_prompt.to_string()
                });
                let words =
                    typed.map_or_else(|| card.sample_prompt.to_string(), |_| self.state.prompt.clone());
                let picture = self.state.image.as_ref().filter(|_| card.spec.vision.is_some());
                let picture = picture.map(|shown| shown.picture.clone());
                let begin = || Document { words: words.into(), picture, ..Document::default() };
                if let Some((_, Target::Path(path))) = self.opening.take_if(|(opening, _)| *opening == id) {
                    self.state.settings.remember(path);
                }
                // Each checkpoint has prompts, plans and findings of its own, which come back with it.
                self.state.put_away();
                self.state.results = Default::default();
                self.meet_expected(&card);
                let continued = self.state.bring_back(&card, begin);
                if card.spec.vision.is_some() && self.state.gallery.is_empty() {
                    self.errands.gallery();
                }
                self.state.card = Some(card);
                self.asked = None;
                self.example = None;
                // Asked of the checkpoint before.
                self.worker.cancel(Slot::Study);
                self.worker.cancel(Slot::Generate);
                self.worker.cancel(Slot::Fold);
                (self.folding, self.costed) = (None, None);
                let away = self.state.away();
                self.restore = match away.is_empty() {
                    true => 0,
                    false => self.worker.send(Request::Restore(away)),
                };
                self.show_document();
                // What was asked while it was opened.
                if let Some(source) = self.waiting.take() {
                    self.read_picture(source);
                }
                if let Some(words) = self.waiting_words.take() {
                    self.write(words);
                } else if continued {
                    self.generate();
                }
                self.tell_missing();
            }
            Event::Closed(_) => {
                self.state.put_away();
                self.state.results = Default::default();
                self.asked = None;
            }
            Event::Progress(_, slot, progress) => {
                if progress.done < progress.total {
                    results.progress.insert(slot, progress);
                } else {
                    results.progress.remove(&slot);
                }
            }
            Event::Tokens(id, tokens) if id == self.scene => results.tokens = tokens,
            Event::View(id, view, data) if id == self.scene => {
                self.fresh.insert(view.clone());
                results.views.insert(view, data);
            }
            Event::SceneDone(id, recomputed) if id == self.scene => {
                results.progress.remove(&Slot::Scene);
                results.recomputed = Some(recomputed);
                self.settle();
                self.succeeded(Slot::Scene);
            }
            Event::Text(id, text) if id == self.text || id == self.column_text => {
                let shown = if id == self.text { &mut results.text } else { &mut results.beside.text };
                *shown = Some(text);
                self.succeeded(Slot::Generate);
            }
            Event::Column(id, index, column) if id == self.columns => {
                results.beside.take(index, column);
            }
            Event::Compared(id, compared) if id == self.columns => results.beside.draw(&compared),
            Event::Folded(id, items) => {
                if let Some(Folding { card, plan, folder, .. }) = self.folding.take_if(|of| of.id == id) {
                    self.errands.save_model(card, plan, items, folder);
                }
            }
            Event::Findings(id, findings) if id == self.study => {
                let method = findings.asked.method;
                if findings.done {
                    results.progress.remove(&Slot::Study);
                    self.state.studies.ended();
                }
                let study = self.state.studies.get_mut(method.id);
                study.awaited = false;
                study.findings = Some(Arc::clone(&findings));
                self.measured(&findings);
            }
            Event::Reached(_, asked, reached) => {
                let study = self.state.studies.get_mut(asked.method.id);
                // One that another superseded has come as far as its findings show.
                if study.findings.as_ref().is_some_and(|findings| Arc::ptr_eq(&findings.asked, &asked)) {
                    study.kept = Some(Kept { asked, reached });
                }
            }
            Event::Restored(id, findings, reached) if id == self.restore => {
                let study = self.state.studies.get_mut(findings.asked.method.id);
                // One that was asked anew meanwhile has its own.
                let same = |kept: &Kept| Arc::ptr_eq(&kept.reached, &reached);
                if study.kept.as_ref().is_some_and(same) && study.findings.is_none() {
                    study.findings = Some(findings);
                }
            }
            Event::Lost(id, method, failure) if id == self.restore => self.not_restored(method, failure),
            Event::Kept(id) if id == self.scene => self.keeps = self.fresh.is_empty(),
            Event::Failed(id, slot, failure) => self.failed(id, slot, failure),
            Event::Cancelled(id, slot) => {
                results.progress.remove(&slot);
                if slot == Slot::Study && id == self.study {
                    self.measuring.clear();
                    self.state.studies.ended();
                }
                if slot == Slot::Open {
                    self.opening = None;
                    self.waiting = None;
                }
                if slot == Slot::Scene {
                    let cause = "the computation was stopped".into();
                    let next_step = "press F5 to compute again, or undo the last change".into();
                    results.failure = Some((Slot::Scene, Failure { cause, next_step }));
                    self.settle();
                }
            }
            Event::Tokens(..)
            | Event::View(..)
            | Event::SceneDone(..)
            | Event::Text(..)
            | Event::Kept(..)
            | Event::Findings(..)
            | Event::Column(..)
            | Event::Compared(..)
            | Event::Restored(..)
            | Event::Lost(..) => {}
        }
    }

    fn failed(&mut self, id: u64, slot: Slot, mut failure: Failure) {
        let results = &mut self.state.results;
        let current = match slot {
            Slot::Open => true,
            Slot::Scene => self.scene == id,
            Slot::Generate => self.text == id || self.column_text == id,
            Slot::Study => self.study == id,
            Slot::Restore => self.restore == id,
            Slot::Columns => self.columns == id,
            Slot::Fold => self.folding.take_if(|of| of.id == id).is_some(),
        };
        if !current {
            return;
        }
        results.progress.remove(&slot);
        if slot == Slot::Study {
            self.measuring.clear();
            return self.study_failed(failure);
        }
        let keeps = slot == Slot::Scene && std::mem::take(&mut self.keeps) && !results.views.is_empty();
        if keeps {
            failure.cause += "; the figures are those of before";
        }
        if slot == Slot::Open && !self.told {
            // One message: what else of the session is not there.
            failure.cause = std::iter::once(failure.cause)
                .chain(std::mem::take(&mut self.missing))
                .collect::<Vec<_>>()
                .join("; ");
        }
        results.failure = Some((slot, failure));
        match slot {
            Slot::Open => {
                self.opening = None;
                self.waiting = None;
                // Its work waits for where it is found again.
            }
            Slot::Scene if keeps => self.answered = true,
            Slot::Scene => self.settle(),
            Slot::Study | Slot::Generate | Slot::Restore | Slot::Columns | Slot::Fold => {}
        }
    }

    /// Findings that do not come back are told; they stay in the session.
    fn not_restored(&mut self, method: &'static str, failure: Failure) {
        let name = find(method).map_or(method, |method| method.name);
        self.missing.push(format!("findings of {name}: {}", failure.cause));
        self.tell_missing();
    }

    /// A study's failure is said in its panel; where that is not on screen, in a message too.
    fn study_failed(&mut self, failure: Failure) {
        let Some(method) = self.state.studies.running.and_then(find) else { return };
        self.state.studies.ended();
        if !self.state.visible.contains(&method.id) {
            self.state.say(format!("{}: {}", method.name, failure.cause));
        }
        if let Ok(asked) = self.state.ask_of(method) {
            self.state.studies.get_mut(method.id).failure = Some((Box::new(asked), failure));
        }
    }

    /// The newest scene has ended: what it did not bring is not shown any longer.
    fn settle(&mut self) {
        self.answered = true;
        let fresh = &self.fresh;
        self.state.results.views.retain(|view, _| fresh.contains(view));
    }

    /// An older failure of the same kind of request is over.
    fn succeeded(&mut self, slot: Slot) {
        if slot == Slot::Scene && self.bad_prompt {
            // What succeeded is the scene before; what the prompt box holds now is still no prompt.
            return;
        }
        let failure = &mut self.state.results.failure;
        drop(failure.take_if(|(failed, _)| *failed == slot));
    }
}
