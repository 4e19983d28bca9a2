//! What a run over a list has come to, as a session keeps it. Records go on without: they have every item.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::found::Totals;
use crate::error::{Error, Result};
use crate::method::State;
use crate::model::Work;
use crate::statistics::Means;

/// State that a later run goes on from.
pub(super) struct Kept {
    /// The last item that is done.
    pub behind: Option<u64>,
    pub totals: Totals,
    pub work: Work,
}

/// What is no tensor.
#[derive(Serialize, Deserialize)]
struct Values {
    behind: Option<u64>,
    items: u64,
    dropped: u64,
    why: Option<String>,
    failed: u64,
    cause: Option<String>,
    work: Work,
}

/// Names of the parts of means.
const PARTS: [&str; 4] = ["count", "sum", "sums", "weights"];

/// A number of 64 bits as three of 32 that sum up to it: tensors of a state are f32.
fn split(x: f64) -> [f32; 3] {
    let high = x as f32;
    let rest = x - f64::from(high);
    let middle = rest as f32;
    [high, middle, (rest - f64::from(middle)) as f32]
}

impl Kept {
    /// As a state.
    pub fn state(&self) -> Result<State> {
        let Totals { items, dropped, why, failed, cause, means } = &self.totals;
        let (items, dropped, failed) = (*items, *dropped, *failed);
        let (why, cause) = (why.clone(), cause.clone());
        let values = Values { behind: self.behind, items, dropped, why, failed, cause, work: self.work };
        let mut state = State::new(&values)?;
        for (name, part) in PARTS.iter().zip(means.parts()) {
            let split: Vec<[f32; 3]> = part.iter().map(|x| split(*x)).collect();
            let rows = (0..3).flat_map(|row| split.iter().filter_map(move |parts| parts.get(row).copied()));
            let tensor = Tensor::from_vec(rows.collect::<Vec<f32>>(), (3, part.len()), &Device::Cpu)?;
            state.tensors.insert((*name).to_owned(), tensor);
        }
        Ok(state)
    }

    /// Back from a state.
    ///
    /// # Errors
    /// One that is none of these.
    pub fn read(state: &State) -> Result<Self> {
        let odd = || Error::Study("what is to be resumed is of no list".into());
        let Values { behind, items, dropped, why, failed, cause, work } = state.read()?;
        let mut parts = PARTS.iter().map(|name| {
            let rows: Vec<Vec<f32>> = state.tensors.get(*name).ok_or_else(odd)?.to_vec2()?;
            let [high, middle, low] = rows.as_slice() else { return Err(odd()) };
            let whole = |((high, middle), low): ((&f32, &f32), &f32)| {
                f64::from(*high) + (f64::from(*middle) + f64::from(*low))
            };
            Ok(high.iter().zip(middle).zip(low).map(whole).collect())
        });
        let mut part = || parts.next().unwrap_or_else(|| Err(odd()));
        let means = Means::of_parts([part()?, part()?, part()?, part()?]).ok_or_else(odd)?;
        Ok(Self { behind, totals: Totals { items, dropped, why, failed, cause, means }, work })
    }
}
