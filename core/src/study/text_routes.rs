//! The oracle over a text: the routes of many sequences in one table, with the figures of the paper (Duo-LLM, arXiv
//! 2410.10846, section 3.2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::curves;
use super::oracle::{self, Budget, LossTable};
use super::rivals::{Rivals, RivalsRun, Routed};
use super::routes::RouteTree;
use crate::engine::{self, Cancelled, Engine, memory};
use crate::error::{Error, Result};
use crate::figure::{Figure, Provenance};
use crate::model::Input;
use crate::plan::Plan;
use crate::spec::Lane;
use crate::statistics::Mean;

/// Parts of a sequence.
const PARTS: usize = 8;

/// What the routes of a text are worth.
#[derive(Clone, Debug, Serialize)]
pub struct TextRoutes {
    /// What a layer's FFN can be, the big one last.
    pub lanes: Vec<Lane>,
    /// What "small" stands for.
    pub small: Option<String>,
    /// Which context a scored token has.
    pub reading: &'static str,
    /// Scored tokens.
    pub tokens: usize,
    /// Nats per token, every FFN big.
    pub all_big: Mean,
    /// Every FFN in the first lane.
    pub all_first: Mean,
    /// The least loss of all routes, token by token.
    pub oracle: Mean,
    /// By number of big layers, 0 first.
    pub by_budget: Vec<Budget>,
    /// Best of K random routes: K and nats per token.
    pub best_of: Vec<(usize, f64)>,
    /// How often the oracle of a budget takes each layer's big FFN, by budget and layer.
    pub choice: Vec<Vec<f64>>,
    /// The same of half the budget, by layer and eighth of the sequence.
    pub choice_along: Vec<Vec<f64>>,
    /// The checkpoint's own routers, with their choice by layer and eighth of the sequence.
    pub routers: Vec<(Routed, Vec<Vec<f64>>)>,
    /// Coins, by number of big layers.
    pub coins: Vec<f64>,
    /// All of it.
    pub seconds: f64,
    /// As pictures.
    #[serde(skip)]
    pub figures: Vec<Arc<Figure>>,
}

