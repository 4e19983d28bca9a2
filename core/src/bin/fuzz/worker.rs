//! A worker: reads case after case, and says before and after each what it is at.

use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use sluice_core::{Error, Result};

use super::corpus::Corpus;
use super::mutate::Dice;
use super::{Asked, counting};

/// Do the cases from the first one on, every `step`th.
pub fn work(asked: &Asked, step: u64) -> Result<()> {
    sluice_core::engine::keep_freed_blocks();
    let root = Root(std::env::temp_dir().join(format!("sluice-fuzz-{}", std::process::id())));
    let mut corpus = Corpus::new(&root.0)?;
    std::panic::set_hook(Box::new(|_| {}));
    let mut case = asked.first;
    while case < asked.cases {
        say(&format!("begin {case}"));
        let end = one(asked, case, &mut corpus)?;
        say(&format!("end {case} {end}"));
        case += step;
    }
    Ok(())
}

/// One case. What came of it, the time and the memory that it took, and the memory that it might have taken.
fn one(asked: &Asked, case: u64, corpus: &mut Corpus) -> Result<String> {
    let kind = asked.kind(case).ok_or_else(|| Error::Internal("no kind".into()))?;
    let mut dice = Dice::new(asked.seed ^ case.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let all = (kind.seeds)(corpus);
    let at = dice.below(all.len());
    let seed = all.get(at).ok_or_else(|| Error::Internal(format!("{} has no seeds", kind.name)))?;
    let input = (kind.change)(seed, corpus, &mut dice);
    // A copy: what is read may change the corpus's engine.
    let seed = super::corpus::Seed {
        folder: seed.folder.clone(),
        name: seed.name.clone(),
        bytes: seed.bytes.clone(),
    };
    write(&seed.path(), &input)?;
    if let Some(keep) = &asked.keep {
        write(keep, &input)?;
    }
    let (before, begin) = (counting::begin(), Instant::now());
    let read = catch_unwind(AssertUnwindSafe(|| (kind.read)(corpus, &seed, &input)));
    let (micros, peak) = (begin.elapsed().as_micros(), counting::peak(before));
    let (what, estimated) = match read {
        Ok(Ok(estimated)) => ("read", estimated),
        // A panic that was caught inside is one too.
        Ok(Err(Error::Internal(_))) | Err(_) => ("panic", 0),
        Ok(Err(_)) => ("refused", 0),
    };
    let most = (kind.most)(&input) + estimated;
    seed.restore().map_err(|error| Error::write(seed.path(), error))?;
    Ok(format!("{what} {micros} {peak} {most}"))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|error| Error::write(path, error))
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A parent that is gone needs nothing any more.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// A folder that goes with the worker.
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
