//! What a panel draws and what exports: data, axes, colour scale and provenance, independent of
//! any GUI. The screen and the files read the same value.

mod bars;
pub mod beside;
pub mod colour;
pub mod csv;
pub mod export;
mod identity;
pub mod json;
pub mod number;
pub mod page;
pub mod png;
mod scale;
mod sheet;
pub mod svg;
mod text;

#[cfg(test)]
mod samples;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use bars::{BarSeries, Bars};
pub use colour::Ground;
pub use export::Format;
pub use sheet::{DPI, Sheet, WIDTHS};
pub use text::printable;

/// Which figure: what a panel looks it up by and what a widget keeps its own state under. Declared once, beside the code
/// that makes the figure; lower case with dashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FigureId(pub &'static str);

/// One picture: numbers with axes, and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Which figure.
    pub id: FigureId,
    /// Begins the file stem of exports, lower case with dashes: `routing-map`.
    pub name: String,
    /// Which one of its kind, ends the file stem: `layer-3-head-2`; empty where there is one only.
    pub detail: String,
    /// Label of a tab that shows it.
    pub short: String,
    /// Title in sentence case.
    pub title: String,
    /// The data.
    pub plot: Plot,
    /// What the reader must know to read it: readings, surrogates, units. Shown under the title.
    pub notes: Vec<String>,
    /// Where the numbers come from.
    pub provenance: Provenance,
}

impl Figure {
    /// Name for files: [`Figure::name`] and [`Figure::detail`] reduced to lower-case letters, digits and dashes; `figure`
    /// when nothing is left. Never a path.
    pub fn stem(&self) -> String {
        let words = text::dashed(&format!("{} {}", self.name, self.detail), usize::MAX);
        if words.is_empty() { "figure".to_owned() } else { words }
    }
}

/// The provenance line of every export.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Checkpoint name.
    pub checkpoint: String,
    /// Content fingerprint of the checkpoint, hexadecimal.
    pub fingerprint: String,
    /// Prompt text, or the ids where there is no tokenizer.
    pub prompt: String,
    /// The plan in one line; `no plan` when empty.
    pub plan: String,
    /// Arithmetic, such as `f32`.
    pub dtype: String,
    /// What was asked: id of the method; empty where it is none.
    pub method: String,
    /// The positions that were marked for it, by name, as JSON; empty where none were.
    pub picks: String,
    /// Its parameters, seeds among them, as JSON.
    pub ask: String,
}

/// The kinds of picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Plot {
    /// A matrix of cells.
    Map(Map),
    /// Curves over a shared x axis.
    Lines(Lines),
    /// Rows of text and numbers.
    Table(Table),
    /// Values of named rows, from zero.
    Bars(Bars),
}

/// A matrix of cells: heat map, routing map, ladder, lens.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// Vertical axis; row 0 is drawn at the top.
    pub rows: Axis,
    /// Horizontal axis.
    pub cols: Axis,
    /// Row-major, `rows.labels.len() * cols.labels.len()` values; NaN = missing (hatched).
    pub values: Arc<[f32]>,
    /// How a value becomes a colour.
    pub scale: Scale,
    /// What the value is, with its unit: `mean |activation|`, `KL (nats)`.
    pub quantity: String,
    /// Text inside the cells (lens: the top token), as many as values.
    pub text: Option<Arc<[String]>>,
}

/// An axis of a [`Map`].
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Sentence case: `Layer`, `Token`.
    pub name: String,
    /// One label per row or column.
    pub labels: Arc<[String]>,
}

/// Value to colour.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// Magnitudes, cividis.
    Sequential {
        /// Value of the darkest colour.
        min: f32,
        /// Value of the brightest colour.
        max: f32,
    },
    /// Signed values, blue - ground - orange around 0.
    Diverging {
        /// Both ends of the scale.
        max_abs: f32,
    },
    /// Weights of attention, one hue from the ground, 0 to 1.
    Attention,
    /// The same by the square root: small weights are told apart. The legend's ends are weights.
    Root,
    /// A value is an index into these classes.
    Classes(Arc<[Class]>),
}

/// One class of a categorical scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Name in the legend.
    pub name: String,
    /// sRGB; `None` = an outline: as the model has it, or out.
    pub rgb: Option<[u8; 3]>,
    /// Diagonals across it, never told by colour alone: one = a sublayer is out, two = a layer is.
    pub strokes: u8,
}

/// Curves over a shared x axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// Horizontal axis name.
    pub x_name: String,
    /// Vertical axis name with unit.
    pub y_name: String,
    /// Labels of the x positions 0, 1, 2 …
    pub x_labels: Arc<[String]>,
    /// The curves.
    pub series: Vec<Series>,
}

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// One value per x position; NaN = missing.
    pub y: Arc<[f32]>,
}

/// Rows of text and numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Column heads with units.
    pub columns: Vec<String>,
    /// As many cells per row as columns.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Left-aligned text.
    Text(String),
    /// Right-aligned number; NaN = missing.
    Number(f64),
}
