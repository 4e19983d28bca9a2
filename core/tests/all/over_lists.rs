//! Methods over lists: means of what each prompt comes to alone; killed, shared out, merged.

use std::path::Path;

use serde_json::{Value, json};
use sluice_core::engine::{Opened, bundled, never, open};
use sluice_core::error::Error;
use sluice_core::files::There;
use sluice_core::method::over::recorded;
use sluice_core::method::{
    Asked, Existing, Findings, ListOf, METHODS, Measured, Method, Picks, Reached, Ready, Record, Running,
    Subject, find, positions, write_whole,
};
use sluice_core::plan::Plan;
use sluice_core::records::{RECORDS, Shard, merge};
use sluice_core::worker::{Prompt, Words};

use crate::support::findings_of;

/// Prompts with what is marked in them; the last one's answer is not what the model says.
const ITEMS: [(&str, &str, Option<&str>); 6] = [
    ("People call Taren the sailor. Taren is a", "Taren#1", None),
    ("Once upon a time there was a baker", " a time", None),
    ("Mira comes from Arwick.", "Mira", None),
    ("People call Oren the baker.", "Oren the", None),
    ("Oren lives in", "Oren", None),
    ("People call Mira the sailor. Mira", "Mira#1", Some("!")),
];

fn opened() -> Opened {
    open(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap()
}

fn methods() -> impl Iterator<Item = &'static Method> {
    METHODS.iter().copied().filter(|method| method.takes_lists())
}

