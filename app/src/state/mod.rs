//! What was asked and what came back.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::ColorImage;
use serde::{Deserialize, Serialize};
use sluice_core::figure::Figure;
use sluice_core::method::Group;
use sluice_core::method::view::NextAsk;
use sluice_core::model::VisionSpec;
use sluice_core::plan::{Item, Lane, Plan, Sublayer, edits};
use sluice_core::session::{Document, History, Pinned, Reference};
use sluice_core::worker::*;

use crate::{paths, theme};

mod choices;
mod export;
mod help;
mod message;
mod panel;
mod picture;
mod shelf;
mod shorten;
mod studies;
mod variants;

pub use choices::*;
pub use export::ExportChoice;
pub use help::Help;
pub use message::{Message, Remedy};
pub use panel::{PanelId, PanelInfo};
pub use picture::Shown;
pub use shelf::{Shelved, reference};
pub use shorten::{Keep, shortened};
pub use studies::{Kept, Studies, Study};
pub use variants::{Beside, Head, Own, Source};

/// Rows of the next-token table.
const TOP: usize = 10;
/// Letters of a prompt in the name of a step.
const NAME: usize = 40;
/// Checkpoints kept in the recent list.
const MAX_RECENT: usize = 8;

/// Newest results.
#[derive(Debug, Default)]
pub struct Results {
    /// The prompt's tokens.
    pub tokens: Arc<[Token]>,
    /// Views of the newest scene; those of the one before stay until it is done.
    pub views: HashMap<View, Arc<ViewData>>,
    /// Cost of the newest scene.
    pub recomputed: Option<Recomputed>,
    /// Continuations.
    pub text: Option<Arc<Continuation>>,
    /// Prompt and plan that the continuations were asked for.
    pub text_of: Option<(Prompt, Plan)>,
    /// What is shown of variants.
    pub beside: Beside,
    /// Jobs under way.
    pub progress: HashMap<Slot, Progress>,
    /// The newest failure, shown once.
    pub failure: Option<(Slot, Failure)>,
}

/// What is kept from one start to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Checkpoints opened, newest first.
    pub recent: Vec<PathBuf>,
    /// Session files, newest first.
    pub sessions: Vec<PathBuf>,
    /// Folder that exports go to.
    pub export_folder: PathBuf,
    /// What is written of a figure.
    pub export: ExportChoice,
    /// Panels that were pinned, in their order: they have the number keys.
    pub pins: Vec<String>,
    /// Groups of the list at the left that are folded.
    pub folded: Vec<String>,
    /// The examples of the first screen were put away.
    pub examples_hidden: bool,
    /// What the plan costs on a text is measured after each change.
    pub live_cost: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            recent: Vec::new(),
            sessions: Vec::new(),
            export_folder: paths::pictures().join("Sluice"),
            export: ExportChoice::default(),
            pins: Vec::new(),
            folded: [Group::Replace, Group::Learn].map(|group| group.name().to_owned()).into(),
            examples_hidden: false,
            live_cost: false,
        }
    }
}

impl Settings {
    /// Put a checkpoint at the head of the recent list, by a path that holds wherever Sluice is started.
    pub fn remember(&mut self, path: PathBuf) {
        let path = std::path::absolute(&path).unwrap_or(path);
        let path = if path.is_file() { path.parent().map_or(path.clone(), PathBuf::from) } else { path };
        self.recent.retain(|known| *known != path);
        self.recent.insert(0, path);
        self.recent.truncate(MAX_RECENT);
    }

    /// Put a session file at the head of its list.
    pub fn remember_session(&mut self, path: PathBuf) {
        self.sessions.retain(|known| *known != path);
        self.sessions.insert(0, path);
        self.sessions.truncate(MAX_RECENT);
    }
}

