//! The image well: what the tower sees of the prompt's picture, with its patches, and where pictures come from.

use eframe::egui::{
    Color32, Label, Rect, RichText, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};
use sluice_core::worker::Patch;

use super::marks::{self, brush};
use super::{marking, strip};
use crate::command::Command;
use crate::errands::Dialog;
use crate::gallery::SAMPLES;
use crate::state::State;
use crate::theme;
use crate::widgets::{Cell, picture};

/// Side of the picture in points, and in a low window: the prompt's row and the tools beside it are as tall.
const SIDE: f32 = 104.0;
const LOW: f32 = 70.0;

/// The picture. `hovered` becomes the position of the patch under the pointer.
pub fn well(ui: &mut Ui, state: &State, commands: &mut Vec<Command>, hovered: &mut Option<usize>) {
    let Some(shown) = &state.image else { return };
    let tokens = &state.results.tokens;
    let cell_of = |position: usize| match tokens.get(position)?.patch? {
        Patch::At { row, col } => Some(Cell { row, col }),
        Patch::Class => None,
    };
    let marked = marking(state).and_then(|method| Some((method, brush(state, method)?)));
    let holds =
        |position: usize| marked.is_some_and(|(method, _)| marks::of(state, method, position).is_some());
    let marks = picture::Marks {
        hovered: state.hovered.and_then(cell_of),
        locked: state.choices.position.and_then(cell_of),
        corrupt: (0..tokens.len()).filter(|&at| holds(at)).filter_map(cell_of).collect(),
        grid: marked.is_some(),
    };
    let side = if theme::is_low(ui.ctx()) { LOW } else { SIDE };
    let touch = picture::ui(ui, shown, side, state.patches().unwrap_or(1), &marks);
    let position_of = |cell: Cell| {
        let patch = Some(Patch::At { row: cell.row, col: cell.col });
        tokens.iter().position(|token| token.patch == patch)
    };
    if let Some(position) = touch.hovered.and_then(position_of) {
        *hovered = Some(position);
        let strip = strip::values(state);
        if let Some(token) = tokens.get(position).filter(|_| !touch.response.dragged()) {
            let response = touch.response.clone();
            response.on_hover_ui(|ui| strip::expected(ui, token, position, strip));
        }
    }
    if let (Some((method, pick)), Some((cells, on))) = (marked, touch.stroke) {
        let positions = cells.into_iter().filter_map(position_of).collect();
        commands.push(Command::Mark(method, pick, positions, Some(on)));
    }
    if let Some(position) = touch.keyed.or(touch.clicked.filter(|_| marked.is_none())).and_then(position_of) {
        commands.push(strip::touch(state, position));
    }
}

/// Open, remove, and the samples.
pub fn tools(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        let open = ui.button("Open image…");
        if open.on_hover_text("a PNG or JPEG file; one can also be dropped on the window or pasted").clicked()
        {
            commands.push(Command::Ask(Dialog::Picture));
        }
        if state.image.is_some() && ui.button("Remove image").clicked() {
            commands.push(Command::RemovePicture);
        }
        for (index, (sample, thumb)) in SAMPLES.iter().zip(&state.gallery).enumerate() {
            let size = vec2(theme::ROW, theme::ROW);
            let (rect, response) = ui.allocate_exact_size(size, Sense::click());
            let texture = picture::texture(ui.ctx(), sample.name, index as u64, thumb);
            let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
            ui.painter().image(texture.id(), rect, uv, Color32::WHITE);
            let stroke = match response.hovered() || response.has_focus() {
                true => Stroke::new(2.0, theme::accent(ui.ctx())),
                false => ui.visuals().widgets.noninteractive.bg_stroke,
            };
            ui.painter().rect_stroke(rect, 0.0, stroke, StrokeKind::Outside);
            let name = format!("sample {}", sample.name);
            response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
            let hint = if state.ids_only() { sample.name } else { sample.prompt };
            if response.on_hover_text(hint).clicked() {
                commands.push(Command::Sample(index));
            }
        }
        if let Some(shown) = &state.image {
            let (width, height) = shown.picture.pixels().dimensions();
            let name = theme::short(shown.picture.name(), 32);
            let text = RichText::new(format!("{name} · {width} × {height} pixels")).weak();
            ui.add(Label::new(text).truncate());
        }
    });
}
