//! A matrix of cells: rectangles while they are few, one image when they are many.

use super::canvas::{Anchor, Canvas, Context, LABEL, NAME, Style, px, segment, width};
use super::{ELEMENTS, axis, image};
use crate::figure::colour::{hex, ink, rgb, rgba_image, transparent_image};
use crate::figure::text::{columns, fit, visible};
use crate::figure::{Map, csv};

/// Longest side of the cells together; a map of more cells than this is scaled down.
const LONGEST_SIDE: f64 = 7680.0;
/// Cells from this size on have a gap between them.
const GAP_FROM: f64 = 12.0;
/// Cells from this size on can show a hatch or a strike.
const MARKED_FROM: f64 = 3.0;
/// Columns of text in a cell.
const TEXT: std::ops::RangeInclusive<usize> = 3..=11;

/// Whether the map is drawn as one image.
pub fn as_image(map: &Map) -> bool {
    let (rows, cols) = map.shape();
    rows.saturating_mul(cols) > ELEMENTS
}

struct Grid {
    /// Left edge and top of the cells.
    left: f64,
    top: f64,
    /// Pitch of the cells.
    w: f64,
    h: f64,
}

impl Grid {
    fn x(&self, col: usize) -> f64 {
        self.left + col as f64 * self.w
    }

    fn y(&self, row: usize) -> f64 {
        self.top + row as f64 * self.h
    }
}

/// The plot with its axes.
pub fn draw(map: &Map, context: &Context) -> Canvas {
    let mut canvas = Canvas::default();
    let palette = context.palette;
    let (rows, cols) = map.shape();
    if rows == 0 || cols == 0 {
        canvas.text(0.0, NAME, "No data", Style::name(palette.quiet, Anchor::Start));
        canvas.reach(60.0, NAME + 4.0);
        return canvas;
    }
    let (row_name, col_name) = (visible(&map.rows.name), visible(&map.cols.name));
    let labels = axis::shown(&map.rows.labels, context.label_columns());
    let labels = axis::longest(&labels) as f64 * width("0", LABEL) + 10.0;
    let left = labels.max(width(&row_name, 11.0) + 8.0).ceil();
    let (w, h) = cell_size(map, context.within(f64::INFINITY, left));
    let grid = Grid { left, top: 18.0, w, h };
    let (right, bottom) = (grid.x(cols), grid.y(rows));

    if as_image(map) {
        picture(&mut canvas, map, &grid, context);
    } else {
        cells(&mut canvas, map, &grid, context);
    }
    marks(&mut canvas, map, &grid, context);
    if w.min(h) < GAP_FROM {
        canvas.frame([grid.left, grid.top, right - grid.left, bottom - grid.top], palette.line);
    }
    canvas.reach(right, bottom);

    let gap = gap(&grid);
    axis::left_of(
        &mut canvas,
        &map.rows.labels,
        h,
        |row| grid.y(row) + (h - gap) / 2.0,
        grid.left - 2.0,
        context,
    );
    axis::below(&mut canvas, &map.cols.labels, w, |col| grid.x(col) + (w - gap) / 2.0, bottom + 2.0, context);
    let name = Style::name(palette.quiet, Anchor::End);
    canvas.text(grid.left - 10.0, 11.0, &row_name, name);
    let below = canvas.height + NAME + 4.0;
    if width(&col_name, NAME) <= right - grid.left {
        canvas.text((grid.left + right) / 2.0, below, &col_name, Style { anchor: Anchor::Middle, ..name });
    } else {
        canvas.text(grid.left, below, &col_name, Style { anchor: Anchor::Start, ..name });
        canvas.reach(grid.left + width(&col_name, NAME), below);
    }
    canvas.reach(0.0, below + 4.0);
    canvas
}

/// Pitch of the cells, whole pixels where that is possible; all columns have so much room.
fn cell_size(map: &Map, room: f64) -> (f64, f64) {
    let (rows, cols) = map.shape();
    let side = |count: usize, target: f64, most: f64| {
        let size = target / count as f64;
        if size >= 1.0 { size.min(most).floor() } else { (LONGEST_SIDE / count as f64).min(1.0) }
    };
    if let Some(text) = map.text.as_ref().filter(|_| !as_image(map)) {
        let longest = text.iter().map(|text| columns(&visible(text))).max().unwrap_or(0);
        let wide = longest.clamp(*TEXT.start(), *TEXT.end()) as f64 * width("0", LABEL) + 8.0;
        return (wide.ceil().min((room / cols as f64).floor()).max(1.0), 20.0);
    }
    let (w, h) = (side(cols, room.min(720.0), 30.0), side(rows, 560.0, 24.0));
    if rows == cols { (w.min(h), w.min(h)) } else { (w, h) }
}

fn gap(grid: &Grid) -> f64 {
    if grid.w.min(grid.h) >= GAP_FROM { 1.0 } else { 0.0 }
}

