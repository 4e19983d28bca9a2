//! Lists and records: questions of a batch, items that are judged or scored, what a shard wrote down.

use std::path::Path;

use sluice_core::batch::{Ask as BatchAsk, Batch};
use sluice_core::engine::{RunSize, never};
use sluice_core::files::There;
use sluice_core::method::over::{is_work, recorded};
use sluice_core::method::{Asked, ListOf, Running, Subject, find};
use sluice_core::plan::Plan;
use sluice_core::records::{Reading, Shard, Taken, merge};
use sluice_core::score::{self, Ask, Scorer, Source, Step, Tally, judged};
use sluice_core::{Error, Result};

use super::corpus::{Corpus, Seed};
use super::mutate::{self, Dice};

/// Lists that inputs are changed from, by name.
pub const LISTS: [(&str, &str); 5] = [
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
    (
        "prompts.jsonl",
        r#"{"tokens": [3, 14, 15], "corrupt": "0..2", "answer": "id:5", "id": [1]}
{"tokens": [92, 6], "subject": "1", "foil": "7"}"#,
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

/// The same of a study.
pub const RECORDS_OF_A_STUDY: &str = r#"{"version":1,"work":"study lens","fingerprint":"f","ask":{"asked":{"method":"lens","subject":{"file":"f","sha256":null,"items":3,"map":["a=b"]},"plan":{"version":1,"items":[]},"ask":{"side":"base"},"files":{}},"measures":[{"name":"agreement","rows":{"name":"Layer","labels":["0","1"]},"cols":{"name":"","labels":[""]}},{"name":"settled","rows":{"name":"","labels":[""]},"cols":{"name":"","labels":[""]}}],"provenance":{"checkpoint":"c","fingerprint":"f","prompt":"p","plan":"no plan","dtype":"f32","method":"lens","picks":"","ask":"{}"}},"shard":"1/1"}
{"item":0,"id":"a","values":[[0.5,1.0],[1.0]]}
{"item":1,"failed":"line 2: it is broken"}
{"item":2,"values":[[0.25,1.0],[null]]}
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
    let lens = find("lens").ok_or_else(|| Error::Internal("no lens".into()))?;
    let of = Subject::List(ListOf { file: list.clone(), ..ListOf::default() });
    let mut running = Running::start(Asked::new(lens, of, &Plan::default()), engine, &corpus.card, &never)?;
    while !running.step(engine, &never)? {}
    any |= running.list().is_some_and(|run| (run.failed() as usize) < running.progress().done);
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
    if Reading::open(&out)?.is_some_and(|reading| is_work(&reading.head.work)) {
        return recorded(&out).and_then(|findings| findings.json(&|_| Vec::new())).map(|_| 0);
    }
    let mut tally = Tally::default();
    if let Some(reading) = Reading::open(Path::new(&out))? {
        reading.each(|record: score::Record| {
            tally.add(&record);
            Ok(())
        })?;
    }
    tally.score(&["p".into()]);
    Ok(0)
}
