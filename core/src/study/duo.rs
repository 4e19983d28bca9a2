//! The oracle of a prompt, step by step: which route foresees each token best (Duo-LLM, arXiv 2410.10846, sections 2 and
//! 3.2), filling in as routes are done.

use std::sync::Arc;

use super::beam::BeamRun;
use super::curves;
use super::greedy::GreedyRun;
use super::oracle::{self, Budget, LossTable};
use super::rivals::RivalsRun;
use super::routes::RouteTree;
use crate::engine::{self, Cancelled, Engine};
use crate::error::{Error, Result};
use crate::figure::{Axis, Figure, Lines, Map, Plot, Provenance, Scale, Series};
use crate::model::Input;
use crate::plan::Route;
use crate::protocol::{RouteFindings, RouteStudy, Search, Token};
use crate::spec::{Lane, LayerRoute};
use crate::view;

/// Routes of a beam's round, and routes in all.
const BEAM: (usize, usize) = (8, 4096);

/// A search under way.
enum Under {
    Every(Box<RouteTree>),
    Greedy(Box<GreedyRun>),
    Beam(Box<BeamRun>),
}

/// An oracle under way.
pub struct OracleRun {
    ask: RouteStudy,
    search: Under,
    table: LossTable,
    scored: Vec<usize>,
    /// Beside every route: what the checkpoint's routers and coins make of the prompt.
    rivals: Option<RivalsRun>,
    /// By scored token: the least loss so far among routes of the budget, and the route.
    best: Vec<(f32, usize)>,
    shown: Arc<[Token]>,
    small: String,
    provenance: Provenance,
}

impl OracleRun {
    /// Begin.
    pub fn new(
        engine: &mut Engine,
        ask: RouteStudy,
        tokens: &Input,
        provenance: Provenance,
        cancelled: Cancelled,
    ) -> Result<Self> {
        let (plan, lanes) = (&ask.plan, ask.lanes.as_slice());
        let layers = engine.model.spec.n_layers();
        let (search, table, scored) = match ask.search {
            Search::Every => {
                let tree = RouteTree::new(engine, plan, tokens, lanes, cancelled)?;
                let table = LossTable::empty(lanes, layers, tree.progress()[1]);
                let scored = tree.scored().to_vec();
                (Under::Every(Box::new(tree)), table, scored)
            }
            Search::Greedy => {
                let run = GreedyRun::new(engine, plan, tokens, lanes, ask.budget, cancelled)?;
                let (table, scored) = (run.table().clone(), run.scored().to_vec());
                (Under::Greedy(Box::new(run)), table, scored)
            }
            Search::Beam if ask.budget.is_some() => {
                return Err(Error::Study(
                    "a beam goes through routes of any budget: choose any budget".into(),
                ));
            }
            Search::Beam => {
                let run = BeamRun::new(engine, plan, tokens, lanes, BEAM, cancelled)?;
                let (table, scored) = (run.table().clone(), run.scored().to_vec());
                (Under::Beam(Box::new(run)), table, scored)
            }
        };
        let every = ask.search == Search::Every;
        let rivals = every.then(|| RivalsRun::new(engine, plan, tokens, lanes));
        let shown = view::tokens(engine, tokens);
        Ok(Self {
            best: vec![(f32::INFINITY, 0); scored.len()],
            small: engine::small_label(engine, &ask.plan.surrogate()),
            rivals,
            search,
            table,
            scored,
            shown,
            ask,
            provenance,
        })
    }

    /// Routes or tokens done, and how many in all.
    pub fn progress(&self) -> (usize, usize) {
        match &self.search {
            Under::Every(tree) => {
                let [done, all] = tree.progress();
                (done, all)
            }
            Under::Greedy(run) => run.progress(),
            Under::Beam(run) => run.progress(),
        }
    }

    /// Whether it has come to its end.
    pub fn is_done(&self) -> bool {
        match &self.search {
            Under::Every(tree) => tree.is_done() && self.rivals.as_ref().is_none_or(RivalsRun::is_done),
            Under::Greedy(run) => run.is_done(),
            Under::Beam(run) => run.is_done(),
        }
    }

    /// One sublayer of some routes.
    pub fn step(&mut self, engine: &mut Engine) -> Result<()> {
        match &mut self.search {
            Under::Every(tree) if tree.is_done() => {
                if let Some(rivals) = &mut self.rivals {
                    rivals.step(engine)?;
                }
            }
            Under::Every(tree) => {
                for done in tree.step(engine)? {
                    let pattern = done.pattern;
                    if self.ask.budget.is_none_or(|budget| self.table.big(pattern) == budget) {
                        for (best, &loss) in self.best.iter_mut().zip(&done.loss) {
                            // By number where equal, so that the order in which routes are done does not matter.
                            if loss < best.0 || loss == best.0 && pattern < best.1 {
                                *best = (loss, pattern);
                            }
                        }
                    }
                    self.table.put(pattern, done.loss, done.wrong);
                }
            }
            Under::Greedy(run) => {
                run.step(engine)?;
                for (best, &(pattern, loss)) in self.best.iter_mut().zip(&run.chosen) {
                    *best = (loss, pattern);
                }
            }
            Under::Beam(run) => {
                run.step(engine, &engine::never)?;
                for (best, (pattern, loss)) in self.best.iter_mut().zip(run.least()) {
                    *best = (loss, pattern);
                }
            }
        }
        Ok(())
    }

