//! Figures of a table of route losses (Duo-LLM, arXiv 2410.10846, figures 2 and 4, and our controls).

use std::sync::Arc;

use super::baselines::Baselines;
use super::table::{Budget, LossTable, WORTH, average};
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
/// The same in standard deviations of the routes' losses.
const CONTROLS_SD: FigureId = FigureId("oracle-controls-deviations");
/// Which layers the oracle of each budget takes big, where the choice is worth something.
const CHOICE_WORTH: FigureId = FigureId("oracle-choice-worth");
/// The least of K random routes.
const BEST_OF: FigureId = FigureId("oracle-best-of");

/// How often the oracle of each budget takes each layer's big FFN (figure 2): of all tokens, and of those to which the
/// choice is worth something.
pub(super) fn choices(table: &LossTable, budgets: &[Budget], of: &Provenance) -> [Figure; 2] {
    let layers = table.layers;
    let map = |by_budget: Vec<Vec<f64>>| {
        let share = move |layer: usize, budget: usize| {
            by_budget.get(budget).and_then(|shares| shares.get(layer)).copied()
        };
        Plot::Map(shares(layers, ("Big layers of the budget", layers + 1), share))
    };
    let count = |of: fn(&Budget) -> usize| {
        budgets.iter().map(|budget| of(budget).to_string()).collect::<Vec<_>>().join(", ")
    };
    let all = (0..=layers).map(|big| table.choice(big)).collect();
    let worth = (0..=layers).map(|big| table.choice_worth(big)).collect();
    let tokens = table.row(0).len();
    let ties = format!(
        "of {tokens} tokens, those with more than one best route, by budget: {}; of these the first by number is taken",
        count(|budget| budget.ties)
    );
    let matter = format!(
        "where the mean of the budget's routes less the best is {WORTH} nats or more: of {tokens} tokens, by budget: {}; our \
         addition, the others' choice is between losses that are nearly the same",
        count(|budget| budget.worth)
    );
    let share = "share of the tokens whose best route of the budget is big there".to_owned();
    [
        figure(CHOICE, "Choice", "Where the oracle is big".into(), map(all), vec![share.clone(), ties], of),
        figure(
            CHOICE_WORTH,
            "Choice, where it matters",
            "Where the oracle is big, where that is worth something".into(),
            map(worth),
            vec![share, matter],
            of,
        ),
    ]
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
    figure(
        BUDGETS,
        "Budgets",
        title,
        Plot::Lines(lines(("big layers", NATS), labels(budgets), series)),
        notes,
        of,
    )
}

/// What the oracle gains over the big model, beside what the same search gains for other labels: in nats, and in standard
/// deviations of the routes' losses.
pub(super) fn controls(table: &LossTable, budgets: &[Budget], of: &Provenance) -> [Figure; 2] {
    let all_big = average(table.row(table.all_big()));
    let nats = vec![
        by_budget(budgets, "true labels", &|budget| all_big - budget.oracle.mean),
        by_budget(budgets, "wrong labels", &|budget| budget.wrong_label[1] - budget.wrong_label[0]),
        by_budget(budgets, "own prediction", &|budget| budget.drawn_label[1] - budget.drawn_label[0]),
    ];
    let deviations = vec![
        by_budget(budgets, "true labels", &|budget| budget.gain_sd.next.mean),
        by_budget(budgets, "wrong labels", &|budget| budget.gain_sd.wrong.mean),
        by_budget(budgets, "own prediction", &|budget| budget.gain_sd.drawn.mean),
    ];
    let labels_note = "our controls: for wrong labels, another token of similar frequency in the whole text, whose loss is larger \
                       to begin with; for the own prediction, a token drawn from it with every FFN big"
        .to_owned();
    let plot = |unit: &str, series| Plot::Lines(lines(("big layers", unit), labels(budgets), series));
    [
        figure(
            CONTROLS,
            "Controls",
            "Gain of the oracle, and of a search for nothing".into(),
            plot(NATS, nats),
            vec![format!("all-big loss less the oracle's; {labels_note}")],
            of,
        ),
        figure(
            CONTROLS_SD,
            "Controls in deviations",
            "Gain of the oracle, and of a search for nothing, in standard deviations".into(),
            plot("standard deviations", deviations),
            vec![
                "mean of the budget's routes less the best, over the standard deviation of their losses, token by token".into(),
                labels_note,
            ],
            of,
        ),
    ]
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
        Plot::Lines(lines(("K", NATS), x_labels, series)),
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

/// On the y axis of losses.
const NATS: &str = "nats per token";

fn lines((x_name, y_name): (&str, &str), x_labels: Arc<[String]>, series: Vec<Series>) -> Lines {
    Lines { x_name: x_name.into(), y_name: y_name.into(), x_labels, series }
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
