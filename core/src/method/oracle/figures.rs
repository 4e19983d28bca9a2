//! Figures of an oracle by token: the routes as a map, and how hard the tokens are.

use std::sync::Arc;

use super::curves;
use super::table::average;
use super::{OracleRun, Search, Under};
use crate::figure::{Axis, Figure, FigureId, Lines, Map, Plot, Scale, Series};
use crate::method::view::lane_classes;
use crate::method::{Stepper as _, Steps};
use crate::plan::Route;
use crate::spec::{Lane, LayerRoute};

/// The best route of every token.
const MAP: FigureId = FigureId("oracle-map");
/// Losses of every token, and what its best route gains.
const DIFFICULTY: FigureId = FigureId("oracle-difficulty");
/// The same along the prompt.
const ALONG: FigureId = FigureId("oracle-along");

impl OracleRun {
    /// Loss of every token in the first lane, and what the oracle saves of it.
    pub(super) fn by_token(&self) -> [Arc<[f32]>; 2] {
        let first = self.table.row(0);
        // A token is foreseen at the position before it.
        let place = |position: usize| position.checked_sub(1).and_then(|before| self.place(before));
        let loss = |place: usize| first.get(place).copied().unwrap_or(f32::NAN);
        let gap = |place: usize| loss(place) - self.best.get(place).map_or(f32::NAN, |best| best.0);
        let all = |of: &dyn Fn(usize) -> f32| {
            (0..self.shown.len()).map(|position| place(position).map_or(f32::NAN, of)).collect()
        };
        [all(&loss), all(&gap)]
    }

    /// The place of a token among those that are scored.
    fn place(&self, position: usize) -> Option<usize> {
        self.scored.binary_search(&position).ok()
    }

    /// The best route of a token, where there is one so far.
    fn of(&self, position: usize) -> Option<usize> {
        let (loss, pattern) = self.best.get(self.place(position)?)?;
        loss.is_finite().then_some(*pattern)
    }

    pub(super) fn route(&self) -> Route {
        let mut route = Route { surrogate: self.plan.surrogate(), ..Route::default() };
        for layer in 0..self.table.layers {
            let lane =
                |position| self.of(position).map_or(Lane::Big, |pattern| self.table.lane(pattern, layer));
            let tokens = (0..self.shown.len()).map(lane).collect();
            route.set_layer(LayerRoute { layer, tokens, next: Lane::Big });
        }
        route
    }

    pub(super) fn map(&self) -> Figure {
        let index = |lane: Lane| Lane::ALL.iter().position(|&known| known == lane).unwrap_or(0) as f32;
        let cell = |layer: usize, position: usize| {
            self.of(position).map_or(f32::NAN, |pattern| index(self.table.lane(pattern, layer)))
        };
        let values = (0..self.table.layers)
            .flat_map(|layer| (0..self.shown.len()).map(move |position| (layer, position)))
            .map(|(layer, position)| cell(layer, position));
        let map = Map {
            rows: Axis {
                name: "Layer".into(),
                labels: (0..self.table.layers).map(|layer| layer.to_string()).collect(),
            },
            cols: self.columns(),
            values: values.collect(),
            scale: Scale::Classes(lane_classes(self.surrogate)),
            quantity: "lane of the route that foresees the next token best".into(),
            text: None,
        };
        let Steps { done, all, .. } = self.progress();
        let mut notes = vec![match &self.search {
            Under::Every(every) => {
                let [done, all] = every.routes();
                format!(
                    "{done} of {all} routes; every token of the sequence takes the same route while one is scored"
                )
            }
            Under::Greedy(_) => format!("{done} of {all} tokens; each takes its best route and keeps it"),
            Under::Beam(_) => format!(
                "{done} routes tried, at most {all}; every token of the sequence takes the same route while one is scored"
            ),
        }];
        notes.push(
            "the paper does not say which route the context takes: this is our reading; the last token has no next one"
                .into(),
        );
        if self.lanes.contains(&Lane::Small) {
            notes.push(format!("small FFN: {}", self.small));
        }
        if self.is_done() {
            let least: Vec<f32> = self.best.iter().map(|best| best.0).collect();
            let found = average(&least);
            notes.push(match self.ask.search {
                Search::Every => {
                    let big = average(self.table.row(self.table.all_big()));
                    format!(
                        "{found:.4} nats per token by the oracle, {big:.4} with every FFN big; the least of many routes is \
                         small by itself: see the controls"
                    )
                }
                Search::Greedy => format!("{found:.4} nats per token, token by token"),
                Search::Beam => {
                    format!("{found:.4} nats per token by the routes tried: an upper bound of the oracle's loss")
                }
            });
        }
        let which = match self.ask.big {
            Some(budget) => format!("of {budget} big layers"),
            None => "of any budget".into(),
        };
        self.figure(MAP, "Routes", format!("Oracle routes {which}"), Plot::Map(map), notes)
    }

