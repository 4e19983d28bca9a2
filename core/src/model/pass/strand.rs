//! Rows of many sequences in one pass. A strand is a sequence of rows under one plan; what is done row by row is done for
//! all strands at once, and each reads keys and values of its own.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::super::schedule::{RouterMatrices, Schedule};
use super::{Pass, ops};
use crate::error::{Error, Result};
use crate::metric;
use crate::site::{Hook, Shape, Site};
use crate::spec::Lane;

/// Another way on from a run: from some position and sublayer on its rows differ.
#[derive(Clone, Debug)]
pub struct Branch {
    /// What changes its values from here on.
    pub schedule: Arc<Schedule>,
    /// Where it leaves the run: before this one of the 2L sublayers; 2L = the unembedding.
    pub sublayer: usize,
    /// First position whose row differs.
    pub start: usize,
    /// Past the last position; the same for all branches of a run.
    pub end: usize,
    /// The stream of its rows there, `[end - start, d]`.
    pub x: Tensor,
}

/// A sequence of rows under one plan.
#[derive(Clone, Debug)]
pub(super) struct Strand {
    pub schedule: Arc<Schedule>,
    pub positions: Vec<usize>,
    /// Its place among the branches.
    pub number: usize,
}

impl Strand {
    pub fn new(schedule: Arc<Schedule>, positions: Vec<usize>) -> Self {
        Self { schedule, positions, number: 0 }
    }

    /// Past its last position.
    pub fn end(&self) -> usize {
        self.positions.last().map_or(0, |last| last + 1)
    }

    /// Its first position and how many there are.
    pub fn span(&self) -> (usize, usize) {
        (self.positions.first().copied().unwrap_or(0), self.positions.len())
    }
}

/// Lanes of rows.
pub(super) struct Lanes {
    pub lanes: Vec<Lane>,
    /// Of the routing, row by row.
    pub strength: Vec<f32>,
    /// Has the small FFNs.
    pub schedule: Arc<Schedule>,
}

impl Pass {
    /// Positions of all rows.
    pub(super) fn positions(&self) -> impl Iterator<Item = usize> {
        self.strands.iter().flat_map(|strand| strand.positions.iter().copied())
    }

    /// Rows of all strands.
    pub(super) fn rows(&self) -> usize {
        self.strands.iter().map(|strand| strand.positions.len()).sum()
    }

    /// Take in the strands that start before `stage`.
    pub(super) fn join(&mut self, stage: usize) -> Result<()> {
        if !self.waiting.iter().any(|(at, ..)| *at == stage) {
            return Ok(());
        }
        let (now, later) = std::mem::take(&mut self.waiting).into_iter().partition(|(at, ..)| *at == stage);
        self.waiting = later;
        let mut rows: Vec<Tensor> = self.x.take().into_iter().collect();
        for (_, strand, x) in now {
            self.strands.push(strand);
            rows.push(x);
        }
        self.x = Some(Tensor::cat(&rows, 0)?);
        self.forget_positions();
        Ok(())
    }

    /// What was made for the rows there were.
    pub(super) fn forget_positions(&mut self) {
        self.visible.clear();
        self.ropes.iter_mut().for_each(|rope| *rope = None);
    }

    /// Whether any strand changes a site.
    pub(super) fn edits(&self, site: Site) -> bool {
        self.strands.iter().any(|strand| strand.schedule.edits_site(site))
    }

    /// A site's value, of the site's shape, after the edits of every strand.
    pub(super) fn edited(&self, site: Site, x: Tensor) -> Result<Tensor> {
        if !self.edits(site) {
            return Ok(x);
        }
        let axis = usize::from(site.shape() == Shape::Square);
        let apply = |strand: &Strand, x: Tensor| strand.schedule.apply(site, x, &strand.positions);
        if let [only] = self.strands.as_slice() {
            return apply(only, x);
        }
        let mut first = 0;
        let mut parts = Vec::with_capacity(self.strands.len());
        for strand in &self.strands {
            let rows = strand.positions.len();
            parts.push(apply(strand, x.narrow(axis, first, rows)?.contiguous()?)?);
            first += rows;
        }
        Ok(Tensor::cat(&parts, axis)?)
    }

