//! Constructors and small questions of the data model.

use std::sync::Arc;

use super::{Axis, Lines, Map, Provenance, Scale, text};

/// Longest prompt and plan of the provenance line, in character columns.
const PROMPT_COLUMNS: usize = 160;
const PLAN_COLUMNS: usize = 320;

impl Axis {
    /// An axis with one label per row or column.
    pub fn new(name: impl Into<String>, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { name: name.into(), labels: labels.into_iter().map(Into::into).collect() }
    }

    /// An axis labelled 0, 1, 2 … `len - 1`.
    pub fn counted(name: impl Into<String>, len: usize) -> Self {
        Self::new(name, (0..len).map(|index| index.to_string()))
    }
}

impl Map {
    /// Rows x columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows.labels.len(), self.cols.labels.len())
    }

    /// The value of one cell; NaN where it is missing or outside the map.
    pub fn value(&self, row: usize, col: usize) -> f32 {
        let (rows, cols) = self.shape();
        if row >= rows || col >= cols {
            return f32::NAN;
        }
        self.values.get(row * cols + col).copied().unwrap_or(f32::NAN)
    }

    /// The text of one cell, where the map has any.
    pub fn text(&self, row: usize, col: usize) -> Option<&str> {
        self.text.as_ref()?.get(row * self.cols.labels.len() + col).map(String::as_str)
    }

    /// Rows and columns swapped.
    pub fn transposed(&self) -> Self {
        let (rows, cols) = self.shape();
        let cells = || (0..cols).flat_map(|col| (0..rows).map(move |row| (row, col)));
        let text = |(row, col)| self.text(row, col).unwrap_or_default().to_owned();
        Self {
            rows: self.cols.clone(),
            cols: self.rows.clone(),
            values: cells().map(|(row, col)| self.value(row, col)).collect(),
            scale: self.scale.clone(),
            quantity: self.quantity.clone(),
            text: self.text.as_ref().map(|_| cells().map(text).collect()),
        }
    }

    /// For pictures of at most `longest` rows and columns: each cell is the value of largest magnitude among those it
    /// stands for. `None` where the map fits as it is.
    pub fn pooled(&self, longest: usize) -> Option<Self> {
        let (rows, cols) = self.shape();
        let (tall, wide) = (rows.div_ceil(longest.max(1)), cols.div_ceil(longest.max(1)));
        if tall <= 1 && wide <= 1 {
            return None;
        }
        let axis = |axis: &Axis, step: usize| Axis {
            name: axis.name.clone(),
            labels: axis.labels.iter().step_by(step).cloned().collect(),
        };
        let block = |row: usize, col: usize| {
            let cells = (0..tall).flat_map(|r| (0..wide).map(move |c| (row * tall + r, col * wide + c)));
            let values = cells.map(|(row, col)| self.value(row, col)).filter(|value| !value.is_nan());
            values.fold(f32::NAN, |largest, x| if largest.abs() >= x.abs() { largest } else { x })
        };
        let (rows, cols) = (axis(&self.rows, tall), axis(&self.cols, wide));
        let cells = (0..rows.labels.len()).flat_map(|row| (0..cols.labels.len()).map(move |col| (row, col)));
        let values = cells.map(|(row, col)| block(row, col)).collect();
        Some(Self {
            rows,
            cols,
            values,
            scale: self.scale.clone(),
            quantity: self.quantity.clone(),
            text: None,
        })
    }
}

impl Lines {
    /// Lower and upper end of the y axis: all finite values, 4 % more on both sides, never empty. `None` without a value.
    pub fn range(&self) -> Option<(f64, f64)> {
        let values = || self.series.iter().flat_map(|series| series.y.iter().take(self.x_labels.len()));
        let finite = || values().filter(|value| value.is_finite()).map(|value| f64::from(*value));
        let (low, high) =
            (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        if low > high {
            return None;
        }
        let pad = if high > low { (high - low) * 0.04 } else { (high.abs() * 0.1).max(1e-3) };
        // Magnitudes start at zero when it is near, and the axis does not go below it.
        let floor = if low >= 0.0 && low < 0.4 * high { 0.0 } else { low - pad };
        Some((floor, high + pad))
    }
}

impl Scale {
    /// A sequential scale over the finite values; 0 to 1 when there are none.
    pub fn sequential(values: &[f32]) -> Self {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (min, max) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
        if min > max { Self::Sequential { min: 0.0, max: 1.0 } } else { Self::Sequential { min, max } }
    }

