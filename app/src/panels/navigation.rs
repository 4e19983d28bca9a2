//! The methods at the left, in groups that fold, with a filter and what is pinned: what is open is marked, what runs, is
//! done or of an earlier question says so, and what the open checkpoint cannot do says why.

use eframe::egui::{
    Align2, Color32, FontId, Id, Key, Rect, Role, ScrollArea, Sense, Shape, Stroke, TextEdit, TextStyle, Ui,
    WidgetInfo, pos2, vec2,
};
use sluice_core::method::Group;
use sluice_core::worker::Slot;

use super::{Panel, find, panels};
use crate::command::{Action, Command};
use crate::state::State;
use crate::theme;
use crate::widgets::icon::{self, Icon};

/// Id of the filter.
pub const FILTER: &str = "method-filter";
/// Where names begin, from the left edge.
const INDENT: f32 = 18.0;

/// Draw the list.
pub fn ui(ui: &mut Ui, state: &mut State, actions: &[Action], commands: &mut Vec<Command>) {
    filter(ui, &mut state.filter, commands);
    let state = &*state;
    ScrollArea::vertical().show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        let query = state.filter.trim().to_lowercase();
        if !query.is_empty() {
            return filtered(ui, state, &query, commands);
        }
        let pins: Vec<&dyn Panel> = state.settings.pins.iter().filter_map(|pin| find(pin)).collect();
        if !pins.is_empty() {
            ui.add_space(theme::UNIT);
            section(ui, "Pinned");
            for panel in pins {
                let shows =
                    |action: &&Action| matches!(action.command, Command::Show(id) if id == panel.info().id);
                let keys = actions.iter().find(shows).and_then(|action| action.keys);
                let keys = keys.map(|keys| ui.ctx().format_shortcut(&keys)).unwrap_or_default();
                entry(ui, state, panel, ("pinned", &keys), commands);
            }
            ui.add_space(2.0 * theme::UNIT);
        }
        for group in Group::ALL {
            let here: Vec<&dyn Panel> =
                panels().iter().map(|panel| &**panel).filter(|panel| panel.info().group == group).collect();
            if !here.is_empty() && title(ui, state, group, here.len(), commands) {
                for panel in here {
                    entry(ui, state, panel, ("", ""), commands);
                }
                ui.add_space(2.0 * theme::UNIT);
            }
        }
    });
}

/// What the list is filtered by: names, papers and questions. Enter opens the first, Escape empties it.
fn filter(ui: &mut Ui, text: &mut String, commands: &mut Vec<Command>) {
    let hint = format!("Filter {} methods  /", panels().len());
    let edit = TextEdit::singleline(text)
        .id(Id::unique(FILTER))
        .align(Align2::LEFT_CENTER)
        .desired_width(f32::INFINITY)
        .hint_text(hint);
    let edit = ui
        .scope(|ui| {
            theme::fields(ui);
            ui.add_sized(vec2(ui.available_width(), theme::ROW), edit)
        })
        .inner;
    edit.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Filter methods"));
    if edit.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter)) {
        let query = text.trim().to_lowercase();
        commands.extend(matching(&query).next().map(|panel| Command::Show(panel.info().id)));
        text.clear();
    } else if edit.lost_focus() && ui.input(|input| input.key_pressed(Key::Escape)) {
        text.clear();
    }
    ui.add_space(theme::UNIT);
}

/// Panels whose name, paper or question holds some text in small letters; those that are called so first.
fn matching(query: &str) -> impl Iterator<Item = &'static dyn Panel> {
    let holds = |texts: &[&str]| texts.iter().any(|text| text.to_lowercase().contains(query));
    let distance = |panel: &dyn Panel| {
        let info = panel.info();
        let method = panel.shows().or(panel.method());
        let title = method.map_or("", |method| method.title);
        let paper = method.map_or("", |method| method.source.paper);
        let named = holds(&[info.name, info.tag, info.id]);
        if named { Some(0) } else { holds(&[info.hint, title, paper]).then_some(1) }
    };
    let mut found: Vec<(u8, &dyn Panel)> =
        panels().iter().filter_map(|panel| Some((distance(&**panel)?, &**panel))).collect();
    found.sort_by_key(|(distance, _)| *distance);
    found.into_iter().map(|(_, panel)| panel)
}

fn filtered(ui: &mut Ui, state: &State, query: &str, commands: &mut Vec<Command>) {
    let mut none = true;
    for panel in matching(query) {
        entry(ui, state, panel, ("filtered", ""), commands);
        none = false;
    }
    if none {
        ui.weak("no name, paper or question has this");
    }
}

/// The head of rows that do not fold.
fn section(ui: &mut Ui, name: &str) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW), Sense::hover());
    let at = pos2(rect.left() + INDENT, rect.center().y);
    ui.painter().text(at, Align2::LEFT_CENTER, name, body(), ui.visuals().text_color());
}

