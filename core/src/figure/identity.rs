//! What is asked of a figure without a look at its plot.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{Figure, FigureId, Plot};

/// Names of figures that are drawn beside others of their sort. One for each sort and place: few, and as long as the program.
static NAMES: Mutex<BTreeMap<(&str, u8), &str>> = Mutex::new(BTreeMap::new());

impl FigureId {
    /// The id of one of several figures of this sort that are on screen at once, by its place among them.
    pub fn at(self, place: u8) -> Self {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let name = || -> &'static str { format!("{}-{place}", self.0).leak() };
        Self(names.entry((self.0, place)).or_insert_with(name))
    }
}

impl Figure {
    /// Rows x columns: cells of a map or a table, positions x curves, rows x bars of each.
    pub fn shape(&self) -> (usize, usize) {
        match &self.plot {
            Plot::Map(map) => map.shape(),
            Plot::Lines(lines) => (lines.x_labels.len(), lines.series.len()),
            Plot::Table(table) => (table.rows.len(), table.columns.len()),
            Plot::Bars(bars) => bars.shape(),
        }
    }

    /// Whether rows and columns can be swapped.
    pub fn transposes(&self) -> bool {
        matches!(self.plot, Plot::Map(_))
    }

    /// Rows and columns of a map swapped; other plots stay as they are.
    pub fn transposed(&self) -> Self {
        let plot = match &self.plot {
            Plot::Map(map) => Plot::Map(map.transposed()),
            other => other.clone(),
        };
        Self { plot, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_ids_of_their_own() {
        let id = FigureId("lens");
        assert_eq!((id.at(1), id.at(2)), (FigureId("lens-1"), FigureId("lens-2")));
        assert!(std::ptr::eq(id.at(1).0, id.at(1).0), "made once");
    }
}
