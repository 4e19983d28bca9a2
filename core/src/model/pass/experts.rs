//! The FFN sublayer of a block of experts: scores, choice, gate weights, and the sum of what the chosen compute.

use candle_core::{Device, Tensor};

use super::super::weights::{Experts, Ffn, Linear};
use super::super::{Clamp, ExpertsSpec, FfnSpec, Score};
use super::ffn::plain_ffn;
use super::strand::select;
use super::{Pass, fused, ops};
use crate::error::Result;
use crate::plan::schedule::Choice;
use crate::site::{Hook, Site};

/// Keeps a sum of scores that are all 0 from dividing by 0, as transformers' DeepSeek routers do.
const TINY: f64 = 1e-20;

impl Pass {
    /// Each row through its experts and the shared one. `read` `[rows, d]`.
    pub(super) fn expert_ffn(
        &mut self,
        layer: usize,
        ffn: &FfnSpec,
        spec: &ExpertsSpec,
        experts: &Experts,
        read: &Tensor,
    ) -> Result<Tensor> {
        let (rows, d) = read.dims2()?;
        self.out.work.layers += (2 * rows * d * spec.count) as u64;
        let logits = self.hook(layer, Hook::RouterLogits, experts.router.apply(read)?)?;
        let scores = match spec.score {
            Score::Softmax => ops::softmax(&logits)?,
            Score::Sigmoid => ops::sigmoid(&logits)?,
        };
        let scores = self.hook(layer, Hook::ExpertWeights, scores)?;
        let gates = self.gates(layer, spec, experts.correction.as_deref(), &scores)?;
        let gates = self.hook(layer, Hook::ExpertGates, gates)?;
        let used: Vec<Vec<f32>> = gates.to_vec2()?;
        let (mut chosen, mut outputs) = (Vec::new(), Vec::new());
        for (expert, weights) in (0..).zip(&experts.each) {
            let uses = |gates: &Vec<f32>| gates.get(expert as usize).is_some_and(|&gate| gate != 0.0);
            let own: Vec<u32> =
                (0..).zip(&used).filter(|(_, gates)| uses(gates)).map(|(row, _)| row).collect();
            if own.is_empty() {
                continue;
            }
            let own_read = select(read, &own)?;
            self.count(&own_read, ffn.gated, ffn.d_mlp)?;
            outputs.push(match spec.clamp {
                Some(clamp) => clamped_ffn(&own_read, weights, clamp)?,
                None => plain_ffn(&own_read, weights, ffn.act)?,
            });
            chosen.extend(own.into_iter().map(|row| (row, expert)));
        }
        let outputs = match outputs.is_empty() {
            true => ops::zeros(0, d)?,
            false => Tensor::cat(&outputs, 0)?,
        };
        if self.looks_at(Site::block(layer, Hook::ExpertNorms)) {
            let mut norms = vec![0f32; rows * spec.count];
            for (&(row, expert), y) in chosen.iter().zip(outputs.to_vec2::<f32>()?) {
                if let Some(slot) = norms.get_mut(row as usize * spec.count + expert as usize) {
                    *slot = y.iter().map(|y| y * y).sum::<f32>().sqrt();
                }
            }
            let norms = Tensor::from_vec(norms, (rows, spec.count), &Device::Cpu)?;
            self.hook(layer, Hook::ExpertNorms, norms)?;
        }
        let out = match chosen.is_empty() {
            true => ops::zeros(rows, d)?,
            false => fused::mixture(&outputs, &gates, &chosen.into())?,
        };
        let (Some(shared), Some(shared_spec)) = (&experts.shared, spec.shared) else { return Ok(out) };
        self.count(read, true, shared_spec.d_mlp)?;
        let always = plain_ffn(read, shared, ffn.act)?;
        fused::add(&out, &share(&experts.shared_share, read, always)?)
    }

