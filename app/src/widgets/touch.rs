//! Cells, and what pointer and keys do to them.

use eframe::egui::{EventFilter, Id, Key, PointerButton, Response};

/// A cell: of a map; a row and a series of bars; a row of a table, its column 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Row from the top.
    pub row: usize,
    /// Column from the left.
    pub col: usize,
}

/// What a person does to the cells of a plot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touch {
    /// The cell that was clicked, or that Enter or the space bar chose.
    pub clicked: Option<Cell>,
    /// The cells that the pressed pointer came over since the frame before; of the keys, the one they chose.
    pub stroke: Vec<Cell>,
}

impl Touch {
    /// The same of other cells.
    pub(super) fn map(self, of: impl Fn(Cell) -> Cell) -> Self {
        Self { clicked: self.clicked.map(&of), stroke: self.stroke.into_iter().map(of).collect() }
    }
}

/// Where the arrow keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub cell: Cell,
    /// It went there just now.
    pub moved: bool,
    /// Enter or the space bar was pressed on it.
    pub chosen: bool,
}

/// The cursor over `rows` x `cols` cells while the widget has the keyboard focus. It begins at `start`, and later where it
/// was before.
pub(super) fn cursor(response: &Response, (rows, cols): (usize, usize), start: Cell) -> Option<Cursor> {
    if !response.has_focus() {
        return None;
    }
    let (ctx, id) = (&response.ctx, response.id);
    // The arrows are ours, Tab and Escape lead out.
    let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..EventFilter::default() };
    ctx.memory_mut(|memory| memory.set_focus_lock_filter(id, filter));
    let key = Id::unique(("cursor", id));
    let known: Option<Cell> = ctx.data(|data| data.get_temp(key));
    let before = known.unwrap_or(start);
    let pressed = |key| ctx.input(|input| input.num_presses(key));
    let step = |at: usize, on: Key, back: Key, count: usize| {
        (at + pressed(on)).saturating_sub(pressed(back)).min(count.saturating_sub(1))
    };
    let cell = Cell {
        row: step(before.row, Key::ArrowDown, Key::ArrowUp, rows),
        col: step(before.col, Key::ArrowRight, Key::ArrowLeft, cols),
    };
    ctx.data_mut(|data| data.insert_temp(key, cell));
    let chosen = response.clicked() && !by_pointer(response);
    Some(Cursor { cell, moved: cell != before, chosen })
}

/// Whether a click came from the pointer, not from the keyboard or a screen reader.
pub(super) fn by_pointer(response: &Response) -> bool {
    response.clicked_by(PointerButton::Primary)
}

/// The cells on a line from one to another, both ends included.
pub(super) fn between(from: Cell, to: Cell) -> Vec<Cell> {
    let steps = from.row.abs_diff(to.row).max(from.col.abs_diff(to.col));
    let along = |a: usize, b: usize, step: usize| {
        let share = step as f32 / steps.max(1) as f32;
        (a as f32 + share * (b as f32 - a as f32)).round() as usize
    };
    (0..=steps).map(|i| Cell { row: along(from.row, to.row, i), col: along(from.col, to.col, i) }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Cell, between};

    #[test]
    fn a_fast_stroke_skips_no_cell() {
        let cell = |row, col| Cell { row, col };
        assert_eq!(between(cell(2, 3), cell(2, 3)), [cell(2, 3)]);
        assert_eq!(between(cell(0, 5), cell(1, 2)), [cell(0, 5), cell(0, 4), cell(1, 3), cell(1, 2)]);
    }
}
