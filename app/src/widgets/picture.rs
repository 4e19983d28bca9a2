//! A picture as the image tower sees it, every pixel a square, with its patches in reach of pointer and keys.

use std::sync::Arc;

use eframe::egui::{
    Color32, ColorImage, Context, Id, Pos2, Rect, Response, Role, Sense, Shape, Stroke, StrokeKind,
    TextureFilter, TextureHandle, TextureOptions, Ui, WidgetInfo, pos2, vec2,
};

use super::touch::{self, Cell, between};
use crate::state::Shown;
use crate::theme;

/// Small pictures keep their pixels; large ones are averaged.
const FILTER: TextureOptions = TextureOptions {
    magnification: TextureFilter::Nearest,
    minification: TextureFilter::Linear,
    ..TextureOptions::NEAREST
};

/// Patches narrower than this in points get one stroke.
const SMALL: f32 = 10.0;

/// What is drawn over the picture.
pub struct Marks {
    /// Patch under the pointer, here or in the strip.
    pub hovered: Option<Cell>,
    /// Patch that the inspector is locked on.
    pub locked: Option<Cell>,
    /// Patches that the trace corrupts.
    pub corrupt: Vec<Cell>,
    /// Lines between the patches.
    pub grid: bool,
}

/// What pointer and keys do.
pub struct Touch {
    /// The picture.
    pub response: Response,
    /// The patch under the pointer, or that the arrow keys went to.
    pub hovered: Option<Cell>,
    /// The patch that the pointer clicked.
    pub clicked: Option<Cell>,
    /// The patch that Enter or the space bar chose.
    pub keyed: Option<Cell>,
    /// Patches that the pressed pointer came over since the frame before, and whether to mark them: as the first one was
    /// not.
    pub stroke: Option<(Vec<Cell>, bool)>,
}

/// A stroke under way: where it was last, and whether it marks.
type Stroking = (Cell, bool);

/// The texture of a picture, uploaded when `key` changes. `slot` names the place that shows it.
pub fn texture(ctx: &Context, slot: &str, key: u64, image: &Arc<ColorImage>) -> TextureHandle {
    let id = Id::unique(("picture", slot));
    let kept: Option<(u64, TextureHandle)> = ctx.data(|data| data.get_temp(id));
    if let Some((_, texture)) = kept.filter(|(known, _)| *known == key) {
        return texture;
    }
    let texture = ctx.load_texture(slot, Arc::clone(image), FILTER);
    ctx.data_mut(|data| data.insert_temp(id, (key, texture.clone())));
    texture
}

/// The texture of the prompt's picture, once it is known.
pub fn of_prompt(ctx: &Context, shown: &Shown) -> Option<TextureHandle> {
    let view = shown.view.as_ref()?;
    // Another checkpoint sees the same picture at another size.
    let key = shown.picture.fingerprint() ^ view.width() as u64;
    Some(texture(ctx, "prompt", key, view))
}

/// Draw a picture of `patches` by `patches`, `side` points square.
pub fn ui(ui: &mut Ui, shown: &Shown, side: f32, patches: usize, marks: &Marks) -> Touch {
    let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::click_and_drag());
    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    if let Some(texture) = of_prompt(ui.ctx(), shown) {
        ui.painter().image(texture.id(), rect, whole, Color32::WHITE);
    }
    response
        .widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("image {}", shown.picture.name())));
    let cell = rect.size() / patches.max(1) as f32;
    let place =
        |at: Cell| Rect::from_min_size(rect.min + vec2(at.col as f32 * cell.x, at.row as f32 * cell.y), cell);
    let touch = reach(ui, response, rect, patches, marks);
    paint(ui, rect, patches, marks, place);
    let edge = match touch.response.has_focus() {
        true => Stroke::new(2.0, theme::accent(ui.ctx())),
        false => ui.visuals().widgets.noninteractive.bg_stroke,
    };
    ui.painter().rect_stroke(rect, 0.0, edge, StrokeKind::Outside);
    touch
}