/// Everything the window holds besides the worker.
#[derive(Debug, Default)]
pub struct State {
    /// The open checkpoint.
    pub card: Option<Arc<Card>>,
    /// Path box.
    pub path: String,
    /// Prompt box: text, or ids where there is no tokenizer.
    pub prompt: String,
    /// The prompt is a text box, not chips.
    pub editing: bool,
    /// Counts up whenever the prompt is made a text box: what is typed in it is one step.
    pub typings: u64,
    /// The prompt's picture.
    pub image: Option<Shown>,
    /// What the open checkpoint's image tower sees of the pictures of its history, by fingerprint.
    pub views: HashMap<u64, Arc<ColorImage>>,
    /// The sample pictures.
    pub gallery: Vec<Arc<ColorImage>>,
    /// Prompt position under the pointer, in the strip or on the picture.
    pub hovered: Option<usize>,
    /// Answer box.
    pub answer: String,
    /// Box for an intervention as JSON.
    pub item: String,
    /// Prompt, picture and plan, and how they came about.
    pub history: History,
    /// What was done with checkpoints that are not open, by fingerprint.
    pub shelf: HashMap<String, Shelved>,
    /// Variants that are pinned.
    pub variants: Vec<Pinned>,
    /// Earlier sessions that are kept on this machine, the newest first.
    pub kept: Vec<PathBuf>,
    /// The file that the session was opened from or saved to last.
    pub session_file: Option<PathBuf>,
    /// The checkpoint of a session that is being opened.
    pub expected: Option<Reference>,
    /// What a person wrote down.
    pub notes: String,
    /// Why the session is not saved.
    pub unsaved: Option<Failure>,
    /// What is chosen.
    pub choices: Choices,
    /// What came back.
    pub results: Results,
    /// What is kept between starts.
    pub settings: Settings,
    /// What is asked of each method, and what it found.
    pub studies: Studies,
    /// Panels on screen, in the order of the list.
    pub visible: Vec<PanelId>,
    /// What the list at the left is filtered by.
    pub filter: String,
    /// What is explained over the window.
    pub help: Option<Help>,
    /// Search text of the command palette, while it is open.
    pub palette: Option<String>,
    /// Something on screen is of the scene before the one asked.
    pub busy: bool,
    /// The newest message: an export, for instance.
    pub message: Option<Message>,
}

impl State {
    /// Show a message.
    pub fn say(&mut self, text: impl Into<String>) {
        self.message = Some(Message { text: text.into(), ..Message::default() });
    }

    /// Show a message with what can be done about it.
    pub fn offer(&mut self, text: impl Into<String>, remedy: Remedy) {
        self.message = Some(Message { text: text.into(), remedy: Some(remedy), since: None });
    }

    /// Sessions of before: files of a person's own, then what is kept.
    pub fn earlier_sessions(&self) -> impl Iterator<Item = &PathBuf> {
        self.settings.sessions.iter().chain(&self.kept)
    }

    /// The text of the message on screen.
    pub fn said(&self) -> &str {
        self.message.as_ref().map_or("", |message| &message.text)
    }

    /// The prompt as the worker takes it; an error says what is wrong with the ids.
    pub fn request_prompt(&self) -> Result<Prompt, String> {
        let image = self.image.as_ref().map(|shown| shown.picture.clone());
        Ok(Prompt { words: self.parse_words(&self.prompt)?, image })
    }

    /// What a text box holds as a prompt: text, or ids where there is no tokenizer.
    pub fn parse_words(&self, text: &str) -> Result<Words, String> {
        if !self.ids_only() {
            return Ok(Words::Text(text.to_owned()));
        }
        let parse =
            |part: &str| part.trim().parse().map_err(|_| format!("\"{}\" is not a token id", part.trim()));
        let parts = text.split(',').filter(|part| !part.trim().is_empty());
        parts.map(parse).collect::<Result<_, _>>().map(Words::Tokens)
    }

    /// Whether prompts are token ids.
    pub fn ids_only(&self) -> bool {
        self.card.as_ref().is_some_and(|card| !card.reads_text())
    }

