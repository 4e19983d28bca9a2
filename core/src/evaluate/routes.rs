//! Every route of big and small FFNs over the layers, on test text (Duo-LLM, section 3.2), as [`crate::method::oracle::table`] reads
//! the paper.

use candle_core::Tensor;
use serde::Serialize;

use super::Subject;
use crate::error::{Error, Result};
use crate::method::oracle::labels::{Labels, drawn_target, wrong_targets};
use crate::method::oracle::table::{Budget, LossTable, average, least, mean};
use crate::model::{Model, fused};
use crate::rng;
use crate::spec::Lane;
use crate::statistics::Mean;
use crate::train::config::LEN;
use crate::train::loss::{Batch, Routing, forward};
use crate::train::run::LAST_TAU;

/// Sequences of one batch.
const TOGETHER: usize = 20;

/// What the routes are worth.
#[derive(Clone, Debug, Serialize)]
pub struct Routes {
    /// Tokens of test text.
    pub tokens: usize,
    /// Layers.
    pub layers: usize,
    /// Nats per token, every FFN big.
    pub all_big: Mean,
    /// Every FFN small.
    pub all_small: Mean,
    /// By number of big layers, 0 first.
    pub by_budget: Vec<Budget>,
    /// Over all patterns: the oracle, and its wrong-label control.
    pub whole: [Gain; 2],
    /// Oracle with 1 big layer less all-big, token by token.
    pub one_big_less_all_big: Mean,
    /// Best of K random patterns of any budget, token by token: K and mean.
    pub best_of: Vec<(usize, f64)>,
    /// Share of tokens for which the oracle of half the budget uses a layer's big FFN, by layer.
    pub oracle_choice: Vec<f64>,
    /// The same over the tokens to which the choice is worth something ([`crate::method::oracle::table::WORTH`]).
    pub oracle_choice_worth: Vec<f64>,
    /// The learned routers, run with argmax.
    pub routers: Vec<Learned>,
    /// Each row and layer big or small by a fair coin, as in training.
    pub coins: Mean,
    /// {big, skip}: no model was trained to skip, so these are zero-shot. By number of big layers, the best fixed pattern.
    pub skip_fixed: Vec<f64>,
    /// The oracle over them.
    pub skip_oracle: Vec<f64>,
}

/// All-big loss less the oracle's.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Gain {
    /// Nats per token.
    pub all_big: f64,
    /// Nats per token.
    pub oracle: f64,
}

/// A learned router on test text.
#[derive(Clone, Debug, Serialize)]
pub struct Learned {
    /// Its name: lanes and budgets.
    pub name: String,
    /// Nats per token, each row through its best lane.
    pub hard: Mean,
    /// Nats per token of the mixture at the last tau.
    pub soft: f64,
    /// Shares of the lanes, in the order of the name.
    pub shares: Vec<f64>,
    /// Share of rows that take the first lane, by layer.
    pub choice: Vec<f64>,
}

/// Measure on `sequences` sequences of test text.
pub fn measure(subject: &Subject, sequences: usize, progress: &mut dyn FnMut(&str)) -> Result<Routes> {
    let model = &subject.engine.model;
    let layers = model.spec.n_layers();
    if !model.spec.is_duo() || layers > 12 {
        return Err(Error::Study("routes are enumerated for Duo models of at most 12 layers".into()));
    }
    let batches = batches(subject, sequences)?;
    let texts: Vec<&[u32]> = batches.iter().map(|batch| batch.targets.as_slice()).collect();
    let wrong = wrong_targets(&texts, model.spec.vocab);
    let drawn = predicted(model, &batches)?;
    let patterns = 1usize << layers;
    let empty = |other| LossTable::empty(&[other, Lane::Big], layers, patterns);
    let (mut table, mut skips) = (empty(Lane::Small), empty(Lane::SkipFfn));
    for pattern in 0..patterns {
        if pattern % 16 == 0 {
            progress(&format!("route {pattern} of {patterns}"));
        }
        let lanes = |other: Lane| -> Vec<Lane> {
            (0..layers).map(|layer| if pattern >> layer & 1 == 1 { Lane::Big } else { other }).collect()
        };
        let (small, skip) = (lanes(Lane::Small), lanes(Lane::SkipFfn));
        let controls = [wrong.as_slice(), drawn.as_slice()];
        let [next, wrong, drawn] = losses(model, &batches, controls, Routing::Uniform(&small))?;
        table.put(pattern, Labels { next, wrong, drawn });
        let [next, ..] = losses(model, &batches, [&[], &[]], Routing::Uniform(&skip))?;
        skips.put(pattern, Labels::of(next));
    }
    progress("routers");
    let routers = (0..model.spec.routers.len())
        .map(|router| learned(model, &batches, router))
        .collect::<Result<_>>()?;
    let rows = batches.first().map_or(0, |batch| batch.inputs.len());
    let coins = |number: usize| -> Vec<Vec<Lane>> {
        let lane = |layer: usize, row: usize| {
            let coin = rng::bits(17, (number * layers + layer) as u64, row as u64) >> 63 == 1;
            if coin { Lane::Big } else { Lane::Small }
        };
        (0..layers).map(|layer| (0..rows).map(|row| lane(layer, row)).collect()).collect()
    };
    let mut tossed = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        let lanes = coins(number);
        let lanes: Vec<Vec<Lane>> =
            lanes.into_iter().map(|layer| layer.into_iter().take(batch.inputs.len()).collect()).collect();
        let [next, ..] = losses(model, std::slice::from_ref(batch), [&[], &[]], Routing::Each(&lanes))?;
        tossed.extend(next);
    }
    let last = patterns - 1;
    Ok(Routes {
        tokens: table.row(last).len(),
        layers,
        all_big: mean(table.row(last)),
        all_small: mean(table.row(0)),
        by_budget: (0..=layers).map(|big| table.budget(big)).collect(),
        whole: [
            Gain { all_big: average(table.row(last)), oracle: average(&least(&table.loss)) },
            Gain { all_big: average(table.rows(last).wrong), oracle: average(&least(&table.wrong)) },
        ],
        one_big_less_all_big: {
            let one = least(&table.of_budget(&table.loss, 1));
            Mean::of(&one.iter().zip(table.row(last)).map(|(a, b)| f64::from(a - b)).collect::<Vec<_>>())
        },
        best_of: table.best_of(),
        oracle_choice: table.choice(layers / 2),
        oracle_choice_worth: table.choice_worth(layers / 2),
        routers,
        coins: mean(&tossed),
        skip_fixed: (0..=layers).map(|big| skips.fixed(big).0).collect(),
        skip_oracle: (0..=layers).map(|big| average(&least(&skips.of_budget(&skips.loss, big)))).collect(),
    })
}

