//! Every method on the command line, killed and gone on with.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use sluice_core::engine::{self, Card, Engine, Words, never};
use sluice_core::method::{METHODS, Method, STATE, Subject};

/// What asks for a method's first sample, or why there is none.
fn arguments(method: &Method, engine: &mut Engine, card: &Card) -> Result<Vec<String>, &'static str> {
    method.unavailable(&card.spec).map_or(Ok(()), Err)?;
    let sample = (method.samples)(card).into_iter().next().ok_or("it has no sample here")?;
    let mut arguments = vec!["study".to_owned(), method.id.to_owned()];
    if let Subject::Prompt(prompt) = &sample.subject {
        assert!(prompt.image.is_none());
        let Words::Text(text) = &prompt.words else { panic!("{:?}", prompt.words) };
        arguments.extend(["--prompt".to_owned(), text.clone()]);
        let input = engine.input(prompt).unwrap();
        let tokens = engine.tokens(&input);
        for (name, at) in (sample.picks)(&tokens) {
            let at: Vec<String> = at.iter().map(usize::to_string).collect();
            arguments.extend([format!("--{name}"), at.join(",")]);
        }
    }
    for (name, value) in sample.ask {
        let name = name.replace('_', "-");
        match value {
            Value::Bool(true) => arguments.push(format!("--{name}")),
            Value::Bool(false) => arguments.push(format!("--no-{name}")),
            Value::String(text) => arguments.extend([format!("--{name}"), text]),
            other => arguments.extend([format!("--{name}"), other.to_string()]),
        }
    }
    Ok(arguments)
}

fn start(arguments: &[String], folder: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(arguments).arg("--out").arg(folder).args(["--json", "--resume"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Findings but for what they cost.
fn finish(arguments: &[String], folder: &Path) -> Value {
    let output = start(arguments, folder).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(findings.as_object_mut().unwrap().remove("cost").is_some());
    findings
}

/// Killed once the state was written so often. Whether it was still at work.
fn killed(arguments: &[String], folder: &Path, writes: usize) -> bool {
    let mut child = start(arguments, folder);
    let written = || std::fs::metadata(folder.join(STATE)).and_then(|meta| meta.modified()).ok();
    let (mut last, mut seen) = (written(), 0);
    while seen < writes && child.try_wait().unwrap().is_none() {
        let now = written();
        seen += usize::from(now != last);
        last = now;
        std::thread::yield_now();
    }
    let ended = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    !ended
}

#[test]
fn a_study_killed_again_and_again_finds_what_an_unbroken_one_finds() {
    let bundled = engine::bundled().unwrap();
    let mut opened = engine::open(&bundled, &mut |_, _| {}, &never).unwrap();
    let mut stopped = 0;
    for method in METHODS {
        let arguments = match arguments(method, &mut opened.engine, &opened.card) {
            Ok(arguments) => arguments,
            Err(cause) => {
                println!("skipped: {}, {cause}", method.id);
                continue;
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let unbroken = finish(&arguments, &folder.path().join("unbroken"));
        let broken = folder.path().join("broken");
        for writes in [1, 1, 3, 7] {
            stopped += usize::from(killed(&arguments, &broken, writes));
        }
        assert_eq!(finish(&arguments, &broken), unbroken, "{}", method.id);
    }
    assert!(stopped > METHODS.len(), "only {stopped} runs were stopped");
}
