//! A map or table on screen, with title, notes, legend and export. The picture is one texture, uploaded when the figure
//! or the theme changes.

use std::sync::Arc;

use eframe::egui::{
    Align2, ColorImage, Context, CursorIcon, Id, Pos2, Rect, Response, RichText, ScrollArea, Sense,
    TextStyle, TextureHandle, TextureOptions, Ui, pos2, vec2,
};
use sluice_core::figure::{Figure, Ground, Map, Plot, Scale, colour};

use crate::command::Command;
use crate::theme;

/// A cell under the pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Row from the top.
    pub row: usize,
    /// Column from the left.
    pub col: usize,
}

/// Title, notes and the export button.
pub fn head(ui: &mut Ui, figure: &Arc<Figure>, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        ui.label(RichText::new(&figure.title).strong());
        if ui.button("Export figure").on_hover_text("PNG, SVG and CSV").clicked() {
            commands.push(Command::Export(Arc::clone(figure)));
        }
    });
    for note in &figure.notes {
        ui.weak(note);
    }
}

#[derive(Clone)]
struct Upload {
    figure: Arc<Figure>,
    ground: Ground,
    texture: TextureHandle,
}

/// Draw a map; returns the cell that is clicked, or dragged over.
pub fn map(ui: &mut Ui, figure: &Arc<Figure>) -> Option<Hit> {
    let Plot::Map(map) = &figure.plot else { return None };
    let (rows, cols) = (map.rows.labels.len(), map.cols.labels.len());
    if rows == 0 || cols == 0 {
        return None;
    }
    let texture = upload(ui.ctx(), Id::unique(("texture", &figure.name)), figure, map);
    legend(ui, map);
    let row_width = 8.0 * longest(&map.rows.labels).min(12) as f32 + theme::UNIT;
    let [low, high] = theme::CELL;
    let width = ((ui.available_width() - row_width - theme::ROW) / cols as f32).clamp(low, 2.0 * high);
    let height = ((ui.available_height() - 2.0 * theme::ROW) / rows as f32).clamp(low, high);
    let size = vec2(width * cols as f32, height * rows as f32);
    ScrollArea::both()
        .id_salt(&figure.name)
        .show(ui, |ui| {
            let (area, response) =
                ui.allocate_exact_size(size + vec2(row_width, theme::ROW), Sense::click_and_drag());
            let cells = Rect::from_min_size(area.min + vec2(row_width, 0.0), size);
            let whole = Rect::from_min_max(Pos2::ZERO, pos2(1.0, 1.0));
            ui.painter().image(texture.id(), cells, whole, eframe::egui::Color32::WHITE);
            labels(ui, map, cells, vec2(width, height), area.min.x);
            hover(ui, map, cells, &response)
        })
        .inner
}

fn upload(ctx: &Context, id: Id, figure: &Arc<Figure>, map: &Map) -> TextureHandle {
    let ground = theme::ground(ctx);
    let kept: Option<Upload> = ctx.data(|data| data.get_temp(id));
    if let Some(kept) = kept.filter(|kept| Arc::ptr_eq(&kept.figure, figure) && kept.ground == ground) {
        return kept.texture;
    }
    let size = [map.cols.labels.len(), map.rows.labels.len()];
    let image = ColorImage::from_rgba_unmultiplied(size, &colour::rgba_image(map, ground));
    let texture = ctx.load_texture(&figure.name, image, TextureOptions::NEAREST);
    let upload = Upload { figure: Arc::clone(figure), ground, texture: texture.clone() };
    ctx.data_mut(|data| data.insert_temp(id, upload));
    texture
}

