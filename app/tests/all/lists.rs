//! Texts and lists from the command line: scored, shared out, merged, killed, gone on with, answered through pipes.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crossbeam_channel::after;
use serde_json::{Value, json};

use crate::support::{json, killed, sluice, sluice_reading, text};

const SKIP: &str = r#"{"version": 1, "items": [{"kind": "skip", "layer": 2, "part": "ffn"}]}"#;
const OTHER: &str = r#"{"version": 1, "items": [{"kind": "skip", "layer": 1, "part": "attn"}]}"#;

/// A folder with plans and a list of so many items.
fn folder(items: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plan.json"), SKIP).unwrap();
    fs::write(folder.path().join("other.json"), OTHER).unwrap();
    let names = ["Taren", "Mira", "Oren"];
    let line = |at: usize| json!({"prompt": format!("{} comes from Arwick, and {} {at}", names[at % 3], names[at % 2])});
    let list: String = (0..items).map(|at| format!("{}\n", line(at))).collect();
    fs::write(folder.path().join("list.jsonl"), list).unwrap();
    folder
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Fails with code 1 and says so.
fn refused(folder: &Path, arguments: &[&str], says: &str) {
    let output = sluice(folder, arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.contains(says), "{arguments:?}: {said}");
}

#[test]
fn shards_are_merged_to_what_one_run_finds() {
    let folder = folder(40);
    let folder = folder.path();
    let score = ["score", "--list", "list.jsonl", "--plan", "plan.json", "--json", "--out"];
    let one = json(&sluice(folder, &[&score[..], &["one"]].concat()));
    assert_eq!((&one["items"], &one["plans"][0]["plan"]), (&json!(40), &json!("plan.json")));
    let plan = &one["plans"][0];
    assert!(plan["low"].as_f64() < plan["difference"].as_f64() && plan["kl"].as_f64() > Some(0.0), "{one}");
    for shard in ["1/3", "2/3", "3/3"] {
        let out = format!("part-{}", &shard[..1]);
        json(&sluice(folder, &[&score[..], &[&out, "--shard", shard]].concat()));
    }
    let merged = json(&sluice(folder, &["merge", "part-3", "part-1", "part-2", "--out", "all", "--json"]));
    assert_eq!(merged, one);
    for name in ["records.jsonl", "score.json"] {
        assert_eq!(read(folder, &format!("all/{name}")), read(folder, &format!("one/{name}")));
    }
    refused(folder, &["merge", "part-1", "part-2", "--out", "two"], "3/3 is missing");
    refused(folder, &["merge", "part-1", "part-2", "part-3", "--out", "all"], "is there already");
    let other = ["score", "--list", "list.jsonl", "--plan", "other.json", "--out", "other", "--shard", "3/3"];
    assert!(sluice(folder, &other).status.success());
    refused(folder, &["merge", "part-1", "part-2", "other", "--out", "two"], "another question");
    refused(folder, &[&score[..], &["one"]].concat(), "holds records already");
    refused(folder, &[&score[..], &["one", "--resume", "--items", "3"]].concat(), "another question");
    let again = json(&sluice(folder, &[&score[..], &["one", "--resume"]].concat()));
    assert_eq!(again, one);
}

#[test]
fn a_killed_score_goes_on_to_the_same_files() {
    let folder = folder(400);
    let folder = folder.path();
    let score = ["score", "--list", "list.jsonl", "--plan", "plan.json", "--out"];
    assert!(sluice(folder, &[&score[..], &["one"]].concat()).status.success());
    let again = [&score[..], &["killed", "--resume"]].concat();
    assert!(killed(folder, &again, &[1, 10, 30, 60, 100]));
    assert!(sluice(folder, &again).status.success());
    for name in ["records.jsonl", "score.json"] {
        assert!(read(folder, &format!("killed/{name}")) == read(folder, &format!("one/{name}")), "{name}");
    }
}

#[test]
fn wrong_texts_and_lists_are_answered_with_a_cause() {
    let folder = folder(3);
    let folder = folder.path();
    fs::write(folder.join("empty.txt"), "").unwrap();
    fs::write(folder.join("text.txt"), "Taren comes from Arwick.\n".repeat(5)).unwrap();
    refused(folder, &["score", "--text", "empty.txt"], "no token");
    refused(folder, &["score", "--text", "gone.txt"], "gone.txt");
    refused(folder, &["score", "--text", "text.txt", "--stride", "0"], "stride");
    refused(folder, &["score", "--text", "text.txt", "--length", "1"], "a window has");
    refused(folder, &["score", "--text", "text.txt", "--length", "8", "--stride", "9"], "stride");
    refused(folder, &["score", "--text", "text.txt", "--split", ""], "cut at nothing");
    refused(folder, &["score", "--text", "text.txt", "--shard", "1/2", "--out", "x"], "one item");
    let usage = sluice(folder, &["score", "--list", "list.jsonl", "--shard", "3/2", "--out", "x"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(text(&usage.stderr).contains("K from 1 to N"), "{}", text(&usage.stderr));
    // A broken line is named, and the others count.
    let broken = "\u{feff}{\"text\": \"Taren comes from\"}\r\n{\"text\": 3}\r\n{\"text\": \"Mira lives in\", \"id\": 1}\r\n";
    fs::write(folder.join("broken.jsonl"), broken).unwrap();
    let output = sluice(folder, &["score", "--list", "broken.jsonl", "--json"]);
    let (said, found) = (text(&output.stderr), serde_json::from_slice::<Value>(&output.stdout).unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("broken.jsonl, line 2:"), "{said}");
    assert_eq!((&found["items"], &found["failed"]), (&json!(2), &json!(1)));
    refused(folder, &["batch", "--in", "list.jsonl", "--out", "list.jsonl"], "over the questions");
    refused(folder, &["batch", "--in", "list.jsonl", "--resume"], "pipe");
    fs::write(folder.join("image.jsonl"), "{\"prompt\": \"a\", \"image\": \"gone.png\"}").unwrap();
    let output = sluice(folder, &["batch", "--in", "image.jsonl"]);
    assert_eq!(output.status.code(), Some(1));
    let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(reply["error"]["cause"].as_str().unwrap().contains("gone.png"), "{reply}");
}

#[test]
fn every_token_of_a_text_is_a_row() {
    let folder = folder(1);
    let folder = folder.path();
    fs::write(folder.join("text.txt"), "Taren, \"the sailor\", comes from Arwick. Mira too.").unwrap();
    let asked = ["score", "--text", "text.txt", "--plan", "plan.json", "--per-token", "tokens.csv", "--json"];
    let found = json(&sluice(folder, &asked));
    let table = String::from_utf8(read(folder, "tokens.csv")).unwrap();
    assert_eq!(table.lines().next(), Some("item,position,id,text,nats,nats_1,kl_1"));
    // A token's text may hold commas; the numbers behind it do not.
    let rows: Vec<Vec<f64>> = table
        .lines()
        .skip(1)
        .map(|line| {
            line.rsplitn(4, ',').take(3).map(|cell| f64::from(cell.parse::<f32>().unwrap())).collect()
        })
        .collect();
    assert_eq!(Some(rows.len() as u64), found["tokens"].as_u64());
    let mean = |column: usize| rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64;
    assert!((mean(2) - found["nats"].as_f64().unwrap()).abs() < 1e-9);
    assert!((mean(1) - found["plans"][0]["nats"].as_f64().unwrap()).abs() < 1e-9);
    assert!((mean(0) - found["plans"][0]["kl"].as_f64().unwrap()).abs() < 1e-9);
    refused(folder, &asked, "tokens.csv is there already");
}

#[test]
fn lists_of_others_are_judged_as_they_are() {
    let folder = folder(1);
    let folder = folder.path();
    let list = r#"[{"known_id": 1, "prompt": "Taren comes from", "options": [" Arwick", " Dunholm"], "right": 0},
        {"known_id": 2, "prompt": "Mira is a", "options": [" weaver", " sailor"], "right": 1}]"#;
    fs::write(folder.join("facts.json"), list).unwrap();
    let asked =
        ["score", "--choices", "facts.json", "--map", "choices=options", "--map", "label=right", "--json"];
    let found = json(&sluice(folder, &asked));
    assert_eq!((&found["items"], &found["failed"]), (&json!(2), &json!(0)));
    assert!(found["low"].as_f64() <= found["accuracy"].as_f64(), "{found}");
    let last = ["score", "--last-word", "facts.json", "--map", "text={prompt} Arwick", "--json"];
    assert_eq!(json(&sluice(folder, &last))["items"], 2);
    // Usage: what only texts have.
    let wrong = sluice(folder, &["score", "--choices", "facts.json", "--stride", "3"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_killed_batch_loses_nothing_and_repeats_nothing() {
    let folder = folder(300);
    let folder = folder.path();
    let batch = |out: &'static str, captures: &'static str| {
        [
            "batch",
            "--in",
            "list.jsonl",
            "--out",
            out,
            "--captures",
            captures,
            "--capture",
            "blocks.1.hook_resid_post",
        ]
    };
    assert!(sluice(folder, &batch("one.jsonl", "one")).status.success());
    let mut stopped = 0;
    for wait in [20, 40, 80, 120] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"));
        child.args(batch("killed.jsonl", "killed")).arg("--resume");
        let mut child =
            child.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let _ = after(Duration::from_millis(wait)).recv();
        stopped += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(stopped > 0);
    let last = [&batch("killed.jsonl", "killed")[..], &["--resume"]].concat();
    let output = sluice(folder, &last);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(read(folder, "killed.jsonl") == read(folder, "one.jsonl"));
    for name in ["captures-00000.safetensors", "index.json"] {
        assert!(read(folder, &format!("killed/{name}")) == read(folder, &format!("one/{name}")), "{name}");
    }
    let names = fs::read_dir(folder.join("killed")).unwrap().count();
    assert_eq!(names, 2);
}

#[test]
fn a_batch_answers_each_line_of_a_pipe_when_it_comes() {
    let folder = folder(1);
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"));
    child
        .arg("batch")
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = child.spawn().unwrap();
    let mut questions = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    for line in 1..=3u64 {
        // The next question waits for the answer.
        questions.write_all(b"{\"prompt\": \"Taren comes from\", \"top\": 2}\n").unwrap();
        questions.flush().unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["line"], answer["next"].as_array().unwrap().len()), (&json!(line), 2));
    }
    drop(questions);
    assert!(child.wait().unwrap().success());
    // Who has enough closes the pipe: that is no failure, and the work ends.
    let many = "{\"prompt\": \"Taren comes from\"}\n".repeat(3000);
    let mut child = Command::new("sh");
    child.args(["-c", r#""$0" batch | head -2"#, env!("CARGO_BIN_EXE_sluice")]).current_dir(folder.path());
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(many.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 2);
    let output =
        sluice_reading(folder.path(), &["score", "--text", "-", "--json"], b"Taren comes from Arwick.");
    assert_eq!(json(&output)["items"], 1);
}

#[test]
fn the_world_is_written_so_that_others_can_check_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let world = ["world", "--count", "6", "--out", "world"];
    let output = sluice(folder, &world);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(folder.join("world/images")).unwrap().count(), 18);
    let lines = |name: &str| -> Vec<Value> {
        let text = String::from_utf8(read(folder, &format!("world/{name}"))).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (questions, facts) = (lines("presence.jsonl"), lines("facts.jsonl"));
    assert_eq!((questions.len(), facts.len()), (24, 2400));
    let yes = questions.iter().filter(|question| question["label"] == 0);
    assert!(yes.clone().all(|question| question["id"].as_str().unwrap().starts_with("present")));
    assert_eq!(yes.count(), 6);
    assert_eq!(facts.iter().filter(|fact| fact["held_out"] == true).count(), 600);
    // Every fact's prompt and answer make up a sentence of the text, where the text tells it.
    let told = String::from_utf8(read(folder, "world/text.txt")).unwrap();
    let sentence =
        |fact: &Value| format!("{}{}.", fact["prompt"].as_str().unwrap(), fact["answer"].as_str().unwrap());
    assert!(facts.iter().any(|fact| told.contains(&sentence(fact))));
    assert!(facts.iter().all(|fact| fact["held_out"] == false || !told.contains(&sentence(fact))));
    let judged = json(&sluice(folder, &["score", "--choices", "world/presence.jsonl", "--json"]));
    assert_eq!((&judged["items"], &judged["failed"]), (&json!(24), &json!(0)));
    assert!(judged["accuracy"].as_f64() > Some(0.6), "{judged}");
    refused(folder, &world, "holds a world already");
    refused(folder, &["world", "--count", "0", "--out", "other"], "--count");
}

#[test]
fn a_script_for_slurm_runs_shards_and_their_merge() {
    let folder = folder(20);
    let folder = folder.path();
    // Plans are called as they are written, and the script writes whole paths.
    let plan = format!("--plan={}", folder.join("plan.json").display());
    let score = ["score", "--list", "list.jsonl", &plan, "--out"];
    assert!(sluice(folder, &[&score[..], &["one"]].concat()).status.success());
    let sbatch = ["sbatch", "--shards", "3", "--out", "job.sh", "--partition", "all", "--"];
    let output = sluice(folder, &[&sbatch[..], &score[..], &["it's shared"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let run = |arguments: &[&str], shard: &str| {
        let mut command = Command::new("sh");
        // From anywhere, as Slurm runs it.
        command.arg(folder.join("job.sh")).args(arguments).current_dir("/");
        let output = command.env("SLURM_ARRAY_TASK_ID", shard).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    for shard in ["3", "1", "2", "2"] {
        run(&[], shard);
    }
    run(&["merge"], "");
    for name in ["records.jsonl", "score.json"] {
        assert_eq!(read(folder, &format!("it's shared/all/{name}")), read(folder, &format!("one/{name}")));
    }
    let script = String::from_utf8(read(folder, "job.sh")).unwrap();
    assert!(script.contains("#SBATCH --partition=all\n") && script.contains("--array=1-3"), "{script}");
    let refuse = |command: &[&str], says: &str| {
        refused(folder, &[&["sbatch", "--shards", "3", "--out", "x.sh", "--"], command].concat(), says);
    };
    refuse(&["score", "--text", "list.jsonl", "--out", "x"], "one item");
    refuse(&["score", "--list", "list.jsonl"], "no --out");
    refuse(&["score", "--list", "list.jsonl", "--out", "x", "--shard", "1/2"], "--shard");
    refuse(&["tokens", "--prompt", "a"], "only the findings of score");
    refuse(&["score", "--lists"], "behind --");
    refused(folder, &[&sbatch[..], &score[..], &["x"]].concat(), "job.sh is there already");
}

#[test]
fn nothing_is_written_over_unasked_and_nothing_goes_before_the_work_can_begin() {
    let folder = folder(3);
    let folder = folder.path();
    let keep = |name: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
        move || assert_eq!(fs::read(&path).unwrap(), b"mine", "{}", path.display())
    };
    let score = ["score", "--list", "list.jsonl", "--out", "out"];
    let mine = keep("out/score.json");
    refused(folder, &score, "score.json is there already");
    refused(folder, &[&score[..], &["--resume"]].concat(), "score.json is there already");
    mine();
    assert!(sluice(folder, &["score", "--list", "list.jsonl", "--out", "one"]).status.success());
    let mine = keep("all/score.json");
    refused(folder, &["merge", "one", "--out", "all"], "score.json is there already");
    mine();
    let mine = keep("captures/captures-00000.safetensors");
    let sites = ["--captures", "captures", "--capture", "blocks.0.hook_resid_post"];
    let batch = [&["batch", "--in", "list.jsonl", "--out", "answers"], &sites[..]].concat();
    refused(folder, &batch, "holds captures");
    fs::remove_file(folder.join("answers")).unwrap_or_default();
    refused(folder, &[&batch[..], &["--resume"]].concat(), "holds captures");
    mine();
    // With a checkpoint that cannot be opened what was asked to be written over is still there.
    let (answers, records) = (keep("answers"), keep("old/records.jsonl"));
    fs::create_dir(folder.join("broken")).unwrap();
    fs::write(folder.join("broken/config.json"), "{}").unwrap();
    let broken = |arguments: &[&str]| {
        let output = sluice(folder, arguments);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    };
    broken(&["batch", "broken", "--in", "list.jsonl", "--out", "answers", "--overwrite"]);
    broken(&["score", "broken", "--list", "list.jsonl", "--out", "old", "--overwrite"]);
    answers();
    records();
}
