//! A study of a list: the flags that name it, and what its shards come to together.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};
use sluice_core::files::{There, claim_file};
use sluice_core::method::over::recorded;
use sluice_core::method::{FINDINGS, ListOf, Method, write_whole};
use sluice_core::records::Shard;
use sluice_core::{Error, Result};

use super::{out_written, print};
use crate::cli::mapped;
use crate::cli::prompt::WORDS;
use crate::cli::whole::whole;

/// The flag that names a list.
pub const LIST: &str = "list";

/// The flags of a list, in place of a prompt.
pub fn flags(command: Command) -> Command {
    let long = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let list = long(
        LIST,
        "FILE",
        "List of prompts, JSON lines or an array: {\"prompt\"|\"tokens\", \"image\"?, \"subject\"?, \"answer\"? ...}; findings are means over them",
    );
    let map = long(
        "map",
        "OURS=THEIRS",
        "What stands for a field of a list in this one: answer=attribute, or a text with it: 'answer= {attribute}'",
    );
    command
        .arg(list.value_parser(clap::value_parser!(PathBuf)).conflicts_with_all(["image", "chat", "system"]))
        .arg(map.action(ArgAction::Append).allow_hyphen_values(true).conflicts_with_all(WORDS))
        .arg(
            long("items", "N", "Items at most; left out = all")
                .value_parser(whole::<u64>)
                .allow_negative_numbers(true)
                .conflicts_with_all(WORDS),
        )
        .arg(
            long("shard", "K/N", "The K-th of N parts of the items, for `merge`")
                .value_parser(clap::value_parser!(Shard))
                .allow_hyphen_values(true)
                .conflicts_with_all(WORDS),
        )
}

/// The list that is named; its positions are those that the flags mark in every item.
///
/// # Errors
/// A map that cannot be read.
pub fn read(method: &Method, flags: &ArgMatches) -> Result<Option<ListOf>> {
    let Some(file) = file(method, flags) else { return Ok(None) };
    let map: Vec<String> = flags.get_many("map").into_iter().flatten().cloned().collect();
    mapped(&map)?;
    let written = |name: &str| flags.get_one::<String>(name).cloned();
    let marks = method.picks.iter().filter_map(|pick| Some((pick.name.to_owned(), written(pick.name)?)));
    Ok(Some(ListOf {
        file: file.clone(),
        map,
        most: flags.get_one("items").copied(),
        shard: flags.get_one("shard").copied().unwrap_or_default(),
        marks: marks.collect(),
    }))
}

/// The file of the list.
pub fn file<'a>(method: &Method, flags: &'a ArgMatches) -> Option<&'a PathBuf> {
    method.takes_lists().then(|| flags.get_one(LIST)).flatten()
}

/// Look before the work whether merged findings may be written.
///
/// # Errors
/// [`Error::Exists`].
pub fn claim(folder: &Path, there: There) -> Result<()> {
    claim_file(&folder.join(FINDINGS), there)
}

/// What merged records come to: findings and figures.
///
/// # Errors
/// Records of something else, or items that failed.
pub fn merged(folder: &Path, there: There, json: bool) -> Result<()> {
    let findings = recorded(folder)?;
    write_whole(&findings, folder, there)?;
    if json {
        out_written(folder)?;
    } else {
        print(&findings);
    }
    let failed = findings.value().map_or(0, sluice_core::method::over::ListFound::failed);
    conclude(failed)
}

/// Fails where items did.
pub fn conclude(failed: u64) -> Result<()> {
    match failed {
        0 => Ok(()),
        _ => Err(Error::asked(
            format!("{failed} items could not be asked about; all others are in"),
            "correct the lines that are named above",
        )),
    }
}
