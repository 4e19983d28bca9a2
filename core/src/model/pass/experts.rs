//! The FFN sublayer of a block of experts: scores, choice, gate weights, and the sum of what the chosen compute.

use candle_core::{Device, Tensor};

use super::super::schedule::Rules;
use super::super::weights::{Experts, Ffn, Linear};
use super::ffn::plain_ffn;
use super::strand::select;
use super::top::top;
use super::{Pass, fused, ops};
use crate::error::Result;
use crate::site::{Hook, Site};
use crate::spec::{Clamp, ExpertsSpec, FfnSpec, Score};

/// Keep a sum of scores that are all 0 from dividing by 0: sigmoids as in transformers' DeepSeek routers, a softmax, whose
/// scores may be small by right, by as little as there is.
const TINY: [f64; 2] = [1e-20, f32::MIN_POSITIVE as f64];

/// Outputs of experts that are not added up yet.
#[derive(Default)]
struct Outputs {
    chosen: Vec<(u32, u32)>,
    rows: Vec<Tensor>,
}

impl Outputs {
    /// Keep what an expert made of some rows: `y` `[rows, d]`.
    fn push(&mut self, expert: u32, rows: Vec<u32>, y: Tensor) {
        self.chosen.extend(rows.into_iter().map(|row| (row, expert)));
        self.rows.push(y);
    }

    /// Their sum with gate weights `[tokens, experts]`, on top of `sum` `[tokens, d]`; returns `[tokens, d]`.
    fn add(&mut self, sum: &Tensor, gates: &Tensor) -> Result<Tensor> {
        let Self { chosen, rows } = std::mem::take(self);
        fused::mixture(sum, &Tensor::cat(&rows, 0)?, gates, &chosen.into())
    }
}

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
        let mut waiting = Outputs::default();
        let looked_at = self.looks_at(Site::block(layer, Hook::ExpertNorms));
        let mut norms = vec![0f32; if looked_at { rows * spec.count } else { 0 }];
        let mut out = ops::zeros(rows, d)?;
        for (expert, weights) in (0..).zip(&experts.each) {
            let uses = |gates: &Vec<f32>| gates.get(expert as usize).is_some_and(|&gate| gate != 0.0);
            let own: Vec<u32> =
                (0..).zip(&used).filter(|(_, gates)| uses(gates)).map(|(row, _)| row).collect();
            if own.is_empty() {
                continue;
            }
            let own_read = select(read, &own)?;
            self.count(&own_read, ffn.gated, ffn.d_mlp)?;
            let y = match spec.clamp {
                Some(clamp) => clamped_ffn(&own_read, weights, clamp)?,
                None => plain_ffn(&own_read, weights, ffn.act)?,
            };
            if !norms.is_empty() {
                for (&row, y) in own.iter().zip(y.to_vec2::<f32>()?) {
                    if let Some(slot) = norms.get_mut(row as usize * spec.count + expert as usize) {
                        *slot = y.iter().map(|y| y * y).sum::<f32>().sqrt();
                    }
                }
            }
            waiting.push(expert, own, y);
            // As many as the model itself would hold; more experts a token are added up in parts, in the same order.
            if waiting.chosen.len() >= rows * spec.top_k {
                out = waiting.add(&out, &gates)?;
            }
        }
        if !norms.is_empty() {
            let norms = Tensor::from_vec(norms, (rows, spec.count), &Device::Cpu)?;
            self.hook(layer, Hook::ExpertNorms, norms)?;
        }
        if !waiting.chosen.is_empty() {
            out = waiting.add(&out, &gates)?;
        }
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
        let values: Vec<Vec<f32>> = scores.to_vec2()?;
        let positions = self
            .strands
            .iter()
            .flat_map(|strand| strand.positions.iter().map(move |p| (&strand.schedule, *p)));
        let (mut own, mut ruled) = (Vec::new(), Vec::new());
        let mut strengths = Vec::with_capacity(values.len());
        for (scores, (schedule, position)) in values.iter().zip(positions) {
            let preference = Preference::new(scores, correction, spec);
            let mut rules = Rules::new(spec.count, spec.top_k);
            let untouched = preference.choose(&rules);
            let mut strength = 0.0;
            for choice in schedule.choices(layer, position) {
                rules.add(&choice.knock_out, &choice.force, choice.k);
                // With more than one rule every strength is 1.
                strength = choice.strength;
            }
            let changed = if strength == 0.0 { untouched.clone() } else { preference.choose(&rules) };
            own.extend(untouched.into_iter().map(f32::from));
            ruled.extend(changed.into_iter().map(f32::from));
            strengths.push(strength);
        }
        let mask = |mask: Vec<f32>| Tensor::from_vec(mask, scores.shape(), &Device::Cpu);
        let gates = weigh(scores, &mask(own)?, spec)?;
        if strengths.iter().all(|&strength| strength == 0.0) {
            return Ok(gates);
        }
        between(&gates, &weigh(scores, &mask(ruled)?, spec)?, strengths)
    }
}

