//! Sessions on disk: what comes back, what is told of the rest, and what a kill leaves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sluice_core::checkpoint::Picture;
use sluice_core::files::There;
use sluice_core::method::trace::TRACE;
use sluice_core::method::view::LENS;
use sluice_core::method::{Asked, Findings, Method, Reached, Subject};
use sluice_core::plan::edits::toggle;
use sluice_core::plan::{Change, Part, Plan, Sublayer};
use sluice_core::session::{
    Answered, Document, History, Inquiry, Opened, Pinned, PlanCost, Reference, Session, Work, beside,
};
use sluice_core::worker::{Event, Prompt, Request, Study, Words};

use crate::support::golden;
use crate::worker::Client;

fn picture() -> Picture {
    Picture::read(&golden().join("pictures/wide.png")).unwrap()
}

fn asked(method: &'static Method) -> Asked {
    let prompt = Prompt { words: Words::Tokens(vec![1, 9, 11, 12]), image: Some(picture()) };
    let mut asked = Asked::new(method, Subject::Prompt(prompt), &Plan::default());
    if method == &TRACE {
        asked.picks.insert("corrupt".into(), vec![2, 3]);
        asked.ask.insert("seeds".into(), 2.into());
    }
    asked
}

/// A method's findings with what a session keeps of them.
fn answered(client: &Client, method: &'static Method) -> Answered {
    client.worker.send(Request::Study(Box::new(asked(method).into())));
    let mut findings: Option<Arc<Findings>> = None;
    client.until(|event| {
        match event {
            Event::Findings(_, found) if found.done => findings = Some(found),
            Event::Failed(_, _, failure) => panic!("{failure:?}"),
            Event::Reached(_, asked, reached) if reached.done => {
                return Some(Answered { asked, reached, findings: findings.clone() });
            }
            _ => {}
        }
        None
    })
}

fn json_of(findings: &Findings) -> Value {
    let mut json: Value = serde_json::from_str(&findings.json(&|_| Vec::new()).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("cost").unwrap();
    json
}

/// Two checkpoints: one that is gone, one with a picture, a plan and the findings of two methods.
fn session(client: &Client, fingerprint: &str) -> Session {
    let mut history = History::new(Document { words: "1, 9, 11, 12".into(), ..Document::default() });
    let with = Document { picture: Some(picture()), ..history.document().clone() };
    history.replace("picture: wide.png", None, with);
    history.change("FFN 1 out", None, |plan| toggle(plan, Sublayer { layer: 1, part: Part::Ffn }));
    history.change("attention 0 out", None, |plan| toggle(plan, Sublayer { layer: 0, part: Part::Attn }));
    history.undo();
    let inquiry = |method: &'static Method| Inquiry {
        picks: BTreeMap::from([("corrupt".to_owned(), vec![2])]),
        taken: history.plan().items.clone(),
        window: json!({"shown": 1}),
        found: Some(answered(client, method)),
        ..Inquiry::default()
    };
    let methods = BTreeMap::from([(TRACE.id, inquiry(&TRACE)), (LENS.id, inquiry(&LENS))]);
    let path = Some(golden().join("llava"));
    let checkpoint = Reference { path, name: "llava".into(), fingerprint: fingerprint.into() };
    let measured = PlanCost {
        text: "stories.txt".into(),
        loss: 1.5,
        difference: [0.1, -0.05, 0.25],
        kl: 0.2,
        same: 0.9,
    };
    let document = history.document().clone();
    let variants = vec![
        Pinned { cost: Some(measured), shown: false, ..Pinned::new("without FFN 1", document) },
        Pinned::new("the model", history.all()[0].document.clone()),
    ];
    let gone = Reference { path: Some("/gone".into()), name: "gone".into(), fingerprint: "0".into() };
    Session {
        works: vec![
            Work { checkpoint: gone, ..Work::default() },
            Work { checkpoint, history, variants, methods, window: json!({"layer": 1}) },
        ],
        open: 1,
        notes: "a line\nanother".into(),
        window: json!({"layout": {"panel": "lens"}}),
    }
}

