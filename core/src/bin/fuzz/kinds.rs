//! The kinds of input, each with what it is changed from, what reads it, and what it may cost.

use std::path::Path;
use std::sync::Arc;

use sluice_core::checkpoint::{Checkpoint, TensorFile, Tokenizer, decode_image, decoding_bytes};
use sluice_core::engine::{self, Engine, Opened, chat_words, inspect, never};
use sluice_core::error::{Error, Result};
use sluice_core::files::There;
use sluice_core::method::{Asked, Existing, FINDINGS, Ready, Record, STATE};
use sluice_core::model::{Ask, Logits};
use sluice_core::plan::Plan;
use sluice_core::session::{Session, beside};

use super::corpus::{Corpus, Seed};
use super::lists;
use super::mutate::{self, Dice};

const MIB: u64 = 1 << 20;
/// What everything may take however small the input: a config of 200 bytes describes a model.
const FLOOR: u64 = 8 * MIB;

/// What the study that goes on may take besides.
const STUDY: u64 = 16 * MIB;

/// A kind of input.
pub struct Kind {
    /// Name on the command line and in the report.
    pub name: &'static str,
    /// What inputs are changed from.
    pub seeds: fn(&Corpus) -> &[Seed],
    /// Change one.
    pub change: fn(&Seed, &Corpus, &mut Dice) -> Vec<u8>,
    /// Read one, which lies where the seed's file does. `Ok` = it got past its parser, and may take so many bytes as the
    /// program says beforehand.
    pub read: fn(&mut Corpus, &Seed, &[u8]) -> Result<u64>,
    /// Bytes that reading an input may take beside that.
    pub most: fn(&[u8]) -> u64,
}

/// Every kind.
pub const KINDS: &[Kind] = &[
    Kind { name: "config", seeds: |c| &c.configs, change: json, read: open, most: text },
    Kind {
        name: "tokenizer",
        seeds: |c| &c.tokenizers,
        change: json,
        read: tokenizer,
        most: |input| times(16, input) + 64 * MIB,
    },
    Kind { name: "header", seeds: |c| &c.weights, change: header, read: open, most: text },
    Kind { name: "body", seeds: |c| &c.weights, change: body, read: open, most: text },
    Kind {
        name: "index",
        seeds: |c| &c.indices,
        change: json,
        read: open,
        most: |input| times(6, input) + FLOOR,
    },
    Kind { name: "settings", seeds: |c| &c.settings, change: json, read: open, most: text },
    Kind {
        name: "chat",
        seeds: |c| &c.chats,
        change: json,
        read: chat,
        most: |input| times(24, input) + 16 * MIB,
    },
    Kind {
        name: "image",
        seeds: |c| &c.images,
        change: picture,
        read: image,
        most: |input| decoding(input) + 32 * MIB,
    },
    Kind { name: "plan", seeds: |c| &c.plans, change: json, read: plan, most: text },
    Kind { name: "router", seeds: |c| &c.routers, change: header, read: router, most: text },
    Kind { name: "findings", seeds: |c| &c.findings, change: json, read: findings, most: study },
    Kind { name: "state", seeds: |c| &c.states, change: header, read: findings, most: study },
    Kind { name: "list", seeds: |c| &c.lists, change: lists::change, read: lists::read, most: study },
    Kind { name: "records", seeds: |c| &c.records, change: lists::change, read: lists::records, most: study },
    Kind { name: "session", seeds: |c| &c.sessions, change: json, read: session, most: study },
];

fn json(seed: &Seed, corpus: &Corpus, dice: &mut Dice) -> Vec<u8> {
    match std::str::from_utf8(&seed.bytes) {
        Ok(text) => mutate::json(text, &corpus.words, dice),
        Err(_) => mutate::bytes(&seed.bytes, dice),
    }
}

fn header(seed: &Seed, corpus: &Corpus, dice: &mut Dice) -> Vec<u8> {
    match dice.below(5) {
        0 => mutate::body(&seed.bytes, dice),
        _ => mutate::header(&seed.bytes, &corpus.words, dice),
    }
}

fn body(seed: &Seed, _: &Corpus, dice: &mut Dice) -> Vec<u8> {
    mutate::body(&seed.bytes, dice)
}

fn picture(seed: &Seed, _: &Corpus, dice: &mut Dice) -> Vec<u8> {
    match dice.below(8) {
        0 => seed.bytes.clone(),
        1 | 2 => mutate::bytes(&seed.bytes, dice),
        _ => mutate::png(&seed.bytes, dice),
    }
}

/// What a text file may take, and what it describes.
fn text(input: &[u8]) -> u64 {
    times(24, input) + FLOOR
}

/// The same of what a study goes on from.
fn study(input: &[u8]) -> u64 {
    times(24, input) + STUDY
}

/// So many times an input's bytes.
fn times(factor: u64, input: &[u8]) -> u64 {
    factor * input.len() as u64
}

/// What a picture takes, as the program says: also where it turns out to be broken halfway. What is refused by its head is not
/// decoded.
fn decoding(input: &[u8]) -> u64 {
    decoding_bytes(Path::new("picture"), input).unwrap_or(0)
}

