//! Runs that are written to a folder: killed, gone on with, refused, written over.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use sluice_core::engine::{Engine, never};
use sluice_core::error::Error;
use sluice_core::figure::csv;
use sluice_core::method::{Asked, Existing, FINDINGS, METHODS, Reached, Running, STATE, Subject};
use sluice_core::plan::Plan;
use sluice_core::rng;
use sluice_core::worker::{Prompt, Words};

use crate::methods::{Bench, each};
use crate::support::findings_of;

/// Stopped where `kill -9` may stop it: after the first piece that was done, in the middle, before the last, and within one.
#[test]
fn a_killed_run_goes_on_and_finds_the_same() {
    let mut case = 0;
    each(|what, bench, asked| {
        let folder = tempfile::tempdir().unwrap();
        let (mut pieces, mut steps) = (1, 0);
        let record = &mut bench.record(&asked, folder.path(), Existing::Refuse).unwrap();
        loop {
            let before = record.running().progress();
            steps += 1;
            if record.step(&mut bench.opened.engine, &never).unwrap() {
                break;
            }
            pieces += usize::from(record.running().progress() != before);
        }
        let expected = findings_of(folder.path());
        assert!(expected.0["done"] == true && !expected.1.contains_key(STATE), "{what}");
        case += 1;
        let within = rng::bits(7, 0, case) as usize % steps;
        let stops = BTreeSet::from([1, pieces / 2, pieces - 1]);
        let stops = stops.into_iter().filter(|stop| (1..pieces).contains(stop)).map(|pieces| (pieces, 0));
        for (pieces, steps) in stops.chain([(0, within)]) {
            let what = format!("{what}, stopped after {pieces} pieces and {steps} steps");
            let folder = tempfile::tempdir().unwrap();
            let mut record = bench.record(&asked, folder.path(), Existing::Refuse).unwrap();
            let mut ended = (0..pieces).any(|_| bench.advance(&mut record));
            ended |= (0..steps).any(|_| record.step(&mut bench.opened.engine, &never).unwrap());
            assert!(!ended, "{what}");
            record.save(&bench.opened.engine).unwrap();
            let keeps = !record.running().state().unwrap().is_empty();
            drop(record);
            if keeps {
                let (partial, files) = findings_of(folder.path());
                assert!(partial["done"] == false && files.contains_key(STATE), "{what}");
            } else {
                assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{what}");
            }
            let mut record = bench.record(&asked, folder.path(), Existing::Resume).unwrap();
            while !record.step(&mut bench.opened.engine, &never).unwrap() {}
            let (json, files) = findings_of(folder.path());
            assert_eq!(json, expected.0, "{what}");
            assert!(files.keys().eq(expected.1.keys()), "{what}: {:?}", files.keys());
            assert!(files == expected.1, "{what}: files differ");
        }
    });
}

#[test]
fn another_question_is_not_resumed() {
    let bench = &mut Bench::new("llama");
    let asked = bench.sample("trace", "{}").unwrap();
    let with = |change: &dyn Fn(&mut Asked)| {
        let mut asked = asked.clone();
        change(&mut asked);
        asked
    };
    let scale = r#"{"version":1,"items":[{"kind":"scale","site":"blocks.1.hook_mlp_out","factor":0.5}]}"#;
    let others = [
        ("ask.seed was 0, is 1", with(&|asked| drop(asked.ask.insert("seed".into(), 1.into())))),
        ("picks.corrupt", with(&|asked| asked.picks.get_mut("corrupt").unwrap().push(7))),
        ("plan.items", with(&|asked| asked.plan = Plan::from_json(scale).unwrap())),
        (
            "subject.texts",
            with(&|asked| {
                asked.subject = Subject::Prompt(Prompt::from(Words::Tokens(vec![1, 2, 3, 4, 5, 6, 7])));
            }),
        ),
        ("method was \"trace\", is \"leave-one-out\"", bench.sample("leave-one-out", "{}").unwrap()),
    ];
    let folder = tempfile::tempdir().unwrap();
    let record = &mut bench.record(&asked, folder.path(), Existing::Refuse).unwrap();
    assert!(!bench.advance(record));
    record.save(&bench.opened.engine).unwrap();
    // While there is something to go on from, and when only what was found is there.
    for ended in [false, true] {
        let before = findings_of(folder.path());
        let refused = bench.record(&asked, folder.path(), Existing::Refuse).err();
        assert!(matches!(refused, Some(Error::Exists { .. })), "{refused:?}");
        for (difference, other) in &others {
            let refused = bench.record(other, folder.path(), Existing::Resume).err().unwrap().to_string();
            assert!(refused.contains("another question"), "{refused}");
            assert!(refused.contains(difference), "{difference}: {refused}");
        }
        assert!(findings_of(folder.path()) == before, "what is there stays");
        if !ended {
            while !record.step(&mut bench.opened.engine, &never).unwrap() {}
        }
    }
    let (_, other) = &others[0];
    let mut record = bench.record(other, folder.path(), Existing::Overwrite).unwrap();
    while !record.step(&mut bench.opened.engine, &never).unwrap() {}
    assert_eq!(findings_of(folder.path()).0["ask"]["seed"], 1);
}

