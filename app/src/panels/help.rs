//! Behind the question mark: a tour of the window in five steps, every method with its paper, the glossary, the keys.

use eframe::egui::{
    Align, Area, Frame, Grid, Id, Key, Layout, Margin, Modal, Modifiers, Order, Pos2, Rect, RichText,
    ScrollArea, Shape, Stroke, StrokeKind, Ui, pos2, vec2,
};
use sluice_core::method::{Group, METHODS};

use crate::command::{Action, Command};
use crate::glossary::WORDS;
use crate::state::{Help, State};
use crate::theme;
use crate::widgets::area;
use crate::widgets::icon::{self, Icon};

/// Size of the pages, in points.
const PAGE: [f32; 2] = [720.0, 480.0];
/// Size of a step's card.
const CARD: [f32; 2] = [340.0, 148.0];

/// A step of the tour: what it is about, and where that is.
struct Step {
    place: &'static str,
    title: &'static str,
    text: &'static str,
}

/// In the order of a first look.
const STEPS: [Step; 5] = [
    Step {
        place: area::PROMPT,
        title: "The prompt",
        text: "Its tokens are the chips. Point at one to see what was expected after it, click it to look there, and write \
               another prompt with the pencil. A bar under a token is its surprisal.",
    },
    Step {
        place: area::ANSWER,
        title: "The answer",
        text: "What the model says next, and under a plan what becomes of it. The table follows every change within a few \
               milliseconds; a click on a row follows that token in every method.",
    },
    Step {
        place: area::METHODS,
        title: "The methods",
        text: "Look into the model, change what flows through it, explain an answer. The word at the right is the paper's. \
               Type / to filter, and pin what you use with the star.",
    },
    Step {
        place: area::PANE,
        title: "The figure",
        text: "A question and its picture. What it means stands behind the (i), with an example that runs. Cells can be \
               clicked or reached with the arrow keys; the arrow above it exports what you see.",
    },
    Step {
        place: area::PLAN,
        title: "The plan",
        text: "Every change of the model is a row here: switch it off, scale it, move it, undo it. An empty plan is the model \
               as it is. Save it as a file, and the command line runs it too.",
    },
];

/// Draw what is open of it.
pub fn ui(ui: &mut Ui, state: &mut State, actions: &[Action], commands: &mut Vec<Command>) {
    match state.help {
        None => {}
        Some(Help::Tour(step)) => tour(ui, step, commands),
        Some(page) => pages(ui, page, actions, commands),
    }
}

/// A card beside what it is about, which has a frame.
fn tour(ui: &Ui, at: usize, commands: &mut Vec<Command>) {
    let Some(step) = STEPS.get(at) else { return commands.push(Command::Help(None)) };
    let ctx = ui.ctx();
    let all = ctx.content_rect();
    let about = area::of(ctx, step.place).unwrap_or(all).intersect(all);
    let place = beside(about, all);
    Area::new(Id::unique("tour-frame")).order(Order::Foreground).interactable(false).fixed_pos(all.min).show(
        ctx,
        |ui| {
            let painter = ui.ctx().layer_painter(ui.layer_id());
            let stroke = Stroke::new(2.0, theme::accent(ctx));
            painter.add(Shape::rect_stroke(about.shrink(1.0), 3.0, stroke, StrokeKind::Inside));
        },
    );
    let card = Area::new(Id::unique("tour")).order(Order::Foreground).fixed_pos(place);
    card.show(ctx, |ui| {
        let frame = Frame::new()
            .fill(ui.visuals().panel_fill)
            .stroke(Stroke::new(1.0, theme::edge(ctx)))
            .corner_radius(3.0)
            .inner_margin(Margin::same(12));
        frame.show(ui, |ui| {
            let [width, height] = CARD;
            ui.set_width(width - 24.0);
            ui.set_height(height - 24.0);
            ui.horizontal(|ui| {
                ui.label(RichText::new(step.title).size(theme::TITLE));
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if icon::button(ui, Icon::Remove, "Close tour", true, false).clicked() {
                        commands.push(Command::Help(None));
                    }
                    ui.weak(format!("{} of {}", at + 1, STEPS.len()));
                });
            });
            ui.label(step.text);
            ui.with_layout(Layout::right_to_left(Align::BOTTOM), |ui| {
                let last = at + 1 == STEPS.len();
                let next = ui.add(theme::filled(ctx, if last { "Done" } else { "Next" }));
                if next.clicked() {
                    commands.push(Command::Help((!last).then_some(Help::Tour(at + 1))));
                }
                if at > 0 && ui.button("Back").clicked() {
                    commands.push(Command::Help(Some(Help::Tour(at - 1))));
                }
            });
        });
    });
    if ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Escape)) {
        commands.push(Command::Help(None));
    }
}

