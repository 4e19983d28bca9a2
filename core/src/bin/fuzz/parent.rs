//! The parent: starts workers, watches them, counts what comes, and starts one again behind the case that ended it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use sluice_core::{Error, Result};

use super::Asked;

/// How long a case may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a worker may take to prepare itself.
const START: Duration = Duration::from_secs(60);
/// Memory of a worker, KiB of address space.
const MEMORY_KIB: u64 = 2 << 20;
/// Bad cases that are listed.
const LISTED: usize = 20;

/// Of one kind.
#[derive(Clone, Debug, Default)]
struct Tally {
    cases: u64,
    read: u64,
    panics: u64,
    aborts: u64,
    hangs: u64,
    /// Took more memory than it may.
    greedy: u64,
    slowest_ms: f64,
    /// The largest share of the memory that it may take.
    share: f64,
    bad: Vec<String>,
}

/// Run all cases. Whether nothing bad came of them.
pub fn watch(asked: &Asked) -> Result<bool> {
    let begin = Instant::now();
    let (send, ends) = channel();
    let watchers: Vec<_> = (0..asked.jobs)
        .map(|job| {
            let (asked, send) = (asked.clone(), send.clone());
            thread::spawn(move || {
                let mut from = asked.first + job;
                while let Some(next) = one_worker(&asked, from, &mut |case, end| drop(send.send((case, end))))
                {
                    from = next;
                }
            })
        })
        .collect();
    drop(send);
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for (case, end) in ends {
        let Some(kind) = asked.kind(case) else { continue };
        tallies.entry(kind.name).or_default().add(case, kind.name, &end);
    }
    for watcher in watchers {
        watcher.join().map_err(|_| Error::Internal("a watcher died".into()))?;
    }
    Ok(report(&tallies, begin.elapsed()))
}

/// What came of a case.
enum End {
    /// Words of the worker: what, micros, peak, most.
    Said(String),
    Hang,
    Abort(String),
}

/// Drive a worker from a case on. The case to go on with, where it ended early.
fn one_worker(asked: &Asked, from: u64, done: &mut dyn FnMut(u64, End)) -> Option<u64> {
    if from >= asked.cases {
        return None;
    }
    let mut child =
        start(asked, from).map_err(|error| done(from, End::Abort(format!("no worker: {error}")))).ok()?;
    let lines = lines(&mut child)?;
    let mut at = None;
    loop {
        let line = lines.recv_timeout(if at.is_some() { PATIENCE } else { START });
        let words: Vec<&str> = line.as_deref().map(|line| line.split(' ').collect()).unwrap_or_default();
        match (line.is_ok(), words.as_slice()) {
            (true, ["begin", case]) => at = case.parse().ok(),
            (true, ["end", case, rest @ ..]) => {
                let case = case.parse().ok()?;
                done(case, End::Said(rest.join(" ")));
                at = Some(case + asked.jobs);
            }
            (true, _) => {}
            (false, _) => {
                let hang = line == Err(RecvTimeoutError::Timeout);
                let _ = child.kill();
                let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                let case = at.unwrap_or(from);
                if case >= asked.cases {
                    return None;
                }
                done(case, if hang { End::Hang } else { End::Abort(status) });
                return Some(case + asked.jobs);
            }
        }
    }
}

/// A worker in a shell that bounds its memory.
fn start(asked: &Asked, from: u64) -> std::io::Result<Child> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -c 0; ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"")]).arg(program);
    let numbers =
        [("--cases", asked.cases), ("--seed", asked.seed), ("--first", from), ("--worker", asked.jobs)];
    for (flag, value) in numbers {
        command.args([flag, &value.to_string()]);
    }
    if !asked.kinds.is_empty() {
        command.args(["--kinds", &asked.kinds.join(",")]);
    }
    if let Some(keep) = &asked.keep {
        command.arg("--keep").arg(keep);
    }
    // One thread each for what is done in parallel: there are as many workers as cores.
    command.env("RAYON_NUM_THREADS", "1").stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

fn lines(child: &mut Child) -> Option<Receiver<String>> {
    let out = BufReader::new(child.stdout.take()?);
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in out.lines() {
            if line.map_or(true, |line| send.send(line).is_err()) {
                return;
            }
        }
    });
    Some(lines)
}

impl Tally {
    fn add(&mut self, case: u64, kind: &str, end: &End) {
        self.cases += 1;
        let bad = match end {
            End::Hang => {
                self.hangs += 1;
                format!("hangs over {} s", PATIENCE.as_secs())
            }
            End::Abort(status) => {
                self.aborts += 1;
                format!("aborts: {status}")
            }
            End::Said(words) => {
                let words: Vec<&str> = words.split(' ').collect();
                let number =
                    |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
                let what = words.first().copied().unwrap_or_default();
                self.read += u64::from(what == "read");
                self.slowest_ms = self.slowest_ms.max(number(1) / 1e3);
                let share = number(2) / number(3).max(1.0);
                self.share = self.share.max(share);
                if what == "panic" {
                    self.panics += 1;
                    "panics".into()
                } else if share > 1.0 {
                    self.greedy += 1;
                    format!("takes {:.1} MiB of {:.1}", number(2) / 1048576.0, number(3) / 1048576.0)
                } else {
                    return;
                }
            }
        };
        if self.bad.len() < LISTED {
            self.bad.push(format!("{kind} {case}: {bad}"));
        }
    }

    fn is_good(&self) -> bool {
        self.panics + self.aborts + self.hangs + self.greedy == 0 && self.read * 10 >= self.cases
    }
}

fn report(tallies: &BTreeMap<&str, Tally>, took: Duration) -> bool {
    println!(
        "{:<10} {:>8} {:>6} {:>7} {:>7} {:>6} {:>7} {:>9} {:>7}",
        "kind", "cases", "read", "panics", "aborts", "hangs", "greedy", "slowest", "memory"
    );
    for (name, tally) in tallies {
        let read = 100.0 * tally.read as f64 / tally.cases.max(1) as f64;
        println!(
            "{name:<10} {:>8} {read:>5.0}% {:>7} {:>7} {:>6} {:>7} {:>6.0} ms {:>6.0}%",
            tally.cases,
            tally.panics,
            tally.aborts,
            tally.hangs,
            tally.greedy,
            tally.slowest_ms,
            100.0 * tally.share
        );
    }
    let cases: u64 = tallies.values().map(|tally| tally.cases).sum();
    let seconds = took.as_secs_f64();
    println!("{cases} cases in {seconds:.0} s, {:.0} a second", cases as f64 / seconds);
    for bad in tallies.values().flat_map(|tally| &tally.bad) {
        println!("bad: {bad}");
    }
    tallies.values().all(Tally::is_good)
}
