//! Bars: values of named rows, drawn from zero.

use std::sync::Arc;

use super::Axis;

/// Values of named rows, one or more a row, each a bar from zero to either side.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// The rows, from the top: `Layer`.
    pub rows: Axis,
    /// What a value is, with its unit: `recovery rate`, `KL (nats)`.
    pub quantity: String,
    /// The value axis spans at least this: what the quantity can be, or the least that is worth a long bar. Bars that fill
    /// the width because nothing is larger would make noise look like a finding.
    pub span: [f32; 2],
    /// The bars of each row, in order.
    pub series: Vec<BarSeries>,
}

/// One bar of every row.
#[derive(Clone, Debug, PartialEq)]
pub struct BarSeries {
    /// Name in the legend.
    pub name: String,
    /// One value per row; NaN = missing (hatched).
    pub values: Arc<[f32]>,
    /// A word beside each bar, as many as values: what the row is to the series.
    pub text: Option<Arc<[String]>>,
}

impl Bars {
    /// Rows x series.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows.labels.len(), self.series.len())
    }

    /// The value of a row in a series; NaN where it is missing or outside.
    pub fn value(&self, row: usize, series: usize) -> f32 {
        self.series.get(series).and_then(|series| series.values.get(row)).copied().unwrap_or(f32::NAN)
    }

    /// The word beside a bar; empty where there is none.
    pub fn text(&self, row: usize, series: usize) -> &str {
        let text = self.series.get(series).and_then(|series| series.text.as_ref()?.get(row));
        text.map_or("", String::as_str)
    }

    /// Both ends of the value axis: the span, zero, and every finite value are on it. Never empty.
    pub fn range(&self) -> (f64, f64) {
        let values = self.series.iter().flat_map(|series| series.values.iter());
        let on_axis =
            values.chain(&self.span).filter(|value| value.is_finite()).map(|value| f64::from(*value));
        let (low, high) =
            on_axis.fold((0.0, 0.0), |(low, high): (f64, f64), value| (low.min(value), high.max(value)));
        if low < high { (low, high) } else { (0.0, 1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::samples;

    #[test]
    fn small_values_stay_small_and_large_ones_fit() {
        let range = |span: [f32; 2], values: &[f32]| {
            let series = BarSeries { name: "rate".into(), values: values.into(), text: None };
            let rows = Axis::counted("Layer", values.len());
            Bars { rows, quantity: "rate".into(), span, series: vec![series] }.range()
        };
        let span = [-0.125, 0.25];
        assert_eq!(range(span, &[0.001, -0.002]), (-0.125, 0.25));
        assert_eq!(range(span, &[0.5, -1.0, f32::NAN, f32::INFINITY]), (-1.0, 0.5));
        assert_eq!(range([2.0, 3.0], &[2.5]), (0.0, 3.0), "zero is always on it");
        assert_eq!(range([0.0, f32::NAN], &[]), (0.0, 1.0));
    }

    #[test]
    fn what_is_not_there_is_missing() {
        let bars = samples::rates();
        assert!(bars.value(99, 0).is_nan() && bars.value(0, 9).is_nan());
        assert_eq!((bars.text(0, 0), bars.text(99, 0), bars.text(0, 9)), ("source", "", ""));
    }
}
