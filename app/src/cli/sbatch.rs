//! `sluice sbatch`: a script that has Slurm share a command out to many tasks, and merges what they did.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Parser as _};
use sluice_core::files::{claim_file, write};
use sluice_core::{Error, Result};

use super::whole::whole;
use super::{Cli, Command, note, there};

/// Tasks of an array at most; Slurm itself begins with 1,001.
const MOST: u64 = 100_000;

#[derive(Args)]
pub struct Sbatch {
    /// Parts that the items are shared out to
    #[arg(long, value_name = "N", value_parser = whole::<u64>, allow_negative_numbers = true)]
    shards: u64,
    /// The script: `sh FILE` submits everything, `sbatch --array=3 FILE` the third shard again
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Partition of the cluster
    #[arg(long, value_name = "P")]
    partition: Option<String>,
    /// Time that a task may take, as Slurm writes it
    #[arg(long, value_name = "T")]
    time: Option<String>,
    /// Write over a script that is there
    #[arg(long)]
    overwrite: bool,
    /// The command, such as `score --list FILE --out DIR`; shards go into DIR/shard-K, all together into DIR/all
    #[arg(last = true, required = true, value_name = "SUBCOMMAND")]
    command: Vec<String>,
}

impl Sbatch {
    pub fn run(&self) -> Result<()> {
        if !(1..=MOST).contains(&self.shards) {
            let cause = format!("{} is out of range: 1 to {MOST}", self.shards);
            return Err(Error::Flag { flag: "--shards", cause });
        }
        for (flag, value) in [("--partition", &self.partition), ("--time", &self.time)] {
            let odd = |char: char| !char.is_ascii_alphanumeric() && !"_-.,:+".contains(char);
            if value.as_ref().is_some_and(|value| value.is_empty() || value.contains(odd)) {
                return Err(Error::Flag { flag, cause: "Slurm has no such names".into() });
            }
        }
        claim_file(&self.out, there(self.overwrite))?;
        let (folder, command) = self.shared_out()?;
        let program = std::env::current_exe().map_err(|error| Error::Internal(error.to_string()))?;
        let script = self.script(&quoted(&program.to_string_lossy()), &folder, &command)?;
        write(&self.out, script.as_bytes(), there(self.overwrite))?;
        note(&format!("sh {} submits {} tasks and the merge", self.out.display(), self.shards));
        Ok(())
    }

    /// The folder of the findings, and the command without it, with paths that hold everywhere.
    fn shared_out(&self) -> Result<(PathBuf, Vec<String>)> {
        let words = std::iter::once("sluice").chain(self.command.iter().map(String::as_str));
        let parsed = Cli::try_parse_from(words).map_err(|error| {
            // What follows the first line is help.
            let text = error.to_string();
            let cause = text.lines().next().unwrap_or_default();
            Error::asked(format!("the command behind --: {cause}"), "write it as it runs alone")
        })?;
        let (folder, paths) = match &parsed.command {
            Some(Command::Score(score)) => (score.sharded()?, score.paths()),
            Some(Command::Study(study)) => (study.sharded()?, study.paths()),
            _ => {
                let cause = "only the findings of score and of studies of lists are sums over items";
                return Err(Error::asked(cause, "give it behind --, such as -- score --list FILE --out DIR"));
            }
        };
        let folder = absolute(folder)?;
        let (mut command, mut words) = (Vec::new(), self.command.iter());
        while let Some(word) = words.next() {
            if word == "--out" {
                words.next();
            } else if !word.starts_with("--out=") {
                command.push(placed(word, &paths)?);
            }
        }
        Ok((folder, command))
    }

    fn script(&self, program: &str, folder: &Path, command: &[String]) -> Result<String> {
        let shards = self.shards;
        let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
        let folder = folder.to_string_lossy();
        if folder.contains('%') || folder.contains('\n') {
            return Err(Error::asked(
                "Slurm takes no % in the names of logs",
                "give another --out behind --",
            ));
        }
        let mut set = "#SBATCH --job-name=sluice\n".to_owned();
        for (flag, value) in [("partition", &self.partition), ("time", &self.time)] {
            if let Some(value) = value {
                let _ = writeln!(set, "#SBATCH --{flag}={value}");
            }
        }
        let (words, folder) = (words.join(" "), quoted(&folder));
        Ok(format!(
            r#"#!/bin/sh
{set}# `sh` with this file submits every shard and, once all have ended well, the merge; `sbatch --array=3` with it the third
# shard again, which goes on where it was.
set -eu
sluice={program}
folder={folder}
if [ -n "${{SLURM_ARRAY_TASK_ID:-}}" ]; then
    exec "$sluice" {words} --shard "$SLURM_ARRAY_TASK_ID/{shards}" --out "$folder/shard-$SLURM_ARRAY_TASK_ID" --resume
fi
if [ "${{1:-}}" = merge ]; then
    set --
    for shard in $(seq {shards}); do set -- "$@" "$folder/shard-$shard"; done
    exec "$sluice" merge "$@" --out "$folder/all"
fi
mkdir -p "$folder"
array=$(sbatch --parsable --array=1-{shards} --output="$folder/shard-%a.log" "$0")
merge=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes --output="$folder/merge.log" "$0" merge)
echo "$array $merge"
"#
        ))
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::read(path, &error))
}

/// A word of a command; where it is one of its paths, one that holds from everywhere.
fn placed(word: &str, paths: &[&Path]) -> Result<String> {
    let (flag, value) = match word.split_once('=').filter(|(flag, _)| flag.starts_with("--")) {
        Some((flag, value)) => (format!("{flag}="), value),
        None => (String::new(), word),
    };
    match paths.contains(&Path::new(value)) {
        true => Ok(flag + &absolute(Path::new(value))?.to_string_lossy()),
        false => Ok(word.to_owned()),
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "_-./:=,+".contains(char);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("--list=a/b.jsonl"), "--list=a/b.jsonl");
        assert_eq!(quoted("<|end|>"), "'<|end|>'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
