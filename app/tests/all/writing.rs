//! What the command line writes: nothing over what is there unless asked, nothing half, nothing left behind.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::after;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{golden, sluice, text};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Every file under a folder, by its path in it.
fn all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if path.is_file() {
                // A pipe would be waited for; a file may go meanwhile.
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.extend(fs::read(&path).ok().map(|bytes| (name, bytes)));
            }
        }
    }
    files
}

fn begin(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(arguments).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Wait until something holds, while the child is at work. Whether it came to hold.
fn until(child: &mut Child, holds: impl Fn() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if holds() {
            return true;
        }
        assert!(Instant::now() < end, "nothing happened");
        std::thread::yield_now();
    }
    false
}

#[test]
fn what_is_there_stays_and_what_cannot_be_written_is_known_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("S")).unwrap();
    for name in fs::read_dir(golden("llama")).unwrap() {
        let name = name.unwrap();
        fs::copy(name.path(), at("S").join(name.file_name())).unwrap();
    }
    fs::create_dir(at("full")).unwrap();
    for name in [
        "x.safetensors",
        "sluice.1",
        "report-card.md",
        "lens-dark.png",
        "trace-dark.png",
        "router.safetensors",
    ] {
        fs::write(at("full").join(name), "kept").unwrap();
    }
    fs::write(at("file"), "kept").unwrap();
    std::os::unix::fs::symlink("file", at("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    let before = all(folder.path());
    let run = |out| vec!["run", "S", "--tokens", "1", "--out", out];
    let screenshots = |out| vec!["screenshots", "S", "--out", out];
    let (there, link, inside) = ("is there already; add --overwrite", "it is a link", "the checkpoint's");
    let mut cases = vec![
        (run("full/x.safetensors"), there),
        (run("S/model.safetensors"), there),
        ([run("S/model.safetensors"), vec!["--overwrite"]].concat(), inside),
        (run("S/new.safetensors"), inside),
        (run("pipe"), "it is a pipe"),
        (run("/dev/null"), "it is a device"),
        (run("link"), link),
        (run("dangling"), link),
        ([run("link"), vec!["--overwrite"]].concat(), link),
        (run("full"), "it is a folder"),
        (run("none/x"), "none: No such file"),
        (run("/proc/x"), "/proc/x"),
        (vec!["man", "--out", "full"], there),
        (vec!["man", "--out", "/proc/x"], "/proc/x"),
        (vec!["evaluate", "--out", "full"], there),
        (vec!["evaluate", "S", "--out", "S"], inside),
        (vec!["evaluate", "--out", "pipe"], "it is a pipe"),
        (vec!["report", "S", "--out", "S"], inside),
        (vec!["report", "--out", "file"], "it is a file"),
        (screenshots("full"), there),
        (screenshots("S"), inside),
        (screenshots("dangling"), link),
        (vec!["study", "lens", "S", "--tokens", "1", "--out", "S"], inside),
        (vec!["study", "lens", "S", "--tokens", "1", "--out", "pipe"], "it is a pipe"),
        (vec!["study", "router", "S", "--out", "full/router.safetensors"], there),
        (vec!["study", "router", "S", "--out", "S/model.safetensors", "--overwrite"], inside),
        (
            vec!["study", "router", "S", "--out", "new", "--file", "../S/model.safetensors", "--overwrite"],
            inside,
        ),
        (vec!["train", "--out", "link"], "it is a file"),
        (vec!["train", "--out", "dangling"], link),
    ];
    for out in ["S", "full"] {
        cases.push((vec!["train", "--out", out], "`sluice train` did not make"));
        cases.push((vec!["train", "--out", out, "--overwrite"], "`sluice train` did not make"));
    }
    for (arguments, cause) in cases {
        let output = sluice(folder.path(), &arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(cause) && said.lines().count() == 1, "{arguments:?}: {said}");
        let now = all(folder.path());
        assert_eq!(now.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{arguments:?}");
        assert!(now == before, "{arguments:?} wrote over something");
    }
    // Asked for, it is written.
    let output = sluice(folder.path(), &[run("full/x.safetensors"), vec!["--overwrite"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(fs::read(at("full/x.safetensors")).unwrap().len() > 100);
}

#[test]
fn a_report_does_not_write_over_figures_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    let llama = golden("llama");
    let report = |more: &[&str]| {
        let asked = ["report", llama.to_str().unwrap(), "--only", "lens", "--out", "r"];
        sluice(folder.path(), &[&asked[..], more].concat())
    };
    assert!(report(&[]).status.success());
    let first = all(folder.path());
    let svg = first.keys().find(|name| name.ends_with(".svg")).unwrap().clone();
    // One file in the way keeps all others as they are.
    fs::write(folder.path().join(&svg), "kept").unwrap();
    let refused = report(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("add --overwrite"), "{}", text(&refused.stderr));
    assert_eq!(fs::read_to_string(folder.path().join(&svg)).unwrap(), "kept");
    assert!(report(&["--overwrite"]).status.success());
    assert_eq!(all(folder.path()).keys().collect::<Vec<_>>(), first.keys().collect::<Vec<_>>());
    assert_ne!(fs::read_to_string(folder.path().join(&svg)).unwrap(), "kept");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_behind_stdout_is_said_and_a_closed_pipe_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let llama = golden("llama");
    let llama = llama.to_str().unwrap();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let start = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(arguments).current_dir(folder.path());
        command
    };
    let cases: [&[&str]; 9] = [
        &["run", llama, "--tokens", "1", "--json"],
        &["tokens", llama, "--tokens", "1"],
        &["inspect", llama],
        &["generate", llama, "--tokens", "1", "--max-new-tokens", "2"],
        &["methods"],
        &["man"],
        &["completions", "bash"],
        &["--help"],
        &["run", "--help"],
    ];
    for arguments in cases {
        let output = start(arguments).stdout(full()).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("standard output") && said.contains("; "), "{arguments:?}: {said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = start(arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
    // Nobody can be told, and nothing dies of it.
    let status = start(&["run", "/nowhere", "--tokens", "1"]).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let status = start(&["run", llama, "--tokens", "1"]).stderr(full()).stdout(full()).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

/// What takes a while, and is recorded as it goes.
const LONG: [&str; 8] =
    ["study", "head-sweep", "--prompt", "A fox and a hen.", "--out", "found", "--resume", "--json"];

#[test]
fn a_signal_ends_a_study_with_what_it_found() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let folder = tempfile::tempdir().unwrap();
        let found = folder.path().join("found");
        let mut child = begin(folder.path(), &LONG);
        assert!(until(&mut child, || found.join("state.safetensors").exists()), "ended too soon");
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let names: Vec<String> = all(&found).into_keys().collect();
        assert_eq!(names, ["findings.json", "state.safetensors"]);
        let findings: Value = serde_json::from_slice(&all(&found)["findings.json"]).unwrap();
        assert_eq!(findings["done"], false);
        assert!(sluice(folder.path(), &LONG).status.success());
        assert!(!all(&found).contains_key("state.safetensors"));
    }
}

#[test]
fn a_second_signal_ends_at_once_and_an_ignored_one_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let found = folder.path().join("found");
    let mut child = begin(folder.path(), &LONG);
    assert!(until(&mut child, || found.join("state.safetensors").exists()), "ended too soon");
    send(&child, Signal::INT);
    send(&child, Signal::TERM);
    assert!([Some(130), Some(143)].contains(&child.wait().unwrap().code()));
    assert!(sluice(folder.path(), &LONG).status.success());
    assert!(all(&found).keys().all(|name| !name.starts_with('.')));
    // As a shell starts what runs behind a script.
    let asked = LONG.map(|word| if word == "found" { "again" } else { word });
    let line = r#"trap "" INT; exec "$0" "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", line, env!("CARGO_BIN_EXE_sluice")]).args(asked).current_dir(folder.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let again = folder.path().join("again");
    assert!(until(&mut child, || again.join("state.safetensors").exists()), "ended too soon");
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn two_studies_do_not_write_into_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let found = folder.path().join("found");
    let mut child = begin(folder.path(), &LONG);
    assert!(until(&mut child, || found.join("state.safetensors").exists()), "ended too soon");
    let refused = sluice(folder.path(), &LONG);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("another sluice (process {}) writes into", child.id())), "{said}");
    // What a killed one leaves is taken over.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(found.join(".sluice-lock").exists());
    assert!(sluice(folder.path(), &LONG).status.success());
    assert!(!found.join(".sluice-lock").exists());
}