/// The head of a group, a click on which folds it. Whether it is open.
fn title(ui: &mut Ui, state: &State, group: Group, count: usize, commands: &mut Vec<Command>) -> bool {
    let open = !state.settings.folded.iter().any(|name| name == group.name());
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW), Sense::click());
    if response.clicked() {
        commands.push(Command::Fold(group));
    }
    let visuals = ui.visuals();
    let (text, quiet) = (visuals.text_color(), visuals.weak_text_color());
    if response.hovered() || response.has_focus() {
        ui.painter().rect_filled(rect, 3.0, visuals.faint_bg_color);
    }
    let c = pos2(rect.left() + 6.0, rect.center().y);
    let fold = match open {
        true => [vec2(-3.5, -2.0), vec2(3.5, -2.0), vec2(0.0, 2.5)],
        false => [vec2(-2.0, -3.5), vec2(-2.0, 3.5), vec2(2.5, 0.0)],
    };
    let points = fold.into_iter().map(|at| c + at).collect();
    ui.painter().add(Shape::convex_polygon(points, quiet, Stroke::NONE));
    let at = pos2(rect.left() + INDENT, rect.center().y);
    ui.painter().text(at, Align2::LEFT_CENTER, group.name(), body(), text);
    if !open {
        let at = rect.right_center() - vec2(4.0, 0.0);
        ui.painter().text(at, Align2::RIGHT_CENTER, count.to_string(), small(ui), quiet);
    }
    response
        .widget_info(|| WidgetInfo::selected(Role::Button, true, open, format!("{} methods", group.name())));
    open
}

/// What stands at the right end of a row.
struct Tag {
    text: String,
    colour: Option<Color32>,
    /// A dot: filled = findings are there, a ring = they are of an earlier question.
    dot: Option<bool>,
}

/// How a panel's method stands, else its paper.
fn tag(ui: &Ui, state: &State, panel: &dyn Panel, keys: &str) -> Tag {
    let method = panel.method().or(panel.shows());
    let lacks = method.zip(state.card.as_ref()).and_then(|(method, card)| method.lacks(&card.spec));
    if let Some(need) = lacks {
        return Tag { text: need.lacking().into(), colour: None, dot: None };
    }
    let running = method.is_some_and(|method| state.studies.running == Some(method.id));
    if running {
        let progress = state.results.progress.get(&Slot::Study);
        let share = progress.map_or(0.0, |progress| progress.done as f32 / progress.total.max(1) as f32);
        let text = format!("{:.0} %", 100.0 * share);
        return Tag { text, colour: Some(theme::link(ui.ctx())), dot: None };
    }
    let text = if keys.is_empty() { panel.info().tag } else { keys };
    let findings = panel.method().and_then(|method| state.studies.findings(method.id));
    let dot = findings.map(|findings| state.earlier(findings).is_none());
    Tag { text: text.into(), colour: None, dot }
}

/// A panel in a row; `place` tells rows of one panel apart. On hover a star pins it.
fn entry(
    ui: &mut Ui,
    state: &State,
    panel: &dyn Panel,
    (place, keys): (&str, &str),
    commands: &mut Vec<Command>,
) {
    let info = panel.info();
    let cause = panel.unavailable(state);
    let shown = state.visible.contains(&info.id);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW), Sense::hover());
    let response = ui.interact(rect, Id::unique(("method", place, info.id)), Sense::click());
    let visuals = ui.visuals();
    let (text, quiet) = (visuals.text_color(), visuals.weak_text_color());
    let over = ui.rect_contains_pointer(rect) || response.has_focus();
    if shown {
        ui.painter().rect_filled(rect, 3.0, theme::soft(ui.ctx()));
        let bar = Rect::from_min_size(rect.left_top(), vec2(2.0, rect.height()));
        ui.painter().rect_filled(bar, 0.0, theme::accent(ui.ctx()));
    } else if over {
        ui.painter().rect_filled(rect, 3.0, visuals.faint_bg_color);
    }
    let ink = if cause.is_some() { quiet } else { text };
    let at = pos2(rect.left() + INDENT, rect.center().y);
    let name = ui.painter().text(at, Align2::LEFT_CENTER, info.name, body(), ink);
    let Tag { text: tag, colour, dot } = tag(ui, state, panel, keys);
    let mut right = rect.right() - 4.0;
    if let Some(current) = dot {
        let (middle, radius) = (pos2(right - 3.0, rect.center().y), 3.0);
        let painter = ui.painter();
        if current {
            painter.circle_filled(middle, radius, theme::accent(ui.ctx()));
        } else {
            painter.circle_stroke(middle, radius, Stroke::new(1.5, theme::warning(ui.ctx())));
        }
        right -= 10.0;
    }
    // The star has the tag's place.
    let pinned = state.settings.pins.iter().any(|pin| pin == info.id);
    let star = pos2(rect.right() - 23.0, rect.center().y);
    let star = Rect::from_center_size(star, vec2(icon::SIDE, icon::SIDE));
    let star_id = Id::unique(("pin", place, info.id));
    let seen = over || ui.memory(|memory| memory.has_focus(star_id));
    if !seen {
        let ink = colour.unwrap_or(if shown { text } else { quiet });
        let galley = ui.painter().layout_no_wrap(tag.clone(), small(ui), ink);
        let at = pos2(right - galley.size().x, rect.center().y - galley.size().y / 2.0);
        if at.x > name.right() + 2.0 {
            ui.painter().galley(at, galley, quiet);
        }
    }
    let label = format!("{} panel", info.name);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, shown, &label));
    let star_name = format!("{}: {}", if pinned { "Unpin" } else { "Pin" }, info.name);
    if icon::at(ui, star, star_id, Icon::Star(pinned), &star_name, seen).clicked() {
        commands.push(Command::Pin(info.id));
    }
    let hint = if tag.is_empty() { info.hint.to_owned() } else { format!("{}\n{tag}", info.hint) };
    if response.on_hover_text(cause.map_or(hint, str::to_owned)).clicked() {
        commands.push(Command::Show(info.id));
    }
}

fn body() -> FontId {
    FontId::proportional(13.5)
}

fn small(ui: &Ui) -> FontId {
    let font = TextStyle::Small.resolve(ui.style());
    FontId { size: 12.0, ..font }
}
