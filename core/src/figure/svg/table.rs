//! A table as aligned text: text to the left, numbers to the right with one count of decimals per column.

use super::canvas::{Anchor, Canvas, Context, NAME, Style, px, width};
use crate::figure::colour::hex;
use crate::figure::text::{columns, escape, fit, visible};
use crate::figure::{Cell, Table, number};

/// Rows drawn; the others are in the metadata.
pub const MOST_ROWS: usize = 400;
const ROW: f64 = 22.0;
const SIZE: f64 = 11.0;
const GUTTER: f64 = 26.0;
const LONGEST: usize = 60;

/// The table.
pub fn draw(table: &Table, context: &Context) -> Canvas {
    let mut canvas = Canvas::default();
    let palette = context.palette;
    if table.columns.is_empty() || table.rows.is_empty() {
        canvas.text(0.0, NAME, "No data", Style::name(palette.quiet, Anchor::Start));
        canvas.reach(60.0, NAME + 4.0);
        return canvas;
    }
    let rows = &table.rows[..table.rows.len().min(MOST_ROWS)];
    let mut x = 0.0;
    for (index, head) in table.columns.iter().enumerate() {
        let cells: Vec<Option<&Cell>> = rows.iter().map(|row| row.get(index)).collect();
        let right = cells.iter().flatten().any(|cell| matches!(cell, Cell::Number(_)));
        let texts = texts(&cells);
        let head = fit(&visible(head), LONGEST);
        let widest = texts.iter().map(|text| columns(text)).max().unwrap_or(0);
        let wide = (widest as f64 * width("0", SIZE)).max(width(&head, SIZE));
        let (at, anchor) = if right { (x + wide, Anchor::End) } else { (x, Anchor::Start) };
        canvas.text(at, 13.0, &head, Style { size: SIZE, ..Style::name(palette.quiet, anchor) });
        for (row, text) in texts.iter().enumerate() {
            let y = (row + 1) as f64 * ROW;
            let style = Style { size: SIZE, ..Style::label(palette.text, anchor) };
            if let Some(Cell::Number(value)) = cells[row].filter(|_| context.numbers) {
                canvas.raw(&format!("<g><title>{}</title>", escape(&exact(*value))));
                canvas.text(at, y + 15.0, text, style);
                canvas.raw("</g>\n");
            } else {
                canvas.text(at, y + 15.0, text, style);
            }
            if matches!(cells[row], Some(Cell::Number(value)) if value.is_nan()) {
                canvas.rect([at - 24.0, y + 6.0, 24.0, 10.0], &context.missing(), Some("missing"));
            }
        }
        x += wide + GUTTER;
    }
    let right = x - GUTTER;
    let lines: String =
        (1..=rows.len()).map(|row| format!("M0 {}H{}", px(row as f64 * ROW - 0.5), px(right))).collect();
    canvas.raw(&format!("<path d=\"{lines}\" stroke=\"{}\" stroke-width=\"1\"/>\n", hex(palette.line)));
    let mut bottom = (rows.len() + 1) as f64 * ROW;
    if rows.len() < table.rows.len() {
        let more = format!("{} more rows in the CSV", table.rows.len() - rows.len());
        canvas.text(0.0, bottom + 15.0, &more, Style::name(palette.quiet, Anchor::Start));
        bottom += ROW;
    }
    canvas.reach(right, bottom);
    canvas
}

fn exact(value: f64) -> String {
    if value.is_nan() { "missing".to_owned() } else { number::exact64(value) }
}

/// Texts of one column.
fn texts(cells: &[Option<&Cell>]) -> Vec<String> {
    let numbers: Vec<f64> = cells
        .iter()
        .map(|cell| match cell {
            Some(Cell::Number(value)) => *value,
            _ => f64::NAN,
        })
        .collect();
    let mut texts = number::column(&numbers);
    for (text, cell) in texts.iter_mut().zip(cells) {
        if let Some(Cell::Text(words)) = cell {
            *text = fit(&visible(words), LONGEST);
        }
    }
    texts
}