    /// Gate weights of the chosen experts, 0 for the others. `scores` and the result `[rows, experts]`.
    fn gates(
        &self,
        layer: usize,
        spec: &ExpertsSpec,
        correction: Option<&[f32]>,
        scores: &Tensor,
    ) -> Result<Tensor> {
        let rules: Vec<Vec<&Choice>> = self
            .strands
            .iter()
            .flat_map(|strand| {
                strand.positions.iter().map(|&position| strand.schedule.choices(layer, position).collect())
            })
            .collect();
        let values: Vec<Vec<f32>> = scores.to_vec2()?;
        let preferences: Vec<Vec<f32>> =
            values.iter().map(|scores| preference(scores, correction, spec.groups)).collect();
        // After so many of each row's rules.
        let after = |count: usize| -> Result<Tensor> {
            let mut mask = Vec::with_capacity(values.len() * spec.count);
            for (preference, rules) in preferences.iter().zip(&rules) {
                let rules = rules.get(..count).unwrap_or(rules);
                mask.extend(choose(preference, spec.top_k, rules).into_iter().map(f32::from));
            }
            weigh(scores, &Tensor::from_vec(mask, scores.shape(), &Device::Cpu)?, spec)
        };
        let mut gates = after(0)?;
        for count in 1..=rules.iter().map(Vec::len).max().unwrap_or(0) {
            let strength: Vec<f32> =
                rules.iter().map(|rules| rules.get(count - 1).map_or(0.0, |rule| rule.strength)).collect();
            gates = between(&gates, &after(count)?, strength)?;
        }
        Ok(gates)
    }
}

/// What experts are chosen by: the scores, corrected, -inf outside of the open groups. A group counts as much as its two
/// best experts (DeepSeek-V3).
fn preference(scores: &[f32], correction: Option<&[f32]>, (groups, open): (usize, usize)) -> Vec<f32> {
    let mut preference = scores.to_vec();
    for (preference, correction) in preference.iter_mut().zip(correction.unwrap_or_default()) {
        *preference += correction;
    }
    if open >= groups {
        return preference;
    }
    let size = (preference.len() / groups).max(1);
    let worth = |group: &[f32]| {
        let mut best = group.to_vec();
        best.sort_unstable_by(|a, b| b.total_cmp(a));
        best.iter().take(2).sum::<f32>()
    };
    let worths: Vec<f32> = preference.chunks(size).map(worth).collect();
    let mut order: Vec<usize> = (0..worths.len()).collect();
    order.sort_by(|&a, &b| worths.get(b).partial_cmp(&worths.get(a)).unwrap_or(std::cmp::Ordering::Equal));
    for &closed in order.iter().skip(open) {
        preference.iter_mut().skip(closed * size).take(size).for_each(|x| *x = f32::NEG_INFINITY);
    }
    preference
}

/// Which experts a token goes through: the `k` most preferred, the first of equals, under the rules of a plan.
fn choose(preference: &[f32], mut k: usize, rules: &[&Choice]) -> Vec<bool> {
    let mut out = vec![false; preference.len()];
    let mut forced = vec![false; preference.len()];
    for rule in rules {
        k = rule.k.unwrap_or(k);
        let mark = |expert: &usize, of: &mut Vec<bool>, on: bool| {
            if let Some(slot) = of.get_mut(*expert) {
                *slot = on;
            }
        };
        // The last rule counts.
        for expert in &rule.knock_out {
            mark(expert, &mut out, true);
            mark(expert, &mut forced, false);
        }
        for expert in &rule.force {
            mark(expert, &mut out, false);
            mark(expert, &mut forced, true);
        }
    }
    let mut order: Vec<(bool, f32, usize)> = preference
        .iter()
        .zip(out.iter().zip(&forced))
        .enumerate()
        .filter(|(_, (_, (out, _)))| !**out)
        .map(|(expert, (preference, (_, forced)))| (*forced, *preference, expert))
        .collect();
    order.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
    let mut chosen = vec![false; preference.len()];
    for (_, _, expert) in order.into_iter().take(k) {
        if let Some(slot) = chosen.get_mut(expert) {
            *slot = true;
        }
    }
    chosen
}

