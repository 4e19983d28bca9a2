//! Lists and records: questions of a batch, items that are judged or scored, what a shard wrote down.

use std::path::Path;

use sluice_core::batch::{Ask as BatchAsk, Batch};
use sluice_core::engine::{RunSize, never};
use sluice_core::files::There;
use sluice_core::plan::Plan;
use sluice_core::records::{Reading, Shard, Taken, merge};
use sluice_core::score::{self, Ask, Scorer, Source, Step, Tally, judged};
use sluice_core::{Error, Result};

use super::corpus::{Corpus, Seed};
use super::mutate::{self, Dice};

/// Lists that inputs are changed from, by name.
pub const LISTS: [(&str, &str); 4] = [
    (
        "questions.jsonl",
        r#"{"tokens": [3, 14, 15], "answers": ["id:5", "7"], "foils": [9], "id": "a", "top": 3}
{"tokens": [92, 6], "max_new_tokens": 3, "temperature": 0.5, "seed": 4}
{"tokens": [5, 35, 8, 9], "plan": {"version": 1, "items": [{"kind": "skip", "layer": 1, "part": "ffn"}]}}
{"tokens": [1], "image": "picture.png"}"#,
    ),
    (
        "questions.json",
        r#"[{"tokens": [3, 14], "id": {"a": [1, "]"]}}, {"tokens": [15], "plan": "plan.json"}]"#,
    ),
    (
        "choices.jsonl",
        r#"{"tokens": [3, 14], "choices": ["id:5", "7", 9], "label": 1}
{"tokens": [8], "choices": ["4"], "label": 0, "id": 3}"#,
    ),
    ("items.jsonl", "{\"tokens\": [3, 14, 15, 92]}\n{\"tokens\": [6, 5], \"id\": 1}"),
];

/// Records of a shard.
pub const RECORDS: &str = r#"{"version":1,"work":"score","fingerprint":"f","ask":{"plans":[{"name":"p"}]},"shard":"1/1"}
{"item":0,"start":0,"tokens":3,"bytes":9,"nats":7.5,"plans":[{"nats":8.25,"kl":0.5,"same":2}]}
{"item":1,"start":0,"tokens":0,"bytes":0,"nats":0.0,"plans":[],"failed":"line 2: it is broken"}
{"item":2,"start":0,"tokens":2,"bytes":4,"nats":null,"plans":[{"nats":3.5,"kl":null,"same":1}]}
{"done":3}
"#;

pub fn change(seed: &Seed, corpus: &Corpus, dice: &mut Dice) -> Vec<u8> {
    match std::str::from_utf8(&seed.bytes) {
        Ok(text) if seed.name.ends_with(".jsonl") => mutate::lines(text, &corpus.words, dice),
        Ok(text) => mutate::json(text, &corpus.words, dice),
        Err(_) => mutate::bytes(&seed.bytes, dice),
    }
}

/// Answer a list, judge it and score it, whichever it is meant for.
pub fn read(corpus: &mut Corpus, seed: &Seed, _: &[u8]) -> Result<u64> {
    let (list, engine) = (seed.path(), &mut corpus.engine);
    let mut any = false;
    let mut batch = Batch::new(BatchAsk { list: list.clone(), ..BatchAsk::default() })?;
    loop {
        let replies = batch.next(engine, &never)?;
        if replies.is_empty() {
            break;
        }
        any |= replies.iter().any(|reply| reply.error.is_none());
    }
    for kind in [judged::Kind::Choices, judged::Kind::LastWord] {
        let (map, taken) = (None, Taken::default());
        let ask = judged::Ask { kind, list: list.clone(), map, taken, plans: vec![Plan::default()] };
        let mut judge = judged::Judge::new(ask)?;
        while let Some(record) = judge.next(engine, &never)? {
            any |= record.failed.is_none();
        }
    }
    let source = Source::List(list, None);
    let ask = Ask { source, items: None, length: None, stride: None, plans: Vec::new(), shard: Shard::ALL };
    let mut scorer = Scorer::new(engine, ask)?;
    loop {
        match scorer.step(engine, &never)? {
            Step::Done(..) => any = true,
            Step::End => break,
            Step::More | Step::Failed(..) => {}
        }
    }
    // Questions share passes of so many rows.
    let whole = RunSize::new(&engine.model.spec, engine.rows_at_once()).bytes();
    if any { Ok(whole) } else { Err(Error::Input("no entry can be read".into())) }
}

/// Merge records, and sum them up.
pub fn records(_: &mut Corpus, seed: &Seed, _: &[u8]) -> Result<u64> {
    let out = seed.folder.join("merged");
    std::fs::create_dir_all(&out).map_err(|error| Error::write(&out, error))?;
    merge(std::slice::from_ref(&seed.folder), &out, There::Replace)?;
    let mut tally = Tally::default();
    if let Some(reading) = Reading::open(Path::new(&out))? {
        reading.each(|record: score::Record| tally.add(&record))?;
    }
    tally.score(&["p".into()]);
    Ok(0)
}
