//! A table as aligned text: text to the left, numbers to the right with one count of decimals per column.

use super::canvas::{Anchor, Canvas, Context, NAME, Style, px, width};
use crate::figure::colour::hex;
use crate::figure::text::{columns, escape, fit, visible, wrap};
use crate::figure::{Cell, Table, number};

/// Rows drawn; the others are in the metadata.
pub const MOST_ROWS: usize = 400;
const ROW: f64 = 22.0;
const SIZE: f64 = 11.0;
const GUTTER: f64 = 26.0;
const LONGEST: usize = 72;
/// Of a narrow figure.
const NARROW: usize = 22;
/// Distance between the lines of a long text, and how many of them are drawn.
const LINE: f64 = 15.0;
const MOST_LINES: usize = 40;

/// The table.
pub fn draw(table: &Table, context: &Context) -> Canvas {
    let mut canvas = Canvas::default();
    let palette = context.palette;
    if table.columns.is_empty() || table.rows.is_empty() {
        canvas.text(0.0, NAME, "No data", Style::name(palette.quiet, Anchor::Start));
        canvas.reach(60.0, NAME + 4.0);
        return canvas;
    }
    let (limit, gutter) = if context.is_narrow() { (NARROW, GUTTER / 2.0) } else { (LONGEST, GUTTER) };
    let rows = &table.rows[..table.rows.len().min(MOST_ROWS)];
    let column = |index: usize| -> Vec<Option<&Cell>> { rows.iter().map(|row| row.get(index)).collect() };
    let lines: Vec<Vec<Vec<String>>> =
        (0..table.columns.len()).map(|index| texts(&column(index), limit)).collect();
    // A row is as tall as its longest text.
    let tall = |row: usize| lines.iter().map(|column| column[row].len()).max().unwrap_or(1).max(1);
    let mut tops = vec![ROW];
    for row in 0..rows.len() {
        tops.push(tops[row] + ROW + LINE * (tall(row) - 1) as f64);
    }
    let mut x = 0.0;
    for (index, head) in table.columns.iter().enumerate() {
        let cells = column(index);
        let right = cells.iter().flatten().any(|cell| matches!(cell, Cell::Number(_)));
        let head = fit(&visible(head), limit);
        let widest = lines[index].iter().flatten().map(|text| columns(text)).max().unwrap_or(0);
        let wide = (widest as f64 * width("0", SIZE)).max(width(&head, SIZE));
        let (at, anchor) = if right { (x + wide, Anchor::End) } else { (x, Anchor::Start) };
        canvas.text(at, 13.0, &head, Style { size: SIZE, ..Style::name(palette.quiet, anchor) });
        for (row, texts) in lines[index].iter().enumerate() {
            let y = tops[row];
            let style = || Style { size: SIZE, ..Style::label(palette.text, anchor) };
            let number = match cells[row] {
                Some(Cell::Number(value)) if context.numbers => Some(*value),
                _ => None,
            };
            if let Some(value) = number {
                canvas.raw(&format!("<g><title>{}</title>", escape(&exact(value))));
            }
            for (line, text) in texts.iter().enumerate() {
                canvas.text(at, y + 15.0 + LINE * line as f64, text, style());
            }
            if number.is_some() {
                canvas.raw("</g>\n");
            }
            if matches!(cells[row], Some(Cell::Number(value)) if value.is_nan()) {
                canvas.rect([at - 24.0, y + 6.0, 24.0, 10.0], &context.missing(), Some("missing"));
            }
        }
        x += wide + gutter;
    }
    let right = x - gutter;
    let rules: String =
        tops.iter().take(rows.len()).map(|top| format!("M0 {}H{}", px(top - 0.5), px(right))).collect();
    canvas.raw(&format!("<path d=\"{rules}\" stroke=\"{}\" stroke-width=\"1\"/>\n", hex(palette.line)));
    let mut bottom = tops.last().copied().unwrap_or(ROW);
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

/// Lines of every cell of one column, each of at most so many columns of text.
fn texts(cells: &[Option<&Cell>], limit: usize) -> Vec<Vec<String>> {
    let numbers: Vec<f64> = cells
        .iter()
        .map(|cell| match cell {
            Some(Cell::Number(value)) => *value,
            _ => f64::NAN,
        })
        .collect();
    let lines = |(number, cell): (String, &Option<&Cell>)| match cell {
        Some(Cell::Text(words)) => {
            let mut lines = wrap(&visible(words), limit);
            if lines.len() > MOST_LINES {
                lines.truncate(MOST_LINES);
                lines.push("…".into());
            }
            lines
        }
        _ => vec![number],
    };
    number::column(&numbers).into_iter().zip(cells).map(lines).collect()
}
