//! What each event of the worker changes.

use sluice_core::method::find;
use sluice_core::worker::{Event, Failure, Slot, Target};

use super::SluiceApp;
use crate::errands::PictureSource;

impl SluiceApp {
    /// Take an event of the worker; what answers a superseded request changes nothing.
    pub(super) fn take(&mut self, event: Event) {
        let results = &mut self.state.results;
        match event {
            Event::Opened(id, card) => {
                // A prompt that was typed stays where the new checkpoint can read it.
                let kept = self.state.card.as_ref().is_some_and(|old| {
                    old.tokenizer == card.tokenizer && self.state.prompt != old.sample_prompt.to_string()
                });
                if !kept {
                    self.state.prompt = card.sample_prompt.to_string();
                }
                // Each checkpoint has a plan and a history of its own, which come back with it.
                let before = self.state.card.as_ref().map(|old| old.fingerprint.clone());
                if before.as_ref() != Some(&card.fingerprint) {
                    self.state.history.forget_pictures();
                    let history = self.state.shelf.remove(&card.fingerprint).unwrap_or_default();
                    let history = std::mem::replace(&mut self.state.history, history);
                    self.state.shelf.extend(before.map(|old| (old, history)));
                }
                if let Some((_, Target::Path(path))) = self.opening.take_if(|(opening, _)| *opening == id) {
                    self.state.settings.remember(path);
                }
                self.state.choices = Default::default();
                self.state.studies = Default::default();
                self.state.answer.clear();
                *results = Default::default();
                let before = self.state.image.take().filter(|_| card.spec.vision.is_some());
                let before = before.map(|shown| PictureSource::Again(shown.picture, None));
                if card.spec.vision.is_some() && self.state.gallery.is_empty() {
                    self.errands.gallery();
                }
                self.state.card = Some(card);
                self.asked = None;
                self.example = None;
                // Asked of the checkpoint before.
                self.worker.cancel(Slot::Study);
                self.worker.cancel(Slot::Generate);
                // What was asked while it was opened, else the picture that was there, prepared anew.
                if let Some(source) = self.waiting.take().or(before) {
                    self.read_picture(source);
                }
            }
            Event::Closed(_) => {
                *results = Default::default();
                self.state.studies = Default::default();
                self.state.card = None;
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
            Event::Text(id, text) if id == self.text => {
                results.text = Some(text);
                self.succeeded(Slot::Generate);
            }
            Event::Findings(id, findings) if id == self.study => {
                let method = findings.asked.method;
                if findings.done {
                    results.progress.remove(&Slot::Study);
                    self.state.studies.ended();
                }
                let study = self.state.studies.get_mut(method.id);
                study.awaited = false;
                study.findings = Some(findings);
            }
            Event::Kept(id) if id == self.scene => self.keeps = self.fresh.is_empty(),
            Event::Failed(id, slot, failure) => self.failed(id, slot, failure),
            Event::Cancelled(_, slot) => {
                results.progress.remove(&slot);
                if slot == Slot::Study {
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
            | Event::Findings(..) => {}
        }
    }

    fn failed(&mut self, id: u64, slot: Slot, mut failure: Failure) {
        let results = &mut self.state.results;
        let current = match slot {
            Slot::Open => true,
            Slot::Scene => self.scene == id,
            Slot::Generate => self.text == id,
            Slot::Study => self.study == id,
        };
        if !current {
            return;
        }
        results.progress.remove(&slot);
        if slot == Slot::Study {
            return self.study_failed(failure);
        }
        let keeps = slot == Slot::Scene && std::mem::take(&mut self.keeps) && !results.views.is_empty();
        if keeps {
            failure.cause += "; the figures are those of before";
        }
        results.failure = Some((slot, failure));
        match slot {
            Slot::Open => {
                self.opening = None;
                self.waiting = None;
            }
            Slot::Scene if keeps => self.answered = true,
            Slot::Scene => self.settle(),
            Slot::Study | Slot::Generate => {}
        }
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
