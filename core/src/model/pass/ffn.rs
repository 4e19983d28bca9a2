//! The FFN sublayer: each row in its lane.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::super::weights::{Ffn, FfnWeights, LayerWeights};
use super::strand::{Lanes, select};
use super::{Logits, Mixture, Pass, fused, ops};
use crate::error::{Error, Result};
use crate::site::{Hook, Shape, Site};
use crate::spec::{Activation, FfnSpec, Lane, LayerSpec, Residual};

/// Sites inside an FFN, which rows in other lanes have no value at.
const FFN_INSIDE: [Hook; 8] = [
    Hook::RouterLogits,
    Hook::ExpertWeights,
    Hook::ExpertGates,
    Hook::ExpertNorms,
    Hook::MlpPre,
    Hook::MlpPreLinear,
    Hook::MlpGatePost,
    Hook::MlpPost,
];

impl Pass {
    /// The FFN of a block, from the stream before it to the stream after the block.
    pub(super) fn ffn(&mut self, layer: usize) -> Result<()> {
        let model = Arc::clone(&self.model);
        let (spec, weights) = model.layer(layer)?;
        let mut x = self.stream()?;
        self.boundary(2 * layer + 1, &x)?;
        let mut parallel = self.parallel.take();
        // Nobody reads the other rows any more.
        let nothing_else =
            self.ask.logits == Logits::Last && self.ask.boundaries == 0 && self.ask.capture.is_empty();
        if layer + 1 == model.spec.n_layers()
            && nothing_else
            && let Some(rows) = self.keep_last()
        {
            x = select(&x, &rows)?;
            if let Some((out, read)) = parallel {
                parallel = Some((select(&out, &rows)?, select(&read, &rows)?));
            }
        }
        let ln2 = [Hook::Ln2Scale, Hook::Ln2Normalized];
        let read = match (&parallel, spec.residual) {
            (Some((_, read)), _) if spec.ln2.is_none() => read.clone(),
            (_, Residual::PostNorm) => x.clone(),
            _ => self.block_norm(layer, spec.ln2.as_ref(), &weights.ln2, &x, ln2)?,
        };
        let inside = |hook: Hook| hook.in_ffn() && hook > Hook::Ln2Normalized;
        let out = self.unless_zero(layer, Hook::MlpOut, inside, &read, |pass, read| {
            let lanes = pass.lanes(layer, read)?;
            let raw = pass.routed_ffn(layer, spec, weights, read, lanes.as_ref())?;
            pass.post_ffn(layer, spec, weights, raw, lanes.as_ref())
        })?;
        let out = self.hook(layer, Hook::MlpOut, out)?;
        let mut x = match parallel {
            Some((attention, _)) => fused::add(&fused::add(&x, &attention)?, &out)?,
            None => fused::add(&x, &out)?,
        };
        if spec.residual == Residual::PostNorm {
            x = self.block_norm(layer, spec.ln2.as_ref(), &weights.ln2, &x, ln2)?;
        }
        self.x = Some(self.hook(layer, Hook::ResidPost, x)?);
        Ok(())
    }

    /// The norm on the FFN's output; rows that skipped the FFN stay zero.
    fn post_ffn(
        &mut self,
        layer: usize,
        spec: &LayerSpec,
        weights: &LayerWeights,
        raw: Tensor,
        lanes: Option<&Lanes>,
    ) -> Result<Tensor> {
        // The lanes of a mixture were normed one by one.
        if spec.ln2_post.is_none() || self.ask.mixture.is_some() {
            return Ok(raw);
        }
        let hooks = [Hook::Ln2PostScale, Hook::Ln2PostNormalized];
        let normed = self.block_norm(layer, spec.ln2_post.as_ref(), &weights.ln2_post, &raw, hooks)?;
        let skips = |lane: &Lane| matches!(lane, Lane::SkipFfn | Lane::SkipLayer);
        let mut out = normed;
        if let Some(Lanes { lanes, strength, .. }) = lanes {
            let share = |(lane, strength): (&Lane, &f32)| if skips(lane) { 1.0 - strength } else { 1.0 };
            let keep: Vec<f32> = lanes.iter().zip(strength).map(share).collect();
            out = out.broadcast_mul(&Tensor::from_vec(keep, (lanes.len(), 1), &Device::Cpu)?)?;
        }
        Ok(out)
    }

