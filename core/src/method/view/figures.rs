//! Figures of views, and their numbers again as rows.

use std::sync::Arc;

use serde::Serializer;

use super::runs::Side;
use crate::figure::{Axis, Figure, Map, Plot, Scale};

/// `0`, `1`, `2` …
pub(super) fn numbers(count: usize) -> Arc<[String]> {
    (0..count).map(|index| index.to_string()).collect()
}

/// A map over the prompt's tokens.
pub(super) fn map(
    row_name: &str,
    rows: Arc<[String]>,
    cols: Arc<[String]>,
    values: Vec<f32>,
    scale: Scale,
    quantity: &str,
) -> Map {
    Map {
        rows: Axis { name: row_name.into(), labels: rows },
        cols: Axis { name: "Token".into(), labels: cols },
        values: values.into(),
        scale,
        quantity: quantity.into(),
        text: None,
    }
}

/// Largest magnitude among finite values.
pub(super) fn largest(values: &[f32]) -> f32 {
    values.iter().filter(|x| x.is_finite()).fold(0.0, |largest, x| largest.max(x.abs()))
}

/// Values less others of the same cells.
pub(super) fn less(values: &[f32], others: &[f32]) -> Vec<f32> {
    values.iter().zip(others).map(|(value, other)| value - other).collect()
}

/// A figure under the plan, less that of the unmodified model: on one scale around 0. Texts are those under the plan.
pub(super) fn change(plan: &Figure, base: &Figure) -> Figure {
    let mut figure = plan.clone();
    match (&mut figure.plot, &base.plot) {
        (Plot::Map(map), Plot::Map(base)) => {
            let values = less(&map.values, &base.values);
            map.scale = Scale::diverging(&values);
            map.values = values.into();
            map.quantity = format!("change of the {}", map.quantity);
        }
        (Plot::Lines(lines), Plot::Lines(base)) => {
            for (series, base) in lines.series.iter_mut().zip(&base.series) {
                series.y = less(&series.y, &base.y).into();
            }
            lines.y_name = format!("change of the {}", lines.y_name);
        }
        _ => {}
    }
    figure.detail = figure.detail.replace(Side::Plan.name(), Side::Change.name());
    figure.title = format!("{}, change", figure.title);
    figure.notes =
        figure.notes.iter().map(|note| note.replace(Side::Plan.phrase(), Side::Change.phrase())).collect();
    figure
}

/// The rows of a map; none of another figure.
pub(super) fn rows(figure: &Figure) -> impl Iterator<Item = &[f32]> {
    let map = if let Plot::Map(map) = &figure.plot { Some(map) } else { None };
    map.into_iter().flat_map(|map| map.values.chunks(map.cols.labels.len().max(1)))
}

/// A figure as its numbers, for `#[serde(serialize_with)]`: `[rows][columns]` of a map, by name those of curves.
pub(super) fn values<S: Serializer>(figure: &Arc<Figure>, serializer: S) -> Result<S::Ok, S::Error> {
    match &figure.plot {
        Plot::Lines(lines) => serializer.collect_map(lines.series.iter().map(|one| (&one.name, &*one.y))),
        _ => serializer.collect_seq(rows(figure)),
    }
}
