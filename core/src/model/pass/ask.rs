//! What a pass is asked for, and what it computed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

use super::super::Ffn;
use crate::site::Site;
use crate::spec::Lane;

/// Values kept by a pass.
pub type Captures = BTreeMap<Site, Tensor>;

/// Which positions get logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logits {
    /// None: stop after the last block.
    None,
    /// The last row only.
    #[default]
    Last,
    /// Every row.
    All,
}

/// What a pass is asked for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Sites to keep.
    pub capture: BTreeSet<Site>,
    /// Positions that get logits.
    pub logits: Logits,
    /// Keep the residual stream at every so many sublayer boundaries, and after the last; 0 = nowhere.
    pub boundaries: usize,
    /// Added to sites: variables of zeros, whose gradient is then the site's.
    pub probes: BTreeMap<Site, Var>,
    /// Every FFN is a mixture of lanes, for training a router.
    pub mixture: Option<Mixture>,
    /// Values that are no finite numbers are an answer here, not a failure.
    pub lenient: bool,
}

/// Softmax(tau h) of a router's lanes, mixed (Duo-LLM, section 2, stage 3).
#[derive(Clone, Debug)]
pub struct Mixture {
    /// What it mixes.
    pub lanes: Vec<Lane>,
    /// One `[lanes, d]` per block.
    pub routers: Vec<Tensor>,
    /// One per block, where a lane is small.
    pub small: Arc<[Ffn]>,
    /// Rises to make the mixture hard.
    pub tau: f64,
}

/// Floating-point operations of matrix products; what is done value by value is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// In the blocks.
    pub layers: u64,
    /// In the unembedding.
    pub unembedding: u64,
    /// Rows that reached a sublayer, summed over sublayers; also those that it then passed by.
    pub rows: u64,
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.layers += other.layers;
        self.unembedding += other.unembedding;
        self.rows += other.rows;
    }
}

/// What a pass computed.
#[derive(Debug, Default)]
pub struct Output {
    /// `[rows asked, vocab]`
    pub logits: Option<Tensor>,
    /// Kept sites.
    pub captures: Captures,
    /// With [`Ask::boundaries`]: the stream before sublayers and after the last one, by number from 0 to 2L. Parallel
    /// blocks repeat the block's input between their sublayers.
    pub boundaries: BTreeMap<usize, Tensor>,
    /// The same of a pass over branches, branch by branch, each from its own sublayer on.
    pub of_branches: Vec<Vec<Tensor>>,
    /// Cost of the pass.
    pub work: Work,
    /// Lanes of the rows of a pass over one sequence, layer by layer, where a learned router chooses.
    pub lanes: BTreeMap<usize, Vec<Lane>>,
    /// With [`Ask::mixture`]: mean share of every lane over layers and rows, `[lanes]`.
    pub shares: Option<Tensor>,
}