    /// The FFN, each row in its lane. `read` `[rows, d]`; returns `[rows, d]`.
    fn routed_ffn(
        &mut self,
        layer: usize,
        spec: &LayerSpec,
        weights: &LayerWeights,
        read: &Tensor,
        lanes: Option<&Lanes>,
    ) -> Result<Tensor> {
        if let Some(mixture) = self.ask.mixture.clone() {
            return self.mixed_ffn(layer, spec, weights, read, &mixture);
        }
        let Some(Lanes { lanes, strength, schedule }) = lanes else {
            return self.big_ffn(layer, spec, weights, read);
        };
        let rows_where = |wanted: &dyn Fn(Lane, f32) -> bool| -> Vec<u32> {
            let rows = lanes.iter().zip(strength).zip(0..);
            rows.filter(|((lane, strength), _)| wanted(**lane, **strength)).map(|(_, row)| row).collect()
        };
        // Rows that go only part of the way into another lane need the big FFN as well.
        let big_rows = rows_where(&|lane, strength| lane == Lane::Big || strength != 1.0);
        let small_rows = rows_where(&|lane, _| lane == Lane::Small);
        let parted_rows = rows_where(&|_, strength| strength != 1.0);
        let mut parts = vec![ops::zeros(1, read.dim(1)?)?];
        if big_rows.is_empty() {
            self.nothing_big(layer, spec, lanes.len())?;
        } else {
            let own = select(read, &big_rows)?;
            parts.push(self.on_rows(layer, &big_rows, |pass| pass.big_ffn(layer, spec, weights, &own))?);
        }
        if !small_rows.is_empty() {
            let small = schedule
                .small(layer)
                .ok_or_else(|| Error::Internal(format!("layer {layer} has no small FFN")))?;
            let act = spec.small.as_ref().unwrap_or(&spec.ffn).act;
            let own = select(read, &small_rows)?;
            self.count(&own, small.gate.is_some(), small.d_mlp()?)?;
            parts.push(plain_ffn(&own, small, act)?);
        }
        // Row 0 is the zero row; the big rows follow, then the small ones.
        let offset = |rows: &[u32], row: u32| rows.binary_search(&row).unwrap_or(0) as u32;
        let big_place = |row: u32| 1 + offset(&big_rows, row);
        let place = |(lane, row): (&Lane, u32)| match lane {
            Lane::Big => big_place(row),
            Lane::Small => 1 + big_rows.len() as u32 + offset(&small_rows, row),
            Lane::SkipFfn | Lane::SkipLayer => 0,
        };
        let places: Vec<u32> = lanes.iter().zip(0..).map(place).collect();
        let parts = Tensor::cat(&parts, 0)?;
        let routed = select(&parts, &places)?;
        if parted_rows.is_empty() {
            return Ok(routed);
        }
        let big = select(&parts, &parted_rows.iter().map(|&row| big_place(row)).collect::<Vec<_>>())?;
        let shares: Vec<f32> =
            parted_rows.iter().filter_map(|&row| strength.get(row as usize).copied()).collect();
        let shares = Tensor::from_vec(shares, (parted_rows.len(), 1), &Device::Cpu)?;
        let parted = (&big + (select(&routed, &parted_rows)? - &big)?.broadcast_mul(&shares)?)?;
        let place = |row: u32| match parted_rows.binary_search(&row) {
            Ok(place) => lanes.len() as u32 + place as u32,
            Err(_) => row,
        };
        select(&Tensor::cat(&[&routed, &parted], 0)?, &(0..lanes.len() as u32).map(place).collect::<Vec<_>>())
    }

    /// The sum of every lane's output times its share (Duo-LLM, section 2, stage 3). `read` `[rows, d]`; returns
    /// `[rows, d]`.
    fn mixed_ffn(
        &mut self,
        layer: usize,
        spec: &LayerSpec,
        weights: &LayerWeights,
        read: &Tensor,
        mixture: &Mixture,
    ) -> Result<Tensor> {
        let missing = || Error::Internal(format!("layer {layer} has nothing to mix"));
        let router = mixture.routers.get(layer).ok_or_else(missing)?;
        let shares = ops::softmax(&(ops::linear(read, router, None)? * mixture.tau)?)?;
        let mut sum = ops::zeros(read.dim(0)?, read.dim(1)?)?;
        for (index, lane) in mixture.lanes.iter().enumerate() {
            let out = match lane {
                Lane::Big => self.big_ffn(layer, spec, weights, read)?,
                Lane::Small => {
                    let small = mixture.small.get(layer).ok_or_else(missing)?;
                    plain_ffn(read, small, spec.small.as_ref().unwrap_or(&spec.ffn).act)?
                }
                Lane::SkipFfn | Lane::SkipLayer => continue,
            };
            let out = match &spec.ln2_post {
                Some(norm) => weights.ln2_post.apply(&fused::normalized(&out, norm)?)?,
                None => out,
            };
            sum = (sum + out.broadcast_mul(&shares.narrow(1, index, 1)?)?)?;
        }
        let mean = (shares.mean(0)? / self.model.spec.n_layers() as f64)?;
        self.out.shares = Some(match self.out.shares.take() {
            Some(so_far) => (so_far + mean)?,
            None => mean,
        });
        Ok(sum)
    }

