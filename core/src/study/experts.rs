//! What the experts of a model do over a text: how often they are chosen, how much they write, who is chosen with whom, and
//! what becomes of the output without them.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::restore::MOST_CELLS;
use crate::engine::{Cancelled, Engine, Run, RunSize};
use crate::error::{Error, Result};
use crate::metric;
use crate::model::{Ask, Captures, Input, Logits, Schedule};
use crate::plan::{Change, Experts, Plan};
use crate::site::{Hook, Site};

/// The sites that a block's use is read from.
pub const EXPERT_SITES: [Hook; 3] = [Hook::ExpertWeights, Hook::ExpertGates, Hook::ExpertNorms];

/// What the experts of a block did.
#[derive(Clone, Debug, Serialize)]
pub struct BlockUse {
    /// Block index from 0.
    pub layer: usize,
    /// Tokens that went through the block's experts.
    pub tokens: u64,
    /// Mean entropy of the router's scores as a distribution, nats.
    pub entropy: f64,
    /// Entropy of the choices over the experts, as a share of the logarithm of their number: 1 = all are chosen alike.
    pub balance: f64,
    /// In the order of the model.
    pub experts: Vec<ExpertUse>,
    /// Of the tokens of the row's expert, the share that goes through the column's too. `[experts][experts]`; NaN for an
    /// expert without tokens.
    pub together: Vec<Vec<f64>>,
}

/// What one expert did.
#[derive(Clone, Debug, Serialize)]
pub struct ExpertUse {
    /// Its number.
    pub expert: usize,
    /// Tokens that went through it.
    pub tokens: u64,
    /// Load: those as a share of the block's tokens.
    pub load: f64,
    /// Mean gate weight over its tokens; NaN without any, as the next two.
    pub gate: f64,
    /// Mean norm of its output over its tokens, before the gate weight.
    pub norm: f64,
    /// Mean of gate weight x norm of the output over its tokens (REAP, arXiv 2510.13999).
    pub saliency: f64,
    /// Mean over all tokens of KL(untouched || without it), nats, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
}

/// Findings of `study experts`.
#[derive(Clone, Debug, Serialize)]
pub struct ExpertFindings {
    /// Tokens read.
    pub tokens: u64,
    /// Blocks of experts.
    pub blocks: Vec<BlockUse>,
    /// Spearman's rank correlation of load, and of saliency, with the KL of knocking out, over all experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// Floating-point operations in the blocks: reading, and knocking out.
    pub flops_layers: u64,
    /// Had every knocked-out expert been a full pass over every piece.
    pub flops_layers_full: u64,
    /// All of it.
    pub seconds: f64,
}

/// How well cheap numbers foretell what knocking out does.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Agreement {
    /// Of load.
    pub load: f64,
    /// Of saliency.
    pub saliency: f64,
}

/// Sums over tokens.
struct Tally {
    layer: usize,
    tokens: u64,
    entropy: f64,
    /// Tokens, gate weights, norms, and their products, by expert.
    each: Vec<[f64; 4]>,
    together: Vec<u64>,
}

impl Tally {
    fn new(layer: usize, experts: usize) -> Self {
        Self {
            layer,
            tokens: 0,
            entropy: 0.0,
            each: vec![[0.0; 4]; experts],
            together: vec![0; experts * experts],
        }
    }

