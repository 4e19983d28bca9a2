//! Means over the items of a list.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::item::ItemFound;
use crate::engine::memory;
use crate::error::{Error, Result};
use crate::figure::{Figure, FigureId, Lines, Map, Plot, Provenance, Scale, Series};
use crate::method::{Fact, Found, Labels, Measure, Method, raw};
use crate::records::Shard;
use crate::spec::Spec;
use crate::statistics::Means;

/// A measure's mean over a list.
const MEAN: FigureId = FigureId("over-a-list");

/// Cells at most.
const MOST: usize = 1 << 20;

/// Rows and columns of a measure, by its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    name: String,
    rows: Labels,
    cols: Labels,
}

/// The shapes of a method's measures on a checkpoint.
pub(super) fn shapes(method: &Method, spec: &Spec) -> Vec<Shape> {
    let shape = |measure: &Measure| {
        let [rows, cols] = (measure.shape)(spec);
        Shape { name: measure.name.into(), rows, cols }
    };
    method.measures.iter().map(shape).collect()
}

/// Cells of all measures.
fn cells(shapes: &[Shape]) -> usize {
    shapes.iter().map(Shape::size).sum()
}

/// Sums over the items so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    /// Items that count.
    pub items: u64,
    /// Items that do not.
    pub dropped: u64,
    /// Why the first of them does not.
    pub why: Option<String>,
    /// Items that could not be asked about.
    pub failed: u64,
    /// Why the first of them could not.
    pub cause: Option<String>,
    /// Cells of all measures, one behind the other.
    pub means: Means,
}

impl Totals {
    /// Of no item.
    ///
    /// # Errors
    /// [`Error::Memory`] where resamples of so many cells do not fit.
    pub fn new(shapes: &[Shape]) -> Result<Self> {
        let cells = cells(shapes);
        memory::check(&format!("means of {cells} cells"), Means::bytes(cells))?;
        Ok(Self { means: Means::new(cells), ..Self::default() })
    }

    /// Whether it is of these measures.
    pub fn fits(&self, shapes: &[Shape]) -> bool {
        self.means.cells() == cells(shapes)
    }

    /// Take in an item; those of a list come in its order.
    ///
    /// # Errors
    /// Values of another shape.
    pub fn add(&mut self, item: &ItemFound, shapes: &[Shape]) -> Result<()> {
        if let Some(cause) = &item.failed {
            self.failed += 1;
            self.cause.get_or_insert_with(|| cause.clone());
            return Ok(());
        }
        if let Some(why) = &item.dropped {
            self.dropped += 1;
            self.why.get_or_insert_with(|| why.clone());
            return Ok(());
        }
        if !item.values.iter().map(Vec::len).eq(shapes.iter().map(Shape::size)) {
            return Err(Error::Study(format!("item {} has values of another shape", item.item)));
        }
        self.means.add(item.item, item.values.iter().flatten().copied());
        self.items += 1;
        Ok(())
    }

    /// Items that are done.
    pub fn done(&self) -> u64 {
        self.items + self.dropped + self.failed
    }

    /// Findings of them.
    pub fn found(
        &self,
        method: &'static Method,
        shapes: &[Shape],
        shard: Shard,
        provenance: Provenance,
    ) -> ListFound {
        let mut cells = 0..self.means.cells();
        let cell = |cell| {
            let [low, high] = self.means.interval(cell).unwrap_or([f64::NAN; 2]);
            Cell { count: self.means.count(cell), mean: self.means.mean(cell), low, high }
        };
        let mut of = |shape: &Shape| {
            let cells = cells.by_ref().take(shape.size()).map(cell).collect();
            Of { shape: shape.clone(), cells }
        };
        ListFound {
            method,
            measures: shapes.iter().map(&mut of).collect(),
            items: self.items,
            dropped: self.dropped,
            why: self.why.clone(),
            failed: self.failed,
            cause: self.cause.clone(),
            shard,
            provenance,
        }
    }
}

/// A mean over items.
#[derive(Clone, Copy)]
struct Cell {
    /// Items that have a value there.
    count: u64,
    mean: f64,
    low: f64,
    high: f64,
}

/// A measure's means.
struct Of {
    shape: Shape,
    cells: Vec<Cell>,
}

impl Shape {
    /// Whether they are those of a method, and of a size that a checkpoint may have.
    pub fn are_of(shapes: &[Self], method: &Method) -> bool {
        let size = |shape: &Self| shape.rows.len().checked_mul(shape.cols.len());
        let sizes = shapes.iter().map(size).sum::<Option<usize>>();
        shapes.iter().map(|shape| shape.name.as_str()).eq(method.measures.iter().map(|measure| measure.name))
            && sizes.is_some_and(|sizes| sizes <= MOST)
    }

    fn size(&self) -> usize {
        self.rows.len() * self.cols.len()
    }

    /// What a cell is, after its measure's name.
    fn say(&self, cell: usize) -> String {
        let width = self.cols.len().max(1);
        let parts = [self.rows.say(cell / width), self.cols.say(cell % width)];
        parts.into_iter().flatten().map(|part| format!(", {part}")).collect()
    }
}

/// Findings over a list.
pub struct ListFound {
    method: &'static Method,
    /// In the order of the method's.
    measures: Vec<Of>,
    items: u64,
    dropped: u64,
    why: Option<String>,
    failed: u64,
    cause: Option<String>,
    shard: Shard,
    provenance: Provenance,
}