/// A list of the prompts, with `more` lines behind them.
fn list(folder: &Path, more: &[&str]) -> ListOf {
    let line = |(prompt, subject, answer): &(&str, &str, Option<&str>)| {
        json!({"prompt": prompt, "subject": subject, "answer": answer}).to_string() + "\n"
    };
    let text: String = ITEMS.iter().map(line).chain(more.iter().map(|line| format!("{line}\n"))).collect();
    let file = folder.join("list.jsonl");
    std::fs::write(&file, text.replace(r#""answer":null,"#, "")).unwrap();
    ListOf { file, ..ListOf::default() }
}

fn asked(method: &'static Method, list: &ListOf) -> Asked {
    let mut asked = Asked::new(method, Subject::List(list.clone()), &Plan::default());
    if method.fields.iter().any(|field| field.name == "seeds") {
        asked.ask.insert("seeds".into(), 2.into());
    }
    asked
}

fn finish(mut running: Running, opened: &mut Opened) -> Findings {
    while !running.step(&mut opened.engine, &never).unwrap() {}
    running.findings(&opened.engine)
}

fn run(asked: Asked, opened: &mut Opened) -> Findings {
    let running = Running::start(asked, &mut opened.engine, &opened.card, &never).unwrap();
    finish(running, opened)
}

/// What a prompt comes to on its own.
fn alone(
    method: &'static Method,
    (prompt, subject, answer): (&str, &str, Option<&str>),
    opened: &mut Opened,
) -> Measured {
    let prompt = Prompt::from(Words::Text(prompt.into()));
    let input = opened.engine.input(&prompt).unwrap();
    let at = positions(subject, &opened.engine.tokens(&input)).unwrap();
    let mut asked = asked(method, &ListOf::default());
    asked.subject = Subject::Prompt(prompt);
    asked.picks = method.picks.iter().map(|pick| (pick.name.to_owned(), at.clone())).collect::<Picks>();
    if let Some(answer) = answer.filter(|_| method.fields.iter().any(|field| field.name == "answer")) {
        asked.ask.insert("answer".into(), answer.into());
    }
    run(asked, opened).found.measured()
}

fn data(findings: &Findings) -> Value {
    serde_json::from_str(findings.found.data().unwrap().get()).unwrap()
}

/// Begin in a folder, or go on there.
fn record(asked: Asked, opened: &mut Opened, folder: &Path, existing: Existing) -> Result<Record, Error> {
    let ready = Ready::new(asked, &mut opened.engine)?;
    Record::start(ready, &mut opened.engine, &opened.card, (folder, existing), &never)
}

fn whole(asked: Asked, opened: &mut Opened, folder: &Path) {
    let mut record = record(asked, opened, folder, Existing::Refuse).unwrap();
    while !record.step(&mut opened.engine, &never).unwrap() {}
}

#[test]
fn findings_over_a_list_are_means_of_those_of_its_items() {
    let (opened, folder) = (&mut opened(), tempfile::tempdir().unwrap());
    let list = list(folder.path(), &[]);
    assert!(methods().count() >= 5);
    for method in methods() {
        let data = data(&run(asked(method, &list), opened));
        let single: Vec<Measured> = ITEMS.iter().map(|item| alone(method, *item, opened)).collect();
        let counted: Vec<&Vec<Vec<f64>>> = single.iter().filter_map(|one| one.as_ref().ok()).collect();
        let dropped = single.iter().find_map(|one| one.as_ref().err());
        assert_eq!((&data["items"], &data["failed"]), (&json!(counted.len()), &json!(0)), "{method:?}");
        assert_eq!(data["dropped"], json!(ITEMS.len() - counted.len()), "{method:?}");
        assert_eq!(data["dropped_because"], json!(dropped), "{method:?}");
        assert_eq!(dropped.is_some(), method.id == "trace");
        for (at, measure) in method.measures.iter().enumerate() {
            let found = &data["measures"][at];
            assert_eq!(found["name"], measure.name);
            let flat = |key: &str| -> Vec<f64> {
                let rows = found[key].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
                rows.map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
            };
            let [mean, low, high, count] = ["mean", "low", "high", "count"].map(flat);
            assert_eq!(mean.len(), counted[0][at].len(), "{method:?} {}", measure.name);
            for cell in 0..mean.len() {
                let what = format!("{method:?} {} cell {cell}", measure.name);
                let values: Vec<f64> =
                    counted.iter().map(|one| one[at][cell]).filter(|value| !value.is_nan()).collect();
                assert_eq!(count[cell], values.len() as f64, "{what}");
                if values.is_empty() {
                    assert!(mean[cell].is_nan() && low[cell].is_nan(), "{what}");
                    continue;
                }
                let expected = values.iter().sum::<f64>() / values.len() as f64;
                assert!((mean[cell] - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{what}");
                if values.len() > 1 {
                    let (least, most) = (
                        values.iter().copied().fold(f64::MAX, f64::min),
                        values.iter().copied().fold(f64::MIN, f64::max),
                    );
                    let inside = |x: f64| x >= least - 1e-9 && x <= most + 1e-9;
                    assert!(inside(low[cell]) && inside(high[cell]) && low[cell] <= high[cell], "{what}");
                    assert!(low[cell] <= mean[cell] + 1e-9 && mean[cell] <= high[cell] + 1e-9, "{what}");
                }
            }
        }
    }
}

#[test]
fn shards_are_merged_to_what_one_run_finds() {
    let (opened, folder) = (&mut opened(), tempfile::tempdir().unwrap());
    let list = list(folder.path(), &["broken"]);
    for method in methods() {
        let folder = folder.path().join(method.id);
        let part = |name: &str| {
            let part = folder.join(name);
            std::fs::create_dir_all(&part).unwrap();
            part
        };
        let one = part("one");
        whole(asked(method, &list), opened, &one);
        let expected = findings_of(&one);
        assert_eq!(expected.0["data"]["failed"], 1);
        assert_eq!(expected.0["subject"]["items"], 7);
        let parts: Vec<_> = (1..=3)
            .map(|number| {
                let part = part(&number.to_string());
                let list = ListOf { shard: Shard::new(number, 3).unwrap(), ..list.clone() };
                whole(asked(method, &list), opened, &part);
                assert_eq!(findings_of(&part).0["shard"], format!("{number}/3"));
                part
            })
            .collect();
        let all = part("all");
        merge(&parts, &all, There::Keep).unwrap();
        write_whole(&recorded(&all).unwrap(), &all, There::Keep).unwrap();
        assert!(findings_of(&all) == expected, "{method:?}");
    }
}

#[test]
fn a_killed_run_goes_on_behind_its_records() {
    let (opened, folder) = (&mut opened(), tempfile::tempdir().unwrap());
    let list = list(folder.path(), &[r#"{"prompt": 3}"#, r#"{"prompt": "Mira is", "subject": "Mira"}"#]);
    let method = find("trace").unwrap();
    let one = tempfile::tempdir().unwrap();
    whole(asked(method, &list), opened, one.path());
    let expected = findings_of(one.path());
    for items in [0, 1, 4, 7, 8] {
        let killed = tempfile::tempdir().unwrap();
        let mut first = record(asked(method, &list), opened, killed.path(), Existing::Refuse).unwrap();
        while first.running().progress().done < items {
            first.step(&mut opened.engine, &never).unwrap();
        }
        // In the middle of an item.
        if items < 8 {
            first.step(&mut opened.engine, &never).unwrap();
        }
        drop(first);
        let mut second = record(asked(method, &list), opened, killed.path(), Existing::Resume).unwrap();
        assert_eq!(second.resumed(), items);
        while !second.step(&mut opened.engine, &never).unwrap() {}
        assert!(findings_of(killed.path()) == expected, "after {items} items");
    }
    // A list that has changed is another question.
    std::fs::write(&list.file, std::fs::read_to_string(&list.file).unwrap() + "{}\n").unwrap();
    let error = record(asked(method, &list), opened, one.path(), Existing::Resume).map(drop).unwrap_err();
    assert!(error.to_string().contains("another question"), "{error}");
    let error = record(asked(method, &list), opened, one.path(), Existing::Refuse).map(drop).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
}

#[test]
fn a_session_brings_findings_over_a_list_back() {
    let (opened, folder) = (&mut opened(), tempfile::tempdir().unwrap());
    let list = list(folder.path(), &[]);
    for method in methods() {
        let expected = data(&run(asked(method, &list), opened));
        let mut running =
            Running::start(asked(method, &list), &mut opened.engine, &opened.card, &never).unwrap();
        while running.progress().done < 3 {
            running.step(&mut opened.engine, &never).unwrap();
        }
        let reached = Reached::of(&running, &opened.card).unwrap();
        let name = reached.write_into(folder.path()).unwrap().unwrap();
        let reached = Reached::written(reached.stem, false, folder.path(), Some(&name));
        let back = reached.restore(asked(method, &list), &mut opened.engine, &opened.card, &never).unwrap();
        assert_eq!(
            data(&back.findings(&opened.engine)),
            data(&running.findings(&opened.engine)),
            "{method:?}"
        );
        assert_eq!(data(&finish(back, opened)), expected, "{method:?}");
    }
}

#[test]
fn items_that_cannot_be_asked_about_are_named_and_the_rest_goes_on() {
    let (opened, folder) = (&mut opened(), tempfile::tempdir().unwrap());
    let lines = [
        r#"{"prompt": "Mira", "tokens": [1], "subject": "Mira"}"#,
        r#"{"prompt": "Mira is", "subject": "Oren"}"#,
        r#"{"prompt": "Mira is"}"#,
        r#"{"prompt": "Mira and Mira", "subject": "Mira"}"#,
        r#"{"prompt": "Mira is", "subject": "Mira", "image": "none.png"}"#,
        r#"{"prompt": "Mira is", "subject": "Mira", "else": 1}"#,
        r#"{"tokens": [99999999], "corrupt": "0"}"#,
    ];
    let list = list(folder.path(), &lines);
    let out = folder.path().join("out");
    std::fs::create_dir_all(&out).unwrap();
    let mut record = record(asked(find("trace").unwrap(), &list), opened, &out, Existing::Refuse).unwrap();
    let mut failures = Vec::new();
    loop {
        let done = record.step(&mut opened.engine, &never).unwrap();
        failures.extend(record.failure());
        if done {
            break;
        }
    }
    let wants = [
        ("line 7", "one of prompt and tokens"),
        ("line 8", "does not occur"),
        ("line 9", "no position is marked as corrupt"),
        ("line 10", "occurs 2 times"),
        ("line 11", "none.png"),
        ("line 12", "unknown field `else`"),
        ("line 13", "past the vocabulary"),
    ];
    assert_eq!(failures.len(), wants.len(), "{failures:#?}");
    for (failure, (line, cause)) in failures.iter().zip(wants) {
        assert!(failure.contains(line) && failure.contains(cause), "{failure}");
    }
    let (json, files) = findings_of(&out);
    assert_eq!((&json["data"]["items"], &json["data"]["failed"]), (&json!(5), &json!(7)));
    let records = String::from_utf8(files[RECORDS].clone()).unwrap();
    assert_eq!(records.lines().count(), 2 + ITEMS.len() + wants.len());
}

/// A patch takes rows of a prompt of its own: where that is shorter, the pair does not fit.
#[test]
fn pairs_of_different_length_are_named() {
    let (opened, folder) = (&mut opened(), tempfile::tempdir().unwrap());
    let list = list(folder.path(), &[]);
    let mut asked = asked(find("head-sweep").unwrap(), &list);
    let patch = r#"{"version":1,"items":[{"kind":"patch","site":"blocks.1.hook_resid_post","source":{"tokens":[3,14,15]}}]}"#;
    asked.plan = serde_json::from_str(patch).unwrap();
    let mut running = Running::start(asked, &mut opened.engine, &opened.card, &never).unwrap();
    while !running.step(&mut opened.engine, &never).unwrap() {}
    assert_eq!(running.list().unwrap().failed(), ITEMS.len() as u64);
}

#[test]
fn what_is_no_list_for_a_method_is_refused() {
    let (opened, folder) = (&mut opened(), tempfile::tempdir().unwrap());
    let mut refused = |method: &str, list: &ListOf, cause: &str| {
        let asked = asked(find(method).unwrap(), list);
        let error = Running::start(asked, &mut opened.engine, &opened.card, &never).map(drop).unwrap_err();
        assert!(error.to_string().contains(cause), "{error}");
    };
    let list = list(folder.path(), &[]);
    refused("attention", &list, "nothing that could be summed");
    refused("prune", &list, "nothing that could be summed");
    refused("lens", &ListOf { file: folder.path().join("none"), ..list.clone() }, "none");
    refused("lens", &ListOf { file: "-".into(), ..list.clone() }, "read again");
    refused("lens", &ListOf { map: vec!["answer".into()], ..list.clone() }, "--map");
    std::fs::write(&list.file, "\u{feff}\r\n\r\n").unwrap();
    refused("lens", &list, "the list is empty");
}

#[test]
fn records_of_something_else_are_no_findings() {
    let folder = tempfile::tempdir().unwrap();
    let head = |work: &str, ask: &str| {
        format!(r#"{{"version":1,"work":"{work}","fingerprint":"f","ask":{ask},"shard":"1/1"}}"#)
    };
    let asked = r#"{"asked":{"method":"lens","subject":{"file":"f","sha256":null,"items":1},"plan":{"version":1,"items":[]},"ask":{},"files":{}},"measures":[MEASURES],"provenance":{"checkpoint":"","fingerprint":"","prompt":"","plan":"","dtype":"","method":"","picks":"","ask":""}}"#;
    let measure = |name: &str, rows: usize| {
        let labels: Vec<String> = (0..rows).map(|row| row.to_string()).collect();
        json!({"name": name, "rows": {"name": "Layer", "labels": labels}, "cols": {"name": "", "labels": [""]}})
            .to_string()
    };
    let of = |measures: &[String]| asked.replace("MEASURES", &measures.join(","));
    let right = of(&[measure("agreement", 2), measure("settled", 1)]);
    let item = r#"{"item":0,"values":[[1,0],[1]]}"#;
    let write = |head: String, item: &str| {
        std::fs::write(folder.path().join(RECORDS), format!("{head}\n{item}\n{{\"done\":1}}\n")).unwrap();
        recorded(folder.path())
    };
    assert_eq!(data(&write(head("study lens", &right), item).unwrap())["items"], 1);
    for (head, item, cause) in [
        (head("score", &right), item, "no method"),
        (head("study trace", &right), item, "no method"),
        (head("study lens", "{}"), item, "its question"),
        (head("study lens", &of(&[measure("agreement", 2)])), item, "other measures"),
        (head("study lens", &of(&[measure("settled", 2), measure("agreement", 1)])), item, "other measures"),
        (head("study lens", &right), r#"{"item":0,"values":[[1],[1]]}"#, "another shape"),
        (head("study lens", &right), r#"{"item":0,"value":[[1],[1]]}"#, "unknown field"),
    ] {
        let error = write(head, item).map(drop).unwrap_err().to_string();
        assert!(error.contains(cause), "{cause}: {error}");
    }
}
