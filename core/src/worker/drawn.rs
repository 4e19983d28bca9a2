//! Figures of variants: each on one scale with the others, less the one that it is compared with, and the losses of all.

use std::sync::Arc;

use crate::figure::beside::{Compared, differences, on_one_scale};
use crate::figure::{Axis, BarSeries, Bars, Figure, FigureId, Plot};
use crate::protocol::{Column, Columns, ViewData};

/// Losses of each token by variant.
const LOSSES: FigureId = FigureId("variant-losses");

/// What the columns that are there come to.
pub(super) fn draw(ask: &Columns, columns: &[Option<Arc<Column>>]) -> Compared {
    let name = |index: usize| ask.variants.get(index).map_or("", |(name, _)| name);
    let there: Vec<(usize, &Arc<Column>)> =
        columns.iter().enumerate().filter_map(|(index, column)| Some((index, column.as_ref()?))).collect();
    // Files of the columns are told apart by their names.
    let named = |(index, column): &(usize, &Arc<Column>)| {
        let figure = &**column.view.figure();
        let (id, detail) = (figure.id.at(*index as u8), format!("{} {}", figure.detail, name(*index)));
        Arc::new(Figure { id, detail, ..figure.clone() })
    };
    let own = on_one_scale(&there.iter().map(named).collect::<Vec<_>>());
    let mut figures = vec![None; columns.len()];
    for ((index, _), figure) in there.iter().zip(own) {
        put(&mut figures, *index, Some(figure));
    }
    let mut less = vec![None; columns.len()];
    if let Some(Some(base)) = figures.get(ask.against) {
        let others: Vec<usize> =
            there.iter().map(|(index, _)| *index).filter(|index| *index != ask.against).collect();
        let pairs: Vec<(&str, &Figure)> = others
            .iter()
            .filter_map(|index| Some((name(*index), figures.get(*index)?.as_deref()?)))
            .collect();
        for (index, difference) in others.iter().zip(differences(base, &pairs, name(ask.against))) {
            let own = difference.map(|figure| {
                let id = figure.id.at(u8::MAX);
                Arc::new(Figure { id, ..(*figure).clone() })
            });
            put(&mut less, *index, own);
        }
    }
    let base = columns.get(ask.against).and_then(Option::as_ref);
    Compared { figures, differences: less, losses: base.map(|base| losses(&there, base, &name)) }
}

fn put(figures: &mut [Option<Arc<Figure>>], index: usize, figure: Option<Arc<Figure>>) {
    if let Some(slot) = figures.get_mut(index) {
        *slot = figure;
    }
}

/// Losses of every token, of the variants whose prompt has the same tokens.
fn losses<'a>(
    there: &[(usize, &Arc<Column>)],
    base: &Column,
    name: &impl Fn(usize) -> &'a str,
) -> Arc<Figure> {
    let ids = |column: &Column| column.tokens.iter().map(|token| token.id).collect::<Vec<_>>();
    let own = ids(base);
    let same: Vec<&(usize, &Arc<Column>)> = there.iter().filter(|(_, column)| ids(column) == own).collect();
    let series = same.iter().filter_map(|(index, column)| match &*column.strip {
        ViewData::Strip(strip) => {
            // The first token is not foretold.
            let values = strip.surprisal_plan.iter().skip(1).copied().collect();
            Some(BarSeries { name: name(*index).to_owned(), values, text: None })
        }
        _ => None,
    });
    let bars = Bars {
        rows: Axis::new("Token", base.tokens.iter().skip(1).map(|token| token.text.clone())),
        quantity: "loss (nats)".into(),
        span: [0.0, 1.0],
        series: series.collect(),
    };
    let left_out = there.len() - same.len();
    let notes = match left_out {
        0 => Vec::new(),
        _ => vec![format!("{left_out} of other prompts are not among them")],
    };
    Arc::new(Figure {
        id: LOSSES,
        name: LOSSES.0.into(),
        detail: String::new(),
        short: "Losses".into(),
        title: "Loss of each token by variant".into(),
        plot: Plot::Bars(bars),
        notes,
        provenance: base.strip.figure().provenance.clone(),
    })
}