    /// A diverging scale that reaches the largest finite magnitude; 1 when all are 0 or missing.
    pub fn diverging(values: &[f32]) -> Self {
        let max_abs = values
            .iter()
            .copied()
            .filter(|value| value.is_finite())
            .fold(0.0, |max: f32, v| max.max(v.abs()));
        Self::Diverging { max_abs: if max_abs > 0.0 { max_abs } else { 1.0 } }
    }

    /// A categorical scale.
    pub fn classes(classes: impl IntoIterator<Item = super::Class>) -> Self {
        Self::Classes(classes.into_iter().collect::<Arc<[_]>>())
    }

    /// Both ends of a continuous scale; `None` for classes.
    pub fn range(&self) -> Option<(f32, f32)> {
        match *self {
            Self::Sequential { min, max } => Some((min, max)),
            Self::Diverging { max_abs } => Some((-max_abs, max_abs)),
            Self::Attention | Self::Root => Some((0.0, 1.0)),
            Self::Classes(_) => None,
        }
    }

    /// The class that a value stands for; `None` for other scales and for values that are no index.
    pub fn class(&self, value: f32) -> Option<&super::Class> {
        let Self::Classes(classes) = self else { return None };
        if value >= 0.0 && value.fract() == 0.0 { classes.get(value as usize) } else { None }
    }

    /// Whether a value has no place on the scale: NaN, or no class.
    pub fn misses(&self, value: f32) -> bool {
        match self {
            Self::Classes(_) => self.class(value).is_none(),
            _ => value.is_nan(),
        }
    }
}

impl Provenance {
    /// The line at the foot of every export; long prompts and plans are cut with `…`.
    pub fn line(&self) -> String {
        self.describe(PROMPT_COLUMNS, PLAN_COLUMNS)
    }

    /// The same with nothing cut.
    pub fn full(&self) -> String {
        self.describe(usize::MAX, usize::MAX)
    }

    fn describe(&self, prompt_columns: usize, plan_columns: usize) -> String {
        let known = |value: &str, absent: &str| {
            if value.is_empty() { absent.to_owned() } else { text::visible(value) }
        };
        let plan = match self.plan.as_str() {
            "" | "no plan" => "no plan".to_owned(),
            plan => format!("plan {}", text::fit(&text::visible(plan), plan_columns)),
        };
        [
            format!(
                "{} (fingerprint {})",
                known(&self.checkpoint, "no checkpoint"),
                known(&self.fingerprint, "unknown")
            ),
            format!("prompt “{}”", text::fit(&text::visible(&self.prompt), prompt_columns)),
            plan,
            known(&self.dtype, "dtype unknown"),
            format!("Sluice {}", env!("CARGO_PKG_VERSION")),
        ]
        .join(" · ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Plot, samples};

    #[test]
    fn transposing_twice_changes_nothing() {
        for figure in samples::all() {
            let back = figure.transposed().transposed();
            assert_eq!(back.title, figure.title);
            let (Plot::Map(a), Plot::Map(b)) = (&figure.plot, &back.plot) else { continue };
            let bits = |map: &Map| map.values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!((a.shape(), &a.rows, bits(a)), (b.shape(), &b.rows, bits(b)));
        }
    }

    #[test]
    fn axes_are_never_empty() {
        let range_of = |values: &[f32]| samples::curve(values).range();
        assert_eq!(range_of(&[f32::NAN, f32::INFINITY]), None);
        for values in [vec![0.0, 0.0], vec![5.0], vec![f32::MIN, f32::MAX], vec![1e-30, 2e-30]] {
            let Some((low, high)) = range_of(&values) else { unreachable!("there are values") };
            assert!(low < high && (high - low).is_finite());
        }
    }

    #[test]
    fn pooling_keeps_the_largest_magnitude() {
        let map = Map {
            rows: Axis::counted("Row", 5),
            cols: Axis::counted("Column", 2),
            values: [1.0, f32::NAN, -3.0, f32::NAN, 2.0, 0.5, 0.0, -0.25, 7.0, 8.0].into(),
            scale: Scale::Diverging { max_abs: 8.0 },
            quantity: "value".into(),
            text: None,
        };
        assert!(map.pooled(5).is_none());
        let pooled = map.pooled(3).expect("pooled");
        assert_eq!(pooled.shape(), (3, 2));
        assert_eq!(pooled.values[0], -3.0);
        assert!(pooled.values[1].is_nan());
        assert_eq!(pooled.values[2..], [2.0, 0.5, 7.0, 8.0]);
    }
}
