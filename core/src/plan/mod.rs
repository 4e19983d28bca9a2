//! Plans: stacks of interventions as values. One file per kind, listed in `change.rs`; a plan compiles to the
//! [`Schedule`] that the forward pass reads.
//!
//! Kinds apply in the order of [`Kind::RANK`]; list order counts only among interventions of one kind on one site.
//! `docs/plan.md` is written from the kinds by [`document`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Schedule;
use crate::spec::Spec;

mod ablate;
mod add;
mod change;
mod compile;
mod corrupt;
mod document;
pub mod edits;
mod experts;
mod file;
mod fold;
mod iri;
mod kind;
mod patch;
mod route;
mod router;
mod scale;
mod skip;
mod source;
mod surrogate;
mod target;
mod threshold;
mod values;
mod words;
mod written;

pub use ablate::{Ablate, AblateTo};
pub use add::Add;
pub use change::{Change, KINDS, KindInfo, order};
pub use compile::{Compiler, Resolve};
pub use corrupt::{Corrupt, Disturbance, Noise};
pub use document::document;
pub use experts::Experts;
pub use fold::Foldable;
pub(crate) use fold::{Affine, Stretch};
pub use iri::{ATTN_LAMBDA, FFN_LAMBDA, Injected, InjectedVector, Iri, default_sources, default_targets};
pub use kind::{Fold, Kind};
pub use patch::Patch;
pub use route::Route;
pub use router::Router;
pub use scale::Scale;
pub use skip::{Part, Skip, Sublayer};
pub use source::{FromPosition, NamedRow, Row, Source};
pub use surrogate::Surrogate;
pub use target::Target;
pub use threshold::Threshold;
// For users of the library; inside it, `crate::spec`.
pub use crate::spec::{Lane, LayerRoute, Positions};

/// Version of the plan file.
pub const PLAN_VERSION: u32 = 1;

/// A stack of interventions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The stack, first applied first within a kind.
    #[serde(default)]
    pub items: Vec<Item>,
}

/// One intervention of a plan with its switch and strength.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Switched off items change nothing.
    #[serde(default = "yes")]
    pub on: bool,
    /// value = untouched + strength * (changed - untouched); 1 = the change as it is.
    #[serde(default = "one")]
    pub strength: f32,
    /// What it does.
    #[serde(flatten)]
    pub change: Change,
}

impl Default for Plan {
    fn default() -> Self {
        Self { version: PLAN_VERSION, items: Vec::new() }
    }
}

impl From<Change> for Item {
    fn from(change: Change) -> Self {
        Self { on: true, strength: 1.0, change }
    }
}

impl Plan {
    /// The interventions that are on and change something, in the order they apply.
    pub fn active(&self) -> Vec<&Item> {
        let mut items: Vec<&Item> =
            self.items.iter().filter(|item| item.on && item.strength != 0.0).collect();
        items.sort_by_key(|item| item.change.rank());
        items
    }

    /// The same with their places in the plan.
    fn numbered(&self) -> Vec<(usize, &Item)> {
        let on = |(_, item): &(usize, &Item)| item.on && item.strength != 0.0;
        let mut items: Vec<(usize, &Item)> = self.items.iter().enumerate().filter(on).collect();
        items.sort_by_key(|(_, item)| item.change.rank());
        items
    }

    /// Compile for a prompt of `prompt_len` tokens that at most `new_tokens` follow.
    ///
    /// # Errors
    /// [`crate::Error::Plan`] where an intervention does not fit model or prompt, and what the runs that it reads from
    /// refuse.
    pub fn compile(
        &self,
        spec: &Spec,
        prompt_len: usize,
        new_tokens: usize,
        resolve: &mut dyn Resolve,
    ) -> Result<Schedule> {
        let (surrogate, schedule) = (self.surrogate(), Schedule::default());
        let mut compiler = Compiler { spec, prompt_len, surrogate, resolve, schedule, label: None };
        let items = self.numbered();
        let (routing, others) =
            items.split_at(items.partition_point(|(_, item)| item.change.rank() <= Route::RANK));
        for (_, item) in &items {
            inside(&item.change, prompt_len, new_tokens)?;
        }
        for (_, item) in routing {
            item.change.compile(&mut compiler, item.strength)?;
        }
        // Of all maps together, before anything else changes what attention adds.
        compiler.schedule.skip_attention(prompt_len);
        for (index, item) in others {
            compiler.label = Some(Arc::from(format!("plan.items[{index}] ({})", item.summary())));
            item.change.compile(&mut compiler, item.strength)?;
        }
        compiler.check_choices()?;
        Ok(compiler.schedule)
    }

    /// The plan with routing maps cut to a prompt of `len` tokens: a prompt that is edited grows shorter than its map.
    pub fn fitted(&self, len: usize) -> Self {
        let mut plan = self.clone();
        for item in &mut plan.items {
            if let Change::Route(route) = &mut item.change {
                route.layers.iter_mut().for_each(|layer| layer.tokens.truncate(len));
            }
        }
        plan
    }

    /// The plan without routing maps and routers.
    pub fn unrouted(&self) -> Self {
        let mut plan = self.clone();
        plan.items.retain(|item| !matches!(item.change, Change::Route(_) | Change::Router(_)));
        plan
    }

    /// How surrogate small FFNs are chosen, of the whole plan: as the first routing map that is on says, of those that say
    /// something.
    pub fn surrogate(&self) -> Surrogate {
        let said = self.active().into_iter().find_map(|item| match &item.change {
            Change::Route(route) if !route.surrogate.is_default() => Some(route.surrogate.clone()),
            _ => None,
        });
        said.unwrap_or_default()
    }

    /// Bytes that it takes, roughly: those of its text.
    pub fn bytes(&self) -> usize {
        let mut count = Count(0);
        // Counting cannot fail, and what JSON cannot hold takes as much as what it can.
        drop(serde_json::to_writer(&mut count, self));
        count.0
    }

    /// One line: what is on, or `no plan`.
    pub fn summary(&self) -> String {
        let parts: Vec<String> = self.active().iter().map(|item| item.summary()).collect();
        if parts.is_empty() { "no plan".into() } else { parts.join("; ") }
    }
}

/// Bytes written, counted.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Item {
    /// One line, with the strength where it is not 1.
    pub fn summary(&self) -> String {
        let text = self.change.summary();
        if (self.strength - 1.0).abs() < f32::EPSILON { text } else { format!("{text} × {}", self.strength) }
    }
}

/// Fails where a change names a position that neither the prompt nor what follows it has.
fn inside(change: &Change, prompt_len: usize, new_tokens: usize) -> Result<()> {
    let Positions::At(positions) = change.positions() else { return Ok(()) };
    let past = |position: &&usize| **position >= prompt_len.saturating_add(new_tokens);
    let Some(position) = positions.iter().find(past) else { return Ok(()) };
    let follow = if new_tokens > 0 { format!(", {new_tokens} follow at most") } else { String::new() };
    Err(Error::Plan(format!(
        "{}: position {position} is past the prompt's end: it has {prompt_len} tokens, from 0 on{follow}",
        change.summary()
    )))
}

fn yes() -> bool {
    true
}

fn one() -> f32 {
    1.0
}