/// What experts are chosen by: first how their group stands, then the corrected score. A group counts as much as its two best
/// experts (DeepSeek-V3).
struct Preference(Vec<(Group, f32)>);

/// How an expert's group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Closed,
    /// Closed, but the open groups have fewer experts than a token goes through, and this is one that fills it up.
    Filling,
    Open,
}

impl Preference {
    fn new(scores: &[f32], correction: Option<&[f32]>, spec: &ExpertsSpec) -> Self {
        let (groups, open) = spec.groups;
        let correction = correction.unwrap_or_default().iter().chain(std::iter::repeat(&0.0));
        let scores: Vec<f32> = scores.iter().zip(correction).map(|(score, by)| score + by).collect();
        if open >= groups {
            return Self(scores.into_iter().map(|score| (Group::Open, score)).collect());
        }
        let size = (scores.len() / groups).max(1);
        let worth = |group: &[f32]| {
            let mut best = group.to_vec();
            best.sort_unstable_by(|a, b| b.total_cmp(a));
            best.iter().take(2).sum::<f32>()
        };
        let worths: Vec<f32> = scores.chunks(size).map(worth).collect();
        let opened = top(&worths, open);
        let is_open = |expert: usize| opened.contains(&(expert / size));
        let masked =
            |(expert, score): (usize, &f32)| if is_open(expert) { *score } else { f32::NEG_INFINITY };
        let filling = match open * size < spec.top_k {
            true => top(&scores.iter().enumerate().map(masked).collect::<Vec<_>>(), spec.top_k),
            false => Vec::new(),
        };
        let group = |expert: usize| match (is_open(expert), filling.contains(&expert)) {
            (true, _) => Group::Open,
            (false, true) => Group::Filling,
            (false, false) => Group::Closed,
        };
        Self(scores.into_iter().enumerate().map(|(expert, score)| (group(expert), score)).collect())
    }

    /// The `k` most preferred, the first of equals, under the rules of a plan.
    fn choose(&self, rules: &Rules) -> Vec<bool> {
        let marks = rules.out.iter().zip(&rules.forced);
        let mut order: Vec<(bool, Group, f32, usize)> = (self.0.iter().zip(marks).enumerate())
            .filter(|(_, (_, (out, _)))| !**out)
            .map(|(expert, ((group, score), (_, forced)))| (*forced, *group, *score, expert))
            .collect();
        order.sort_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)).then(b.2.total_cmp(&a.2)));
        let mut chosen = vec![false; self.0.len()];
        for (.., expert) in order.into_iter().take(rules.k) {
            if let Some(slot) = chosen.get_mut(expert) {
                *slot = true;
            }
        }
        chosen
    }
}

/// Scores to gate weights where `mask` is 1; all `[rows, experts]`.
fn weigh(scores: &Tensor, mask: &Tensor, spec: &ExpertsSpec) -> Result<Tensor> {
    let mut gates = (scores * mask)?;
    if spec.renormalise {
        let [sigmoid, softmax] = TINY;
        let tiny = if spec.score == Score::Sigmoid { sigmoid } else { softmax };
        gates = gates.broadcast_div(&(gates.sum_keepdim(1)? + tiny)?)?;
    }
    Ok(if spec.scale == 1.0 { gates } else { (gates * f64::from(spec.scale))? })
}

