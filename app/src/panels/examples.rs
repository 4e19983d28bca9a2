//! Examples: a question each, answered with one click; three have a card on the first screen.

use eframe::egui::{Align2, FontId, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};
use sluice_core::method::Method;
use sluice_core::method::fcct::{FCCT, FcctFound};
use sluice_core::method::prune::PRUNE;
use sluice_core::method::trace::TRACE;
use sluice_core::plan::Change;

use super::iri::ID as IRI;
use crate::command::Command;
use crate::gallery::{SAMPLES, Sample};
use crate::state::{PanelId, State};
use crate::theme;
use crate::widgets::icon::{self, Icon};

/// A question with the method that answers it.
pub struct Example {
    /// As a question.
    pub title: &'static str,
    /// What happens on a click.
    pub line: &'static str,
    /// It has a card on the first screen.
    pub card: bool,
    /// What is asked.
    pub method: &'static Method,
    /// The panel that it is the example of; of several, the first.
    pub panel: PanelId,
    /// What it is about.
    pub about: About,
    /// The answer that is followed; none = the most likely one.
    pub answer: Option<&'static str>,
    /// What is done with the findings.
    pub then: fn(&State) -> Vec<Command>,
}

/// What an example is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The sample prompt, asked as the method's sample of this number.
    Sample(usize),
    /// A sample picture with its prompt, by index, and the pick that its object is marked as.
    Picture(usize, &'static str),
}

/// In the order shown.
pub const EXAMPLES: [Example; 6] = [
    Example {
        title: "Which layers can go?",
        line: "Takes a quarter of the sublayers out, the least missed first; the answer stays",
        card: true,
        method: &PRUNE,
        panel: PRUNE.id,
        about: About::Sample(0),
        answer: None,
        then: take,
    },
    Example {
        title: "Where does an answer come from?",
        line: "Corrupts a name and restores it layer by layer",
        card: true,
        method: &TRACE,
        panel: TRACE.id,
        about: About::Sample(0),
        answer: None,
        then: nothing,
    },
    Example {
        title: "What does the picture do?",
        line: "Corrupts the red square and watches the answer fade and return",
        card: true,
        method: &TRACE,
        panel: TRACE.id,
        about: About::Picture(0, "corrupt"),
        answer: None,
        then: nothing,
    },
    Example {
        title: "How many layers are too many?",
        line: "Takes three quarters of the sublayers out: the answer breaks",
        card: false,
        method: &PRUNE,
        panel: PRUNE.id,
        about: About::Sample(1),
        answer: None,
        then: take,
    },
    Example {
        title: "How does a picture reach the answer?",
        line: "Corrupts the picture and restores attention and FFN outputs by layer and sort of token",
        card: false,
        method: &FCCT,
        panel: FCCT.id,
        about: About::Picture(3, "object"),
        answer: None,
        then: nothing,
    },
    Example {
        title: "Can a wrong answer be repaired?",
        line: "The model sees an orange circle that is not there. Rates that follow No choose what is injected",
        card: false,
        method: &FCCT,
        panel: IRI,
        about: About::Picture(4, "object"),
        answer: Some(" No"),
        then: inject,
    },
];

/// Nothing is done.
fn nothing(_: &State) -> Vec<Command> {
    Vec::new()
}

/// What was found to go is taken out.
fn take(state: &State) -> Vec<Command> {
    let findings = state.studies.findings(PRUNE.id);
    let offer = findings.and_then(|findings| findings.found.offers().into_iter().next());
    offer.map(|offer| Command::Take(&PRUNE, Box::new(offer))).into_iter().collect()
}

/// The rates that were found make an injection.
fn inject(state: &State) -> Vec<Command> {
    let rates = state.studies.found::<FcctFound>(&FCCT);
    let add = rates.map(|rates| Command::Add(Box::new(Change::Iri(rates.iri()).into())));
    [Command::Show(IRI)].into_iter().chain(add).collect()
}