/// A client on the checkpoint of the session, and the session on disk.
fn written(folder: &Path) -> (Client, Session, PathBuf) {
    let client = Client::new();
    let fingerprint = client.open("llava").fingerprint.clone();
    let session = session(&client, &fingerprint);
    let path = folder.join("work.json");
    session.write(&path, There::Keep).unwrap();
    (client, session, path)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names = sluice_core::files::names(folder).unwrap();
    names.sort();
    names
}

#[test]
fn a_session_comes_back_with_its_findings() {
    let folder = tempfile::tempdir().unwrap();
    let (client, session, path) = written(folder.path());
    let [before] = [&session.works[1]];
    let Opened { session: again, missing } = Session::read(&path).unwrap();
    assert_eq!(missing, Vec::<String>::new());
    assert_eq!((again.open, &again.notes, &again.window), (1, &session.notes, &session.window));
    let after = &again.works[1];
    assert_eq!(after.checkpoint, before.checkpoint);
    assert_eq!((after.history.at(), after.history.all().len()), (2, 4));
    for (after, before) in after.history.all().iter().zip(before.history.all()) {
        assert_eq!((&after.name, &after.document), (&before.name, &before.document));
        let names = [after, before].map(|step| step.document.picture.as_ref().map(Picture::name));
        assert_eq!(names[0], names[1]);
    }
    assert_eq!(after.variants, before.variants);
    // What steps share is shared again: the plan of the first two is one.
    let steps = after.history.all();
    assert!(Arc::ptr_eq(&steps[0].document.plan, &steps[1].document.plan));
    for (id, inquiry) in &after.methods {
        let old = &before.methods[id];
        assert_eq!((&inquiry.ask, &inquiry.picks, &inquiry.taken), (&old.ask, &old.picks, &old.taken));
        assert_eq!(inquiry.window, old.window);
        let (found, old) = (inquiry.found.as_ref().unwrap(), old.found.as_ref().unwrap());
        assert_eq!(found.asked, old.asked);
        let study = Study { asked: (*found.asked).clone(), from: Some(Arc::clone(&found.reached)) };
        client.worker.send(Request::Restore(vec![study]));
        let restored = client.until(|event| match event {
            Event::Restored(_, findings, _) => Some(findings),
            Event::Lost(_, _, failure) => panic!("{failure:?}"),
            _ => None,
        });
        assert_eq!(json_of(&restored), json_of(old.findings.as_ref().unwrap()), "{id}");
        // Beside it, for scripts.
        let text = std::fs::read(beside(&path).join(format!("{}.json", found.reached.stem))).unwrap();
        let mut json: Value = serde_json::from_slice(&text).unwrap();
        json.as_object_mut().unwrap().remove("cost").unwrap();
        assert_eq!(json, json_of(&restored));
    }
    // Saved elsewhere it stands on its own.
    let other = tempfile::tempdir().unwrap();
    let copy = other.path().join("sent.json");
    again.write(&copy, There::Keep).unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&path).unwrap());
    drop(folder);
    let Opened { missing, .. } = Session::read(&copy).unwrap();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn what_a_session_names_no_longer_goes_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut session, path) = written(folder.path());
    let files = beside(&path);
    let mine = files.join("notes.txt");
    std::fs::write(&mine, "mine").unwrap();
    let all = names(&files);
    assert_eq!(all.len(), 5, "{all:?}");
    session.works[1].methods.remove(TRACE.id);
    session.write(&path, There::Replace).unwrap();
    let left = names(&files);
    assert!(left.iter().all(|name| !name.starts_with("trace")) && left.len() == 3, "{left:?}");
    assert!(session.write(&path, There::Keep).is_err(), "never over one without being asked");
}