/// Row and column labels, thinned so that none overlap.
fn labels(ui: &Ui, map: &Map, cells: Rect, cell: eframe::egui::Vec2, left: f32) {
    let font = TextStyle::Small.resolve(ui.style());
    let quiet = ui.visuals().weak_text_color();
    let painter = ui.painter();
    let every = |room: f32, need: f32| ((need / room).ceil() as usize).max(1);
    for (index, label) in map.rows.labels.iter().enumerate().step_by(every(cell.y, 12.0)) {
        let at = pos2(cells.min.x - theme::UNIT, cells.min.y + (index as f32 + 0.5) * cell.y);
        painter.text(at, Align2::RIGHT_CENTER, short(label, 12), font.clone(), quiet);
    }
    let shown = longest(&map.cols.labels).min(8);
    for (index, label) in map.cols.labels.iter().enumerate().step_by(every(cell.x, 7.0 * shown as f32)) {
        let at = pos2(cells.min.x + (index as f32 + 0.5) * cell.x, cells.max.y + theme::UNIT);
        painter.text(at, Align2::CENTER_TOP, short(label, 8), font.clone(), quiet);
    }
    painter.text(
        pos2(left, cells.max.y + theme::UNIT),
        Align2::LEFT_TOP,
        &map.rows.name,
        font.clone(),
        quiet,
    );
    // Text in the cells where it fits.
    let room = (cell.x / 7.0) as usize;
    if cell.y < 12.0 || room < 2 || map.values.len() > 2000 {
        return;
    }
    let ground = theme::ground(ui.ctx());
    for (index, text) in map.text.iter().flat_map(|text| text.iter()).enumerate() {
        let (row, col) = (index / map.cols.labels.len(), index % map.cols.labels.len());
        let at = cells.min + vec2((col as f32 + 0.5) * cell.x, (row as f32 + 0.5) * cell.y);
        let value = map.values.get(index).copied().unwrap_or(f32::NAN);
        let ink = colour::rgb(&map.scale, value, ground).map(colour::ink);
        let ink = ink.map_or(quiet, |[r, g, b]| eframe::egui::Color32::from_rgb(r, g, b));
        painter.text(at, Align2::CENTER_CENTER, short(text, room), font.clone(), ink);
    }
}

fn hover(ui: &Ui, map: &Map, cells: Rect, response: &Response) -> Option<Hit> {
    let at = response.hover_pos().or(response.interact_pointer_pos()).filter(|at| cells.contains(*at))?;
    let (rows, cols) = (map.rows.labels.len(), map.cols.labels.len());
    let index = |at: f32, min: f32, size: f32, count: usize| {
        ((((at - min) / size) * count as f32) as usize).min(count.saturating_sub(1))
    };
    let row = index(at.y, cells.min.y, cells.height(), rows);
    let col = index(at.x, cells.min.x, cells.width(), cols);
    let value = map.values.get(row * cols + col).copied().unwrap_or(f32::NAN);
    let value = match &map.scale {
        Scale::Classes(classes) => {
            classes.get(value as usize).map_or_else(String::new, |class| class.name.clone())
        }
        _ if value.is_nan() => "n/a".into(),
        _ => format!("{} {value:.4}", map.quantity),
    };
    let label = |labels: &[String], index: usize| labels.get(index).cloned().unwrap_or_default();
    let mut text = format!(
        "{} {}, {} {col} {}\n{value}",
        map.rows.name,
        label(&map.rows.labels, row),
        map.cols.name,
        label(&map.cols.labels, col)
    );
    if let Some(inside) = map.text.as_ref().and_then(|text| text.get(row * cols + col)) {
        text = format!("{text}\n{inside}");
    }
    response.clone().on_hover_text_at_pointer(text);
    ui.set_cursor_icon(CursorIcon::Crosshair);
    (response.clicked() || response.dragged()).then_some(Hit { row, col })
}

fn legend(ui: &mut Ui, map: &Map) {
    let ground = theme::ground(ui.ctx());
    ui.horizontal_wrapped(|ui| {
        ui.weak(&map.quantity);
        let swatches: Vec<(String, f32)> = match &map.scale {
            Scale::Classes(classes) => {
                classes.iter().map(|c| c.name.clone()).zip((0..).map(|i| i as f32)).collect()
            }
            scale => {
                let (low, high) = scale.range().unwrap_or((0.0, 1.0));
                (0..=4).map(|i| low + (high - low) * i as f32 / 4.0).map(|x| (format!("{x:.3}"), x)).collect()
            }
        };
        for (name, value) in swatches {
            let (rect, _) = ui.allocate_exact_size(vec2(12.0, 12.0), Sense::hover());
            let stroke = ui.visuals().widgets.noninteractive.bg_stroke;
            match colour::rgb(&map.scale, value, ground) {
                Some([r, g, b]) => {
                    ui.painter().rect_filled(rect, 2.0, eframe::egui::Color32::from_rgb(r, g, b));
                }
                None => {
                    ui.painter().line_segment([rect.left_bottom(), rect.right_top()], stroke);
                }
            }
            ui.label(RichText::new(name).small());
        }
    });
}

fn longest(labels: &[String]) -> usize {
    labels.iter().map(|label| label.chars().count()).max().unwrap_or(0)
}

/// At most `max` characters.
fn short(label: &str, max: usize) -> String {
    if label.chars().count() <= max {
        label.to_owned()
    } else {
        label.chars().take(max.saturating_sub(1)).chain(['…']).collect()
    }
}
