//! Examples of the first screen: a question each, answered with one click.

use eframe::egui::{Align2, FontId, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};
use sluice_core::method::Method;
use sluice_core::method::prune::PRUNE;
use sluice_core::method::trace::TRACE;

use crate::command::Command;
use crate::gallery::{SAMPLES, Sample};
use crate::state::State;
use crate::theme;
use crate::widgets::icon::{self, Icon};

/// A question with the method that answers it.
pub struct Example {
    /// On its card.
    pub title: &'static str,
    /// What happens on a click.
    pub line: &'static str,
    /// What is asked.
    pub method: &'static Method,
    /// The sample picture that it is about, whose object is marked; none = the method's own sample on the sample prompt.
    pub picture: Option<usize>,
}

/// In the order shown.
pub const EXAMPLES: [Example; 3] = [
    Example {
        title: "Which layers can go?",
        line: "Takes sublayers out one by one, the least missed first",
        method: &PRUNE,
        picture: None,
    },
    Example {
        title: "Where does an answer come from?",
        line: "Corrupts a name and restores it layer by layer",
        method: &TRACE,
        picture: None,
    },
    Example {
        title: "What does the picture do?",
        line: "Corrupts the red square and watches the answer fade and return",
        method: &TRACE,
        picture: Some(0),
    },
];

impl Example {
    /// Its picture.
    pub fn sample(&self) -> Option<&'static Sample> {
        self.picture.and_then(|index| SAMPLES.get(index))
    }
}

/// Height of a card, and of the row that stands for the cards in a low window.
const CARD: f32 = 64.0;
const LOW: f32 = 28.0;
/// Windows lower than this have the row.
const HIGH: f32 = 800.0;
const GAP: f32 = 12.0;

/// Indices of those that the open checkpoint can do.
pub fn here(state: &State) -> impl Iterator<Item = usize> + use<'_> {
    let can = |example: &Example| {
        state.card.as_ref().is_some_and(|card| {
            let reads = example.picture.is_none() || (card.spec.vision.is_some() && card.reads_text());
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
    let shown: Vec<(usize, &Example)> =
        here(state).filter_map(|index| Some((index, EXAMPLES.get(index)?))).collect();
    let low = ui.ctx().content_rect().height() < HIGH;
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
