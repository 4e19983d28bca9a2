//! Branches of a run: the rows that a change can reach, and no others.

use std::sync::Arc;

use super::{Engine, Run};
use crate::error::{Error, Result};
use crate::model::{Ask, Branch, Input, KvCache, Logits, Pass, Schedule};
use crate::site::{Hook, Site};

/// Multiply-adds of a sublayer that take about a twentieth of a second on two cores.
const SUBLAYER: usize = 2_500_000_000;

impl Engine {
    /// The branch that leaves an unmodified run where a compiled plan first changes it; `None` where it changes nothing
    /// that the last token sees.
    ///
    /// # Errors
    /// As [`Engine::boundary`], whose stream it begins with.
    pub fn branch(&self, base: &Run, schedule: Arc<Schedule>) -> Result<Option<Branch>> {
        let end = base.tokens.len();
        let Some(start) = schedule.first_position(end) else { return Ok(None) };
        let Some(sublayer) = schedule.first_sublayer(self.model.spec.n_layers()) else {
            // The embedding itself changes.
            let (pass, _) = self.start(&base.tokens, &schedule, Ask::default())?;
            let x = pass.embedded()?.narrow(0, start, end - start)?;
            return Ok(Some(Branch { schedule, sublayer: 0, start, end, x }));
        };
        self.branch_at(base, schedule, sublayer, start).map(Some)
    }

    /// The branch that leaves a run before a sublayer and position: under `schedule` nothing else is computed there than in
    /// the run.
    ///
    /// # Errors
    /// As [`Engine::boundary`], whose stream it begins with.
    pub fn branch_at(
        &self,
        run: &Run,
        schedule: Arc<Schedule>,
        sublayer: usize,
        start: usize,
    ) -> Result<Branch> {
        let sublayer = self.entry(sublayer);
        let x = self.rows_before(run, sublayer, start)?;
        Ok(Branch { schedule, sublayer, start, end: run.tokens.len(), x })
    }

    /// A pass over branches of a run; its logits come branch by branch.
    ///
    /// # Errors
    /// Branches that do not fit the run: of other positions than it has, or none.
    pub fn branches(&self, run: &Run, branches: Vec<Branch>, logits: Logits) -> Result<Pass> {
        let ask = Ask { logits, ..Ask::default() };
        Pass::of_branches(Arc::clone(&self.model), Arc::clone(&run.cache), branches, ask)
    }

    /// A pass over branches that begin with their first position, and so share nothing with any run.
    ///
    /// # Errors
    /// A branch that does not begin with the first position.
    pub fn from_the_start(&self, branches: Vec<Branch>, ask: Ask) -> Result<Pass> {
        if branches.iter().any(|branch| branch.start > 0) {
            return Err(Error::Internal("a branch that lacks its first positions".into()));
        }
        let nothing = Arc::new(KvCache::new(&self.model.spec, 0)?);
        Pass::of_branches(Arc::clone(&self.model), nothing, branches, ask)
    }

    /// Whether a run can be done beside others in one pass ([`Engine::side_by_side`]): it has no picture, its plan routes
    /// nothing, reads no other run of the same tokens and leaves scores and pattern alone.
    pub fn fits_beside(&self, input: &Input, schedule: &Schedule) -> bool {
        let square = |layer| [Hook::AttnScores, Hook::Pattern].map(|hook| Site::block(layer, hook));
        let mut sites = (0..self.model.spec.n_layers()).flat_map(square);
        input.image().is_none()
            && !schedule.is_routed()
            && schedule.followed(input.len()).is_empty()
            && !sites.any(|site| schedule.edits_site(site))
    }

    /// A pass over whole runs that share nothing, each of which [fits](Engine::fits_beside), of lengths of one
    /// [epoch](crate::model::Model::epoch). The logits after the last token come run by run; each has the bits that it has alone.
    ///
    /// # Errors
    /// Tokens that the model does not take.
    pub fn side_by_side(&self, runs: &[(&Input, &Arc<Schedule>)]) -> Result<Pass> {
        let branches = runs.iter().map(|(input, schedule)| self.whole(input, schedule));
        let ask = Ask { logits: Logits::Last, ..Ask::default() };
        self.from_the_start(branches.collect::<Result<Vec<Branch>>>()?, ask)
    }

    /// A pass over `tokens` that keeps keys and values of one layer at a time, for whoever goes on from none of them.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_uncached(&self, tokens: &Input, schedule: &Arc<Schedule>, ask: Ask) -> Result<Pass> {
        let schedule = self.fed(schedule, tokens)?;
        self.from_the_start(vec![self.whole(tokens, &schedule)?], ask)
    }

    /// A branch that is all of a run.
    fn whole(&self, input: &Input, schedule: &Arc<Schedule>) -> Result<Branch> {
        let nothing = Arc::new(KvCache::new(&self.model.spec, 0)?);
        let (model, schedule) = (Arc::clone(&self.model), Arc::clone(schedule));
        let mut pass = Pass::new(model, Arc::clone(&schedule), nothing, input, 0, Ask::default())?;
        pass.show(input.image(), &[]);
        Ok(Branch { schedule, sublayer: 0, start: 0, end: input.len(), x: pass.embedded()? })
    }

    /// Rows that one pass should take of branches: enough to keep the cores busy, few enough that a sublayer ends soon and
    /// the pass can make way for somebody who waits.
    pub fn rows_at_once(&self) -> usize {
        let widest = self.model.spec.layers.iter().map(|layer| {
            let attn = 2 * (layer.attn.heads + layer.attn.kv_heads) * layer.attn.d_head;
            self.model.spec.d_model * attn.max(layer.ffn_width())
        });
        (SUBLAYER / widest.max().unwrap_or(1).max(1)).clamp(16, 2048)
    }
}
