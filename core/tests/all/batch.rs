//! Many prompts in one list: each is answered as it is alone, bit for bit.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sluice_core::batch::{Ask, Batch, Reply, Written};
use sluice_core::engine::{Engine, bundled, never, open as open_checkpoint};
use sluice_core::metric;
use sluice_core::model::{Ask as Asks, Logits};
use sluice_core::plan::Plan;
use sluice_core::rng;

use crate::support::{golden, logits, open};

fn replies(engine: &mut Engine, list: &Path, behind: Option<&Reply>) -> (Vec<Reply>, usize) {
    let mut batch = Batch::new(Ask { list: list.to_owned(), ..Ask::default() }).unwrap();
    if let Some(last) = behind {
        batch.go_on_behind(Written::read(&serde_json::to_string(last).unwrap()).unwrap());
    }
    let (mut all, mut passes) = (Vec::new(), 0);
    loop {
        let some = batch.next(engine, &never).unwrap();
        if some.is_empty() {
            return (all, passes);
        }
        passes += 1;
        all.extend(some);
    }
}

fn written(lines: &[Value]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.jsonl");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// Prompts of 4 to 16 tokens.
fn prompts(vocab: usize, count: u64) -> Vec<Vec<u32>> {
    let prompt = |line: u64| {
        let len = 4 + rng::bits(1, line, 0) % 13;
        (0..len).map(|at| (rng::bits(2, line, at) % vocab as u64) as u32).collect()
    };
    (0..count).map(prompt).collect()
}

/// The logits of a pass of its own.
fn alone(engine: &mut Engine, tokens: &[u32], plan: &Plan) -> Vec<f32> {
    let all = logits(engine, tokens, plan);
    let input = tokens.into();
    let schedule = engine.schedule(plan, &input, &never).unwrap();
    let ask = Asks { logits: Logits::Last, ..Asks::default() };
    let last = engine.pass(&input, &schedule, ask, &never).unwrap().0.logits.unwrap();
    let last: Vec<f32> = last.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(all[all.len() - last.len()..], last);
    last
}

/// Every reply has the bits of a pass alone.
fn check(engine: &mut Engine, lines: &[(Vec<u32>, Value)]) -> usize {
    let written_lines: Vec<Value> =
        lines.iter().map(|(tokens, plan)| json!({"tokens": tokens, "plan": plan, "top": 5})).collect();
    let (_folder, path) = written(&written_lines);
    let (all, passes) = replies(engine, &path, None);
    assert_eq!(all.len(), lines.len());
    for (at, (reply, (tokens, plan))) in all.iter().zip(lines).enumerate() {
        assert_eq!((reply.line, &reply.tokens), (at as u64 + 1, tokens), "{:?}", reply.error);
        let own = alone(engine, tokens, &Plan::from_json(&plan.to_string()).unwrap());
        let log_p = metric::log_softmax(&own);
        for (next, (id, x)) in reply.next.iter().zip(metric::top_k(&log_p, 5)) {
            assert_eq!((next.id, next.p.to_bits()), (id, x.exp().to_bits()), "line {at}");
            assert_eq!(next.logit.to_bits(), own[id as usize].to_bits(), "line {at}");
        }
    }
    passes
}

#[test]
fn a_thousand_short_prompts_share_passes_and_keep_their_bits() {
    let mut engine = open_checkpoint(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap().engine;
    let vocab = engine.model.spec.vocab;
    let none = json!({"version": 1, "items": []});
    let lines: Vec<_> = prompts(vocab, 1000).into_iter().map(|prompt| (prompt, none.clone())).collect();
    let passes = check(&mut engine, &lines);
    assert!(passes < 100, "{passes} passes");
}

#[test]
fn lines_with_plans_of_their_own_keep_their_bits_in_every_family() {
    for family in ["gpt2", "llama", "gemma2", "gpt_neox", "mixtral", "olmo2", "phi3"] {
        let mut engine = open(&golden().join(family));
        let vocab = engine.model.spec.vocab;
        let plans = [
            json!({"version": 1, "items": []}),
            json!({"version": 1, "items": [{"kind": "skip", "layer": 0, "part": "ffn"}]}),
            json!({"version": 1, "items": [{"kind": "skip", "layer": 1, "part": "attn"}]}),
        ];
        let short = prompts(vocab, 24).into_iter().map(|mut prompt| {
            prompt.truncate(engine.model.spec.context);
            prompt
        });
        let lines: Vec<_> =
            short.enumerate().map(|(at, prompt)| (prompt, plans[at % plans.len()].clone())).collect();
        let passes = check(&mut engine, &lines);
        assert!(passes < lines.len(), "{family}: {passes} passes");
    }
}

#[test]
fn a_line_that_fails_says_why_and_takes_no_other_with_it() {
    let mut engine = open_checkpoint(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap().engine;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.jsonl");
    let plan = json!({"version": 1, "items": [{"kind": "skip", "layer": 2, "part": "ffn"}]});
    fs::write(folder.path().join("plan.json"), plan.to_string()).unwrap();
    let lines = [
        r#"{"prompt": "Taren comes from", "id": "a", "answers": [" Arwick", "id:5"], "foils": [" Dunholm"]}"#,
        r#"{"prompt": "Taren", "unknown": 1}"#,
        "",
        "broken",
        r#"{"tokens": [4000000000]}"#,
        r#"{"prompt": "Taren comes from", "image": "cat.png"}"#,
        r#"{"prompt": "Taren comes from", "plan": "plan.json"}"#,
        r#"{"prompt": "Taren comes from", "plan": "gone.json"}"#,
        r#"{"prompt": "Taren comes from", "max_new_tokens": 4, "id": "a"}"#,
        r#"{"prompt": "a", "tokens": [1]}"#,
    ];
    fs::write(&path, lines.join("\r\n")).unwrap();
    let (all, _) = replies(&mut engine, &path, None);
    let failed: Vec<u64> = all.iter().filter(|reply| reply.error.is_some()).map(|reply| reply.line).collect();
    assert_eq!(failed, [2, 4, 5, 6, 8, 10]);
    assert_eq!(all.iter().map(|reply| reply.line).collect::<Vec<_>>(), [1, 2, 4, 5, 6, 7, 8, 9, 10]);
    let ids = engine.encode("Taren comes from").unwrap();
    let own = alone(&mut engine, &ids, &Plan::default());
    let log_p = metric::log_softmax(&own);
    let first = &all[0];
    assert_eq!(first.id.as_ref().map(|id| id.get()), Some("\"a\""));
    let [arwick, five] = first.answers.as_slice() else { panic!("two answers") };
    assert_eq!((five.ids.as_slice(), five.logit, five.logp), (&[5][..], own[5], f64::from(log_p[5])));
    assert_eq!(five.rank, 1 + own.iter().filter(|x| **x > own[5]).count());
    assert_eq!(arwick.logit, own[arwick.ids[0] as usize]);
    let foil = engine.answer_ids(&sluice_core::engine::Answer::Text(" Dunholm".into())).unwrap()[0];
    let mean = (f64::from(arwick.logit) + f64::from(five.logit)) / 2.0;
    assert!((first.difference.unwrap() - (mean - f64::from(own[foil as usize]))).abs() < 1e-9);
    let with_plan = alone(&mut engine, &ids, &Plan::from_json(&plan.to_string()).unwrap());
    let next = &all[5].next[0];
    assert_eq!(next.logit, with_plan[next.id as usize]);
    let new = all[7].new_tokens.clone().unwrap();
    assert!(new.len() <= 4 && all[7].text.is_some());
    assert_eq!(new.first(), metric::top_k(&own, 1).first().map(|(id, _)| id));
    // Behind a line nothing is answered again.
    for (last, left) in [(&all[5], &[8, 9, 10][..]), (&all[6], &[9, 10])] {
        let (rest, _) = replies(&mut engine, &path, Some(last));
        assert_eq!(rest.iter().map(|reply| reply.line).collect::<Vec<_>>(), left);
    }
    // Answers of another list are not gone on with: of another line, or of more.
    for line in [json!({"line": 1, "id": "a", "tokens": [1, 2]}), json!({"line": 99, "tokens": []})] {
        let mut batch = Batch::new(Ask { list: path.clone(), ..Ask::default() }).unwrap();
        batch.go_on_behind(Written::read(&line.to_string()).unwrap());
        let error = batch.next(&mut engine, &never).unwrap_err();
        assert!(error.to_string().contains("another list"), "{error}");
    }
}
