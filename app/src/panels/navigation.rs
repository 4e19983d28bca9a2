//! The methods at the left, in groups that fold: what is open is marked, what the open checkpoint cannot do says why.

use eframe::egui::{Align2, FontId, Id, Rect, Role, Sense, Shape, TextStyle, Ui, WidgetInfo, pos2, vec2};
use sluice_core::method::{Group, Method};

use super::{Panel, panels};
use crate::command::Command;
use crate::state::State;
use crate::theme;

/// Longest name of a paper that stands as a tag, characters.
const TAG: usize = 9;
/// Where names begin, from the left edge.
const INDENT: f32 = 18.0;

/// Draw the list.
pub fn ui(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.spacing_mut().item_spacing.y = 0.0;
    for group in Group::ALL {
        let here: Vec<&dyn Panel> =
            panels().iter().map(|panel| &**panel).filter(|panel| panel.info().group == group).collect();
        if here.is_empty() {
            continue;
        }
        if title(ui, group, here.len()) {
            for panel in here {
                entry(ui, state, panel, commands);
            }
            ui.add_space(2.0 * theme::UNIT);
        }
    }
}

/// The head of a group, a click on which folds it. Whether it is open.
fn title(ui: &mut Ui, group: Group, count: usize) -> bool {
    let id = Id::unique(("group", group.name()));
    let mut open: bool = ui.data(|data| data.get_temp(id)).unwrap_or(true);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW), Sense::click());
    if response.clicked() {
        open = !open;
        ui.data_mut(|data| data.insert_temp(id, open));
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
    ui.painter().add(Shape::convex_polygon(points, quiet, eframe::egui::Stroke::NONE));
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

fn entry(ui: &mut Ui, state: &State, panel: &dyn Panel, commands: &mut Vec<Command>) {
    let info = panel.info();
    let cause = panel.unavailable(state);
    let shown = state.visible.contains(&info.id);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW), Sense::click());
    let visuals = ui.visuals();
    let (text, quiet) = (visuals.text_color(), visuals.weak_text_color());
    let painter = ui.painter();
    if shown {
        painter.rect_filled(rect, 3.0, theme::soft(ui.ctx()));
        let bar = Rect::from_min_size(rect.left_top(), vec2(2.0, rect.height()));
        painter.rect_filled(bar, 0.0, theme::accent(ui.ctx()));
    } else if response.hovered() || response.has_focus() {
        painter.rect_filled(rect, 3.0, visuals.faint_bg_color);
    }
    let name = painter.text(
        pos2(rect.left() + INDENT, rect.center().y),
        Align2::LEFT_CENTER,
        info.name,
        body(),
        if cause.is_some() { quiet } else { text },
    );
    let tag = panel.shows().or(panel.method()).map(|method: &Method| method.source.paper);
    let tag = tag.filter(|tag| tag.len() <= TAG && *tag != info.name);
    let tag = cause.map(|_| "not here").or(tag).unwrap_or_default();
    let galley = painter.layout_no_wrap(tag.to_owned(), small(ui), if shown { text } else { quiet });
    let at = pos2(rect.right() - 6.0 - galley.size().x, rect.center().y - galley.size().y / 2.0);
    if at.x > name.right() + 4.0 {
        painter.galley(at, galley, quiet);
    }
    let name = format!("{} panel", info.name);
    response.widget_info(|| WidgetInfo::selected(Role::Button, cause.is_none(), shown, &name));
    if response.on_hover_text(cause.unwrap_or(info.hint)).clicked() {
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