    /// `f` of the rows whose output at `hook` is not set to zero everywhere, zeros for the others. Where something inside
    /// is asked for, all rows are computed.
    pub(super) fn unless_zero(
        &mut self,
        layer: usize,
        hook: Hook,
        inside: impl Fn(Hook) -> bool,
        read: &Tensor,
        f: impl FnOnce(&mut Self, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let site = Site::block(layer, hook);
        let zero = |strand: &Strand| strand.schedule.zeroes(site);
        let stream = [Hook::ResidMid, Hook::ResidPost, hook];
        let asked = Hook::ALL
            .into_iter()
            .any(|h| inside(h) && !stream.contains(&h) && self.ask.capture.contains(&Site::block(layer, h)));
        if asked || !self.strands.iter().any(zero) {
            return f(self, read);
        }
        if self.strands.iter().all(zero) {
            return ops::zeros(self.rows(), self.model.spec.d_model);
        }
        let row = (0u32..).take(self.rows());
        let live: Vec<bool> =
            self.strands.iter().flat_map(|strand| strand.positions.iter().map(|_| !zero(strand))).collect();
        let live_rows: Vec<u32> = row.zip(&live).filter(|(_, live)| **live).map(|(row, _)| row).collect();
        let read = select(read, &live_rows)?;
        let out = self.among(&live_rows, |pass| f(pass, &read))?;
        let out = Tensor::cat(&[ops::zeros(1, self.model.spec.d_model)?, out], 0)?;
        let mut done = 0;
        let place = |live: &bool| {
            done += u32::from(*live);
            if *live { done } else { 0 }
        };
        let places: Vec<u32> = live.iter().map(place).collect();
        select(&out, &places)
    }

    /// Where each row's FFN goes, which reads `read` `[rows, d]`; `None` where all of them are big.
    pub(super) fn lanes(&mut self, layer: usize, read: &Tensor) -> Result<Option<Lanes>> {
        let mut routed = Vec::with_capacity(self.strands.len());
        let mut first = 0;
        for strand in &self.strands {
            let rows = strand.positions.len();
            let painted = strand.schedule.lanes(layer, &strand.positions);
            routed.push(match strand.schedule.router() {
                None => painted.map(|(lanes, strength)| (lanes, vec![strength; rows])),
                Some((router, strength)) => {
                    let mut lanes = learned(router, layer, &read.narrow(0, first, rows)?)?;
                    let mut strengths = vec![*strength; rows];
                    // Where a map leaves the big lane it counts, with a strength of its own.
                    let (painted, own) = painted.unwrap_or_default();
                    let cells = lanes.iter_mut().zip(&mut strengths).zip(painted);
                    for ((lane, strength), painted) in cells.filter(|(_, painted)| *painted != Lane::Big) {
                        (*lane, *strength) = (painted, own);
                    }
                    Some((lanes, strengths))
                }
            });
            first += rows;
        }
        if let ([Strand { schedule, .. }], [Some((lanes, _))]) = (self.strands.as_slice(), routed.as_slice())
            && schedule.router().is_some()
        {
            self.out.lanes.insert(layer, lanes.clone());
        }
        if routed.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut all = Lanes { lanes: Vec::new(), strength: Vec::new(), schedule: Schedule::none() };
        for (strand, routed) in self.strands.iter().zip(routed) {
            let rows = strand.positions.len();
            let (lanes, strength) = routed.unwrap_or_else(|| (vec![Lane::Big; rows], vec![1.0; rows]));
            if lanes.contains(&Lane::Small) {
                let small = |schedule: &Schedule| schedule.small(layer).map(std::ptr::from_ref);
                if small(&all.schedule).is_some_and(|known| small(&strand.schedule) != Some(known)) {
                    return Err(Error::Internal("branches with different small FFNs in one pass".into()));
                }
                all.schedule = Arc::clone(&strand.schedule);
            }
            all.lanes.extend(lanes);
            all.strength.extend(strength);
        }
        Ok(Some(all))
    }

    /// Do something with some of the rows.
    pub(super) fn among<T>(&mut self, rows: &[u32], f: impl FnOnce(&mut Self) -> T) -> T {
        let all = std::mem::take(&mut self.strands);
        let mut first = 0;
        for strand in &all {
            let past = first + strand.positions.len();
            let own = rows.iter().map(|&row| row as usize).filter(|row| (first..past).contains(row));
            let positions: Vec<usize> =
                own.filter_map(|row| strand.positions.get(row - first).copied()).collect();
            if !positions.is_empty() {
                self.strands.push(Strand { positions, ..strand.clone() });
            }
            first = past;
        }
        self.forget_positions();
        let out = f(self);
        self.strands = all;
        self.forget_positions();
        out
    }

    /// Go on with every strand's last row alone: the places of these rows, where there were others.
    pub(super) fn keep_last(&mut self) -> Option<Vec<u32>> {
        if self.strands.iter().all(|strand| strand.positions.len() == 1) {
            return None;
        }
        let mut rows = Vec::with_capacity(self.strands.len());
        let mut end = 0;
        for strand in &mut self.strands {
            end += strand.positions.len() as u32;
            rows.push(end.saturating_sub(1));
            strand.positions = strand.positions.last().copied().into_iter().collect();
        }
        self.forget_positions();
        Some(rows)
    }

    /// The rows branch by branch, in the order of the branches.
    pub(super) fn in_order(&self, x: Tensor) -> Result<Tensor> {
        if !self.forks {
            return Ok(x.contiguous()?);
        }
        let mut first = 0u32;
        let mut spans: Vec<(usize, std::ops::Range<u32>)> = Vec::with_capacity(self.strands.len());
        for strand in &self.strands {
            let past = first + strand.positions.len() as u32;
            spans.push((strand.number, first..past));
            first = past;
        }
        spans.sort_unstable_by_key(|(number, _)| *number);
        select(&x, &spans.into_iter().flat_map(|(_, rows)| rows).collect::<Vec<_>>())
    }
}

/// The lanes that a router finds best for rows `[rows, d]`; the first of equals.
fn learned(router: &RouterMatrices, layer: usize, read: &Tensor) -> Result<Vec<Lane>> {
    let matrix = router.layers.get(layer);
    let matrix = matrix.ok_or_else(|| Error::Internal(format!("a router without layer {layer}")))?;
    let (rows, matrix) = (read.to_vec2::<f32>()?, matrix.to_vec2::<f32>()?);
    // Row by row, so that what a row becomes never depends on the rows beside it.
    let best = |row: &Vec<f32>| {
        let score = |lane: &Vec<f32>| lane.iter().zip(row).map(|(w, x)| w * x).sum::<f32>();
        let scores: Vec<f32> = matrix.iter().map(score).collect();
        metric::top_k(&scores, 1).first().and_then(|(best, _)| router.lanes.get(*best as usize).copied())
    };
    Ok(rows.iter().map(|row| best(row).unwrap_or(Lane::Big)).collect())
}

/// Rows of `x` `[rows, ..]` by index.
pub(super) fn select(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    Ok(x.index_select(&Tensor::from_slice(rows, rows.len(), &Device::Cpu)?, 0)?)
}
