//! A fuzzer of everything that Sluice reads from outside: seeded changes of small files, read by worker processes of 2 GiB
//! that are watched for panics, aborts, hangs and memory. docs/fuzzing.md says how to run it and what was found.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of the command line")]

mod corpus;
mod counting;
mod kinds;
mod lists;
mod mutate;
mod parent;
mod worker;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Cases in all.
    cases: u64,
    /// Of the changes.
    seed: u64,
    /// Worker processes.
    jobs: u64,
    /// Names of kinds; all where none is named.
    kinds: Vec<String>,
    /// The first case.
    first: u64,
    /// Where the newest input is kept.
    keep: Option<std::path::PathBuf>,
    /// This is a worker: it does every so manieth case.
    worker: Option<u64>,
}

const USAGE: &str = "fuzz [--cases N] [--seed S] [--jobs J] [--kinds A,B] [--first N] [--keep FILE]";

fn main() -> ExitCode {
    let Some(asked) = read(std::env::args().skip(1)) else {
        eprintln!("usage: {USAGE}");
        return ExitCode::from(2);
    };
    let done = match asked.worker {
        Some(step) => worker::work(&asked, step).map(|()| true),
        None => parent::watch(&asked),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(mut arguments: impl Iterator<Item = String>) -> Option<Asked> {
    let mut asked =
        Asked { cases: 20_000, seed: 0, jobs: 2, kinds: Vec::new(), first: 0, keep: None, worker: None };
    while let Some(flag) = arguments.next() {
        let value = arguments.next()?;
        match flag.as_str() {
            "--cases" => asked.cases = value.parse().ok()?,
            "--seed" => asked.seed = value.parse().ok()?,
            "--jobs" => asked.jobs = value.parse().ok().filter(|&jobs| jobs > 0)?,
            "--kinds" => asked.kinds = value.split(',').map(str::to_owned).collect(),
            "--first" => asked.first = value.parse().ok()?,
            "--keep" => asked.keep = Some(value.into()),
            "--worker" => asked.worker = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    let known = |name: &String| kinds::KINDS.iter().any(|kind| kind.name == name);
    asked.kinds.iter().all(known).then_some(asked)
}

impl Asked {
    /// The kind of a case.
    fn kind(&self, case: u64) -> Option<&'static kinds::Kind> {
        let chosen =
            |kind: &&kinds::Kind| self.kinds.is_empty() || self.kinds.iter().any(|name| name == kind.name);
        let chosen: Vec<&kinds::Kind> = kinds::KINDS.iter().filter(chosen).collect();
        chosen.get((case % chosen.len().max(1) as u64) as usize).copied()
    }
}