    /// Losses of every token under the uniform routes and the oracle, and what the oracle gains over the first.
    pub(super) fn difficulty(&self) -> Figure {
        let first = self.table.row(0);
        let all_big = self.table.row(self.table.all_big());
        let at = |row: &[f32], place: usize| row.get(place).copied().unwrap_or(f32::NAN);
        let oracle = |place: usize| self.best.get(place).map_or(f32::NAN, |best| best.0);
        let cheap = match self.lanes.first() {
            Some(Lane::Small) => "all small",
            Some(Lane::SkipFfn) => "all skipped",
            _ => "all first",
        };
        let gap = |place: usize| at(first, place) - oracle(place);
        let rows: [(String, &dyn Fn(usize) -> f32); 4] = [
            (cheap.into(), &|place| at(first, place)),
            ("all big".into(), &|place| at(all_big, place)),
            ("oracle".into(), &oracle),
            ("gap".into(), &gap),
        ];
        let mut values = Vec::with_capacity(rows.len() * self.shown.len());
        for (_, value) in &rows {
            values.extend((0..self.shown.len()).map(|position| self.place(position).map_or(f32::NAN, value)));
        }
        let text =
            values.iter().map(|x| if x.is_nan() { String::new() } else { format!("{x:.2}") }).collect();
        let max = values.iter().copied().filter(|x| x.is_finite()).fold(0f32, f32::max);
        let map = Map {
            rows: Axis { name: "Loss".into(), labels: rows.iter().map(|(name, _)| name.clone()).collect() },
            cols: self.columns(),
            values: values.into(),
            scale: Scale::Sequential { min: 0.0, max: max.max(1e-3) },
            quantity: "nats".into(),
            text: Some(text),
        };
        let notes = vec![
            "loss of the next token; gap, the first row less the oracle: the potential for loss reduction (Duo-LLM, 3.2.2)"
                .into(),
        ];
        self.figure(DIFFICULTY, "Difficulty", "Difficulty of tokens".into(), Plot::Map(map), notes)
    }

    /// The same along the prompt (Duo-LLM, figure 5).
    pub(super) fn along(&self) -> Figure {
        let all_big = self.table.row(self.table.all_big());
        let at = |row: &[f32], place: usize| row.get(place).copied().unwrap_or(f32::NAN);
        let series = |name: &str, of: &dyn Fn(usize) -> f32| Series {
            name: name.into(),
            y: (0..self.shown.len()).map(|position| self.place(position).map_or(f32::NAN, of)).collect(),
        };
        let first = match self.lanes.first() {
            Some(Lane::SkipFfn) => "all skipped",
            _ => "all small",
        };
        let series = vec![
            series(first, &|place| at(self.table.row(0), place)),
            series("all big", &|place| at(all_big, place)),
            series("oracle", &|place| self.best.get(place).map_or(f32::NAN, |best| best.0)),
        ];
        let labels = self.shown.iter().map(|token| token.text.clone()).collect();
        let notes = vec!["loss of the token after the one on the axis".into()];
        let lines = Lines { x_name: "token".into(), y_name: "nats".into(), x_labels: labels, series };
        self.figure(ALONG, "Along", "Loss along the prompt".into(), Plot::Lines(lines), notes)
    }

    fn columns(&self) -> Axis {
        Axis { name: "Token".into(), labels: self.shown.iter().map(|token| token.text.clone()).collect() }
    }

    fn figure(&self, id: FigureId, short: &str, title: String, plot: Plot, notes: Vec<String>) -> Figure {
        curves::figure(id, short, title, plot, notes, &self.provenance)
    }
}
