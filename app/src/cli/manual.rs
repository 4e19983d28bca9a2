//! `sluice completions` and `sluice man`: what a shell and `man` read, from the same definitions as the command line.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use sluice_core::files::{claim_file, claim_folder, write};
use sluice_core::{Error, Result};

use super::{Cli, out, there};

#[derive(Args)]
pub struct Completions {
    /// Shell that reads them
    shell: Shell,
}

impl Completions {
    pub fn run(&self) -> Result<()> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "sluice", &mut text);
        out(&String::from_utf8_lossy(&text));
        Ok(())
    }
}

#[derive(Args)]
pub struct Man {
    /// Folder for one page per subcommand; left out = the page of sluice alone, to stdout
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write over pages that are there
    #[arg(long, requires = "out")]
    overwrite: bool,
}

impl Man {
    pub fn run(&self) -> Result<()> {
        let mut command = Cli::command();
        // Subcommands get their full names: sluice-study-trace.
        command.build();
        let Some(folder) = &self.out else {
            out(&String::from_utf8_lossy(&page(command)?));
            return Ok(());
        };
        claim_folder(folder)?;
        let (mut left, mut pages) = (vec![command], Vec::new());
        while let Some(command) = left.pop() {
            left.extend(command.get_subcommands().filter(|one| one.get_name() != "help").cloned());
            let name = command.get_display_name().unwrap_or_else(|| command.get_name());
            pages.push((folder.join(format!("{name}.1")), command));
        }
        // All or none.
        let there = there(self.overwrite);
        pages.iter().try_for_each(|(path, _)| claim_file(path, there))?;
        for (path, command) in pages {
            write(&path, &page(command)?, there)?;
            out(&format!("{}\n", path.display()));
        }
        Ok(())
    }
}

/// A page of `man`.
fn page(command: Command) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(text)
}
