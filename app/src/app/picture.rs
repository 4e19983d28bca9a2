//! The prompt's picture: read off the frame, put in place when it is there.

use std::sync::Arc;

use sluice_core::Error;
use sluice_core::worker::{Failure, Slot};

use super::SluiceApp;
use crate::errands::{Fetched, PictureSource};
use crate::theme;

/// Letters of a picture's name in that of a step.
const NAME: usize = 40;

impl SluiceApp {
    /// Read a picture for the open checkpoint. While one is being opened, the picture is for that one.
    pub(super) fn read_picture(&mut self, source: PictureSource) {
        if self.opening.is_some() {
            self.waiting = Some(source);
            return;
        }
        match (self.refusal(), &self.state.card) {
            (None, Some(card)) => self.reading = Some(self.errands.picture(source, Arc::clone(card))),
            (refusal, _) => self.state.results.failure = refusal.map(|failure| (Slot::Open, failure)),
        }
    }

    /// Why no picture can be taken, where none can.
    pub(super) fn refusal(&self) -> Option<Failure> {
        let error = match &self.state.card {
            Some(card) => card.preprocessor().err()?,
            None => Error::NoImages("no checkpoint is open that could read a picture"),
        };
        Some(Failure { cause: error.to_string(), next_step: error.next_step() })
    }

    /// Put a picture in place that was read; one that fails leaves everything as it was.
    pub(super) fn take_picture(&mut self, fetched: Fetched) {
        if fetched.view {
            return self.take_view(fetched);
        }
        if self.reading != Some(fetched.number) {
            return;
        }
        self.reading = None;
        match fetched.shown {
            Err(failure) => self.state.results.failure = Some((Slot::Open, failure)),
            // Prepared for the checkpoint before.
            Ok(shown) if !self.state.card.as_ref().is_some_and(|card| Arc::ptr_eq(card, &fetched.card)) => {
                self.read_picture(PictureSource::Again(shown.picture, fetched.words));
            }
            Ok(shown) => {
                let words = fetched.words.filter(|_| !self.state.ids_only()).map(str::to_owned);
                let name = format!("picture: {}", theme::short(shown.picture.name(), NAME));
                self.state.set_prompt(&name, Some(shown), words);
                drop(self.state.results.failure.take_if(|(slot, _)| *slot == Slot::Open));
            }
        }
    }

    /// Ask for what the tower sees of the picture on screen, where that is not known. While a checkpoint is being opened it
    /// is asked of that one, once it is there.
    pub(super) fn see_picture(&mut self) {
        let unseen = self.state.image.as_ref().filter(|shown| shown.view.is_none());
        let unseen = unseen.map(|shown| shown.picture.clone()).filter(|_| self.opening.is_none());
        let card = self.state.card.clone().filter(|card| card.preprocessor().is_ok());
        self.viewing =
            unseen.zip(card).map(|(picture, card)| self.errands.picture(PictureSource::View(picture), card));
    }

    /// What the tower sees of a picture of the history: no step, whatever is on screen by now.
    fn take_view(&mut self, fetched: Fetched) {
        if self.viewing == Some(fetched.number) {
            self.viewing = None;
        }
        let here = self.state.card.as_ref().is_some_and(|card| Arc::ptr_eq(card, &fetched.card));
        match fetched.shown {
            Ok(shown) if here => {
                self.state.views.extend(shown.view.map(|view| (shown.picture.fingerprint(), view)));
                self.state.show_document();
            }
            Err(failure) if here => self.state.results.failure = Some((Slot::Open, failure)),
            _ => {}
        }
    }
}