/// Test text in turns: facts, stories.
fn batches(subject: &Subject, sequences: usize) -> Result<Vec<Batch>> {
    let mut all = Vec::new();
    for sequence in 0..sequences as u64 {
        if all.last().is_none_or(|batch: &Batch| batch.inputs.len() >= TOGETHER * LEN) {
            all.push(Batch { len: LEN, ..Batch::default() });
        }
        let (mut ids, mut document) = (Vec::new(), sequence << 5);
        while ids.len() <= LEN {
            let text = subject.world.document(subject.split, sequence, document);
            ids.extend(subject.tokens(&text, true)?);
            document += 1;
        }
        if let Some(batch) = all.last_mut() {
            batch.inputs.extend(ids.iter().take(LEN));
            batch.targets.extend(ids.iter().skip(1).take(LEN));
        }
    }
    Ok(all)
}

/// Tokens drawn from the prediction with every FFN big, by batch.
fn predicted(model: &Model, batches: &[Batch]) -> Result<Vec<Vec<u32>>> {
    let big = vec![Lane::Big; model.spec.n_layers()];
    let of = |(number, batch): (u64, &Batch)| {
        let logits: Vec<Vec<f32>> = forward(model, batch, None, Routing::Uniform(&big))?.logits.to_vec2()?;
        Ok((0..).zip(&logits).map(|(row, logits)| drawn_target(logits, number, row)).collect())
    };
    (0..).zip(batches).map(of).collect()
}

/// Surprisals of the targets, and of other ones where given, by batch.
fn losses(
    model: &Model,
    batches: &[Batch],
    others: [&[Vec<u32>]; 2],
    routing: Routing,
) -> Result<[Vec<f32>; 3]> {
    let passed: Vec<Result<Tensor>> = std::thread::scope(|scope| {
        let threads: Vec<_> = batches
            .iter()
            .map(|batch| scope.spawn(move || Ok(forward(model, batch, None, routing)?.logits)))
            .collect();
        let died = |_| Err(Error::Internal("a batch died".into()));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(died)).collect()
    });
    let mut all: [Vec<f32>; 3] = Default::default();
    for (index, (logits, batch)) in passed.into_iter().zip(batches).enumerate() {
        let logits = logits?;
        let others = others.map(|other| other.get(index));
        for (losses, targets) in all.iter_mut().zip([Some(&batch.targets), others[0], others[1]]) {
            if let Some(targets) = targets {
                losses.extend(fused::surprisal(&logits, targets)?.to_vec1::<f32>()?);
            }
        }
    }
    Ok(all)
}

fn learned(model: &Model, batches: &[Batch], router: usize) -> Result<Learned> {
    let spec = model.spec.router(router)?;
    let (mut hard, mut chosen) = (Vec::new(), vec![Vec::new(); model.spec.n_layers()]);
    for batch in batches {
        let passed = forward(model, batch, None, Routing::Router(router))?;
        hard.extend(fused::surprisal(&passed.logits, &batch.targets)?.to_vec1::<f32>()?);
        for (all, own) in chosen.iter_mut().zip(passed.lanes) {
            all.extend(own);
        }
    }
    let [soft, ..] = losses(model, batches, [&[], &[]], Routing::Mixture { router, tau: LAST_TAU })?;
    let share = |rows: &[Lane], lane: Lane| {
        rows.iter().filter(|own| **own == lane).count() as f64 / rows.len().max(1) as f64
    };
    let all: Vec<Lane> = chosen.iter().flatten().copied().collect();
    let first = spec.lanes.first().copied().unwrap_or(Lane::Big);
    Ok(Learned {
        name: spec.name.clone(),
        hard: mean(&hard),
        soft: average(&soft),
        shares: spec.lanes.iter().map(|&lane| share(&all, lane)).collect(),
        choice: chosen.iter().map(|rows| share(rows, first)).collect(),
    })
}