#[test]
fn what_can_be_read_of_a_session_is_and_the_rest_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (_, _, path) = written(folder.path());
    let text = std::fs::read_to_string(&path).unwrap();
    let read = |change: &dyn Fn(&mut Value)| {
        let mut json: Value = serde_json::from_str(&text).unwrap();
        change(&mut json);
        std::fs::write(&path, json.to_string()).unwrap();
        Session::read(&path).unwrap()
    };
    let work = |json: &mut Value| json["checkpoints"][1].take();
    let set = |json: &mut Value, change: &dyn Fn(&mut Value)| {
        let mut of = work(json);
        change(&mut of);
        json["checkpoints"][1] = of;
    };
    let one = |opened: &Opened, said: &str| {
        assert!(opened.missing.len() == 1 && opened.missing[0].contains(said), "{:?}", opened.missing);
    };
    // An item of a kind that there is not; the others of its plan stay.
    let opened = read(&|json| {
        set(json, &|work| {
            let plan = &mut work["plans"][1]["items"];
            plan.as_array_mut().unwrap().insert(0, json!({"kind": "teleport"}));
        });
    });
    one(&opened, "teleport");
    assert!(
        matches!(opened.session.works[1].history.plan().items[..], [ref item] if matches!(item.change, Change::Skip(_)))
    );
    let opened = read(&|json| set(json, &|work| work["methods"]["conjure"] = json!({})));
    one(&opened, "conjure");
    let opened = read(&|json| set(json, &|work| work["methods"]["trace"]["ask"] = json!({"seeds": "many"})));
    one(&opened, "choices of");
    assert!(opened.session.works[1].methods[TRACE.id].found.is_some());
    for name in ["../../etc/passwd", "/etc/passwd", "notes.txt", "trace.safetensors"] {
        let opened =
            read(&|json| set(json, &|work| work["methods"]["trace"]["found"]["state"] = json!(name)));
        one(&opened, "is no name of a state");
        assert!(opened.session.works[1].methods[TRACE.id].found.is_none());
        let opened = read(&|json| set(json, &|work| work["pictures"][0]["file"] = json!(name)));
        assert!(opened.missing.iter().any(|line| line.contains("is no name of a kept picture")));
    }
    let opened = read(&|json| set(json, &|work| work["steps"][3]["plan"] = json!(99)));
    one(&opened, "plans that steps name");
    let opened = read(&|json| set(json, &|work| work["at"] = json!(u32::MAX)));
    assert_eq!((opened.missing.len(), opened.session.works[1].history.at()), (0, 3));
    let opened = read(&|json| json["open"] = json!(7));
    assert!(opened.session.works.get(opened.session.open).is_none());
    // Files that are gone.
    let [picture, state] = ["picture-", "trace-"].map(|begin| {
        let of = |name: &String| name.starts_with(begin) && !name.ends_with(".json");
        beside(&path).join(names(&beside(&path)).into_iter().find(of).unwrap())
    });
    std::fs::remove_file(&state).unwrap();
    one(&read(&|_| {}), "is gone");
    std::fs::remove_file(&picture).unwrap();
    let opened = read(&|_| {});
    assert!(opened.missing.iter().any(|line| line.starts_with("picture wide.png")), "{:?}", opened.missing);
    let steps = opened.session.works[1].history.all();
    assert!(steps.len() == 4 && steps.iter().all(|step| step.document.picture.is_none()));
}