/// Where a card stands: under what it is about, else above, else beside, else over its middle; always in the window.
fn beside(about: Rect, all: Rect) -> Pos2 {
    let [width, height] = CARD;
    let gap = 2.0 * theme::UNIT;
    let room = all.shrink(gap);
    let (left, top) = (about.left(), about.center().y - height / 2.0);
    let places = [
        pos2(left, about.bottom() + gap),
        pos2(left, about.top() - height - gap),
        pos2(about.right() + gap, top),
        pos2(left - width - gap, top),
    ];
    // Along an edge of the window a card moves as far as it must.
    let held = |at: Pos2| pos2(at.x.min(room.right() - width).max(room.left()), at.y);
    let fits = |at: &Pos2| {
        let card = Rect::from_min_size(*at, vec2(width, height));
        room.contains_rect(card) && !card.intersects(about.shrink(1.0))
    };
    let place = places.into_iter().map(held).find(fits);
    place.unwrap_or(held(pos2(about.center().x - width / 2.0, top.max(room.top()))))
}

/// The pages, over everything.
fn pages(ui: &mut Ui, page: Help, actions: &[Action], commands: &mut Vec<Command>) {
    let modal = Modal::new(Id::unique("help")).show(ui.ctx(), |ui| {
        let room = ui.ctx().content_rect().size() - vec2(64.0, 64.0);
        let size = vec2(PAGE[0].min(room.x), PAGE[1].min(room.y));
        ui.set_width(size.x);
        ui.set_height(size.y);
        ui.horizontal(|ui| {
            for (at, name) in [(Help::Methods, "Methods"), (Help::Words, "Glossary"), (Help::Keys, "Keys")] {
                if ui.selectable_label(page == at, name).clicked() {
                    commands.push(Command::Help(Some(at)));
                }
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if icon::button(ui, Icon::Remove, "Close help", true, false).clicked() {
                    commands.push(Command::Help(None));
                }
                if ui.button("Tour of the window").clicked() {
                    commands.push(Command::Help(Some(Help::Tour(0))));
                }
                if ui.button("Show examples").clicked() {
                    commands.push(Command::Examples(true));
                    commands.push(Command::Help(None));
                }
            });
        });
        ui.separator();
        ScrollArea::vertical().id_salt(format!("{page:?}")).auto_shrink(false).show(ui, |ui| match page {
            Help::Words => words(ui),
            Help::Keys => keys(ui, actions),
            Help::Methods | Help::Tour(_) => methods(ui, commands),
        });
    });
    if modal.should_close() {
        commands.push(Command::Help(None));
    }
}

/// Every method: its question, two sentences and its paper.
fn methods(ui: &mut Ui, commands: &mut Vec<Command>) {
    for group in Group::ALL {
        let here = METHODS.iter().filter(|method| method.group == group);
        for (index, method) in here.enumerate() {
            if index == 0 {
                ui.label(RichText::new(group.name()).weak());
            }
            let title = RichText::new(format!("{}: {}", method.name, method.title)).size(15.0);
            match super::panel_of(method) {
                Some(panel) if ui.link(title.clone()).clicked() => {
                    commands.extend([Command::Show(panel), Command::Help(None)]);
                }
                Some(_) => {}
                None => drop(ui.label(title)),
            }
            ui.label(method.about());
            let line = RichText::new(method.source.line()).small();
            match method.source.url() {
                Some(url) => drop(ui.hyperlink_to(line, url)),
                None => drop(ui.label(line.weak())),
            }
            ui.add_space(2.0 * theme::UNIT);
        }
    }
}

fn words(ui: &mut Ui) {
    let width = ui.available_width() - 170.0;
    Grid::new("words").num_columns(2).spacing(vec2(16.0, 6.0)).show(ui, |ui| {
        for word in WORDS {
            ui.horizontal(|ui| {
                ui.set_width(140.0);
                ui.label(word.name);
            });
            ui.scope(|ui| {
                ui.set_max_width(width);
                ui.label(RichText::new(word.text).weak());
            });
            ui.end_row();
        }
    });
}

/// Every key, those of actions as they are.
fn keys(ui: &mut Ui, actions: &[Action]) {
    const OTHERS: [(&str, &str); 7] = [
        ("Tab, Shift+Tab", "to the next field, or the one before"),
        ("Arrows", "move the cursor of a map, of bars, of the picture; a plan row by its grip"),
        ("Enter, Space", "choose what the cursor is on"),
        ("Escape", "close what lies over the window, leave a field"),
        ("Enter", "end the prompt; Shift+Enter begins a line"),
        ("Ctrl+wheel", "zoom a map; the middle button moves it, a double click resets it"),
        ("Ctrl+plus, Ctrl+minus, Ctrl+0", "larger, smaller, as at first"),
    ];
    Grid::new("keys").num_columns(2).spacing(vec2(24.0, 6.0)).show(ui, |ui| {
        for action in actions {
            let Some(keys) = action.keys else { continue };
            ui.monospace(ui.ctx().format_shortcut(&keys));
            ui.label(&*action.text);
            ui.end_row();
        }
        for (keys, text) in OTHERS {
            ui.monospace(keys);
            ui.label(text);
            ui.end_row();
        }
    });
}
