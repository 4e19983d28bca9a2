//! A whole grid of causal tracing at once (ROME, arXiv 2202.05262, section 2.1), for scripts: what the window's trace draws
//! cell by cell, averaged over samples of noise.

use std::time::Instant;

use candle_core::Tensor;
use serde::Serialize;

use super::estimate::estimate;
use super::restore::{Case, Disturbance, Followed, Restorer};
use crate::engine::{Cancelled, Engine};
use crate::error::{Error, Result};
use crate::metric;
use crate::model::Input;
use crate::plan::Plan;
use crate::protocol::{Answer, Component};

/// What to trace.
#[derive(Clone, Debug)]
pub struct GridAsk<'a> {
    /// The plan under which everything runs.
    pub plan: &'a Plan,
    /// The token that is followed.
    pub answer: Answer,
    /// Corrupted positions.
    pub corrupt: Vec<usize>,
    /// Samples of noise.
    pub noise: GridNoise,
    /// What is restored.
    pub component: Component,
    /// Layers that are restored around each: `max(0, l - w / 2) .. min(L, l + (w + 1) / 2)`; 10 is ROME's.
    pub window: usize,
    /// Estimate the grid to first order as well; for windows of 1 layer.
    pub estimate: bool,
}

/// Noise on `hook_embed`.
#[derive(Clone, Debug)]
pub enum GridNoise {
    /// Gaussian, one sample.
    Drawn {
        /// In standard deviations of the embeddings.
        sigma: f32,
        /// Of the noise.
        seed: u64,
    },
    /// `[n, T, d]`; results are means over n.
    Values(Tensor),
}

/// Means over the samples.
#[derive(Clone, Debug, Serialize)]
pub struct Grid {
    /// The followed token.
    pub answer: u32,
    /// Of the clean run.
    pub clean: Followed,
    /// Of the corrupted runs.
    pub corrupted: Followed,
    /// Per layer and position.
    pub grid: Cells,
    /// The same to first order, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// Rows that went through a sublayer, summed over sublayers.
    pub rows_computed: u64,
    /// The same for a full pass per cell, and the clean and corrupted runs.
    pub rows_full: u64,
    /// Floating-point operations in the blocks and in the unembedding.
    pub flops: [u64; 2],
    /// Clean run, corrupted runs and grid; estimates are not counted.
    pub seconds: f64,
}

/// A grid from one backward pass.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// ln p(answer), `[L][T]`.
    pub log_prob: Vec<Vec<f32>>,
    /// Spearman's rank correlation with the exact probabilities.
    pub rank_agreement: f64,
    /// All backward passes.
    pub seconds: f64,
}

/// `[L][T]`
#[derive(Clone, Debug, Serialize)]
pub struct Cells {
    /// Logits.
    pub logit: Vec<Vec<f32>>,
    /// Probabilities.
    pub prob: Vec<Vec<f32>>,
}

/// Trace. `progress` hears cells done and cells in all.
pub fn grid(
    engine: &mut Engine,
    ask: &GridAsk,
    tokens: &Input,
    progress: &mut dyn FnMut(u64, u64),
    cancelled: Cancelled,
) -> Result<Grid> {
    let begin = Instant::now();
    let samples: Vec<Option<Tensor>> = match &ask.noise {
        GridNoise::Drawn { .. } => vec![None],
        GridNoise::Values(values) => {
            let (count, ..) = values
                .dims3()
                .map_err(|_| Error::Input(format!("noise has shape {:?}, not [n, T, d]", values.dims())))?;
            (0..count).map(|sample| Ok(Some(values.get(sample)?))).collect::<Result<_>>()?
        }
    };
    let (layers, len) = (engine.model.spec.n_layers(), tokens.len());
    let cells = layers * len;
    let (mut sums, mut corrupted) = (vec![[0f64; 2]; cells], [0f64; 2]);
    if ask.estimate && ask.window != 1 {
        return Err(Error::Input("grids are estimated for windows of 1 layer".into()));
    }
    let (mut estimated, mut estimating) = (vec![0f64; cells], 0.0);
    let mut restorer: Option<Restorer> = None;
    let all = (samples.len() * cells) as u64;
    for (number, sample) in samples.iter().enumerate() {
        let noise = match (sample, &ask.noise) {
            (Some(values), _) => Disturbance::Values(values),
            (None, GridNoise::Drawn { sigma, seed }) => Disturbance::Noise { sigma: *sigma, seed: *seed },
            (None, GridNoise::Values(_)) => continue,
        };
        let case = Case { plan: ask.plan, answer: &ask.answer, corrupt: &ask.corrupt, noise };
        let restorer = match &mut restorer {
            Some(restorer) => {
                restorer.corrupt(engine, &case, cancelled)?;
                restorer
            }
            empty => empty.insert(Restorer::new(engine, &case, &[ask.component], tokens, cancelled)?),
        };
        add(Some(&mut corrupted), restorer.corrupted);
        if ask.estimate {
            let begin = Instant::now();
            let values = estimate(engine, restorer, ask.component, cancelled)?;
            estimated.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(value));
            estimating += begin.elapsed().as_secs_f64();
        }
        let mut next = 0;
        while next < cells {
            let mut batch = restorer.batch(engine);
            while next < cells && batch.has_room() {
                let (layer, position) = (next / len, next % len);
                if restorer.is_clean(&[position]) {
                    add(sums.get_mut(next), restorer.corrupted);
                } else {
                    let from = layer.saturating_sub(ask.window / 2);
                    let window = from..layers.min(layer + ask.window.div_ceil(2));
                    batch.add(restorer, engine, next, (ask.component, window, &[position]))?;
                }
                next += 1;
            }
            while !batch.is_empty() {
                if cancelled() {
                    return Err(Error::Cancelled);
                }
                if let Some(done) = batch.step(restorer, engine)? {
                    for (cell, followed) in done {
                        add(sums.get_mut(cell), followed);
                    }
                    break;
                }
            }
            progress((number * cells + next) as u64, all);
        }
    }
    let restorer = restorer.ok_or_else(|| Error::Input("there is no sample of noise".into()))?;
    let count = samples.len() as f64;
    let mean = |which: usize| -> Vec<Vec<f32>> {
        let value = |sum: &[f64; 2]| (sum[which] / count) as f32;
        sums.chunks(len).map(|row| row.iter().map(value).collect()).collect()
    };
    let seconds = begin.elapsed().as_secs_f64() - estimating;
    let prob = mean(1);
    let estimate = ask.estimate.then(|| {
        let values: Vec<f32> = estimated.iter().map(|sum| (sum / count) as f32).collect();
        Estimate {
            rank_agreement: metric::rank_agreement(&values, &prob.concat()),
            log_prob: values.chunks(len).map(<[f32]>::to_vec).collect(),
            seconds: estimating,
        }
    });
    Ok(Grid {
        answer: restorer.answer,
        clean: restorer.clean,
        corrupted: Followed { logit: (corrupted[0] / count) as f32, prob: (corrupted[1] / count) as f32 },
        grid: Cells { logit: mean(0), prob },
        estimate,
        rows_computed: restorer.work.rows,
        rows_full: (1 + samples.len() * (1 + cells)) as u64 * (2 * layers * len) as u64,
        flops: [restorer.work.layers, restorer.work.unembedding],
        seconds,
    })
}

fn add(sum: Option<&mut [f64; 2]>, followed: Followed) {
    if let Some([logit, prob]) = sum {
        *logit += f64::from(followed.logit);
        *prob += f64::from(followed.prob);
    }
}