/// A text is known by its content.
#[test]
fn another_text_of_the_same_name_is_not_resumed() {
    let bench = &mut Bench::new("llama");
    let asked = bench.sample("prune", "{}").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut record = bench.record(&asked, folder.path(), Existing::Refuse).unwrap();
    record.save(&bench.opened.engine).unwrap();
    std::fs::write(bench.text(), "1 2 3 ".repeat(99)).unwrap();
    let refused = bench.record(&asked, folder.path(), Existing::Resume).err().unwrap().to_string();
    assert!(refused.contains("subject.sha256"), "{refused}");
}

/// A plan's source, a trace's noise and a route's sample are known by their content; a file of an item that is off is not
/// read.
#[test]
fn a_side_file_that_changed_is_not_gone_on_with() {
    let bench = &mut Bench::new("llama");
    let folder = tempfile::tempdir().unwrap();
    let (source, sample) = (folder.path().join("side.safetensors"), folder.path().join("sample.txt"));
    let asked = bench.sample("trace", "{}").unwrap();
    let Subject::Prompt(prompt) = &asked.subject else { panic!("a trace is about a prompt") };
    let len = bench.opened.engine.input(prompt).unwrap().len();
    let d = bench.opened.card.spec.d_model;
    let fill = |value: f32| {
        let vector = Tensor::full(value, d, &Device::Cpu).unwrap();
        let noise = Tensor::full(value, (1, len, d), &Device::Cpu).unwrap();
        let tensors = HashMap::from([("v", vector), ("noise", noise)]);
        candle_core::safetensors::save(&tensors, &source).unwrap();
        std::fs::write(&sample, format!("text {value}")).unwrap();
    };
    let item = |text: Value| Plan { items: vec![serde_json::from_value(text).unwrap()], ..Plan::default() };
    let added = json!({"file": {"path": source, "tensor": "v"}});
    let add = item(json!({"kind": "add", "site": "blocks.0.hook_resid_post", "source": added}));
    let route =
        item(json!({"kind": "route", "layers": [{"layer": 0, "tokens": ["small"]}], "sample": sample}));
    let missing = json!({"file": {"path": "nowhere", "tensor": "v"}});
    let off = item(json!({"kind": "add", "site": "hook_embed", "source": missing, "on": false}));
    let with = |plan: &Plan| Asked { plan: plan.clone(), ..asked.clone() };
    let mut noisy = asked.clone();
    noisy.ask.insert("noise".into(), json!(source));
    for (name, asked, names) in [
        ("add", with(&add), true),
        ("route", with(&route), true),
        ("noise", noisy, true),
        ("off", with(&off), false),
    ] {
        fill(0.5);
        let folder = tempfile::tempdir().unwrap();
        let mut record = bench.record(&asked, folder.path(), Existing::Refuse).unwrap();
        assert!(!bench.advance(&mut record), "{name}");
        record.save(&bench.opened.engine).unwrap();
        let (findings, _) = findings_of(folder.path());
        let files = findings["files"].as_object().unwrap();
        assert_eq!(files.len(), usize::from(names), "{name}: {files:?}");
        assert!(files.values().all(|hash| hash.as_str().unwrap().len() == 64), "{name}");
        assert!(bench.record(&asked, folder.path(), Existing::Resume).is_ok(), "{name}");
        fill(0.25);
        let again = bench.record(&asked, folder.path(), Existing::Resume);
        match again.err() {
            Some(error) => {
                assert!(names && error.to_string().contains("another question: files."), "{name}: {error}");
                assert!(error.next_step().contains("--overwrite"), "{name}");
            }
            None => assert!(!names, "{name} goes on with another file"),
        }
    }
}

/// A question that the model refuses leaves nothing that would stand in the way of the right one.
#[test]
fn a_refused_question_leaves_nothing_behind() {
    let bench = &mut Bench::new("llama");
    let broken = r#"{"version":1,"items":[{"kind":"ablate","site":"ln_final.hook_scale"}]}"#;
    for method in METHODS.iter().filter(|method| method.takes_plans()) {
        let Ok(mut asked) = bench.sample(method.id, "{}") else { continue };
        let folder = tempfile::tempdir().unwrap();
        asked.plan = Plan::from_json(broken).unwrap();
        let refused = bench.record(&asked, folder.path(), Existing::Refuse).and_then(|mut record| {
            while !record.step(&mut bench.opened.engine, &never)? {}
            Ok(())
        });
        assert!(matches!(refused, Err(Error::NotFinite { .. })), "{}: {refused:?}", method.id);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{}", method.id);
        asked.plan = Plan::default();
        let right = bench.record(&asked, folder.path(), Existing::Refuse);
        assert!(right.is_ok(), "{}: {:?}", method.id, right.err());
    }
}