/// Each row of `[rows, d]` as far from `a` to `b` as its strength says; exactly `a` at 0 and `b` at 1.
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

/// An FFN with [`Clamp`]ed products. `read` `[rows, d]`; returns `[rows, d]`.
fn clamped_ffn(read: &Tensor, ffn: &Ffn, clamp: Clamp) -> Result<Tensor> {
    let limit = f64::from(clamp.limit);
    let up = ffn.up.apply(read)?.minimum(limit)?.maximum(-limit)?;
    let Some(gate) = &ffn.gate else { return ffn.down.apply(&up) };
    let gate = gate.apply(read)?.minimum(limit)?;
    let glu = (&gate * ops::sigmoid(&(&gate * f64::from(clamp.alpha))?)?)?;
    ffn.down.apply(&((up + 1.0)? * glu)?)
}

/// The shared expert's output `[rows, d]` times its share, where it has one.
fn share(share: &Option<Linear>, read: &Tensor, out: Tensor) -> Result<Tensor> {
    Ok(match share {
        Some(share) => out.broadcast_mul(&ops::sigmoid(&share.apply(read)?)?)?,
        None => out,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(top_k: usize, groups: (usize, usize)) -> ExpertsSpec {
        ExpertsSpec {
            count: 0,
            top_k,
            score: Score::Sigmoid,
            renormalise: false,
            scale: 1.0,
            router_bias: false,
            correction: true,
            groups,
            shared: None,
            clamp: None,
        }
    }

    fn ids(chosen: &[bool]) -> Vec<usize> {
        (0..chosen.len()).filter(|&expert| chosen[expert]).collect()
    }

    fn chosen(preference: &[f32], k: usize, rules: &[(&[usize], &[usize], Option<usize>)]) -> Vec<usize> {
        let mut all = Rules::new(preference.len(), k);
        rules.iter().for_each(|(out, force, k)| all.add(out, force, *k));
        ids(&Preference::new(preference, None, &spec(k, (1, 1))).choose(&all))
    }

    #[test]
    fn the_next_best_take_the_places_of_those_knocked_out() {
        let preference = [0.1, 0.4, 0.3, 0.2];
        let chosen = |rules: &[(&[usize], &[usize], Option<usize>)]| chosen(&preference, 2, rules);
        assert_eq!(chosen(&[]), [1, 2]);
        assert_eq!(chosen(&[(&[1], &[], None)]), [2, 3]);
        assert_eq!(chosen(&[(&[0], &[], None)]), [1, 2]);
        assert_eq!(chosen(&[(&[], &[0], None)]), [0, 1]);
        assert_eq!(chosen(&[(&[], &[1, 2], None)]), [1, 2]);
        assert_eq!(chosen(&[(&[], &[], Some(3))]), [1, 2, 3]);
        assert_eq!(chosen(&[(&[1], &[], None), (&[], &[1], Some(1))]), [1]);
        assert_eq!(self::chosen(&[0.5; 4], 2, &[]), [0, 1]);
    }

    #[test]
    fn closed_groups_come_after_the_open_ones_by_their_scores() {
        // Two groups: 0.5 + 0.1 against 0.4 + 0.3.
        let scores = [0.5, 0.1, 0.4, 0.3];
        let with = |correction: Option<&[f32]>, k: usize, out: &[usize]| {
            let mut rules = Rules::new(4, k);
            rules.add(out, &[], None);
            ids(&Preference::new(&scores, correction, &spec(k, (2, 1))).choose(&rules))
        };
        assert_eq!(with(None, 2, &[]), [2, 3]);
        assert_eq!(with(Some(&[0.2, 0.0, 0.0, 0.0]), 2, &[]), [0, 1]);
        assert_eq!(with(None, 2, &[2]), [0, 3]);
    }
}
