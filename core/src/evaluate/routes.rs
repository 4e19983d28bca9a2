//! Every route of big and small FFNs over the layers, on test text (Duo-LLM, section 3.2).
//!
//! `E[p,t]` is the loss of token t when the *whole sequence* runs with pattern p: the paper does not say which pattern
//! the context has, this is our reading. The least of many draws is small by itself, so the oracle stands beside two
//! controls of ours: the same minimisation for another target token of similar frequency, and the best of K patterns
//! drawn at random.

use candle_core::Tensor;
use serde::Serialize;

use super::Subject;
use super::statistics::Mean;
use crate::error::{Error, Result};
use crate::model::{Model, fused};
use crate::plan::Lane;
use crate::rng;
use crate::train::config::LEN;
use crate::train::loss::{Batch, Routing, forward};
use crate::train::run::LAST_TAU;

/// Sequences of one batch.
const TOGETHER: usize = 20;
/// Patterns that the paper draws.
const DRAWN: usize = 100;

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
    /// The learned routers, run with argmax.
    pub routers: Vec<Learned>,
    /// Each row and layer big or small by a fair coin, as in training.
    pub coins: Mean,
    /// {big, skip}: no model was trained to skip, so these are zero-shot. By number of big layers, the best fixed pattern.
    pub skip_fixed: Vec<f64>,
    /// The oracle over them.
    pub skip_oracle: Vec<f64>,
}

/// Patterns with one number of big layers.
#[derive(Clone, Debug, Serialize)]
pub struct Budget {
    /// Big layers.
    pub big: usize,
    /// How many patterns.
    pub patterns: usize,
    /// Mean over tokens of the least loss.
    pub oracle: Mean,
    /// The pattern with the least mean loss.
    pub fixed: f64,
    /// That pattern, first layer first.
    pub fixed_pattern: String,
    /// Mean over patterns.
    pub mean: f64,
    /// Up to 100 random patterns, the best of them token by token.
    pub random_by_token: f64,
    /// The best of the same patterns on the mean.
    pub random_by_mean: f64,
    /// The oracle for wrong targets, and the same model's all-big loss for them.
    pub wrong_label: [f64; 2],
    /// (all-big less oracle) less the same for wrong targets.
    pub gain_over_control: Mean,
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

/// Losses of every token under every pattern.
struct Table {
    layers: usize,
    /// `[pattern][token]`; bit l of the pattern's number = layer l is big.
    loss: Vec<Vec<f32>>,
    /// The same for wrong targets.
    wrong: Vec<Vec<f32>>,
}

/// Measure on `sequences` sequences of test text.
pub fn measure(subject: &Subject, sequences: usize, progress: &mut dyn FnMut(&str)) -> Result<Routes> {
    let model = &subject.engine.model;
    let layers = model.spec.n_layers();
    if !model.spec.is_duo() || layers > 12 {
        return Err(Error::Input("routes are enumerated for Duo models of at most 12 layers".into()));
    }
    let batches = batches(subject, sequences)?;
    let wrong = wrong_targets(&batches, model.spec.vocab);
    let mut table = Table { layers, loss: Vec::new(), wrong: Vec::new() };
    let mut skips = Table { layers, loss: Vec::new(), wrong: Vec::new() };
    let patterns = 1usize << layers;
    for pattern in 0..patterns {
        if pattern % 16 == 0 {
            progress(&format!("route {pattern} of {patterns}"));
        }
        let lanes = |other: Lane| -> Vec<Lane> {
            (0..layers).map(|layer| if pattern >> layer & 1 == 1 { Lane::Big } else { other }).collect()
        };
        let (small, skip) = (lanes(Lane::Small), lanes(Lane::SkipFfn));
        let passed = losses(model, &batches, Some(&wrong), Routing::Uniform(&small))?;
        table.loss.push(passed.0);
        table.wrong.push(passed.1);
        skips.loss.push(losses(model, &batches, None, Routing::Uniform(&skip))?.0);
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
        tossed.extend(losses(model, std::slice::from_ref(batch), None, Routing::Each(&lanes))?.0);
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
            Gain { all_big: average(table.wrong_row(last)), oracle: average(&least(&table.wrong)) },
        ],
        one_big_less_all_big: {
            let one = least(&table.of_budget(&table.loss, 1));
            Mean::of(&one.iter().zip(table.row(last)).map(|(a, b)| f64::from(a - b)).collect::<Vec<_>>())
        },
        best_of: best_of(&table),
        oracle_choice: table.choice(layers / 2),
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

/// For every target another token of similar frequency in the same text, drawn by rank: one of the eight next to it.
fn wrong_targets(batches: &[Batch], vocab: usize) -> Vec<Vec<u32>> {
    let mut counts = vec![0usize; vocab];
    for &target in batches.iter().flat_map(|batch| &batch.targets) {
        if let Some(count) = counts.get_mut(target as usize) {
            *count += 1;
        }
    }
    let mut ranked: Vec<u32> = (0..vocab as u32).filter(|&id| counts.get(id as usize) > Some(&0)).collect();
    ranked.sort_by_key(|&id| std::cmp::Reverse(counts.get(id as usize).copied()));
    let place: std::collections::HashMap<u32, usize> = ranked.iter().copied().zip(0..).collect();
    let other = |(target, number): (&u32, u64)| {
        let rank = place.get(target).copied().unwrap_or(0);
        let step = 1 + (rng::bits(23, 0, number) % 4) as usize;
        let down = rng::bits(23, 1, number) & 1 == 1;
        let up = rank.checked_sub(step).filter(|_| !down);
        let found = up.or_else(|| (rank + step < ranked.len()).then_some(rank + step));
        // Next to the ends of a short list: the neighbour.
        let neighbour = if rank == 0 { 1 } else { rank - 1 };
        ranked.get(found.unwrap_or(neighbour)).copied().unwrap_or(*target)
    };
    let mut number = 0..;
    batches
        .iter()
        .map(|batch| batch.targets.iter().map(|target| other((target, number.next().unwrap_or(0)))).collect())
        .collect()
}

/// Surprisals of the targets, and of the wrong ones where given.
fn losses(
    model: &Model,
    batches: &[Batch],
    wrong: Option<&[Vec<u32>]>,
    routing: Routing,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let passed: Vec<Result<Tensor>> = std::thread::scope(|scope| {
        let threads: Vec<_> = batches
            .iter()
            .map(|batch| scope.spawn(move || Ok(forward(model, batch, None, routing)?.logits)))
            .collect();
        let died = |_| Err(Error::Internal("a batch died".into()));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(died)).collect()
    });
    let (mut true_ones, mut wrong_ones) = (Vec::new(), Vec::new());
    for (index, (logits, batch)) in passed.into_iter().zip(batches).enumerate() {
        let logits = logits?;
        true_ones.extend(fused::surprisal(&logits, &batch.targets)?.to_vec1::<f32>()?);
        if let Some(wrong) = wrong.and_then(|wrong| wrong.get(index)) {
            wrong_ones.extend(fused::surprisal(&logits, wrong)?.to_vec1::<f32>()?);
        }
    }
    Ok((true_ones, wrong_ones))
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
    let (soft, _) = losses(model, batches, None, Routing::Mixture { router, tau: LAST_TAU })?;
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

impl Table {
    fn row(&self, pattern: usize) -> &[f32] {
        self.loss.get(pattern).map_or(&[], Vec::as_slice)
    }

    fn wrong_row(&self, pattern: usize) -> &[f32] {
        self.wrong.get(pattern).map_or(&[], Vec::as_slice)
    }

    /// Patterns with `big` big layers.
    fn patterns(&self, big: usize) -> Vec<usize> {
        (0..1usize << self.layers).filter(|pattern| pattern.count_ones() as usize == big).collect()
    }

    fn of_budget<'a>(&self, losses: &'a [Vec<f32>], big: usize) -> Vec<&'a Vec<f32>> {
        self.patterns(big).into_iter().filter_map(|pattern| losses.get(pattern)).collect()
    }

