//! Figures of a table of route losses (Duo-LLM, arXiv 2410.10846, figures 2 and 4, and our controls).

use std::sync::Arc;

use super::baselines::Baselines;
use super::table::{Budget, LossTable, average};
use crate::figure::{Axis, Figure, FigureId, Lines, Map, Plot, Provenance, Scale, Series};
use crate::spec::Lane;

/// Which layers the oracle of each budget takes big.
const CHOICE: FigureId = FigureId("oracle-choice");
/// The same along the sequence.
const ALONG_SEQUENCES: FigureId = FigureId("oracle-along-sequences");
/// Loss by budget.
const BUDGETS: FigureId = FigureId("oracle-budgets");
/// What a search for nothing gains.
const CONTROLS: FigureId = FigureId("oracle-controls");
/// The least of K random routes.
const BEST_OF: FigureId = FigureId("oracle-best-of");

/// How often the oracle of each budget takes each layer's big FFN (figure 2).
pub(super) fn choice(table: &LossTable, of: &Provenance) -> Figure {
    let layers = table.layers;
    let by_budget: Vec<Vec<f64>> = (0..=layers).map(|big| table.choice(big)).collect();
    let share =
        |layer: usize, budget: usize| by_budget.get(budget).and_then(|shares| shares.get(layer)).copied();
    let map = shares(layers, ("Big layers of the budget", layers + 1), share);
    let notes = vec!["share of the tokens whose best route of the budget is big there".into()];
    figure(CHOICE, "Choice", "Where the oracle is big".into(), Plot::Map(map), notes, of)
}

/// The same of one budget along the sequence (figures 2 and 3): by layer and part of the sequence. `shares` `[layer][part]`.
pub(super) fn along_sequences(
    (short, detail): (&str, &str),
    title: String,
    by_part: &[Vec<f64>],
    notes: Vec<String>,
    of: &Provenance,
) -> Figure {
    let parts = by_part.first().map_or(0, Vec::len);
    let share = |layer: usize, part: usize| by_part.get(layer).and_then(|shares| shares.get(part)).copied();
    let map = shares(by_part.len(), ("Part of the sequence", parts), share);
    let figure = figure(ALONG_SEQUENCES, short, title, Plot::Map(map), notes, of);
    Figure { detail: detail.into(), ..figure }
}

/// Share of big, by layer and something else.
fn shares(layers: usize, (name, cols): (&str, usize), share: impl Fn(usize, usize) -> Option<f64>) -> Map {
    let numbers = |count: usize| -> Arc<[String]> { (0..count).map(|number| number.to_string()).collect() };
    let cells = (0..layers).flat_map(|layer| (0..cols).map(move |col| (layer, col)));
    Map {
        rows: Axis { name: "Layer".into(), labels: numbers(layers) },
        cols: Axis { name: name.into(), labels: numbers(cols) },
        values: cells.map(|(layer, col)| share(layer, col).unwrap_or(f64::NAN) as f32).collect(),
        scale: Scale::Attention,
        quantity: "share of tokens".into(),
        text: None,
    }
}

/// Nats per token by number of big layers (figure 4b).
pub(super) fn budgets(budgets: &[Budget], baselines: Option<&Baselines>, of: &Provenance) -> Figure {
    let mut series = vec![
        by_budget(budgets, "oracle", &|budget| budget.oracle.mean),
        by_budget(budgets, "best fixed route", &|budget| budget.fixed),
        by_budget(budgets, "mean of routes", &|budget| budget.mean),
        by_budget(budgets, "best of 100, by token", &|budget| budget.random_by_token),
        by_budget(budgets, "best of 100, by mean", &|budget| budget.random_by_mean),
    ];
    let mut notes = vec![
        "all scored tokens; the paper does not say whether the best of 100 random routes is by token or by mean: both".into(),
    ];
    if let Some(baselines) = baselines {
        let y = baselines.coins.iter().map(|loss| *loss as f32).collect();
        series.push(Series { name: "coins".into(), y });
        notes.extend(baselines.routers.iter().map(|router| {
            format!(
                "router {}: {:.4} nats per token at {:.2} big layers",
                router.name, router.loss, router.big
            )
        }));
    }
    let title = "Loss by number of big layers".into();
    figure(BUDGETS, "Budgets", title, Plot::Lines(lines("big layers", labels(budgets), series)), notes, of)
}

/// What the oracle gains over the big model, beside what the same search gains for labels that mean nothing.
pub(super) fn controls(table: &LossTable, budgets: &[Budget], of: &Provenance) -> Figure {
    let all_big = average(table.row(table.all_big()));
    let series = vec![
        by_budget(budgets, "true labels", &|budget| all_big - budget.oracle.mean),
        by_budget(budgets, "wrong labels", &|budget| budget.wrong_label[1] - budget.wrong_label[0]),
    ];
    let notes = vec![
        "all-big loss less the oracle's; wrong labels, our control: another token of similar frequency, whose loss is larger to \
         begin with"
            .into(),
    ];
    let title = "Gain of the oracle, and of a search for nothing".into();
    figure(CONTROLS, "Controls", title, Plot::Lines(lines("big layers", labels(budgets), series)), notes, of)
}

/// The least of K random routes.
pub(super) fn best_of(table: &LossTable, of: &Provenance) -> Figure {
    let points = table.best_of();
    let x_labels = points.iter().map(|(count, _)| count.to_string()).collect();
    let y = points.iter().map(|(_, loss)| *loss as f32).collect();
    let series = vec![Series { name: "best of K by token".into(), y }];
    let notes = vec![
        "mean of 8 draws without replacement; our control: more choice alone lowers the least loss".into(),
    ];
    figure(
        BEST_OF,
        "Best of K",
        "Best of K random routes".into(),
        Plot::Lines(lines("K", x_labels, series)),
        notes,
        of,
    )
}

fn by_budget(budgets: &[Budget], name: &str, of: &dyn Fn(&Budget) -> f64) -> Series {
    Series { name: name.into(), y: budgets.iter().map(|budget| of(budget) as f32).collect() }
}

fn labels(budgets: &[Budget]) -> Arc<[String]> {
    budgets.iter().map(|budget| budget.big.to_string()).collect()
}

fn lines(x_name: &str, x_labels: Arc<[String]>, series: Vec<Series>) -> Lines {
    Lines { x_name: x_name.into(), y_name: "nats per token".into(), x_labels, series }
}

/// A figure of the oracle; its file is named by its id.
pub(super) fn figure(
    id: FigureId,
    short: &str,
    title: String,
    plot: Plot,
    notes: Vec<String>,
    provenance: &Provenance,
) -> Figure {
    Figure {
        id,
        name: "oracle".into(),
        detail: id.0.trim_start_matches("oracle-").into(),
        short: short.into(),
        title,
        plot,
        notes,
        provenance: provenance.clone(),
    }
}

/// Share of big lanes by layer and part of the sequence. `lanes` of one sequence by layer; adds to `[layer][part]` big
/// tokens and all tokens.
pub(super) fn count_parts<'a>(
    counts: &mut [Vec<[u64; 2]>],
    len: usize,
    lanes: impl Iterator<Item = (usize, usize, &'a Lane)>,
) {
    for (layer, position, lane) in lanes {
        let Some(parts) = counts.get_mut(layer) else { continue };
        let part = position * parts.len() / len.max(1);
        if let Some([big, all]) = parts.get_mut(part) {
            *big += u64::from(*lane == Lane::Big);
            *all += 1;
        }
    }
}
