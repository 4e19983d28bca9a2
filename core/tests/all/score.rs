//! Texts and lists scored: the values known of a trained checkpoint, plain passes, records that are killed, shared out, merged.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use sluice_core::engine::{Engine, bundled, never, open as open_checkpoint};
use sluice_core::files::There;
use sluice_core::plan::{Change, Part, Plan, Positions, Skip, Sublayer};
use sluice_core::records::{Head, Map, RECORDS, Records, Shard, Taken, merge};
use sluice_core::score::judged::{self, Judge, Judged, Kind, Verdicts};
use sluice_core::score::{Ask, Record, Score, Scored, Scorer, Source, Step, Tally};

use crate::support::{data, logits, open};

fn skip(layer: usize, part: Part) -> Plan {
    let skip = Skip { sublayer: Sublayer { layer, part }, positions: Positions::All };
    Plan { items: vec![Change::Skip(skip).into()], ..Plan::default() }
}

fn ask(source: Source) -> Ask {
    Ask { source, items: None, length: None, stride: None, plans: Vec::new(), shard: Shard::ALL }
}

/// Every record and window of a score.
fn scored(engine: &mut Engine, ask: Ask, behind: Option<&Record>) -> (Vec<Record>, Vec<Scored>, u64) {
    let mut scorer = Scorer::new(engine, ask).unwrap();
    if let Some(record) = behind {
        scorer.go_on_behind(record);
    }
    let (mut records, mut windows) = (Vec::new(), Vec::new());
    loop {
        match scorer.step(engine, &never).unwrap() {
            Step::More => {}
            Step::Done(record, window) => {
                records.push(record);
                windows.extend(window);
            }
            Step::Failed(record, _) => records.push(record),
            Step::End => return (records, windows, scorer.items()),
        }
    }
}