    /// Least mean loss of a pattern with `big` big layers, and the pattern.
    fn fixed(&self, big: usize) -> (f64, usize) {
        let means = self.patterns(big).into_iter().map(|pattern| (average(self.row(pattern)), pattern));
        means.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::NAN, 0))
    }

    fn budget(&self, big: usize) -> Budget {
        let own = self.of_budget(&self.loss, big);
        let (oracle, wrong) = (least(&own), least(&self.of_budget(&self.wrong, big)));
        let last = self.loss.len().saturating_sub(1);
        let (fixed, pattern) = self.fixed(big);
        let drawn: Vec<&Vec<f32>> =
            drawn(own.len(), DRAWN, big as u64).filter_map(|at| own.get(at)).copied().collect();
        let gains: Vec<f64> = (self.row(last).iter().zip(&oracle))
            .zip(self.wrong_row(last).iter().zip(&wrong))
            .map(|((all_big, oracle), (wrong_big, wrong))| {
                f64::from(all_big - oracle) - f64::from(wrong_big - wrong)
            })
            .collect();
        let means: Vec<f64> = own.iter().map(|losses| average(losses)).collect();
        Budget {
            big,
            patterns: own.len(),
            oracle: mean(&oracle),
            fixed,
            fixed_pattern: (0..self.layers)
                .map(|layer| if pattern >> layer & 1 == 1 { 'B' } else { 's' })
                .collect(),
            mean: means.iter().sum::<f64>() / means.len().max(1) as f64,
            random_by_token: average(&least(&drawn)),
            random_by_mean: drawn.iter().map(|losses| average(losses)).fold(f64::INFINITY, f64::min),
            wrong_label: [average(&wrong), average(self.wrong_row(last))],
            gain_over_control: Mean::of(&gains),
        }
    }

    /// How often the oracle of a budget takes each layer's big FFN.
    fn choice(&self, big: usize) -> Vec<f64> {
        let patterns = self.patterns(big);
        let tokens = self.row(0).len();
        let mut counts = vec![0u64; self.layers];
        for token in 0..tokens {
            let loss = |pattern: &usize| self.row(*pattern).get(token).copied().unwrap_or(f32::INFINITY);
            let best = patterns.iter().copied().min_by(|a, b| loss(a).total_cmp(&loss(b))).unwrap_or(0);
            for (layer, count) in counts.iter_mut().enumerate() {
                *count += (best >> layer & 1) as u64;
            }
        }
        counts.iter().map(|&count| count as f64 / tokens.max(1) as f64).collect()
    }
}