    /// Note the cost of an FFN of inner width `d_mlp` on `read` `[rows, d]`.
    pub(super) fn count(&mut self, read: &Tensor, gated: bool, d_mlp: usize) -> Result<()> {
        let (rows, d_model) = read.dims2()?;
        self.out.work.layers += (2 * rows * d_model * d_mlp * (2 + usize::from(gated))) as u64;
        Ok(())
    }

    /// Captured sites of a big FFN that no row went through: NaN.
    fn nothing_big(&mut self, layer: usize, spec: &LayerSpec, rows: usize) -> Result<()> {
        for hook in FFN_INSIDE.into_iter().filter(|hook| hook.exists(spec)) {
            let site = Site::block(layer, hook);
            let width = match (hook.shape(), &spec.experts) {
                (Shape::Experts, Some(experts)) => experts.count,
                _ => spec.ffn.d_mlp,
            };
            if self.ask.capture.contains(&site) {
                self.out.captures.insert(site, (ops::zeros(rows, width)? + f64::NAN)?);
            }
        }
        Ok(())
    }

    /// Run `f` as a pass over some of the rows; captured FFN sites of the other rows become NaN: they took another
    /// way.
    fn on_rows(
        &mut self,
        layer: usize,
        rows: &[u32],
        f: impl FnOnce(&mut Self) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let total = self.rows();
        let out = self.among(rows, f)?;
        if rows.len() < total {
            for hook in FFN_INSIDE {
                let Some(value) = self.out.captures.get_mut(&Site::block(layer, hook)) else { continue };
                let missing = (ops::zeros(1, value.dim(1)?)? + f64::NAN)?;
                let place = |row: u32| rows.iter().position(|&r| r == row).map_or(0, |i| i as u32 + 1);
                let places: Vec<u32> = (0..total as u32).map(place).collect();
                *value = select(&Tensor::cat(&[&missing, value], 0)?, &places)?;
            }
        }
        Ok(out)
    }

    /// The block's own FFN or experts, with their sites. `read` `[rows, d]`; returns `[rows, d]`.
    fn big_ffn(
        &mut self,
        layer: usize,
        spec: &LayerSpec,
        weights: &LayerWeights,
        read: &Tensor,
    ) -> Result<Tensor> {
        match (&weights.ffn, &spec.experts) {
            (FfnWeights::Dense(ffn), None) => self.dense_ffn(layer, &spec.ffn, ffn, read),
            (FfnWeights::Experts(weights), Some(experts)) => {
                self.expert_ffn(layer, &spec.ffn, experts, weights, read)
            }
            _ => Err(Error::Internal(format!("layer {layer} has weights of another kind than its spec"))),
        }
    }

    /// One FFN with its sites. `read` `[rows, d]`; returns `[rows, d]`.
    fn dense_ffn(&mut self, layer: usize, spec: &FfnSpec, ffn: &Ffn, read: &Tensor) -> Result<Tensor> {
        self.count(read, spec.gated, spec.d_mlp)?;
        let post = match &ffn.gate {
            Some(gate) => {
                let gate = self.hook(layer, Hook::MlpPre, gate.apply(read)?)?;
                let up = self.hook(layer, Hook::MlpPreLinear, ffn.up.apply(read)?)?;
                if self.looks_at(Site::block(layer, Hook::MlpGatePost)) || self.watch.closely() {
                    let gate = self.hook(layer, Hook::MlpGatePost, fused::activate(&gate, spec.act)?)?;
                    fused::multiply(&gate, &up)?
                } else {
                    fused::gated(&gate, &up, spec.act)?
                }
            }
            None => {
                let up = self.hook(layer, Hook::MlpPre, ffn.up.apply(read)?)?;
                fused::activate(&up, spec.act)?
            }
        };
        let post = self.hook(layer, Hook::MlpPost, post)?;
        ffn.down.apply(&post)
    }
}

/// One FFN without sites. `read` `[rows, d]`; returns `[rows, d]`.
pub fn plain_ffn(read: &Tensor, ffn: &Ffn, act: Activation) -> Result<Tensor> {
    let up = ffn.up.apply(read)?;
    let post = match &ffn.gate {
        Some(gate) => fused::gated(&gate.apply(read)?, &up, act)?,
        None => fused::activate(&up, act)?,
    };
    ffn.down.apply(&post)
}