fn score(records: &[Record], plans: &[&str]) -> Score {
    let mut tally = Tally::default();
    records.iter().for_each(|record| tally.add(record));
    tally.score(&plans.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

/// A file with a text.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn small() -> Engine {
    open_checkpoint(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap().engine
}

/// ln P of every row of flat logits.
fn log_p(rows: &[f32], vocab: usize) -> Vec<Vec<f64>> {
    let of = |row: &[f32]| {
        let top = row.iter().fold(f64::MIN, |top, x| top.max(f64::from(*x)));
        let sum: f64 = row.iter().map(|x| (f64::from(*x) - top).exp()).sum();
        row.iter().map(|x| f64::from(*x) - top - sum.ln()).collect()
    };
    rows.chunks(vocab).map(of).collect()
}

#[test]
fn the_known_nats_of_stories() {
    let Some(folder) = data("checkpoints/stories260K") else { return };
    let Some(text) = data("text/tinystories_sample.txt") else { return };
    let mut engine = open(&folder);
    let source = Source::Split(text, "<|endoftext|>".into());
    for (items, tokens, nats) in [(100, 25_151, 1.3621), (1, 255, 1.2449)] {
        let ask = Ask { items: Some(items), length: Some(256), ..ask(source.clone()) };
        let (records, ..) = scored(&mut engine, ask, None);
        let score = score(&records, &[]);
        assert_eq!((score.items, score.tokens), (items, tokens));
        assert!((score.nats - nats).abs() < 0.0005, "{}", score.nats);
        assert!((score.perplexity - score.nats.exp()).abs() < 1e-12);
    }
}

#[test]
fn windows_under_plans_are_plain_passes() {
    let mut engine = small();
    let (_folder, path) =
        file("Taren is a sailor. Taren comes from Arwick. Mira lives in Dunholm, and Taren too.");
    let plans = [skip(2, Part::Ffn), skip(1, Part::Attn)];
    let ids = engine.encode(&fs::read_to_string(&path).unwrap()).unwrap();
    let (length, stride) = (12, 5);
    let ask =
        Ask { length: Some(length), stride: Some(stride), plans: plans.to_vec(), ..ask(Source::Whole(path)) };
    let (records, windows, items) = scored(&mut engine, ask, None);
    assert_eq!(items, 1);
    let vocab = engine.model.spec.vocab;
    let (mut next, mut sums) = (1, vec![[0.0f64; 3]; 2]);
    let mut nats = 0.0;
    for (window, record) in windows.iter().zip(&records) {
        let start = window.window.start;
        let own = &ids[start..ids.len().min(start + length)];
        assert_eq!(window.window.ids, own);
        assert_eq!(start + window.window.first, next, "each token is scored once");
        next = start + own.len();
        let base = log_p(&logits(&mut engine, own, &Plan::default()), vocab);
        for (run, losses) in window.losses.iter().enumerate() {
            let plan = run.checked_sub(1).map(|run| plans[run].clone()).unwrap_or_default();
            let rows = log_p(&logits(&mut engine, own, &plan), vocab);
            for (own_at, at) in (window.window.first..own.len()).enumerate() {
                let exact = -rows[at - 1][own[at] as usize];
                assert!((f64::from(losses.nats[own_at]) - exact).abs() < 1e-5);
                let Some(plan) = run.checked_sub(1) else {
                    nats += exact;
                    continue;
                };
                let (p, q) = (&base[at - 1], &rows[at - 1]);
                let kl: f64 = p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum();
                let top = |row: &[f64]| row.iter().position(|x| row.iter().all(|y| y <= x));
                assert!((f64::from(losses.kl[own_at]) - kl).abs() < 1e-5, "{kl}");
                assert_eq!(losses.same[own_at], top(p) == top(q));
                sums[plan][0] += exact;
                sums[plan][1] += kl;
                sums[plan][2] += f64::from(u8::from(top(p) == top(q)));
            }
        }
        assert_eq!(record.start, start as u64);
    }
    assert_eq!(next, ids.len());
    let count = (ids.len() - 1) as f64;
    let score = score(&records, &["one", "two"]);
    assert_eq!((score.tokens, score.windows), (ids.len() as u64 - 1, windows.len() as u64));
    assert!((score.nats - nats / count).abs() < 1e-6);
    for (found, [under, kl, same]) in score.plans.iter().zip(&sums) {
        assert!((found.nats - under / count).abs() < 1e-6 && (found.kl - kl / count).abs() < 1e-6);
        assert!((found.difference - (under - nats) / count).abs() < 1e-6);
        assert!(
            found.agreement == same / count && found.low < found.difference && found.difference < found.high
        );
    }
}

#[test]
fn no_plan_moves_nothing_and_bytes_are_those_of_the_text() {
    let mut engine = small();
    let text = "Taren is a sailor. Mira lives in Dunholm.";
    let (_folder, path) = file(text);
    let ask = Ask { plans: vec![Plan::default()], ..ask(Source::Whole(path)) };
    let (records, ..) = scored(&mut engine, ask, None);
    let score = score(&records, &["none"]);
    let [plan] = score.plans.as_slice() else { panic!("one plan") };
    assert_eq!((plan.nats, plan.kl, plan.agreement, plan.difference), (score.nats, 0.0, 1.0, 0.0));
    let ids = engine.encode(text).unwrap();
    let bytes: usize = ids[1..].iter().map(|id| engine.token(*id).bytes.len()).sum();
    assert_eq!(score.bytes, bytes as u64);
    let bits = score.nats * score.tokens as f64 / std::f64::consts::LN_2 / score.bytes as f64;
    assert!((score.bits_per_byte - bits).abs() < 1e-12);
}

/// Ten items of a list, two of which cannot be read and one of which has nothing to score.
const LIST: &str = r#"{"text": "Taren is a sailor."}
{"text": "Mira lives in Dunholm."}
broken
{"tokens": [5, 6, 7, 8]}
{"tokens": [5]}
{"text": "Taren comes from Arwick.", "id": "a"}
{"tokens": [4000000000, 1]}
{"text": "Mira is a weaver and Taren is a sailor."}
{"prompt": "Taren lives in Arwick."}
{"text": "Mira comes from Dunholm."}"#;

/// Score a shard of the list into a folder.
fn shard(engine: &mut Engine, path: &Path, shard: Shard, folder: &Path, plan: &Plan) {
    fs::create_dir_all(folder).unwrap();
    let source = Source::List(path.to_owned(), None);
    let ask = Ask { plans: vec![plan.clone()], shard, ..ask(source) };
    let head = Head::new("score", "f", &json!({"plan": plan}), shard).unwrap();
    let mut last = None;
    let known = |record: Record| {
        last = Some(record);
        Ok(())
    };
    let resumed = Records::resume(folder, &head, known).unwrap();
    let Some(mut file) = resumed else { return };
    let (records, _, items) = scored(engine, ask, last.as_ref());
    records.iter().for_each(|record| file.write(record).unwrap());
    file.finish(items).unwrap();
}

#[test]
fn shards_merged_are_one_run_and_a_killed_one_goes_on() {
    let mut engine = small();
    let (folder, path) = file(LIST);
    let plan = skip(2, Part::Ffn);
    let at = |name: &str| folder.path().join(name);
    shard(&mut engine, &path, Shard::ALL, &at("one"), &plan);
    let one = fs::read_to_string(at("one").join(RECORDS)).unwrap();
    assert_eq!(one.lines().count(), 12);
    assert_eq!(one.lines().filter(|line| line.contains("failed")).count(), 2, "{one}");
    assert!(one.contains("line 3") && one.contains("line 7"), "{one}");
    let parts: Vec<PathBuf> = (1..=3).map(|number| at(&format!("part-{number}"))).collect();
    for (number, part) in (1..=3).zip(&parts) {
        shard(&mut engine, &path, Shard::new(number, 3).unwrap(), part, &plan);
    }
    // Torn anywhere, a shard goes on to the same bytes.
    let whole = fs::read(parts[1].join(RECORDS)).unwrap();
    for cut in (0..whole.len()).step_by(37) {
        fs::write(parts[1].join(RECORDS), &whole[..cut]).unwrap();
        let out = at(&format!("cut-{cut}"));
        fs::create_dir(&out).unwrap();
        assert!(merge(&parts, &out, There::Keep).is_err(), "a shard is not done");
        assert!(!out.join(RECORDS).exists());
        shard(&mut engine, &path, Shard::new(2, 3).unwrap(), &parts[1], &plan);
        assert_eq!(fs::read(parts[1].join(RECORDS)).unwrap(), whole, "cut at {cut}");
    }
    let out = at("out");
    fs::create_dir(&out).unwrap();
    let shuffled = [&parts[2], &parts[0], &parts[1]].map(Clone::clone);
    merge(&shuffled, &out, There::Keep).unwrap();
    assert_eq!(fs::read_to_string(out.join(RECORDS)).unwrap(), one);
    let refused = |parts: &[PathBuf], says: &str| {
        let error = merge(parts, &out, There::Replace).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(fs::read_to_string(out.join(RECORDS)).unwrap(), one);
    };
    refused(&parts[..2], "3/3 is missing");
    refused(&[parts[0].clone(), parts[1].clone(), parts[1].clone(), parts[2].clone()], "named twice");
    shard(&mut engine, &path, Shard::new(3, 3).unwrap(), &at("other"), &skip(1, Part::Ffn));
    refused(&[parts[0].clone(), parts[1].clone(), at("other")], "another question");
    assert!(merge(&parts, &out, There::Keep).is_err());
}

#[test]
fn a_text_goes_on_behind_any_window() {
    let mut engine = small();
    let (_folder, path) = file(&"Taren is a sailor. Mira lives in Dunholm. ".repeat(20));
    let ask = Ask { length: Some(16), stride: Some(8), ..ask(Source::Whole(path)) };
    let (all, ..) = scored(&mut engine, ask.clone(), None);
    for done in [1, 7, all.len()] {
        let (rest, ..) = scored(&mut engine, ask.clone(), Some(&all[done - 1]));
        assert_eq!(rest, all[done..]);
    }
}

fn judged(
    engine: &mut Engine,
    kind: Kind,
    list: &str,
    map: &[&str],
    plans: Vec<Plan>,
) -> (Vec<judged::Record>, Judged) {
    let (_folder, list) = file(list);
    let map = Map::parse(&map.iter().map(|pair| (*pair).to_owned()).collect::<Vec<_>>()).unwrap();
    let names: Vec<String> = (1..=plans.len()).map(|plan| plan.to_string()).collect();
    let ask = judged::Ask { kind, list, map, taken: Taken::default(), plans };
    let mut judge = Judge::new(ask).unwrap();
    let (mut verdicts, mut records) = (Verdicts::default(), Vec::new());
    while let Some(record) = judge.next(engine, &never).unwrap() {
        verdicts.add(&record);
        records.push(record);
    }
    let found = verdicts.judged(&names);
    (records, found)
}

#[test]
fn choices_are_sums_over_plain_passes() {
    let mut engine = small();
    let list = r#"[{"q": "Taren comes", "choices": [" from Arwick", " in", "id:7"], "label": 1, "note": 3},
        {"q": "Mira is a", "choices": [" sailor", " weaver."], "label": 0},
        {"q": "Mira", "choices": [" x"], "label": 1},
        {"choices": [" x"], "label": 0}]"#;
    let plans = vec![skip(2, Part::Ffn)];
    let (records, found) = judged(&mut engine, Kind::Choices, list, &["prompt=q"], plans.clone());
    let vocab = engine.model.spec.vocab;
    let tokenizer = engine.tokenizer.clone().unwrap();
    let prompts = ["Taren comes", "Mira is a"];
    let choices = [vec![" from Arwick", " in", "id:7"], vec![" sailor", " weaver."]];
    let mut right = 0;
    for (item, (prompt, choices)) in prompts.iter().zip(&choices).enumerate() {
        let prompt = engine.encode(prompt).unwrap();
        for (run, plan) in [Plan::default(), plans[0].clone()].iter().enumerate() {
            let verdict = &records[item].runs[run];
            let mut own = Vec::new();
            for (choice, log) in choices.iter().zip(&verdict.log_p) {
                let ids = match *choice {
                    "id:7" => vec![7],
                    text => sluice_core::engine::encode_after(&tokenizer, text).unwrap(),
                };
                let all = [prompt.clone(), ids.clone()].concat();
                let rows = log_p(&logits(&mut engine, &all, plan), vocab);
                let sum: f64 = (0..ids.len()).map(|at| rows[prompt.len() + at - 1][ids[at] as usize]).sum();
                assert!((sum - log).abs() < 1e-5, "{sum} {log}");
                own.push((sum, sum / ids.len() as f64));
            }
            let label = [1, 0][item];
            let best = |of: &dyn Fn(&(f64, f64)) -> f64| own.iter().all(|other| of(other) <= of(&own[label]));
            assert_eq!(verdict.right, best(&|x| x.0));
            assert_eq!(verdict.per_token, Some(best(&|x| x.1)));
            right += usize::from(verdict.right && run == 0);
        }
    }
    assert!(records[2].failed.as_ref().unwrap().contains("element 3"), "{:?}", records[2]);
    assert!(records[3].failed.as_ref().unwrap().contains("element 4"), "{:?}", records[3]);
    assert_eq!((found.items, found.failed, found.accuracy), (2, 2, right as f64 / 2.0));
    assert!(found.low < found.accuracy || right == 0);
}

#[test]
fn a_last_word_is_right_where_all_its_tokens_are_the_most_likely() {
    let mut engine = small();
    // What the model itself goes on with is right, another word is not.
    let prompt = "Taren comes from";
    let ids = engine.encode(prompt).unwrap();
    let vocab = engine.model.spec.vocab;
    let row = log_p(&logits(&mut engine, &ids, &Plan::default()), vocab).pop().unwrap();
    let top = (0..vocab).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    let word = engine.token(top as u32).exact;
    assert!(word.starts_with(' ') && word.len() > 2, "{word:?}");
    let list = format!(
        "{}\n{}\n{{\"text\": \"one\"}}",
        json!({"text": format!("{prompt}{word}")}),
        json!({"text": format!("{prompt} sailor")})
    );
    let (records, found) = judged(&mut engine, Kind::LastWord, &list, &[], vec![Plan::default()]);
    assert!(records[0].runs.iter().all(|run| run.right) && !records[1].runs[0].right);
    assert!((records[0].runs[0].log_p[0] - row[top]).abs() < 1e-5);
    assert!(records[2].failed.as_ref().unwrap().contains("line 3"));
    assert_eq!((found.items, found.failed, found.accuracy, found.plans[0].difference), (2, 1, 0.5, 0.0));
}
