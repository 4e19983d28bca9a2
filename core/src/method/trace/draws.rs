//! What a grid came to under each draw of noise: means over the draws, and how far they spread.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::AnswerScore;
use crate::error::{Error, Result};
use crate::method::State;
use crate::model::Work;
use crate::statistics;

/// One draw of noise.
#[derive(Clone, Debug)]
pub(in crate::method) struct Draw {
    /// The corrupted run.
    pub corrupted: AnswerScore,
    /// By cell; NaN = not there yet, or not defined.
    pub cells: Vec<AnswerScore>,
    /// ln p(answer) to first order by cell; empty where it is not estimated.
    pub estimated: Vec<f32>,
}

/// Draws of noise in order, the last one under way.
#[derive(Clone, Debug, Default)]
pub(in crate::method) struct Draws(Vec<Draw>);

/// State that a later run goes on from, beside the draws.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(in crate::method) struct Kept {
    /// Cells of the draw under way that are done.
    pub done: Vec<bool>,
    /// Cost so far.
    pub work: Work,
}

/// Not there yet.
const MISSING: AnswerScore = AnswerScore { logit: f32::NAN, prob: f32::NAN };

impl Draws {
    /// Those of an earlier run.
    ///
    /// # Errors
    /// Another number of cells.
    pub fn load(state: &State, cells: usize) -> Result<Self> {
        let rows = |name: &str| -> Result<Vec<Vec<f32>>> {
            state.tensors.get(name).map_or_else(|| Ok(Vec::new()), |tensor| Ok(tensor.to_vec2()?))
        };
        let (logits, probs, estimates) = (rows("logit")?, rows("prob")?, rows("estimate")?);
        let mut draws = Vec::with_capacity(probs.len());
        for (number, (corrupted, (logits, probs))) in
            rows("corrupted")?.into_iter().zip(logits.into_iter().zip(probs)).enumerate()
        {
            let [logit, prob] = corrupted.try_into().map_err(|_| other_cells())?;
            if probs.len() != cells {
                return Err(other_cells());
            }
            let score = |(logit, prob)| AnswerScore { logit, prob };
            draws.push(Draw {
                corrupted: AnswerScore { logit, prob },
                cells: logits.into_iter().zip(probs).map(score).collect(),
                estimated: estimates.get(number).cloned().unwrap_or_default(),
            });
        }
        Ok(Self(draws))
    }

    /// For [`Draws::load`].
    ///
    /// # Errors
    /// Values that a state cannot hold.
    pub fn save(&self, state: &mut State) -> Result<()> {
        let mut keep = |name: &str, of: &dyn Fn(&Draw) -> Vec<f32>| -> Result<()> {
            let rows: Vec<Vec<f32>> = self.0.iter().map(of).filter(|row| !row.is_empty()).collect();
            let Some(width) = rows.first().map(Vec::len) else { return Ok(()) };
            let tensor = Tensor::from_vec(rows.concat(), (rows.len(), width), &Device::Cpu)?;
            state.tensors.insert(name.into(), tensor);
            Ok(())
        };
        keep("corrupted", &|draw| vec![draw.corrupted.logit, draw.corrupted.prob])?;
        keep("logit", &|draw| draw.cells.iter().map(|cell| cell.logit).collect())?;
        keep("prob", &|draw| draw.cells.iter().map(|cell| cell.prob).collect())?;
        keep("estimate", &|draw| draw.estimated.clone())
    }

    /// Begin another draw.
    pub fn begin(&mut self, corrupted: AnswerScore, cells: usize, estimated: Vec<f32>) {
        self.0.push(Draw { corrupted, cells: vec![MISSING; cells], estimated });
    }

    /// Fill a cell of the one under way.
    pub fn put(&mut self, cell: usize, score: AnswerScore) {
        if let Some(slot) = self.0.last_mut().and_then(|draw| draw.cells.get_mut(cell)) {
            *slot = score;
        }
    }

    /// Draws begun.
    pub fn begun(&self) -> usize {
        self.0.len()
    }

    /// Whether the first was estimated.
    pub fn is_estimated(&self) -> bool {
        self.0.first().is_some_and(|draw| !draw.estimated.is_empty())
    }

    /// What is to be shown: all that are whole, or the first one as far as it is. `whole`: the last one is.
    pub fn shown(&self, whole: bool) -> Shown<'_> {
        let under_way = usize::from(!whole);
        let count = self.0.len().saturating_sub(under_way);
        Shown { draws: self.0.get(..count.max(1)).unwrap_or_default(), whole: count }
    }
}

