//! Examples: their prompt or picture first, and once that is there their method.

use eframe::egui::Context;
use sluice_core::method::Picks;
use sluice_core::worker::Patch;

use super::SluiceApp;
use crate::command::Command;
use crate::errands::PictureSource;
use crate::panels::examples::EXAMPLES;
use crate::state::Asked;

impl SluiceApp {
    /// Begin an example.
    pub(super) fn show_example(&mut self, index: usize) {
        let Some(example) = EXAMPLES.get(index) else { return };
        let Some(card) = self.state.card.clone() else { return };
        self.state.editing = false;
        match example.picture {
            Some(picture) => self.read_picture(PictureSource::Sample(picture)),
            None => {
                // One step of the history, where anything changes.
                let words = card.sample_prompt.to_string();
                if self.state.image.is_some() || self.state.prompt != words {
                    self.state.replace_picture(Asked { image: None, words: Some(words) });
                }
            }
        }
        self.layout.show(example.method.id);
        self.example = Some(index);
    }

    /// Go on with an example whose prompt is there: mark and run. One whose picture could not be read ends.
    pub(super) fn go_on(&mut self, ctx: &Context) {
        let Some(example) = self.example.filter(|_| self.is_settled()).and_then(|index| EXAMPLES.get(index))
        else {
            return;
        };
        self.example = None;
        let Some(sample) = example.sample() else {
            return self.apply(ctx, Command::RunSample(example.method));
        };
        let tokens = self.state.results.tokens.iter().enumerate();
        let side = self.state.patches().unwrap_or_default();
        let holds =
            |patch| matches!(patch, Some(Patch::At { row, col }) if sample.is_on_object(row, col, side));
        let object: Vec<usize> = tokens.filter(|(_, token)| holds(token.patch)).map(|(at, _)| at).collect();
        let Some(pick) = example.method.picks.first().filter(|_| !object.is_empty()) else { return };
        let study = self.state.studies.get_mut(example.method.id);
        (study.ask, study.picks) = (Default::default(), Picks::from([(pick.name.to_owned(), object)]));
        self.apply(ctx, Command::Run(example.method));
    }
}
