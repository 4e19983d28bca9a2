//! The report card of a checkpoint that the trainer made: what it knows, sees and imagines, and what its routes are worth.
//! Everything is measured on the test split of the world it was trained on, whose seed is in its config.json, or, while
//! settings are being chosen, on the validation split.
//!
//! | file | what it measures |
//! |---|---|
//! | [`presence`] | yes or no questions about pictures, and where expectation misleads |
//! | [`captions`] | which objects a description names |
//! | [`recall`] | facts in phrasings that training used and in those it never did |
//! | [`routes`] | every big/small pattern on test text: oracle, fixed, random, routers, with the controls for selection |
//! | [`claims`] | what the paper says beside what this model shows |
//! | [`prompts`] | many prompts at once through the trainer's forward pass |
//! | [`page`] | the card as a Markdown page |

use std::time::Instant;

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::engine::{self, Engine};
use crate::error::{Error, Result};
use crate::world::{Split, World};

pub mod captions;
pub mod claims;
pub mod page;
pub mod presence;
pub mod prompts;
pub mod recall;
pub mod routes;

/// How much is asked; the defaults are what the report card in the docs has.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Amount {
    /// Part of the world; settings may be chosen on the validation split only.
    pub split: Split,
    /// Questions of each sort about pictures.
    pub questions: u64,
    /// Described pictures.
    pub captions: u64,
    /// Sequences of 128 tokens of test text for the routes.
    pub sequences: usize,
}

impl Default for Amount {
    fn default() -> Self {
        Self { split: Split::Test, questions: 2000, captions: 400, sequences: 40 }
    }
}

/// Everything measured.
#[derive(Clone, Debug, Serialize)]
pub struct Card {
    /// Command that makes it.
    pub command: String,
    /// Name of the checkpoint and of its content.
    pub checkpoint: [String; 2],
    /// Of the world.
    pub seed: u64,
    /// How much was asked.
    pub amount: Amount,
    /// Seconds it took.
    pub seconds: f32,
    /// Parameters, tied ones counted once.
    pub parameters: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Licence of the weights, which this repository makes from nothing but its seed.
    pub licence: &'static str,
    /// Questions about pictures.
    pub presence: presence::Presence,
    /// Descriptions.
    pub captions: captions::Captions,
    /// Facts.
    pub facts: recall::Recall,
    /// Routes.
    pub routes: routes::Routes,
    /// The paper's claims about them.
    pub claims: Vec<claims::Claim>,
}

/// Measure. `progress` hears what is being done.
pub fn evaluate(
    checkpoint: &Checkpoint,
    amount: Amount,
    command: String,
    progress: &mut dyn FnMut(&str),
) -> Result<Card> {
    let begin = Instant::now();
    let world = World::of(checkpoint.config()).ok_or_else(|| {
        Error::Study("a report card is for checkpoints that sluice train made: no sluice.world_seed".into())
    })?;
    let engine::Opened { engine, card } = engine::open(checkpoint, &mut |_, _| {}, &engine::never)?;
    let subject = Subject { world, split: amount.split, engine };
    progress("questions about pictures");
    let presence = presence::measure(&subject, amount.questions)?;
    progress("descriptions");
    let captions = captions::measure(&subject, amount.captions)?;
    progress("facts");
    let facts = recall::measure(&subject)?;
    let routes = routes::measure(&subject, amount.sequences, progress)?;
    Ok(Card {
        command,
        checkpoint: [card.name, card.fingerprint],
        seed: subject.world.seed(),
        amount,
        seconds: begin.elapsed().as_secs_f32(),
        parameters: card.parameters,
        bytes: card.bytes_file,
        licence: "MIT OR Apache-2.0",
        claims: claims::claims(&routes),
        presence,
        captions,
        facts,
        routes,
    })
}

/// What is examined, on what.
pub struct Subject {
    world: World,
    split: Split,
    engine: Engine,
}

impl Subject {
    fn tokens(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let tokenizer = self.engine.tokenizer.as_ref();
        tokenizer.ok_or_else(|| Error::Study("the checkpoint has no tokenizer".into()))?.encode(text, special)
    }
}
