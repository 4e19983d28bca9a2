//! Studies of lists: on the command line shared out, merged, killed and gone on with; in the window in place of the prompt.

use std::fs;
use std::path::Path;

use eframe::egui::{Key, Role};
use egui_kittest::kittest::Queryable as _;
use serde_json::{Value, json};
use sluice::command::Command;
use sluice_core::figure::Plot;
use sluice_core::method::head_sweep::HEAD_SWEEP;
use sluice_core::method::{METHODS, Subject};
use sluice_core::plan::{Part, Sublayer};

use crate::browser::wait;
use crate::support::{Window, json, killed, sluice, text};

const SKIP: &str = r#"{"version": 1, "items": [{"kind": "skip", "layer": 2, "part": "ffn"}]}"#;

/// A folder with a plan and a list of so many items in somebody else's words.
fn folder(items: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plan.json"), SKIP).unwrap();
    let names = ["Taren", "Mira", "Oren"];
    let line = |at: usize| {
        let name = names[at % 3];
        json!({"case": at, "text": format!("{name} comes from Arwick, and number {at}"), "who": format!("{name} comes")})
    };
    let list: String = (0..items).map(|at| format!("{}\n", line(at))).collect();
    fs::write(folder.path().join("list.jsonl"), list).unwrap();
    folder
}

/// What asks about the list.
const LIST: [&str; 8] =
    ["--list", "list.jsonl", "--map", "prompt=text", "--map", "subject=who", "--map", "id=case"];

/// findings.json of a folder less what they cost.
fn findings(folder: &Path, name: &str) -> Value {
    let bytes = fs::read(folder.join(name).join("findings.json")).unwrap();
    let mut findings: Value = serde_json::from_slice(&bytes).unwrap();
    findings.as_object_mut().unwrap().remove("cost").unwrap();
    findings
}

fn records(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name).join("records.jsonl")).unwrap()
}

/// Fails with a code and says so.
fn refused(folder: &Path, arguments: &[&str], code: i32, says: &str) {
    let output = sluice(folder, arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(says), "{arguments:?}: {said}");
}

