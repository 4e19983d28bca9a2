//! Examples: their prompt or picture first, once that is there their method, and once that has found everything what is done
//! with it.

use eframe::egui::Context;
use sluice_core::method::Picks;
use sluice_core::worker::{Answer, Patch};

use super::SluiceApp;
use crate::command::Command;
use crate::errands::PictureSource;
use crate::gallery::Sample;
use crate::panels::examples::{About, EXAMPLES, Example};

/// An example under way.
#[derive(Clone, Copy, Debug)]
pub struct Showing {
    /// Which one.
    index: usize,
    /// Its method was started.
    started: bool,
}

impl SluiceApp {
    /// Begin an example, on the unmodified model.
    pub(super) fn show_example(&mut self, ctx: &Context, index: usize) {
        let Some(example) = EXAMPLES.get(index) else { return };
        let Some(card) = self.state.card.clone() else { return };
        self.apply(ctx, Command::Clear);
        self.state.editing = false;
        self.state.answer = example.answer.unwrap_or_default().to_owned();
        self.state.choices.answer = example.answer.map_or(Answer::Top, |text| Answer::Text(text.to_owned()));
        match example.about {
            About::Picture(picture, _) => self.read_picture(PictureSource::Sample(picture)),
            About::Sample(_) => {
                // One step of the history, where anything changes.
                let words = card.sample_prompt.to_string();
                if self.state.image.is_some() || self.state.prompt != words {
                    self.state.set_prompt("sample prompt", None, Some(words));
                }
            }
        }
        self.layout.show(example.method.id);
        self.example = Some(Showing { index, started: false });
    }

    /// Go on with an example: mark and run once its prompt is there, then take over what was found. One that fails ends.
    pub(super) fn go_on(&mut self, ctx: &Context) {
        let showing = self.example.filter(|_| self.is_still());
        let Some((showing, example)) = showing.and_then(|of| Some((of, EXAMPLES.get(of.index)?))) else {
            return;
        };
        let studies = &self.state.studies;
        if studies.running.is_some() {
            return;
        }
        if showing.started {
            self.example = None;
            if studies.findings(example.method.id).is_some_and(|findings| findings.done) {
                (example.then)(&self.state).into_iter().for_each(|command| self.apply(ctx, command));
            }
            return;
        }
        self.example = Some(Showing { started: true, ..showing });
        match (example.picture(), example.about) {
            (Some((sample, pick)), _) => self.mark_object(example, sample, pick),
            (None, About::Sample(sample)) => self.state.take_sample(example.method, sample),
            (None, About::Picture(..)) => {}
        }
        self.apply(ctx, Command::Run(example.method));
    }

    /// Mark the patches that show a sample picture's object, and ask nothing else.
    fn mark_object(&mut self, example: &Example, sample: &Sample, pick: &str) {
        let tokens = self.state.results.tokens.iter().enumerate();
        let side = self.state.patches().unwrap_or_default();
        let holds =
            |patch| matches!(patch, Some(Patch::At { row, col }) if sample.is_on_object(row, col, side));
        let object: Vec<usize> = tokens.filter(|(_, token)| holds(token.patch)).map(|(at, _)| at).collect();
        let study = self.state.studies.get_mut(example.method.id);
        (study.ask, study.picks) = (Default::default(), Picks::from([(pick.to_owned(), object)]));
    }
}