    /// The findings so far.
    pub fn findings(&self) -> RouteFindings {
        let mut figures = vec![self.map()];
        if self.is_done() && self.ask.search == Search::Every {
            let budgets: Vec<Budget> = (0..=self.table.layers).map(|big| self.table.budget(big)).collect();
            let rivals = self.rivals.as_ref().map(|rivals| &rivals.found);
            figures.extend([
                self.difficulty(),
                self.along(),
                curves::choice(&self.table, &self.provenance),
                curves::budgets(&budgets, rivals, &self.provenance),
                curves::controls(&self.table, &budgets, &self.provenance),
                curves::best_of(&self.table, &self.provenance),
            ]);
        }
        RouteFindings {
            ask: self.ask.clone(),
            route: self.route(),
            figures: figures.into_iter().map(Arc::new).collect(),
            difficulty: (self.is_done() && self.ask.search == Search::Every).then(|| self.by_token()),
            done: self.is_done(),
        }
    }

    /// Loss of every token in the first lane, and what the oracle saves of it.
    fn by_token(&self) -> [Arc<[f32]>; 2] {
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

    fn route(&self) -> Route {
        let mut route = Route { surrogate: self.ask.plan.surrogate(), ..Route::default() };
        for layer in 0..self.table.layers {
            let lane =
                |position| self.of(position).map_or(Lane::Big, |pattern| self.table.lane(pattern, layer));
            let tokens = (0..self.shown.len()).map(lane).collect();
            route.set_layer(LayerRoute { layer, tokens, next: Lane::Big });
        }
        route
    }

    fn map(&self) -> Figure {
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
            scale: Scale::Classes(view::lane_classes()),
            quantity: "lane of the route that foresees the next token best".into(),
            text: None,
        };
        let (done, all) = self.progress();
        let mut notes = vec![match self.ask.search {
            Search::Every => {
                format!(
                    "{done} of {all} routes; every token of the sequence takes the same route while one is scored"
                )
            }
            Search::Greedy => format!("{done} of {all} tokens; each takes its best route and keeps it"),
            Search::Beam => format!(
                "{done} routes tried, at most {all}; every token of the sequence takes the same route while one is scored"
            ),
        }];
        notes.push(
            "the paper does not say which route the context takes: this is our reading; the last token has no next one"
                .into(),
        );
        if self.ask.lanes.contains(&Lane::Small) {
            notes.push(format!("small FFN: {}", self.small));
        }
        if self.is_done() {
            let least: Vec<f32> = self.best.iter().map(|best| best.0).collect();
            let found = oracle::average(&least);
            notes.push(match self.ask.search {
                Search::Every => {
                    let big = oracle::average(self.table.row(self.table.all_big()));
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
        let which = match self.ask.budget {
            Some(budget) => format!("of {budget} big layers"),
            None => "of any budget".into(),
        };
        self.figure("map", format!("Oracle routes {which}"), Plot::Map(map), notes)
    }

    /// Losses of every token under the uniform routes and the oracle, and what the oracle gains over the first.
    fn difficulty(&self) -> Figure {
        let first = self.table.row(0);
        let all_big = self.table.row(self.table.all_big());
        let at = |row: &[f32], place: usize| row.get(place).copied().unwrap_or(f32::NAN);
        let oracle = |place: usize| self.best.get(place).map_or(f32::NAN, |best| best.0);
        let cheap = match self.ask.lanes.first() {
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
        self.figure("difficulty", "Difficulty of tokens".into(), Plot::Map(map), notes)
    }

    /// The same along the prompt (Duo-LLM, figure 5).
    fn along(&self) -> Figure {
        let all_big = self.table.row(self.table.all_big());
        let at = |row: &[f32], place: usize| row.get(place).copied().unwrap_or(f32::NAN);
        let series = |name: &str, of: &dyn Fn(usize) -> f32| Series {
            name: name.into(),
            y: (0..self.shown.len()).map(|position| self.place(position).map_or(f32::NAN, of)).collect(),
        };
        let first = match self.ask.lanes.first() {
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
        self.figure("along", "Loss along the prompt".into(), Plot::Lines(lines), notes)
    }

    fn columns(&self) -> Axis {
        Axis { name: "Token".into(), labels: self.shown.iter().map(|token| token.text.clone()).collect() }
    }

    fn figure(&self, detail: &str, title: String, plot: Plot, notes: Vec<String>) -> Figure {
        curves::figure(detail, title, plot, notes, &self.provenance)
    }
}