#[test]
fn shards_come_to_what_one_run_finds() {
    let folder = folder(12);
    let folder = folder.path();
    let study = ["study", "trace", "--seeds", "1", "--plan", "plan.json"];
    let study = [&study[..], &LIST[..]].concat();
    let one = json(&sluice(folder, &[&study[..], &["--out", "one", "--json"]].concat()));
    assert_eq!(
        (&one["subject"]["items"], &one["data"]["failed"], &one["done"]),
        (&json!(12), &json!(0), &json!(true))
    );
    assert_eq!(one["subject"]["map"], json!(["prompt=text", "subject=who", "id=case"]));
    assert!(records(folder, "one").contains(r#""item":7,"id":7,"#));
    for shard in ["1/3", "2/3", "3/3"] {
        json(&sluice(folder, &[&study[..], &["--json", "--shard", shard, "--out", &shard[..1]]].concat()));
    }
    let merged = json(&sluice(folder, &["merge", "2", "3", "1", "--out", "all", "--json"]));
    assert_eq!(merged["data"], one["data"]);
    assert_eq!(findings(folder, "all"), findings(folder, "one"));
    assert_eq!(records(folder, "all"), records(folder, "one"));
    for figure in one["figures"].as_array().unwrap() {
        for name in figure["files"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            assert_eq!(
                fs::read(folder.join("all").join(name)).unwrap(),
                fs::read(folder.join("one").join(name)).unwrap()
            );
        }
    }
    refused(folder, &["merge", "1", "2", "--out", "two"], 1, "3/3 is missing");
    refused(folder, &["merge", "1", "2", "3", "--out", "all"], 1, "is there already");
    refused(folder, &[&study[..], &["--out", "one"]].concat(), 1, "holds findings already");
    refused(
        folder,
        &[&study[..], &["--out", "one", "--resume", "--items", "3"]].concat(),
        1,
        "another question",
    );
    // A script shares the same command out.
    let sbatch = ["sbatch", "--shards", "3", "--out", "job.sh", "--"];
    assert!(sluice(folder, &[&sbatch[..], &study[..], &["--out", "shared"]].concat()).status.success());
    for shard in ["3", "1", "2", ""] {
        let mut script = std::process::Command::new("sh");
        script.arg(folder.join("job.sh")).current_dir("/").env("SLURM_ARRAY_TASK_ID", shard);
        let output = if shard.is_empty() { script.arg("merge").output() } else { script.output() }.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert_eq!(findings(folder, "shared/all"), findings(folder, "one"));
    let refuse = |words: &[&str], says: &str| {
        refused(
            folder,
            &[&["sbatch", "--shards", "3", "--out", "x.sh", "--", "study"], words].concat(),
            1,
            says,
        );
    };
    refuse(&["lens", "--prompt", "a", "--out", "x"], "a study of a list");
    refuse(&["lens", "--list", "list.jsonl", "--out", "x", "--resume"], "--resume");
}

#[test]
fn a_killed_study_of_a_list_goes_on_to_the_same_files() {
    let folder = folder(60);
    let folder = folder.path();
    let study = [&["study", "leave-one-out"], &LIST[..], &["--out"]].concat();
    assert!(sluice(folder, &[&study[..], &["one"]].concat()).status.success());
    let again = [&study[..], &["killed", "--resume"]].concat();
    assert!(killed(folder, &again, &[30, 100, 200, 300, 300]));
    assert!(sluice(folder, &again).status.success());
    assert_eq!(findings(folder, "killed"), findings(folder, "one"));
    assert_eq!(records(folder, "killed"), records(folder, "one"));
}

#[test]
fn broken_items_are_named_and_the_rest_is_found() {
    let folder = folder(3);
    let folder = folder.path();
    let list = fs::read_to_string(folder.join("list.jsonl")).unwrap();
    let long = format!("{{\"text\": \"{}\"}}", "x".repeat(17 << 20));
    let lines = format!(
        "\u{feff}{}oh no\r\n{long}\r\n{{\"text\": \"a\", \"case\": 1}}\n",
        list.replace('\n', "\r\n")
    );
    fs::write(folder.join("list.jsonl"), lines).unwrap();
    let study = [&["study", "lens"], &LIST[..2], &["--map", "prompt=text", "--out", "out"]].concat();
    let output = sluice(folder, &study);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for cause in ["line 4", "line 5", "16 MiB", "2 items could not be asked about"] {
        assert!(said.contains(cause), "{cause}: {said}");
    }
    let findings = findings(folder, "out");
    assert_eq!((&findings["data"]["items"], &findings["data"]["failed"]), (&json!(4), &json!(2)));
    // That some failed is said again, whatever is written already.
    refused(folder, &[&study[..], &["--resume"]].concat(), 1, "2 items could not be asked about");
}

#[test]
fn a_list_is_asked_about_in_place_of_a_prompt() {
    let folder = folder(3);
    let folder = folder.path();
    let out = ["--out", "out"];
    let refuse = |words: &[&str], code: i32, says: &str| {
        refused(folder, &[&["study"], words, &out].concat(), code, says);
    };
    refuse(&["lens", "--list", "list.jsonl", "--prompt", "a"], 2, "cannot be used with");
    refuse(&["lens", "--list", "list.jsonl", "--image", "a.png"], 2, "cannot be used with");
    refuse(&["lens", "--prompt", "a", "--items", "3"], 2, "cannot be used with");
    refuse(&["lens", "--list", "list.jsonl", "--shard", "3/2"], 2, "a shard is K/N");
    refuse(&["trace", "--prompt", "a"], 2, "--corrupt");
    refuse(&["attention", "--list", "list.jsonl"], 2, "--list");
    refuse(&["lens", "--list", "none.jsonl"], 1, "none.jsonl");
    refuse(&["lens", "--list", "list.jsonl", "--map", "prompt"], 1, "OURS=THEIRS");
    let methods = json(&sluice(folder, &["methods", "--json"]));
    for method in methods["methods"].as_array().unwrap() {
        let known = METHODS.iter().find(|known| known.id == method["id"]).unwrap();
        let subjects = method["subject"].as_array().unwrap();
        assert_eq!(subjects.contains(&json!("list")), known.takes_lists());
        assert_eq!(method["shards"], known.takes_lists());
    }
}

/// Lists of the field's papers, whose fields have other names.
#[test]
fn lists_of_others_are_read_as_they_are() {
    let Some(data) = std::env::var_os("SLUICE_DATA") else {
        println!("skipped: SLUICE_DATA is not set");
        return;
    };
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(data).join("text");
    let folder = tempfile::tempdir().unwrap();
    let study = |method: &str, list: &str, more: &[&str]| {
        let list = data.join(list);
        let out = format!("{method}-{}", list.file_stem().unwrap().to_string_lossy());
        let words = ["study", method, "--items", "40", "--json", "--out", &out, "--list"];
        json(&sluice(folder.path(), &[&words[..], &[&list.to_string_lossy()], more].concat()))
    };
    let counted = |found: &Value| {
        let data = &found["data"];
        ["items", "dropped", "failed"].map(|name| data[name].as_u64().unwrap())
    };
    let known = study("trace", "known_1000.json", &["--seeds", "1", "--map", "answer= {attribute}"]);
    let [items, dropped, failed] = counted(&known);
    assert_eq!((items + dropped, failed), (40, 0), "{known}");
    let ioi = study("leave-one-out", "ioi.json", &["--map", "answer= {answer}"]);
    assert_eq!(counted(&ioi), [40, 0, 0]);
    let counterfact = study(
        "next-tokens",
        "counterfact_transluce_test.json",
        &["--map", "prompt=original_prompt", "--map", "answer= {gt_original_target}"],
    );
    assert_eq!(counted(&counterfact), [40, 0, 0]);
}

#[test]
fn the_window_asks_about_a_list_and_comes_back_to_the_prompt() {
    let home = tempfile::tempdir().unwrap();
    let items = folder(4);
    let list = items.path().join("list.jsonl");
    let mut window = Window::kept(home.path(), None);
    window.apply(Command::Show(HEAD_SWEEP.id));
    window.click("this prompt");
    wait(&mut window, "Path", true);
    window.fill(Role::TextInput, "Path", &list.display().to_string());
    wait(&mut window, "list.jsonl", true);
    window.harness.key_press(Key::Enter);
    window.until("the list", |state| {
        state.studies.get(HEAD_SWEEP.id).is_some_and(|study| study.list.is_some())
    });
    window.settle();
    assert!(window.harness.query_by_label("list.jsonl").is_some());
    window.fill(Role::TextInput, "fields", "prompt=text; subject=who");
    window.click("Run head sweep");
    let found = window.found(&HEAD_SWEEP);
    let Subject::List(of) = &found.asked.subject else { panic!("{:?}", found.asked.subject) };
    assert_eq!(
        (&of.file, of.map.as_slice()),
        (&list, ["prompt=text".to_owned(), "subject=who".into()].as_slice())
    );
    let facts = found.facts();
    assert_eq!((facts[0].value, facts[2].value), (4.0, 0.0), "{facts:?}");
    let figures = found.found.figures();
    assert!(matches!(&figures[0].plot, Plot::Map(map) if map.shape() == (8, 4)), "{:?}", figures[0].title);
    assert_eq!(window.state().earlier(&found), None);
    // The prompt does not matter; the plan and the list do.
    window.type_prompt("Mira");
    window.settle();
    assert_eq!(window.state().earlier(&found), None);
    // Everything comes back with the session.
    let text = |found: &sluice_core::method::Findings| found.found.data().unwrap().get().to_owned();
    let expected = text(&found);
    window.quit();
    let mut window = Window::kept(home.path(), None);
    let back = window.found(&HEAD_SWEEP);
    assert_eq!(text(&back), expected);
    assert_eq!(window.state().earlier(&back), None);
    window.apply(Command::Show(HEAD_SWEEP.id));
    window.apply(Command::Toggle(Sublayer { layer: 2, part: Part::Ffn }));
    assert_eq!(window.state().earlier(&back), Some("plan"));
    window.apply(Command::Undo);
    window.click("×");
    assert_eq!(window.state().earlier(&back), Some("list"));
    assert!(window.harness.query_by_label("this prompt").is_some());
}
