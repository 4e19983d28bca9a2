//! `sluice study router`

use std::path::{Path, PathBuf};

use clap::Args;
use sluice_core::checkpoint::TensorFile;
use sluice_core::engine::never;
use sluice_core::figure::Provenance;
use sluice_core::plan::Surrogate;
use sluice_core::study::RouterRun;
use sluice_core::worker::RouterStudy;
use sluice_core::{Error, Result};

use super::super::{note, out};
use super::{Read, Reading, every_five_seconds};

#[derive(Args)]
pub struct Router {
    #[command(flatten)]
    reading: Reading,
    /// Share of the tokens and layers that are to go through the big FFNs, percent
    #[arg(long, default_value_t = 50)]
    big: u8,
    /// Through the small ones; left out = what the others leave, with experts none
    #[arg(long)]
    small: Option<u8>,
    /// Past the FFN; left out = what the others leave
    #[arg(long)]
    skip: Option<u8>,
    /// Updates
    #[arg(long, default_value_t = 200)]
    steps: u64,
    /// File for the router: a plan of kind router reads it
    #[arg(long)]
    out: PathBuf,
}

impl Router {
    /// What is left out is what the others leave: small where there are small FFNs, else skipped.
    fn percent(&self, experts: bool) -> [u8; 3] {
        let rest = |others: u8| 100u8.saturating_sub(self.big).saturating_sub(others);
        let (small, skip) = match (self.small, self.skip) {
            (Some(small), skip) => (small, skip.unwrap_or(rest(small))),
            (None, Some(skip)) => (if experts { 0 } else { rest(skip) }, skip),
            (None, None) if experts => (0, rest(0)),
            (None, None) => (rest(0), 0),
        };
        [self.big, small, skip]
    }

    pub fn run(&self) -> Result<()> {
        let Read { mut engine, samples, .. } = self.reading.open()?;
        let length = samples.first().map_or(0, |sample| sample.len());
        let ids: Vec<u32> = samples.iter().flat_map(|sample| sample.iter().copied()).collect();
        let file = self.out.file_name().ok_or_else(|| Error::write(&self.out, "not a file name"))?;
        let folder = self.out.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let ask = RouterStudy {
            text: None,
            percent: self.percent(engine.model.spec.has_experts()),
            steps: self.steps,
            length,
            surrogate: Surrogate::default(),
            folder: folder.to_owned(),
            file: Some(file.to_string_lossy().into_owned()),
        };
        let mut run = RouterRun::new(&mut engine, ask, &ids, Provenance::default(), &never)?;
        let mut say = every_five_seconds();
        while !run.is_done() {
            run.step(&mut engine)?;
            let (done, all) = run.progress();
            say(&format!("step {done} of {all}"));
        }
        let findings = run.findings();
        for line in &findings.figure.notes {
            out(&format!("{line}\n"));
        }
        // What was written can be read.
        let file = TensorFile::open(&self.out)?;
        if file.tensors().is_empty() {
            return Err(Error::Internal("an empty router".into()));
        }
        note(&format!(
            "route by it: {{\"kind\": \"router\", \"name\": {:?}, \"file\": {:?}}}",
            findings.router.name, self.out
        ));
        Ok(())
    }
}