/// Open the folder, look at it, run a few tokens.
fn open(_: &mut Corpus, seed: &Seed, _: &[u8]) -> Result<u64> {
    let looked = Checkpoint::open_config(&seed.folder).and_then(|checkpoint| inspect(&checkpoint).map(drop));
    let opened = engine::open(&Checkpoint::open(&seed.folder)?, &mut |_, _| {}, &never);
    // A config that is read and does not fit its weights got past its parser.
    let Opened { engine, card } = match opened {
        Err(Error::Checkpoint { .. }) if looked.is_ok() => return Ok(0),
        opened => opened?,
    };
    run(&engine)?;
    Ok(card.bytes_resident + card.bytes_resident / 10)
}

fn run(engine: &Engine) -> Result<()> {
    let vocab = engine.model.spec.vocab as u32;
    let tokens: Vec<u32> = [3, 5, 1].into_iter().map(|id| id % vocab.max(1)).collect();
    let ask = Ask { logits: Logits::Last, ..Ask::default() };
    match engine.pass(&tokens.into(), &sluice_core::model::Schedule::none(), ask, &never) {
        Err(Error::NotFinite { .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

fn tokenizer(_: &mut Corpus, seed: &Seed, _: &[u8]) -> Result<u64> {
    let Some(tokenizer) = Tokenizer::open(&seed.folder)? else { return Ok(0) };
    for text in
        ["", "Once upon a time", "a  b\r\n\u{e9}e\u{301}\u{1F600}<s> </s>[MASK]1998", &"a".repeat(300)]
    {
        let ids = tokenizer.encode(text, true)?;
        tokenizer.decode(&ids);
    }
    for id in [0, 1, 7, tokenizer.vocab() as u32, u32::MAX] {
        tokenizer.piece(id);
        tokenizer.exact(id);
    }
    Ok(0)
}

fn chat(_: &mut Corpus, seed: &Seed, _: &[u8]) -> Result<u64> {
    let checkpoint = Checkpoint::open(&seed.folder)?;
    chat_words(&checkpoint, Some("Be brief."), "Who feeds the otter?", false).map(|_| 0)
}

fn image(_: &mut Corpus, _: &Seed, bytes: &[u8]) -> Result<u64> {
    decode_image(Path::new("picture"), bytes).map(|_| 0)
}

fn plan(corpus: &mut Corpus, _: &Seed, bytes: &[u8]) -> Result<u64> {
    let text = String::from_utf8_lossy(bytes);
    let plan = Plan::from_json(&text)?;
    let _ = (plan.summary(), plan.to_json()?);
    schedule(corpus, &plan)
}

/// A plan that is read may still not fit: that is no matter of its parser.
fn schedule(corpus: &mut Corpus, plan: &Plan) -> Result<u64> {
    let tokens = [3, 14, 15, 92].as_slice().into();
    if let Ok(schedule) = corpus.engine.schedule(plan, &tokens, &never) {
        let ask = Ask { logits: Logits::Last, ..Ask::default() };
        let _ = corpus.engine.pass(&tokens, &schedule, ask, &never);
    }
    Ok(0)
}

fn router(corpus: &mut Corpus, seed: &Seed, _: &[u8]) -> Result<u64> {
    TensorFile::open(&seed.path())?;
    let plan = format!(
        r#"{{"version":1,"items":[{{"kind":"router","name":"big50_skip50","file":{:?}}}]}}"#,
        seed.path()
    );
    schedule(corpus, &Plan::from_json(&plan)?)
}

/// Read a session, run what its steps hold and go on with its studies, and write it somewhere else.
fn session(corpus: &mut Corpus, seed: &Seed, _: &[u8]) -> Result<u64> {
    let opened = Session::read(&seed.path())?;
    for work in &opened.session.works {
        for step in work.history.all() {
            schedule(corpus, &step.document.plan)?;
        }
        for found in work.methods.values().filter_map(|inquiry| inquiry.found.as_ref()) {
            let (engine, card) = (&mut corpus.engine, Arc::clone(&corpus.card));
            // Questions that do not fit are refused.
            let _ = found.reached.restore((*found.asked).clone(), engine, &card, &never);
        }
    }
    let copy = seed.folder.join("copy.json");
    opened.session.write(&copy, There::Replace)?;
    let again = Session::read(&copy)?;
    let _ = std::fs::remove_dir_all(beside(&copy));
    if again.missing.is_empty() {
        return Ok(0);
    }
    Err(Error::Internal(format!("what was written is not read: {:?}", again.missing)))
}

/// Go on from findings and state; what they hold may be anything.
fn findings(corpus: &mut Corpus, seed: &Seed, _: &[u8]) -> Result<u64> {
    if seed.name == FINDINGS {
        // They count where there is nothing to go on from.
        let _ = std::fs::remove_file(seed.folder.join(STATE));
    }
    let asked: Asked = corpus.asked.clone();
    let (engine, card) = (&mut corpus.engine, Arc::clone(&corpus.card));
    let ready = Ready::new(asked, engine)?;
    let mut record = Record::start(ready, engine, &card, (&seed.folder, Existing::Resume), &never)?;
    for _ in 0..64 {
        if record.step(engine, &never)? {
            break;
        }
    }
    // What was written belongs to no other case.
    for name in [FINDINGS, STATE] {
        let _ = std::fs::remove_file(seed.folder.join(name));
    }
    Ok(0)
}