/// Writing over takes the figures of the earlier study away, and nothing else, once there is something new.
#[test]
fn a_study_that_is_written_over_leaves_no_figures_behind() {
    let bench = &mut Bench::new("llama");
    let finish = |bench: &mut Bench, asked: &Asked, folder: &Path, existing| {
        let mut record = bench.record(asked, folder, existing)?;
        while !record.step(&mut bench.opened.engine, &never)? {}
        Ok::<(), Error>(())
    };
    let (trace, lens) = (bench.sample("trace", "{}").unwrap(), bench.sample("lens", "{}").unwrap());
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("kept.svg");
    let inside = folder.path().join("found");
    finish(bench, &trace, &inside, Existing::Refuse).unwrap();
    std::fs::write(&outside, "another's").unwrap();
    std::fs::write(inside.join("notes.md"), "a person's").unwrap();
    // Findings may name what is none of theirs.
    let path = inside.join(FINDINGS);
    let mut findings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let listed = findings["figures"][0]["files"].as_array_mut().unwrap();
    listed.extend([json!("../kept.svg"), json!("notes.md"), json!("missing.png")]);
    std::fs::write(&path, findings.to_string()).unwrap();
    let before = findings_of(&inside);
    assert!(before.1.keys().any(|name| name.starts_with("trace")));
    // A question that fails before anything is found costs nothing.
    let broken = r#"{"version":1,"items":[{"kind":"ablate","site":"ln_final.hook_scale"}]}"#;
    let failing = Asked { plan: Plan::from_json(broken).unwrap(), ..lens.clone() };
    assert!(finish(bench, &failing, &inside, Existing::Overwrite).is_err());
    assert!(findings_of(&inside) == before);
    finish(bench, &lens, &inside, Existing::Overwrite).unwrap();
    let (findings, files) = findings_of(&inside);
    assert_eq!(findings["method"], "lens");
    assert!(!files.keys().any(|name| name.starts_with("trace")), "{:?}", files.keys());
    assert!(files.contains_key("notes.md") && outside.exists());
}

/// What an earlier run left and cannot be read is named, with what helps.
#[test]
fn a_torn_state_says_that_one_can_begin_anew() {
    let bench = &mut Bench::new("llama");
    let asked = bench.sample("trace", "{}").unwrap();
    for name in [STATE, FINDINGS] {
        let folder = tempfile::tempdir().unwrap();
        let mut record = bench.record(&asked, folder.path(), Existing::Refuse).unwrap();
        assert!(!bench.advance(&mut record));
        record.save(&bench.opened.engine).unwrap();
        if name == FINDINGS {
            while !record.step(&mut bench.opened.engine, &never).unwrap() {}
        }
        let path = folder.path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes.get(..bytes.len() / 3).unwrap()).unwrap();
        let error = bench.record(&asked, folder.path(), Existing::Resume).err().unwrap();
        assert!(error.to_string().contains(name) && error.next_step().contains("--overwrite"), "{error}");
    }
}

/// How a session brings findings back: a run that is done goes on from its own state, with little or nothing left to do.
#[test]
fn a_run_that_is_done_comes_back_from_its_state() {
    each(|what, bench, asked| {
        let engine = &mut bench.opened.engine;
        let card = &bench.opened.card;
        let found = |run: &Running, engine: &Engine| {
            let mut json: Value =
                serde_json::from_str(&run.findings(engine).json(&|_| Vec::new()).unwrap()).unwrap();
            json.as_object_mut().unwrap().remove("cost").unwrap();
            let figures = run.findings(engine).found.figures();
            (json.to_string(), figures.iter().map(|figure| csv::to_csv(figure)).collect::<Vec<_>>())
        };
        let mut run = Running::start(asked.clone(), engine, card, &never).unwrap();
        while !run.step(engine, &never).unwrap() {}
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE);
        let question = run.question(card).unwrap();
        run.state().unwrap().write(&path, &question).unwrap();
        let mut again = Reached::written(String::new(), true, folder.path(), Some(STATE))
            .restore(asked, engine, card, &never)
            .unwrap();
        let mut left = 0;
        while !again.is_done() {
            again.step(engine, &never).unwrap();
            left += 1;
        }
        println!("{what}: {left} pieces left");
        assert_eq!(found(&again, engine), found(&run, engine), "{what}");
    });
}