/// Scores to gate weights where `mask` is 1.
fn weigh(scores: &Tensor, mask: &Tensor, spec: &ExpertsSpec) -> Result<Tensor> {
    let mut gates = (scores * mask)?;
    if spec.renormalise {
        gates = gates.broadcast_div(&(gates.sum_keepdim(1)? + TINY)?)?;
    }
    Ok(if spec.scale == 1.0 { gates } else { (gates * f64::from(spec.scale))? })
}

/// Each row as far from `a` to `b` as its strength says; exactly `a` at 0 and `b` at 1.
fn between(a: &Tensor, b: &Tensor, strength: Vec<f32>) -> Result<Tensor> {
    let rows = strength.len();
    let whole: Vec<u8> = strength.iter().map(|&strength| u8::from(strength == 1.0)).collect();
    let part: Vec<u8> = strength.iter().map(|&strength| u8::from(strength != 0.0)).collect();
    let column = |values: Vec<u8>| -> Result<Tensor> {
        Ok(Tensor::from_vec(values, (rows, 1), &Device::Cpu)?.broadcast_as(a.shape())?.contiguous()?)
    };
    let strength = Tensor::from_vec(strength, (rows, 1), &Device::Cpu)?;
    let mixed = (a + (b - a)?.broadcast_mul(&strength)?)?;
    let mixed = column(whole)?.where_cond(b, &mixed)?;
    Ok(column(part)?.where_cond(&mixed, a)?)
}

/// An FFN with [`Clamp`]ed products.
fn clamped_ffn(read: &Tensor, ffn: &Ffn, clamp: Clamp) -> Result<Tensor> {
    let limit = f64::from(clamp.limit);
    let up = ffn.up.apply(read)?.minimum(limit)?.maximum(-limit)?;
    let Some(gate) = &ffn.gate else { return ffn.down.apply(&up) };
    let gate = gate.apply(read)?.minimum(limit)?;
    let glu = (&gate * ops::sigmoid(&(&gate * f64::from(clamp.alpha))?)?)?;
    ffn.down.apply(&((up + 1.0)? * glu)?)
}

/// The shared expert's output times its share, where it has one.
fn share(share: &Option<Linear>, read: &Tensor, out: Tensor) -> Result<Tensor> {
    Ok(match share {
        Some(share) => out.broadcast_mul(&ops::sigmoid(&share.apply(read)?)?)?,
        None => out,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(chosen: &[bool]) -> Vec<usize> {
        (0..chosen.len()).filter(|&expert| chosen[expert]).collect()
    }

    fn rule(knock_out: &[usize], force: &[usize], k: Option<usize>) -> Choice {
        Choice::new(knock_out, force, k)
    }

    #[test]
    fn the_next_best_take_the_places_of_those_knocked_out() {
        let preference = [0.1, 0.4, 0.3, 0.2];
        let chosen = |rules: &[&Choice]| ids(&choose(&preference, 2, rules));
        assert_eq!(chosen(&[]), [1, 2]);
        assert_eq!(chosen(&[&rule(&[1], &[], None)]), [2, 3]);
        assert_eq!(chosen(&[&rule(&[0], &[], None)]), [1, 2]);
        assert_eq!(chosen(&[&rule(&[], &[0], None)]), [0, 1]);
        assert_eq!(chosen(&[&rule(&[], &[1, 2], None)]), [1, 2]);
        assert_eq!(chosen(&[&rule(&[], &[], Some(3))]), [1, 2, 3]);
        assert_eq!(chosen(&[&rule(&[1], &[], None), &rule(&[], &[1], Some(1))]), [1]);
        assert_eq!(ids(&choose(&[0.5; 4], 2, &[])), [0, 1]);
    }

    #[test]
    fn closed_groups_are_not_chosen_from() {
        // Two groups: 0.5 + 0.1 against 0.4 + 0.3.
        assert_eq!(preference(&[0.5, 0.1, 0.4, 0.3], None, (2, 1))[..2], [f32::NEG_INFINITY; 2]);
        assert_eq!(
            preference(&[0.5, 0.1, 0.4, 0.3], Some(&[0.2, 0.0, 0.0, 0.0]), (2, 1))[2..],
            [f32::NEG_INFINITY; 2]
        );
    }
}
