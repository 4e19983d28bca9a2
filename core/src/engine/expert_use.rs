//! What the experts of a block do over tokens: how often they are chosen, how much they write, who is chosen with whom.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Captures;
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
    #[serde(rename = "together")]
    pub coactivation: Vec<Vec<f64>>,
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

/// What the experts of a block do, summed over tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpertTally {
    layer: usize,
    tokens: u64,
    entropy: f64,
    /// Tokens, gate weights, norms, and their products, by expert.
    each: Vec<[f64; 4]>,
    coactivation: Vec<u64>,
}

impl ExpertTally {
    /// An empty tally of a block of so many experts.
    pub fn new(layer: usize, experts: usize) -> Self {
        Self {
            layer,
            tokens: 0,
            entropy: 0.0,
            each: vec![[0.0; 4]; experts],
            coactivation: vec![0; experts * experts],
        }
    }

    /// Add what a pass captured at [`EXPERT_SITES`]; rows that went another way (NaN) are left out.
    ///
    /// # Errors
    /// A block whose sites were not captured.
    pub fn add(&mut self, captures: &Captures) -> Result<()> {
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
                    if let Some(count) = self.coactivation.get_mut(expert * gates.len() + other) {
                        *count += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// The means over the tokens.
    pub fn finish(self) -> BlockUse {
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
            coactivation: self.coactivation.chunks(count.max(1)).enumerate().map(row).collect(),
        }
    }
}

/// Entropy of numbers as shares of their sum, nats.
pub fn entropy(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let sum: f64 = values.clone().sum();
    values.map(|x| x / sum).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum()
}

/// What the experts of one block did in a pass that captured [`EXPERT_SITES`].
///
/// # Errors
/// A block whose sites were not captured.
pub fn block_use(captures: &Captures, layer: usize, experts: usize) -> Result<BlockUse> {
    let mut tally = ExpertTally::new(layer, experts);
    tally.add(captures)?;
    Ok(tally.finish())
}