#[test]
fn what_is_no_session_is_refused_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.json");
    Session::default().write(&path, There::Keep).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!beside(&path).exists(), "no folder where there is nothing for it");
    let refused = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let error = Session::read(&path).unwrap_err();
        assert!(!error.next_step().is_empty());
        error.to_string()
    };
    let newer = text.replace("\"version\":1", "\"version\":99").replace("0.1.0", "9.0.0");
    assert!(refused(&newer).contains("is of version 99, written by Sluice 9.0.0"));
    for end in 0..text.trim_end().len() {
        assert!(refused(&text[..end]).contains("is cut short"), "{end}");
    }
    assert!(refused(r#"{"version": 1, "items": []}"#).contains("is no session"));
    assert!(refused("[]").contains("is no session"));
    assert!(refused(&format!("[{}]", "[],".repeat(4 << 20))).contains("would take"));
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(Session::read(&path).unwrap_err().to_string().contains("UTF-8"));
    assert!(Session::read(&folder.path().join("none.json")).is_err());
}

/// A checkpoint with other weights: its findings are not brought back as if they were of these.
#[test]
fn findings_of_another_checkpoint_stay_away() {
    let folder = tempfile::tempdir().unwrap();
    let (_, _, path) = written(folder.path());
    let client = Client::new();
    client.open("llama");
    let opened = Session::read(&path).unwrap();
    let found = opened.session.works[1].methods[TRACE.id].found.clone().unwrap();
    let mut asked = (*found.asked).clone();
    asked.subject = Subject::Prompt(Words::Tokens(vec![1, 9, 11, 12]).into());
    client.worker.send(Request::Restore(vec![Study { asked, from: Some(Arc::clone(&found.reached)) }]));
    let failure = client.until(|event| match event {
        Event::Lost(_, method, failure) => Some((method, failure)),
        Event::Restored(..) => panic!("they are another's"),
        _ => None,
    });
    assert!(failure.0 == TRACE.id && failure.1.cause.contains("another question"), "{failure:?}");
    let gone = Reached::written(found.reached.stem.clone(), true, folder.path(), Some("gone"));
    let study = Study { asked: (*found.asked).clone(), from: Some(Arc::new(gone)) };
    client.worker.send(Request::Restore(vec![study]));
    client.until(|event| matches!(event, Event::Lost(..)).then_some(()));
}

/// Findings that nobody brought back move with their session; what can be read no longer takes nothing else with it.
#[test]
fn a_session_moves_whole_and_a_state_that_is_gone_alone_is_left_out() {
    let [folder, other, third] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (_, _, path) = written(folder.path());
    let Opened { session, missing } = Session::read(&path).unwrap();
    assert!(
        missing.is_empty() && session.works[1].methods[TRACE.id].found.as_ref().unwrap().findings.is_none()
    );
    let to = other.path().join("moved.json");
    session.write(&to, There::Keep).unwrap();
    assert_eq!(names(&beside(&to)), names(&beside(&path)));
    for name in names(&beside(&path)).iter().filter(|name| name.ends_with("json")) {
        let read = |path: &Path| std::fs::read(beside(path).join(name)).unwrap();
        assert_eq!(read(&path), read(&to));
    }
    let session = Session::read(&to).unwrap().session;
    std::fs::remove_dir_all(beside(&to)).unwrap();
    let last = third.path().join("last.json");
    session.write(&last, There::Keep).unwrap();
    let Opened { session, missing } = Session::read(&last).unwrap();
    assert_eq!(missing, Vec::<String>::new());
    let work = &session.works[1];
    assert!(work.methods[TRACE.id].found.is_none() && work.history.all().len() == 4);
}

/// As many steps as a history holds are read again.
#[test]
fn a_year_of_steps_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.json");
    let mut history = History::new(Document { words: "1, 2".into(), ..Document::default() });
    for step in 0..200_000 {
        let words = if step % 2 == 0 { "1, 2, 3" } else { "1, 2" };
        history.replace("typed", None, Document { words: words.into(), ..Document::default() });
    }
    let steps = history.all().len();
    assert!(steps > 100_000, "{steps}");
    let works = vec![Work { history, ..Work::default() }];
    Session { works, ..Session::default() }.write(&path, There::Keep).unwrap();
    let Opened { session, missing } = Session::read(&path).unwrap();
    assert_eq!((session.works[0].history.all().len(), missing), (steps, Vec::new()));
}

/// The first form of the file, before variants: whatever is added, old sessions open.
#[test]
fn a_session_of_the_first_form_opens() {
    let Opened { session, missing } = Session::read(&golden().join("session-1.json")).unwrap();
    assert_eq!(missing, Vec::<String>::new());
    let work = &session.works[session.open];
    assert_eq!((work.checkpoint.name.as_str(), session.notes.as_str()), ("bundled", "the first form"));
    assert_eq!((work.history.at(), &*work.history.document().words), (2, "Moren lives in"));
    assert!(matches!(work.history.plan().items[0].change, Change::Skip(_)));
    let trace = &work.methods[TRACE.id];
    assert_eq!((trace.picks["corrupt"].as_slice(), &trace.ask["seeds"]), (&[3, 4][..], &json!(3)));
    assert!(work.variants.is_empty() && trace.found.is_none());
    // Written again it has today's form and reads the same.
    let folder = tempfile::tempdir().unwrap();
    session.write(&folder.path().join("now.json"), There::Keep).unwrap();
    let again = Session::read(&folder.path().join("now.json")).unwrap().session;
    assert_eq!(again.works[0].history.all().len(), 3);
}