/// Run every route of every sequence. `progress` hears of sequences done and in all.
pub fn text_routes(
    engine: &mut Engine,
    samples: &[Input],
    lanes: &[Lane],
    provenance: &Provenance,
    progress: &mut dyn FnMut(usize, usize),
    cancelled: Cancelled,
) -> Result<TextRoutes> {
    let begin = Instant::now();
    let (plan, layers) = (Plan::default(), engine.model.spec.n_layers());
    let mut table: Option<LossTable> = None;
    let (mut rivals, mut along) = (Vec::new(), BTreeMap::new());
    // Where in its sequence each scored token stands.
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (done, sample) in samples.iter().enumerate() {
        progress(done, samples.len());
        let mut tree = RouteTree::new(engine, &plan, sample, lanes, cancelled)?;
        let all = tree.progress()[1];
        let table = table.get_or_insert_with(|| LossTable::empty(lanes, layers, all));
        let scored = samples.iter().map(|sample| sample.len()).sum::<usize>();
        memory::check(&format!("losses of {all} routes"), 8 * (all * scored) as u64)?;
        places.extend(tree.scored().iter().map(|&position| (position, sample.len())));
        while !tree.is_done() {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            tree.step(engine)?.into_iter().for_each(|done| table.put(done.pattern, done.loss, done.wrong));
        }
        let mut run = RivalsRun::new(engine, &plan, sample, lanes);
        while !run.is_done() {
            run.step(engine)?;
        }
        for (router, chosen) in run.found.routers.iter().zip(&run.found.chosen) {
            let counts =
                along.entry(router.name.clone()).or_insert_with(|| vec![vec![[0u64; 2]; PARTS]; layers]);
            let cells = chosen.iter().flat_map(|(layer, lanes)| {
                lanes.iter().enumerate().map(move |(position, lane)| (*layer, position, lane))
            });
            curves::count_parts(counts, sample.len(), cells);
        }
        rivals.push((run.found, tree.scored().len()));
    }
    let table = table.ok_or_else(|| Error::Study("no text to route".into()))?;
    let budgets: Vec<Budget> = (0..=layers).map(|big| table.budget(big)).collect();
    let rivals = pooled(&rivals);
    // The oracle of half the budget along the sequences.
    let best = table.best(&table.patterns(layers / 2));
    let mut counts = vec![vec![[0u64; 2]; PARTS]; layers];
    for (&pattern, &(position, len)) in best.iter().zip(&places) {
        let lanes: Vec<Lane> = (0..layers).map(|layer| table.lane(pattern, layer)).collect();
        let cells = lanes.iter().enumerate().map(|(layer, lane)| (layer, position, lane));
        curves::count_parts(&mut counts, len, cells);
    }
    let choice_along = shares(&counts);
    let routers: Vec<(Routed, Vec<Vec<f64>>)> = rivals
        .routers
        .iter()
        .map(|router| {
            (router.clone(), along.get(&router.name).map_or_else(Vec::new, |counts| shares(counts)))
        })
        .collect();
    let mut figures = vec![
        curves::choice(&table, provenance),
        curves::budgets(&budgets, Some(&rivals), provenance),
        curves::controls(&table, &budgets, provenance),
        curves::best_of(&table, provenance),
        curves::along_sequences(
            "along-half-budget",
            format!("Where the oracle of {} big layers is big", layers / 2),
            &choice_along,
            vec!["by layer and eighth of the sequence".into()],
            provenance,
        ),
    ];
    figures.extend(routers.iter().map(|(router, shares)| {
        let notes =
            vec![format!("by layer and eighth of the sequence; {:.2} big layers a token", router.big)];
        let (detail, title) =
            (format!("along-{}", router.name), format!("Where router {} is big", router.name));
        curves::along_sequences(&detail, title, shares, notes, provenance)
    }));
    let last = table.row(table.all_big());
    Ok(TextRoutes {
        lanes: lanes.to_vec(),
        small: lanes.contains(&Lane::Small).then(|| engine::small_label(engine, &plan.surrogate())),
        reading: "every token of the sequence takes the same route",
        tokens: last.len(),
        all_big: oracle::mean(last),
        all_first: oracle::mean(table.row(0)),
        oracle: oracle::mean(&oracle::least(&table.loss)),
        by_budget: budgets,
        best_of: table.best_of(),
        choice: (0..=layers).map(|big| table.choice(big)).collect(),
        choice_along,
        coins: rivals.coins,
        routers,
        seconds: begin.elapsed().as_secs_f64(),
        figures: figures.into_iter().map(Arc::new).collect(),
    })
}

/// Means over sequences, each with its number of tokens.
fn pooled(all: &[(Rivals, usize)]) -> Rivals {
    let total = all.iter().map(|(_, tokens)| *tokens).sum::<usize>().max(1) as f64;
    let mean = |of: &dyn Fn(&Rivals) -> Option<f64>| {
        all.iter().map(|(rivals, tokens)| of(rivals).unwrap_or(f64::NAN) * *tokens as f64).sum::<f64>()
            / total
    };
    let Some((first, _)) = all.first() else { return Rivals::default() };
    let routed = |(index, router): (usize, &Routed)| Routed {
        name: router.name.clone(),
        big: mean(&|rivals| rivals.routers.get(index).map(|router| router.big)),
        loss: mean(&|rivals| rivals.routers.get(index).map(|router| router.loss)),
    };
    Rivals {
        routers: first.routers.iter().enumerate().map(routed).collect(),
        // Each sequence has its own.
        chosen: Vec::new(),
        coins: (0..first.coins.len()).map(|big| mean(&|rivals| rivals.coins.get(big).copied())).collect(),
    }
}

fn shares(counts: &[Vec<[u64; 2]>]) -> Vec<Vec<f64>> {
    let share = |[big, all]: &[u64; 2]| if *all == 0 { f64::NAN } else { *big as f64 / *all as f64 };
    counts.iter().map(|parts| parts.iter().map(share).collect()).collect()
}