/// A random number below `most`, the next of a fixed sequence.
fn random(state: &mut u64, most: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % most.max(1)
}

/// Whether something is being written in a folder.
fn writes(folder: &Path) -> bool {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .any(|entry| entry.file_name().to_string_lossy().ends_with(".part"))
}

/// Kill a command at random moments, half of them while it writes; after each `check` looks at the folder. Then it runs to its
/// end, and leaves what an unbroken run leaves. How often it was stopped.
fn killed(arguments: &[&str], old: &BTreeMap<String, Vec<u8>>, kills: u64, check: &dyn Fn(&Path)) -> usize {
    let restore = |folder: &Path| {
        for (name, bytes) in old {
            fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
            fs::write(folder.join(name), bytes).unwrap();
        }
    };
    let unbroken = tempfile::tempdir().unwrap();
    restore(unbroken.path());
    let time = Instant::now();
    let output = sluice(unbroken.path(), arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    let time = time.elapsed();
    let whole: Vec<String> = all(unbroken.path()).into_keys().collect();
    let (mut state, mut stopped) = (7, 0);
    for number in 0..kills {
        let folder = tempfile::tempdir().unwrap();
        restore(folder.path());
        let mut child = begin(folder.path(), arguments);
        if number % 2 == 0 {
            let skip = random(&mut state, 3);
            let seen = std::cell::Cell::new(0);
            stopped += usize::from(until(&mut child, || {
                let now = writes(folder.path()) || writes(&folder.path().join("out"));
                seen.set(seen.get() + u64::from(now));
                seen.get() > skip
            }));
        } else {
            let wait = random(&mut state, time.as_micros() as u64);
            let _ = after(Duration::from_micros(wait)).recv();
            stopped += usize::from(child.try_wait().unwrap().is_none());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        check(folder.path());
        let output = sluice(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(all(folder.path()).into_keys().collect::<Vec<_>>(), whole, "{arguments:?}");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            fs::read_dir(unbroken.path()).unwrap().count()
        );
    }
    stopped
}

#[test]
fn a_killed_command_leaves_the_old_file_or_the_new_one() {
    let llama = golden("llama");
    let llama = llama.to_str().unwrap();
    // An evaluation takes too long, and writes as these do.
    let commands: [&[&str]; 4] = [
        &["run", "--prompt", "A fox", "--capture", "*.hook_resid_post", "--out", "out/x", "--overwrite"],
        &["man", "--out", "out", "--overwrite"],
        &["report", llama, "--only", "lens,activations", "--out", "out", "--overwrite"],
        &["study", "lens", "--prompt", "A fox", "--out", "out", "--overwrite"],
    ];
    for arguments in commands {
        // Old files of the names that the command writes, and the new ones.
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        let output = sluice(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        let new = all(folder.path());
        let old: BTreeMap<String, Vec<u8>> = match arguments.first() {
            // Findings are what they are of: a study removes the figures that it finds listed.
            Some(&"study") => new.clone(),
            _ => new.keys().map(|name| (name.clone(), b"old".to_vec())).collect(),
        };
        let check = |folder: &Path| {
            for (name, bytes) in all(folder) {
                if !name.split('/').any(|part| part.starts_with('.')) {
                    // Times are in it.
                    let timed = ["findings.json", "state.safetensors", "report-card.json", "report-card.md"];
                    let whole = timed.iter().any(|end| name.ends_with(end)) && bytes.len() > 100;
                    assert!(
                        bytes == b"old" || new.get(&name) == Some(&bytes) || whole,
                        "{arguments:?}: {name}"
                    );
                }
            }
        };
        let stopped = killed(arguments, &old, 8, &check);
        assert!(stopped > 2, "{arguments:?}: only {stopped} were stopped");
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "training is slow without optimisation")]
fn a_killed_training_leaves_the_old_run_or_the_new_one() {
    // Saved before its first step.
    let train = |seed: &'static str| {
        ["train", "--steps", "3", "--minutes", "0", "--overwrite", "--out", "out", "--seed", seed]
    };
    let folder = tempfile::tempdir().unwrap();
    assert!(sluice(folder.path(), &train("1")).status.success());
    let old = all(folder.path());
    let check = |folder: &Path| {
        let inspected = sluice(folder, &["inspect", "out"]);
        assert!(inspected.status.success(), "{}", text(&inspected.stderr));
        let now = all(folder);
        let parts = ["config.json", "tokenizer.json", "model.safetensors", "training-state.safetensors"];
        let same = parts.map(|name| now[&format!("out/{name}")] == old[&format!("out/{name}")]);
        assert!(same == [true; 4] || same == [false; 4], "a mixture: {same:?}");
    };
    let stopped = killed(&train("2"), &old, 8, &check);
    assert!(stopped > 2, "only {stopped} were stopped");
    // Stopped by a signal it is whole too, and goes on.
    let many = ["train", "--only", "facts", "--steps", "200", "--out", "out", "--save-every", "1"];
    let folder = tempfile::tempdir().unwrap();
    let mut child = begin(folder.path(), &many);
    let out = folder.path().join("out");
    assert!(until(&mut child, || out.join("model.safetensors").exists()), "ended too soon");
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(sluice(folder.path(), &["inspect", "out"]).status.success());
    assert!(all(folder.path()).keys().all(|name| !name.contains("/.") && !name.starts_with('.')));
    let resumed = sluice(folder.path(), &[&many[..], &["--resume", "--minutes", "0"]].concat());
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
}