fn paint(ui: &Ui, rect: Rect, patches: usize, marks: &Marks, place: impl Fn(Cell) -> Rect) {
    let painter = ui.painter();
    let accent = theme::accent(ui.ctx());
    let line = Stroke::new(1.0, ui.visuals().widgets.noninteractive.bg_stroke.color);
    let mut shapes = Vec::new();
    if marks.grid || marks.hovered.is_some() {
        for i in 0..=patches {
            let at = place(Cell { row: i, col: i }).min;
            shapes.push(Shape::line_segment([pos2(at.x, rect.top()), pos2(at.x, rect.bottom())], line));
            shapes.push(Shape::line_segment([pos2(rect.left(), at.y), pos2(rect.right(), at.y)], line));
        }
    }
    // Crossed out: told apart without colour, whatever the picture's own are.
    let (ink, under) =
        (Stroke::new(1.5, theme::warning(ui.ctx())), Stroke::new(3.0, ui.visuals().panel_fill));
    for &cell in &marks.corrupt {
        let at = place(cell).shrink(1.5);
        if at.width() < SMALL {
            shapes.push(Shape::line_segment([at.left_bottom(), at.right_top()], ink));
            continue;
        }
        for stroke in [under, ink] {
            shapes.push(Shape::line_segment([at.left_top(), at.right_bottom()], stroke));
            shapes.push(Shape::line_segment([at.left_bottom(), at.right_top()], stroke));
            shapes.push(Shape::rect_stroke(at, 0.0, stroke, StrokeKind::Inside));
        }
    }
    for (cell, width) in [(marks.hovered, 1.5), (marks.locked, 2.5)] {
        let Some(cell) = cell else { continue };
        let stroke = Stroke::new(width + 2.0, ui.visuals().panel_fill);
        shapes.push(Shape::rect_stroke(place(cell), 0.0, stroke, StrokeKind::Middle));
        shapes.push(Shape::rect_stroke(place(cell), 0.0, Stroke::new(width, accent), StrokeKind::Middle));
    }
    painter.with_clip_rect(rect.expand(2.0)).extend(shapes);
}

fn reach(ui: &Ui, response: Response, rect: Rect, patches: usize, marks: &Marks) -> Touch {
    let last = patches.saturating_sub(1);
    let cell_at = |at: Pos2| {
        let part = (at - rect.min) / rect.size() * patches as f32;
        Cell { row: (part.y.max(0.0) as usize).min(last), col: (part.x.max(0.0) as usize).min(last) }
    };
    let under = response.hover_pos().or(response.interact_pointer_pos()).filter(|at| rect.contains(*at));
    let under = under.map(cell_at);
    let cursor = touch::cursor(&response, (patches, patches), Cell::default());
    let clicked = under.filter(|_| touch::by_pointer(&response));
    let keyed = cursor.filter(|cursor| cursor.chosen).map(|cursor| cursor.cell);
    let cursor = cursor.map(|cursor| cursor.cell);
    let pressed = response.is_pointer_button_down_on() && ui.input(|input| input.pointer.primary_down());
    let id = response.id.with("stroke");
    let before: Option<Stroking> = ui.data(|data| data.get_temp(id)).filter(|_| pressed);
    let stroke = under.filter(|_| pressed).map(|cell| {
        let (from, on) = before.unwrap_or_else(|| (cell, !marks.corrupt.contains(&cell)));
        (from, cell, on)
    });
    ui.data_mut(|data| match stroke {
        Some((_, cell, on)) => {
            data.insert_temp::<Stroking>(id, (cell, on));
        }
        None => {
            data.remove_temp::<Stroking>(id);
        }
    });
    // A pointer at rest marks nothing anew.
    let stroke = stroke.filter(|&(from, cell, _)| before.is_none() || from != cell);
    let stroke = stroke.map(|(from, cell, on)| (between(from, cell), on));
    Touch { hovered: under.or(cursor), clicked, keyed, stroke, response }
}