fn other_cells() -> Error {
    Error::Study("what is to be resumed has another number of cells".into())
}

/// Draws that means are over.
#[derive(Clone, Copy, Debug)]
pub(in crate::method) struct Shown<'a> {
    /// In order.
    pub draws: &'a [Draw],
    /// How many of them are whole: none while the first is under way.
    pub whole: usize,
}

impl Shown<'_> {
    /// The corrupted run: its mean.
    pub fn corrupted(&self) -> AnswerScore {
        self.score(&mean, &|draw| Some(draw.corrupted))
    }

    /// Its standard deviation over the draws; NaN of less than two.
    pub fn corrupted_spread(&self) -> AnswerScore {
        self.score(&statistics::deviation, &|draw| Some(draw.corrupted))
    }

    /// 95 % of P(answer) in the corrupted run, as a mean over draws; none of less than two.
    pub fn corrupted_interval(&self) -> Option<[f64; 2]> {
        self.interval(&|draw| Some(draw.corrupted))
    }

    /// Means of every cell.
    pub fn cells(&self) -> Vec<AnswerScore> {
        self.each(&mean)
    }

    /// Standard deviations of every cell; NaN of less than two draws.
    pub fn spread(&self) -> Vec<AnswerScore> {
        self.each(&statistics::deviation)
    }

    /// As [`Shown::corrupted_interval`], of a cell.
    pub fn cell_interval(&self, cell: usize) -> Option<[f64; 2]> {
        self.interval(&|draw| draw.cells.get(cell).copied())
    }

    /// ln p(answer) to first order, means by cell; empty where it was not estimated.
    pub fn estimated(&self) -> Vec<f32> {
        let cells = self.draws.first().map_or(0, |draw| draw.estimated.len());
        let of = |cell: usize| -> Vec<f64> {
            self.draws.iter().filter_map(|draw| draw.estimated.get(cell).copied()).map(f64::from).collect()
        };
        (0..cells).map(|cell| mean(&of(cell)) as f32).collect()
    }

    fn each(&self, of: &dyn Fn(&[f64]) -> f64) -> Vec<AnswerScore> {
        let cells = self.draws.first().map_or(0, |draw| draw.cells.len());
        (0..cells).map(|cell| self.score(of, &|draw| draw.cells.get(cell).copied())).collect()
    }

    fn score(&self, of: &dyn Fn(&[f64]) -> f64, which: &dyn Fn(&Draw) -> Option<AnswerScore>) -> AnswerScore {
        let scores: Vec<AnswerScore> = self.draws.iter().filter_map(which).collect();
        let one = |part: fn(&AnswerScore) -> f32| {
            of(&scores.iter().map(|score| f64::from(part(score))).collect::<Vec<_>>()) as f32
        };
        AnswerScore { logit: one(|score| score.logit), prob: one(|score| score.prob) }
    }

    fn interval(&self, which: &dyn Fn(&Draw) -> Option<AnswerScore>) -> Option<[f64; 2]> {
        let probs: Vec<f64> =
            self.draws.iter().filter_map(which).map(|score| f64::from(score.prob)).collect();
        (probs.len() > 1).then(|| statistics::Mean::of(&probs).interval)
    }

    /// Over how many draws of `all` means are, and which: seeds from `seed` on, or samples of a file.
    pub fn said(&self, all: usize, seed: Option<u64>) -> String {
        let (whole, last) = (self.whole, self.whole.max(1) as u64 - 1);
        let which = |seed: u64| match last {
            0 => format!("seed {seed}"),
            last => format!("seeds {seed} to {}", seed.wrapping_add(last)),
        };
        match (seed, all) {
            (Some(seed), 1) => format!("one draw alone, seed {seed}"),
            (Some(seed), all) if whole == 0 => format!("one draw so far, seed {seed}, of {all}"),
            (Some(seed), all) if whole < all => {
                format!("mean over {whole} of {all} draws so far, {}", which(seed))
            }
            (Some(seed), all) => format!("mean over {all} draws, {}", which(seed)),
            (None, all) if whole < all => format!("mean over {} of {all} samples so far", whole.max(1)),
            (None, all) => format!("mean over {all} samples"),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Whether so many draws fit.
///
/// # Errors
/// [`Error::Memory`].
pub(in crate::method) fn check_memory(draws: usize, cells: usize) -> Result<()> {
    let bytes = (draws as u64).saturating_mul(cells as u64).saturating_mul(12);
    crate::engine::memory::check(&format!("{draws} draws of {cells} cells"), bytes)
}