    /// Patches along a side of a picture, where the open checkpoint reads any.
    pub fn patches(&self) -> Option<usize> {
        self.card.as_ref().and_then(|card| card.spec.vision.as_ref()).map(VisionSpec::side)
    }

    /// Positions of the prompt that stand for its picture.
    pub fn image_positions(&self) -> Vec<usize> {
        let tokens = self.results.tokens.iter().enumerate();
        tokens.filter(|(_, token)| token.patch.is_some()).map(|(position, _)| position).collect()
    }

    /// Make what was typed a step of the history; what is typed while the box is open is one.
    pub fn take_typed(&mut self) {
        let words = self.history.document().words.clone();
        if self.prompt != *words {
            let document = Document { words: self.prompt.as_str().into(), ..self.history.document().clone() };
            let name = format!("prompt: {}", theme::short(&self.prompt, NAME));
            self.history.replace(name, Some(!self.typings), document);
        }
    }

    /// Another picture, and other words where some are given; one step of the history.
    pub fn set_prompt(&mut self, name: &str, image: Option<Shown>, words: Option<String>) {
        self.take_typed();
        let before = self.history.document();
        let words = words.map_or_else(|| before.words.clone(), Arc::from);
        let picture = image.as_ref().map(|shown| shown.picture.clone());
        let document = Document { words, picture, ..before.clone() };
        self.views.extend(image.and_then(|shown| Some((shown.picture.fingerprint(), shown.view?))));
        self.history.replace(name, None, document);
        self.show_document();
    }

    /// Put prompt and picture of the history's document on screen. A picture whose view is not known is shown once it is.
    pub fn show_document(&mut self) {
        let Document { words, picture, .. } = self.history.document();
        if self.prompt != **words {
            self.prompt = words.to_string();
        }
        self.image = picture.as_ref().map(|picture| {
            let view = self.views.get(&picture.fingerprint()).map(Arc::clone);
            Shown { picture: picture.clone(), view }
        });
    }

    /// Layers of the open checkpoint.
    pub fn layers(&self) -> usize {
        self.card.as_ref().map_or(0, |card| card.spec.n_layers())
    }

    /// The next-token table.
    pub fn next_view(&self) -> View {
        let (position, answer) = (self.choices.position, self.choices.answer.clone());
        NextAsk { position, top: TOP, answer }.into()
    }

    /// The newest data of a view; until it is there, what the same kind of view showed before.
    pub fn data(&self, view: &View) -> Option<&ViewData> {
        let views = &self.results.views;
        let same_kind = || {
            let kind = view.method();
            views.iter().find(|(known, _)| known.method() == kind).map(|(_, data)| data)
        };
        views.get(view).or_else(same_kind).map(|data| &**data)
    }

    /// The figure of [`State::data`].
    pub fn figure(&self, view: &View) -> Option<Arc<Figure>> {
        self.data(view).map(|data| Arc::clone(data.figure()))
    }

    /// Whether the data of a view is its own, not what the same kind of view showed before.
    pub fn is_exact(&self, view: &View) -> bool {
        self.results.views.contains_key(view)
    }

    /// Whether the plan takes a sublayer out.
    pub fn is_out(&self, sublayer: Sublayer) -> bool {
        let out = |item: &Item| item.on && item.strength == 1.0 && edits::skips(item, sublayer);
        self.history.plan().items.iter().any(out)
    }

    /// Lane of the plan's routing map.
    pub fn lane(&self, layer: usize, position: Option<usize>) -> Lane {
        let len = self.results.tokens.len();
        let items = &self.history.plan().items;
        let route = edits::painted(items).and_then(|index| edits::route_of(items.get(index)?));
        route.map_or(Lane::Big, |route| match position {
            Some(position) => route.lane(layer, position, len),
            None => route.next(layer),
        })
    }
}
