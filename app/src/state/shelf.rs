//! What was done with a checkpoint while another is open.

use std::path::PathBuf;

use sluice_core::session::{Document, History, Pinned, Reference};
use sluice_core::worker::Card;

use super::{Choices, Message, Remedy, State, Studies};

/// Everything that belongs to one checkpoint and comes back with it.
#[derive(Debug, Default)]
pub struct Shelved {
    /// Which one.
    pub checkpoint: Reference,
    /// How many were put away before it.
    pub order: usize,
    /// Prompt, picture and plan, and how they came about.
    pub history: History,
    /// Variants that were pinned.
    pub variants: Vec<Pinned>,
    /// What was asked of methods, and what they found.
    pub studies: Studies,
    /// What was chosen.
    pub choices: Choices,
    /// Answer box.
    pub answer: String,
    /// The prompt was continued as it is.
    pub continued: bool,
}

/// Where a checkpoint is and what it holds.
pub fn reference(card: &Card) -> Reference {
    // By a path that holds wherever Sluice is started.
    let whole = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let path = card.folder.as_ref().map(whole);
    Reference { path, name: card.name.clone(), fingerprint: card.fingerprint.clone() }
}

impl State {
    /// Put what belongs to the open checkpoint away, under its fingerprint.
    pub fn put_away(&mut self) {
        let Some(card) = self.card.take() else { return };
        self.take_typed();
        let continued = self.is_continued();
        self.studies.ended();
        let shelved = Shelved {
            checkpoint: reference(&card),
            order: self.newest() + 1,
            history: std::mem::take(&mut self.history),
            variants: std::mem::take(&mut self.variants),
            studies: std::mem::take(&mut self.studies),
            choices: std::mem::take(&mut self.choices),
            answer: std::mem::take(&mut self.answer),
            continued,
        };
        self.shelf.insert(card.fingerprint.clone(), shelved);
        self.views.clear();
        // What it offers is about that checkpoint.
        let of_that = |message: &mut Message| matches!(message.remedy, Some(Remedy::Undo | Remedy::Pin(..)));
        drop(self.message.take_if(of_that));
    }

    /// Whether the continuation on screen is of the prompt and plan as they are.
    pub fn is_continued(&self) -> bool {
        let Document { words, picture, plan } = self.history.document();
        self.results.text_of.as_ref().is_some_and(|(prompt, of)| {
            prompt.words.to_string() == **words && prompt.image == *picture && *of == **plan
        })
    }

    /// Bring back what belongs to a checkpoint; of one that was never open, begin with a document. Whether the prompt was
    /// continued.
    pub fn bring_back(&mut self, card: &Card, begin: impl FnOnce() -> Document) -> bool {
        let shelved = self.shelf.remove(&card.fingerprint);
        let new = || Shelved { history: History::new(begin()), ..Shelved::default() };
        let shelved = shelved.unwrap_or_else(new);
        let continued = shelved.continued;
        self.history = shelved.history;
        self.variants = shelved.variants;
        self.studies = shelved.studies;
        self.choices = shelved.choices;
        self.answer = shelved.answer;
        self.show_document();
        continued
    }

    fn newest(&self) -> usize {
        self.shelf.values().map(|shelved| shelved.order).max().unwrap_or(0)
    }

    /// A checkpoint that has changed since it was last open: prompts and plans go on with it, findings and costs were of what it
    /// was. What does not come back; none where nothing was done with what was at its path, or it has work of its own.
    pub fn goes_on(&mut self, card: &Card) -> Option<Vec<String>> {
        let checkpoint = reference(card);
        if checkpoint.path.is_none() || self.shelf.contains_key(&card.fingerprint) {
            return None;
        }
        // What was done with the one before stays as it is: it may come back.
        let at_its_path = self.shelf.values().filter(|shelved| shelved.checkpoint.path == checkpoint.path);
        let old = at_its_path.max_by_key(|shelved| shelved.order)?;
        let mut studies = old.studies.clone();
        let mut lost: Vec<String> =
            studies.forget_kept().into_iter().map(|name| format!("findings of {name}")).collect();
        let mut variants = old.variants.clone();
        if variants.iter_mut().filter_map(|pinned| pinned.cost.take()).count() > 0 {
            lost.push("costs of pinned plans".into());
        }
        let shelved = Shelved {
            checkpoint,
            order: self.newest() + 1,
            history: old.history.clone(),
            variants,
            studies,
            choices: old.choices.clone(),
            answer: old.answer.clone(),
            continued: old.continued,
        };
        self.shelf.insert(card.fingerprint.clone(), shelved);
        Some(lost)
    }
}
