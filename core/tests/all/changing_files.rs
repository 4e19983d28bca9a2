//! Files that are no files, and files that change while they are read.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluice_core::checkpoint::{Checkpoint, Picture, TensorFile};
use sluice_core::engine::{self, Opened, never};
use sluice_core::error::{Error, Fault, Result};
use sluice_core::plan::Plan;
use sluice_core::rng;
use sluice_core::worker::{Event, Request, Target};

use crate::support::{copy_of, golden};
use crate::worker::Client;

fn open(folder: &Path) -> Result<Opened> {
    engine::open(&Checkpoint::open(folder)?, &mut |_, _| {}, &never)
}

/// What stands where a file should be.
const STANDS: [&str; 3] = ["pipe", "folder", "device"];

fn put(what: &str, path: &Path) {
    match what {
        "pipe" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "folder" => fs::create_dir(path).unwrap(),
        _ => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
    }
}

/// Nobody ever writes to the pipe, and the device has no end.
#[test]
fn what_is_no_file_is_refused_at_once_wherever_a_file_is_read() {
    let begin = Instant::now();
    for what in STANDS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thing");
        put(what, &path);
        let llama = &mut open(&golden().join("llama")).unwrap().engine;
        let source = format!(
            r#"{{"version":1,"items":[{{"kind":"add","site":"hook_embed","source":{{"file":{{"path":{path:?},"tensor":"v"}}}}}}]}}"#
        );
        let plan = Plan::from_json(&source).unwrap();
        let failures = [
            ("plan", Plan::read(&path).err()),
            ("text", llama.calibration_text(Some(&path), 8).err()),
            ("picture", Picture::read(&path).err()),
            ("noise", TensorFile::open(&path).err()),
            ("source", llama.schedule(&plan, &[3, 14][..].into(), &never).err()),
        ];
        for (reads, failure) in failures {
            let failure = failure.unwrap_or_else(|| panic!("a {what} is read as {reads}"));
            assert!(failure.to_string().contains(&format!("is a {what}, not a file")), "{reads}: {failure}");
            assert_eq!(failure.next_step(), "name a file", "{reads}");
        }
        for name in ["config.json", "model.safetensors", "model.safetensors.index.json"] {
            let folder = copy_of("llama");
            let _ = fs::remove_file(folder.path().join("model.safetensors"));
            let _ = fs::remove_file(folder.path().join(name));
            put(what, &folder.path().join(name));
            let failure = open(folder.path()).err().unwrap_or_else(|| panic!("a {what} is read as {name}"));
            assert!(failure.to_string().contains(name), "{what} as {name}: {failure}");
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(30), "something waited: {:?}", begin.elapsed());
}

/// A tokenizer and settings that are no files are said, and the model works on ids.
#[test]
fn a_tokenizer_that_is_no_file_is_said() {
    for (what, name) in [
        ("pipe", "tokenizer.json"),
        ("folder", "tokenizer.json"),
        ("device", "tokenizer.json"),
        ("gone", "tokenizer.json"),
    ] {
        let folder = copy_of("llama");
        let path = folder.path().join(name);
        match what {
            "gone" => std::os::unix::fs::symlink("nowhere", &path).unwrap(),
            what => put(what, &path),
        }
        let opened = open(folder.path()).unwrap();
        assert_eq!(opened.card.tokenizer, "none", "{what}");
        let said = opened.card.warnings.join("\n");
        assert!(said.contains("tokenizer.json"), "{what} as {name}: {said}");
    }
}

/// For less than a system's clock ticks.
fn pause(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// What may happen to a file of weights.
fn happen(case: u64, folder: &Path) {
    let path = folder.join("model.safetensors");
    match case % 4 {
        0 => File::options().write(true).open(&path).unwrap().set_len(case * 997 % 40_000).unwrap(),
        1 => {
            let bytes = fs::read(&path).unwrap();
            let other: Vec<u8> =
                bytes.iter().enumerate().map(|(at, byte)| if at < 9_000 { *byte } else { !byte }).collect();
            fs::write(&path, other).unwrap();
        }
        2 => fs::remove_file(&path).unwrap(),
        _ => fs::rename(folder, folder.with_extension("moved")).unwrap(),
    }
}

/// Weights that are cut short, written over, deleted or moved at any moment of the opening are an error or none, and the
/// program lives. What is open stays so.
#[test]
fn weights_that_change_while_they_are_read_are_an_error() {
    let (mut failed, mut opened) = (0, 0);
    let client = Client::new();
    let expected = open(&golden().join("gpt2")).unwrap().card.fingerprint;
    for case in 0..100 {
        let (place, copy) = (tempfile::tempdir().unwrap(), copy_of("gpt2"));
        let folder = place.path().join("model");
        fs::rename(copy.path(), &folder).unwrap();
        let micros = rng::bits(15, 0, case) % 6_000;
        let go = AtomicBool::new(false);
        let result: Result<String, String> = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !go.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                pause(Duration::from_micros(micros));
                happen(case, &folder);
            });
            go.store(true, Ordering::Release);
            if case % 2 == 0 {
                return open(&folder)
                    .map(|opened| opened.card.fingerprint)
                    .map_err(|error| error.to_string());
            }
            let id = client.worker.send(Request::Open(Target::Path(folder.clone())));
            client.until(|event| match event {
                Event::Opened(got, card) if got == id => Some(Ok(card.fingerprint.clone())),
                Event::Failed(got, _, failure) if got == id => Some(Err(failure.cause)),
                _ => None,
            })
        });
        match result {
            Ok(fingerprint) => {
                // Whole before or after; what was written over is another checkpoint.
                assert!(fingerprint == expected || case % 4 == 1, "{case}: opened something else");
                opened += 1;
            }
            Err(cause) => {
                assert!(!cause.contains("internal") && !cause.contains("panic"), "{case}: {cause}");
                failed += 1;
            }
        }
    }
    assert!(failed >= 10 && opened >= 10, "{failed} failed, {opened} opened: the moments are badly chosen");
    // The window's worker is as good as new.
    assert_eq!(client.open("llama").spec.n_layers(), 2);
}

/// What was written over while it was read is neither the one nor the other.
#[test]
fn weights_that_are_written_to_between_header_and_tensors_are_refused() {
    for cut in [true, false] {
        let folder = copy_of("llama");
        let path = folder.path().join("model.safetensors");
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let bytes = fs::read(&path).unwrap();
        // Clocks of file systems are coarse.
        pause(Duration::from_millis(20));
        match cut {
            true => fs::write(&path, bytes.get(..bytes.len() - 9).unwrap()).unwrap(),
            false => fs::write(&path, &bytes).unwrap(),
        }
        let failure = engine::open(&checkpoint, &mut |_, _| {}, &never).err().unwrap();
        assert!(matches!(failure, Error::Checkpoint { fault: Fault::Changed, .. }), "{failure}");
        assert!(failure.next_step().contains("open it again"));
        assert_eq!(open(folder.path()).is_ok(), !cut, "the next opening sees what is there");
    }
}