impl ListFound {
    /// Items that could not be asked about.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// The measures with their means.
    fn measures(&self) -> impl Iterator<Item = (&'static Measure, &Of)> {
        self.method.measures.iter().zip(&self.measures)
    }

    /// How many items there were, in a sentence.
    fn note(&self) -> String {
        let mut note = format!("mean over {} items", self.items);
        if let (1.., Some(why)) = (self.dropped, &self.why) {
            let _ = write!(note, ", {} dropped ({why})", self.dropped);
        }
        if self.failed > 0 {
            let _ = write!(note, ", {} failed", self.failed);
        }
        if self.shard != Shard::ALL {
            let _ = write!(note, "; shard {}", self.shard);
        }
        note
    }

    fn figure(&self, measure: &Measure, Of { shape, cells }: &Of) -> Option<Figure> {
        let all = |of: fn(&Cell) -> f64| cells.iter().map(|cell| of(cell) as f32).collect::<Vec<f32>>();
        let mean = all(|cell| cell.mean);
        let plot = match (shape.rows.len(), shape.cols.len()) {
            (1, 1) => return None,
            (_, 1) => {
                let series = |name: &str, y: Vec<f32>| Series { name: name.into(), y: y.into() };
                Plot::Lines(Lines {
                    x_name: shape.rows.name.clone(),
                    y_name: measure.quantity.into(),
                    x_labels: shape.rows.axis().labels,
                    series: vec![
                        series("mean", mean),
                        series("95 % low", all(|cell| cell.low)),
                        series("95 % high", all(|cell| cell.high)),
                    ],
                })
            }
            _ => Plot::Map(Map {
                rows: shape.rows.axis(),
                cols: shape.cols.axis(),
                scale: if measure.signed { Scale::diverging(&mean) } else { Scale::sequential(&mean) },
                values: mean.into(),
                quantity: measure.quantity.into(),
                text: None,
            }),
        };
        Some(Figure {
            id: MEAN,
            name: format!("{}-{}", self.method.id, measure.name.replace('_', "-")),
            detail: "list".into(),
            short: measure.title.into(),
            title: format!("{}, over a list", measure.title),
            plot,
            notes: vec![self.note()],
            provenance: self.provenance.clone(),
        })
    }
}

impl Found for ListFound {
    fn facts(&self) -> Vec<Fact> {
        let count = |name: &str, count: u64| Fact::new(name, count as f64, "");
        let dropped = self.why.as_ref().map_or_else(|| "dropped".into(), |why| format!("dropped: {why}"));
        let failed =
            self.cause.as_ref().map_or_else(|| "failed".into(), |cause| format!("failed, first: {cause}"));
        let mut facts =
            vec![count("items", self.items), count(&dropped, self.dropped), count(&failed, self.failed)];
        for (measure, Of { shape, cells }) in self.measures() {
            let size = |cell: &Cell| if measure.signed { cell.mean.abs() } else { cell.mean };
            let known = cells.iter().enumerate().filter(|(_, cell)| cell.count > 0);
            let Some((at, cell)) = known.max_by(|a, b| size(a.1).total_cmp(&size(b.1))) else { continue };
            let name = match cells.len() {
                1 => format!("{}, mean", measure.title),
                _ => format!("{}, largest mean{}", measure.title, shape.say(at)),
            };
            let end = |x: f64| Some(x).filter(|x| !x.is_nan());
            let fact = Fact::new(name, cell.mean, measure.unit);
            facts.push(Fact { low: end(cell.low), high: end(cell.high), ..fact });
        }
        facts
    }

    fn figures(&self) -> Vec<Arc<Figure>> {
        self.measures().filter_map(|(measure, of)| self.figure(measure, of)).map(Arc::new).collect()
    }

    fn data(&self) -> Result<Box<RawValue>> {
        #[derive(Serialize)]
        struct Data<'a> {
            items: u64,
            dropped: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            dropped_because: Option<&'a str>,
            failed: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            failed_first: Option<&'a str>,
            measures: Vec<Shown<'a>>,
        }
        raw(&Data {
            items: self.items,
            dropped: self.dropped,
            dropped_because: self.why.as_deref(),
            failed: self.failed,
            failed_first: self.cause.as_deref(),
            measures: self.measures().map(|(measure, of)| Shown::of(measure, of)).collect(),
        })
    }
}

/// A measure in findings: `[rows][columns]` each.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    unit: &'a str,
    rows: &'a Labels,
    cols: &'a Labels,
    mean: Vec<Vec<f64>>,
    low: Vec<Vec<f64>>,
    high: Vec<Vec<f64>>,
    /// Items that have a value there.
    count: Vec<Vec<u64>>,
}

impl<'a> Shown<'a> {
    fn of(measure: &'a Measure, Of { shape, cells }: &'a Of) -> Self {
        let rows = |of: fn(&Cell) -> f64| -> Vec<Vec<f64>> {
            cells.chunks(shape.cols.len().max(1)).map(|row| row.iter().map(of).collect()).collect()
        };
        let count = |row: &[Cell]| row.iter().map(|cell| cell.count).collect();
        Self {
            name: measure.name,
            unit: measure.unit,
            rows: &shape.rows,
            cols: &shape.cols,
            mean: rows(|cell| cell.mean),
            low: rows(|cell| cell.low),
            high: rows(|cell| cell.high),
            count: cells.chunks(shape.cols.len().max(1)).map(count).collect(),
        }
    }
}