    /// Add what a pass captured at [`EXPERT_SITES`]; rows that went another way (NaN) are left out.
    fn add(&mut self, captures: &Captures) -> Result<()> {
        let rows = |hook: Hook| -> Result<Vec<Vec<f32>>> {
            let site = Site::block(self.layer, hook);
            let value = captures.get(&site).ok_or_else(|| Error::Internal(format!("{site} was not kept")))?;
            Ok(value.to_vec2()?)
        };
        let [scores, gates, norms] = EXPERT_SITES.map(rows);
        for ((scores, gates), norms) in scores?.iter().zip(gates?).zip(norms?) {
            if scores.first().is_none_or(|score| score.is_nan()) {
                continue;
            }
            self.tokens += 1;
            self.entropy += entropy(scores.iter().map(|score| f64::from(*score)));
            let used: Vec<usize> = (0..gates.len()).filter(|&e| gates.get(e) != Some(&0.0)).collect();
            for &expert in &used {
                let (gate, norm) = (gates.get(expert), norms.get(expert));
                let (Some(&gate), Some(&norm)) = (gate, norm) else { continue };
                let (gate, norm) = (f64::from(gate), f64::from(norm));
                if let Some(sums) = self.each.get_mut(expert) {
                    sums.iter_mut().zip([1.0, gate, norm, gate * norm]).for_each(|(sum, x)| *sum += x);
                }
                for other in &used {
                    if let Some(count) = self.together.get_mut(expert * gates.len() + other) {
                        *count += 1;
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> BlockUse {
        let count = self.each.len();
        let share = |x: f64, of: f64| if of > 0.0 { x / of } else { f64::NAN };
        let tokens = self.tokens as f64;
        let experts = self.each.iter().enumerate().map(|(expert, &[own, gate, norm, product])| ExpertUse {
            expert,
            tokens: own as u64,
            load: share(own, tokens),
            gate: share(gate, own),
            norm: share(norm, own),
            saliency: share(product, own),
            kl: None,
        });
        let experts: Vec<ExpertUse> = experts.collect();
        let row = |(expert, row): (usize, &[u64])| {
            let own = self.each.get(expert).map_or(0.0, |sums| sums[0]);
            row.iter().map(|&both| share(both as f64, own)).collect()
        };
        BlockUse {
            layer: self.layer,
            tokens: self.tokens,
            entropy: share(self.entropy, tokens),
            balance: share(entropy(self.each.iter().map(|sums| sums[0])), (count as f64).ln()),
            experts,
            together: self.together.chunks(count.max(1)).enumerate().map(row).collect(),
        }
    }
}

/// Entropy of numbers as shares of their sum, nats.
pub fn entropy(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let sum: f64 = values.clone().sum();
    values.map(|x| x / sum).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum()
}

/// What the experts of one block did in a pass that captured [`EXPERT_SITES`].
pub fn block_use(captures: &Captures, layer: usize, experts: usize) -> Result<BlockUse> {
    let mut tally = Tally::new(layer, experts);
    tally.add(captures)?;
    Ok(tally.finish())
}

/// Read pieces of text, and where `knock_out` says so take every expert out in turn. `report` hears of steps done and steps in
/// all.
pub fn experts(
    engine: &mut Engine,
    samples: &[Input],
    knock_out: bool,
    report: &mut dyn FnMut(usize, usize),
    cancelled: Cancelled,
) -> Result<ExpertFindings> {
    let begin = Instant::now();
    let spec = Arc::clone(&engine.model.spec);
    let blocks: Vec<(usize, usize)> =
        spec.layers.iter().enumerate().filter_map(|(l, layer)| Some((l, layer.experts?.count))).collect();
    if blocks.is_empty() {
        return Err(Error::Study("this checkpoint has no experts".into()));
    }
    let taken = |layer: usize| spec.layers.get(layer).and_then(|layer| layer.experts).map(|e| e.top_k);
    if let Some((layer, count)) =
        blocks.iter().find(|(layer, count)| knock_out && taken(*layer) == Some(*count))
    {
        return Err(Error::Study(format!(
            "a token goes through all {count} experts of block {layer}: none can be knocked out"
        )));
    }
    let sites = blocks.iter().flat_map(|&(layer, _)| EXPERT_SITES.map(|hook| Site::block(layer, hook)));
    let capture: std::collections::BTreeSet<Site> = sites.collect();
    let mut tallies: Vec<Tally> = blocks.iter().map(|&(layer, experts)| Tally::new(layer, experts)).collect();
    let all: usize = blocks.iter().map(|(_, experts)| experts).sum();
    let steps = samples.len() * if knock_out { 1 + all } else { 1 };
    let (mut flops, mut full, mut done) = (0, 0, 0);
    let mut moved = vec![0f64; all];
    let mut read = 0;
    for sample in samples {
        let kept: u64 = capture.iter().map(|site| site.elements(&spec, sample.len()) as u64).sum();
        RunSize::new(&spec, sample.len()).with_elements(kept).check()?;
        let ask = Ask { capture: capture.clone(), logits: Logits::None, ..Ask::default() };
        let (output, _) = engine.pass(sample, &Schedule::none(), ask, cancelled)?;
        flops += output.work.layers;
        read += sample.len() as u64;
        tallies.iter_mut().try_for_each(|tally| tally.add(&output.captures))?;
        done += 1;
        report(done, steps);
        if knock_out {
            let run = engine.run_schedule(sample, Schedule::none(), cancelled)?;
            full += all as u64 * run.work.layers;
            flops += run.work.layers;
            let mut said = |of_sample: usize| report(done + of_sample, steps);
            flops += knocked(engine, &run, &output.captures, &blocks, &mut moved, &mut said, cancelled)?;
            done += all;
        }
    }
    let mut blocks: Vec<BlockUse> = tallies.into_iter().map(Tally::finish).collect();
    let mut agreement = None;
    if knock_out {
        let each = blocks.iter_mut().flat_map(|block| &mut block.experts);
        each.zip(&moved).for_each(|(expert, kl)| expert.kl = Some(kl / read as f64));
        let by = |value: fn(&ExpertUse) -> f64| -> Vec<f32> {
            blocks.iter().flat_map(|block| &block.experts).map(|expert| value(expert) as f32).collect()
        };
        let kl = by(|expert| expert.kl.unwrap_or(f64::NAN));
        let rank = |value: fn(&ExpertUse) -> f64| metric::rank_agreement(&by(value), &kl);
        agreement =
            Some(Agreement { load: rank(|expert| expert.load), saliency: rank(|expert| expert.saliency) });
    }
    Ok(ExpertFindings {
        tokens: read,
        blocks,
        agreement,
        flops_layers: flops,
        flops_layers_full: full,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// Knock every expert out of one run: from its block and its first token on, everything before is as it was. Adds the sum of
/// KL over positions to `moved`; returns the operations in the blocks.
fn knocked(
    engine: &mut Engine,
    run: &Run,
    captures: &Captures,
    blocks: &[(usize, usize)],
    moved: &mut [f64],
    said: &mut dyn FnMut(usize),
    cancelled: Cancelled,
) -> Result<u64> {
    let len = run.tokens.len();
    let rows = engine.rows_logits(run, 0, len, cancelled)?;
    let base: Vec<Vec<f32>> = rows.iter().map(|row| metric::log_softmax(row)).collect();
    drop(rows);
    // Who is chosen where, by first position.
    let mut waiting = Vec::new();
    let mut number = 0;
    for &(layer, experts) in blocks {
        let site = Site::block(layer, Hook::ExpertGates);
        let gates: Vec<Vec<f32>> = match captures.get(&site) {
            Some(gates) => gates.to_vec2()?,
            None => return Err(Error::Internal(format!("{site} was not kept"))),
        };
        for expert in 0..experts {
            let first = gates.iter().position(|row| row.get(expert).is_some_and(|gate| *gate != 0.0));
            waiting.extend(first.map(|first| (number, layer, expert, first)));
            number += 1;
        }
    }
    let together = (MOST_CELLS / len.max(1)).max(1);
    RunSize::new(&engine.model.spec, together * len).with_all_logits().check()?;
    let (mut flops, mut done) = (0, number - waiting.len());
    for group in waiting.chunks(together) {
        let mut branches = Vec::with_capacity(group.len());
        for &(_, layer, expert, first) in group {
            let out = Experts { layer: Some(layer), knock_out: vec![expert], ..Experts::default() };
            let plan = Plan { items: vec![Change::Experts(out).into()], ..Plan::default() };
            let schedule = engine.schedule(&plan, &run.tokens, cancelled)?;
            branches.push(engine.branch_at(run, schedule, 2 * layer + 1, first)?);
        }
        let output = engine.branches(run, branches, Logits::All)?.run(cancelled)?;
        flops += output.work.layers;
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        let mut begin = 0;
        for &(number, _, _, first) in group {
            let own: Vec<Vec<f32>> = logits.narrow(0, begin, len - first)?.to_vec2()?;
            begin += len - first;
            let kl = own.iter().zip(base.iter().skip(first));
            if let Some(sum) = moved.get_mut(number) {
                *sum += kl.map(|(row, base)| metric::kl(base, &metric::log_softmax(row))).sum::<f64>();
            }
        }
        done += group.len();
        said(done);
    }
    Ok(flops)
}
