//! Injections past the prompt whose vector is that of the token itself: what the unmodified model wrote for it, which is
//! known only when the token is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candle_core::Tensor;

use super::Schedule;
use super::edit::{Edit, Op, RowMap, Rows, Values};
use crate::error::{Error, Result};
use crate::site::Site;
use crate::spec::Positions;

/// An injection at every position past a prompt: x + scale * sum of weight * source, each source of the unmodified run at
/// the same position.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    /// Where it is added.
    pub target: Site,
    /// What is added, with its weight.
    pub sources: Vec<(Site, f32)>,
    /// Factor on the sum.
    pub scale: f32,
    /// The sum gets the norm that the value had.
    pub keep_norm: bool,
    /// value = untouched + strength * (changed - untouched).
    pub strength: f32,
    /// Tokens of the prompt.
    pub prompt_len: usize,
    /// The plan's item that it is of, in a few words.
    pub label: Option<Arc<str>>,
}

impl Schedule {
    /// Inject past the prompt, after what changes the site already.
    pub(crate) fn push_following(&mut self, following: Following) {
        self.following.push(following);
    }

    /// Sites of the unmodified run that are injected at positions before `len`; empty where none is.
    pub(crate) fn followed(&self, len: usize) -> BTreeSet<Site> {
        let past = self.following.iter().filter(|following| following.prompt_len < len);
        past.flat_map(|following| following.sources.iter().map(|(site, _)| *site)).collect()
    }

    /// This schedule for positions from `start` on, with what the unmodified run has at [`Schedule::followed`] there.
    pub(crate) fn fed(&self, captures: &BTreeMap<Site, Tensor>, start: usize) -> Result<Self> {
        let mut schedule = self.clone();
        for following in &self.following {
            let Some(sum) = weighted(&following.sources, captures)? else { continue };
            // Position `prompt_len` is the first past the prompt.
            let rows = Rows::Positions(Positions::Last, following.prompt_len + 1);
            let values = Values::Rows(sum, RowMap::Shift { to: start, from: 0 });
            let op = Op::Add { values, scale: following.scale, keep_norm: following.keep_norm };
            let (strength, label) = (following.strength, following.label.clone());
            schedule.push_edit(following.target, Edit { rows, unit: None, strength, op, label });
        }
        Ok(schedule)
    }
}

/// The sum of weighted sites, in their order.
fn weighted(sources: &[(Site, f32)], captures: &BTreeMap<Site, Tensor>) -> Result<Option<Tensor>> {
    let mut sum: Option<Tensor> = None;
    for (site, weight) in sources {
        let value = captures.get(site);
        let value =
            value.ok_or_else(|| Error::Internal(format!("{site} of the unmodified run is missing")))?;
        let part = (value * f64::from(*weight))?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    Ok(sum)
}