/// The example of a panel, where the open checkpoint can do it. A picture of the person's own is not taken away for it.
pub fn of_panel(state: &State, panel: PanelId) -> Option<usize> {
    let is_sample = |name: &str| SAMPLES.iter().any(|sample| sample.name == name);
    if state.image.as_ref().is_some_and(|shown| !is_sample(shown.picture.name())) {
        return None;
    }
    here(state).find(|&index| EXAMPLES.get(index).is_some_and(|example| example.panel == panel))
}

impl Example {
    /// Its picture, and what the picture's object is marked as.
    pub fn picture(&self) -> Option<(&'static Sample, &'static str)> {
        match self.about {
            About::Picture(index, pick) => SAMPLES.get(index).zip(Some(pick)),
            About::Sample(_) => None,
        }
    }
}

/// Height of a card, and of the row that stands for the cards in a low window.
const CARD: f32 = 64.0;
const LOW: f32 = 28.0;
const GAP: f32 = 12.0;

/// Indices of those that the open checkpoint can do.
pub fn here(state: &State) -> impl Iterator<Item = usize> + use<'_> {
    let can = |example: &Example| {
        state.card.as_ref().is_some_and(|card| {
            let reads = example.picture().is_none() || (card.spec.vision.is_some() && card.reads_text());
            reads && example.method.unavailable(&card.spec).is_none()
        })
    };
    (0..EXAMPLES.len()).filter(move |&index| EXAMPLES.get(index).is_some_and(can))
}

/// Draw those that the open checkpoint can do, until they are hidden.
pub fn ui(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    if state.settings.examples_hidden {
        return;
    }
    let shown: Vec<(usize, &Example)> = here(state)
        .filter_map(|index| Some((index, EXAMPLES.get(index).filter(|example| example.card)?)))
        .collect();
    let low = theme::is_low(ui.ctx());
    let height = if low { LOW } else { CARD };
    let width = (ui.available_width() - 24.0 - GAP * shown.len() as f32) / shown.len().max(1) as f32;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = GAP;
        for (index, example) in shown {
            if one(ui, example, vec2(width, height), low) {
                commands.push(Command::Example(index));
            }
        }
        if icon::button(ui, Icon::Remove, "Hide examples", true, false).clicked() {
            commands.push(Command::Examples(false));
        }
    });
    ui.add_space(theme::UNIT);
}

/// A card. True when it was clicked.
fn one(ui: &mut Ui, example: &Example, size: eframe::egui::Vec2, low: bool) -> bool {
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    let visuals = ui.visuals();
    let (text, quiet, link) = (visuals.text_color(), visuals.weak_text_color(), visuals.hyperlink_color);
    let pointed = response.hovered() || response.has_focus();
    let edge = if pointed { theme::accent(ui.ctx()) } else { visuals.widgets.noninteractive.bg_stroke.color };
    let painter = ui.painter().with_clip_rect(rect);
    painter.rect_filled(rect, 3.0, visuals.panel_fill);
    painter.rect_stroke(rect, 3.0, Stroke::new(1.0, edge), StrokeKind::Inside);
    let left = rect.left() + GAP;
    if low {
        let at = pos2(left, rect.center().y);
        painter.text(at, Align2::LEFT_CENTER, example.title, FontId::proportional(13.5), link);
    } else {
        let at = pos2(left, rect.top() + 18.0);
        painter.text(at, Align2::LEFT_CENTER, example.title, FontId::proportional(15.0), text);
        let room = Rect::from_min_max(pos2(left, rect.top() + 30.0), rect.right_bottom() - vec2(GAP, 4.0));
        let galley = painter.layout(example.line.to_owned(), FontId::proportional(12.5), quiet, room.width());
        painter.galley(room.left_top(), galley, quiet);
    }
    let name = format!("Example: {}", example.title);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
    response.on_hover_text(example.line).clicked()
}
