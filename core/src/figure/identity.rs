//! Figures looked up and asked about without a look at their plot.

use std::sync::Arc;

use super::{Figure, FigureId, Plot};

impl FigureId {
    /// The figure of this id; where several have it, so many come before.
    pub fn among(self, nth: usize, figures: &[Arc<Figure>]) -> Option<&Arc<Figure>> {
        figures.iter().filter(|figure| figure.id == self).nth(nth)
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
    use crate::figure::samples;

    #[test]
    fn figures_are_found_by_id() {
        let figures: Vec<Arc<Figure>> = samples::all().into_iter().map(Arc::new).collect();
        for figure in &figures {
            assert_eq!(figure.id.among(0, &figures).map(|found| &found.title), Some(&figure.title));
        }
        assert!(FigureId("none").among(0, &figures).is_none());
    }
}