/// One rectangle per cell, with its number and text.
fn cells(canvas: &mut Canvas, map: &Map, grid: &Grid, context: &Context) {
    let (rows, cols) = map.shape();
    let gap = gap(grid);
    let palette = context.palette;
    let room = ((grid.w - 4.0) / width("0", LABEL)) as usize;
    canvas.raw("<g shape-rendering=\"crispEdges\">\n");
    let mut texts = Canvas::default();
    for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
        let value = map.value(row, col);
        let colour = rgb(&map.scale, value, context.ground);
        let fill = match colour {
            Some(colour) => hex(colour),
            None if map.scale.misses(value) => context.missing(),
            None => hex(palette.panel),
        };
        let title = context.numbers.then(|| title(map, row, col));
        canvas.rect([grid.x(col), grid.y(row), grid.w - gap, grid.h - gap], &fill, title.as_deref());
        if let Some(text) = map.text(row, col).filter(|_| room >= *TEXT.start()) {
            let (x, y) = (grid.x(col) + (grid.w - gap) / 2.0, grid.y(row) + grid.h / 2.0 + 0.32 * LABEL);
            let style = Style::label(colour.map_or(palette.text, ink), Anchor::Middle);
            texts.text(x, y, &fit(&visible(text), room), style);
        }
    }
    canvas.raw("</g>\n");
    canvas.raw(&texts.svg);
}

/// `row label, column label: value`, and the text of the cell where it has one.
fn title(map: &Map, row: usize, col: usize) -> String {
    let value = match csv::value(map, row, col) {
        value if value.is_empty() => "missing".to_owned(),
        value => value,
    };
    let text =
        map.text(row, col).filter(|text| !text.is_empty()).map(|text| format!(" {text}")).unwrap_or_default();
    format!("{}, {}: {value}{text}", map.rows.labels[row], map.cols.labels[col])
}

/// All cells as one image, one pixel each; missing cells show the hatch behind it.
fn picture(canvas: &mut Canvas, map: &Map, grid: &Grid, context: &Context) {
    let (rows, cols) = map.shape();
    let marked = grid.w.min(grid.h) >= MARKED_FROM;
    let pixels =
        if marked { transparent_image(map, context.ground) } else { rgba_image(map, context.ground) };
    let (w, h) = (cols as f64 * grid.w, rows as f64 * grid.h);
    if marked {
        let mut data = String::new();
        for row in 0..rows {
            for (col, run) in runs(cols, |col| map.scale.misses(map.value(row, col))) {
                let (x, y, w, h) = (px(grid.x(col)), px(grid.y(row)), px(run as f64 * grid.w), px(grid.h));
                data.push_str(&format!("M{x} {y}h{w}v{h}h-{w}z"));
            }
        }
        if !data.is_empty() {
            let fill = context.missing();
            canvas.raw(&format!(
                "<path class=\"missing\" d=\"{data}\" fill=\"{fill}\" shape-rendering=\"crispEdges\"/>\n"
            ));
        }
    }
    if let Some(address) = image::data_uri(&pixels, cols, rows) {
        let (x, y, w, h) = (px(grid.left), px(grid.top), px(w), px(h));
        canvas.raw(&format!(
            "<image x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" preserveAspectRatio=\"none\" image-rendering=\"optimizeSpeed\" style=\"image-rendering:pixelated\" xlink:href=\"{address}\"/>\n"
        ));
    }
}

/// Starts and lengths of the runs of columns for which `holds`.
fn runs(cols: usize, holds: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for col in (0..cols).filter(|col| holds(*col)) {
        match runs.last_mut() {
            Some((start, length)) if *start + *length == col => *length += 1,
            _ => runs.push((col, 1)),
        }
    }
    runs
}

/// Diagonals of what is out, one path on light cells and one on dark ones.
fn marks(canvas: &mut Canvas, map: &Map, grid: &Grid, context: &Context) {
    let (rows, cols) = map.shape();
    let (w, h) = (grid.w - gap(grid), grid.h - gap(grid));
    if w.min(h) < MARKED_FROM {
        return;
    }
    let (mut strokes, mut on_dark) = (String::new(), String::new());
    for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
        let Some(class) = map.scale.class(map.value(row, col)) else { continue };
        let (x, y) = (grid.x(col), grid.y(row));
        let dark = class.rgb.is_some_and(|rgb| ink(rgb) == [255; 3]);
        let path = if dark { &mut on_dark } else { &mut strokes };
        let ends = [((x, y + h), (x + w, y)), ((x, y), (x + w, y + h))];
        for (from, to) in ends.into_iter().take(class.strokes.into()) {
            path.push_str(&segment(from, to));
        }
    }
    let thickness = (h / 24.0).clamp(0.7, 1.4);
    canvas.stroke(&strokes, context.palette.text, thickness, " class=\"out\"");
    canvas.stroke(&on_dark, [255; 3], thickness, " class=\"out\"");
}