/// At most `count` of 0 .. of, each once, in random order.
fn drawn(of: usize, count: usize, stream: u64) -> impl Iterator<Item = usize> {
    let mut order: Vec<usize> = (0..of).collect();
    order.sort_by_key(|&at| rng::bits(29, stream, at as u64));
    order.into_iter().take(count)
}

/// The mean of the best of K random patterns, averaged over draws.
fn best_of(table: &Table) -> Vec<(usize, f64)> {
    const DRAWS: u64 = 8;
    let all = table.loss.len();
    let mut curve = Vec::new();
    let mut count = 1;
    while count <= all {
        let draw = |draw: u64| {
            let own: Vec<&Vec<f32>> =
                drawn(all, count, 100 + draw).filter_map(|at| table.loss.get(at)).collect();
            average(&least(&own))
        };
        curve.push((count, (0..DRAWS).map(draw).sum::<f64>() / DRAWS as f64));
        count *= 2;
    }
    curve
}

/// Token by token, the least of the rows.
fn least<T: AsRef<[f32]>>(rows: &[T]) -> Vec<f32> {
    let len = rows.first().map_or(0, |row| row.as_ref().len());
    rows.iter().fold(vec![f32::INFINITY; len], |mut best, row| {
        for (best, &own) in best.iter_mut().zip(row.as_ref()) {
            *best = best.min(own);
        }
        best
    })
}

fn average(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len().max(1) as f64
}

fn mean(values: &[f32]) -> Mean {
    Mean::of(&values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four patterns over two layers, three tokens.
    fn table() -> Table {
        let loss = vec![vec![3.0, 3.0, 3.0], vec![1.0, 2.0, 3.0], vec![2.0, 1.0, 2.5], vec![1.5, 1.5, 2.0]];
        Table { layers: 2, wrong: loss.iter().rev().cloned().collect(), loss }
    }

    #[test]
    fn an_oracle_is_never_worse_than_a_fixed_pattern_nor_that_than_the_mean() {
        let table = table();
        let budgets: Vec<Budget> = (0..=2).map(|big| table.budget(big)).collect();
        assert_eq!(budgets.iter().map(|budget| budget.patterns).collect::<Vec<_>>(), [1, 2, 1]);
        for budget in &budgets {
            assert!(budget.oracle.mean <= budget.fixed && budget.fixed <= budget.mean + 1e-12);
            assert!(budget.oracle.mean <= budget.random_by_token && budget.fixed <= budget.random_by_mean);
        }
        let one = &budgets[1];
        assert!((one.oracle.mean - (1.0 + 1.0 + 2.5) / 3.0).abs() < 1e-9);
        assert_eq!(one.fixed_pattern, "sB");
        assert!(average(&least(&table.loss)) <= one.oracle.mean);
        assert_eq!(table.choice(1), [1.0 / 3.0, 2.0 / 3.0]);
    }

    #[test]
    fn best_of_one_is_the_mean_and_best_of_all_the_oracle() {
        let table = table();
        let curve = best_of(&table);
        assert_eq!(curve.iter().map(|point| point.0).collect::<Vec<_>>(), [1, 2, 4]);
        assert!((curve[2].1 - average(&least(&table.loss))).abs() < 1e-9);
        assert!(curve[0].1 >= curve[1].1 && curve[1].1 >= curve[2].1);
    }

    #[test]
    fn wrong_targets_are_other_tokens_of_the_text() {
        let targets: Vec<u32> = (0..400).map(|i| [3u32, 5, 5, 9, 9, 9, 7][i % 7]).collect();
        let batch = Batch { targets: targets.clone(), ..Batch::default() };
        let wrong = wrong_targets(&[batch], 16);
        assert!(wrong[0].iter().zip(&targets).all(|(a, b)| a != b && targets.contains(a)));
    }
}
