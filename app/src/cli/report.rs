//! `sluice report`: the figures of every method on the sample prompt, as PNG, SVG and CSV. Asks the worker what the window
//! asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use crossbeam_channel::{Receiver, bounded};
use sluice_core::figure::{Figure, Ground, export};
use sluice_core::method::fcct::{FcctFound, iri_rates};
use sluice_core::method::{Asked, METHODS, Subject, WARNING};
use sluice_core::plan::Plan;
use sluice_core::worker::*;
use sluice_core::{Error, Result};

use super::{note, out};

/// Length of the continuations.
const NEW_TOKENS: usize = 48;

#[derive(Args)]
pub struct Report {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    /// Picture that the prompt is about, for a checkpoint that reads images
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Folder for the figures
    #[arg(long)]
    out: PathBuf,
}

impl Report {
    pub fn run(&self) -> Result<()> {
        write(self.checkpoint.as_deref(), self.image.as_deref(), &self.out)
    }
}

/// Write every method's figures on the checkpoint's sample prompt, about a picture where one is given, into `folder`.
pub fn write(checkpoint: Option<&Path>, image: Option<&Path>, folder: &Path) -> Result<()> {
    // Before any work: a folder that cannot be written is known at once.
    std::fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    let client = Client::new();
    let target = checkpoint.map_or(Target::Bundled, |path| Target::Path(path.to_owned()));
    client.worker.send(Request::Open(target));
    let card = client.wait(|event| if let Event::Opened(_, card) = event { Some(card) } else { None })?;
    let image = image.map(Picture::read).transpose()?;
    let (prompt, plan) = (Prompt { words: card.sample_prompt.clone(), image }, Plan::default());
    // The prompt's tokens: samples mark some of them.
    let scene = Scene { prompt: prompt.clone(), plan: plan.clone(), views: Vec::new() };
    client.worker.send(Request::Scene(scene));
    let tokens =
        client.wait(|event| if let Event::Tokens(_, tokens) = event { Some(tokens) } else { None })?;
    for &method in METHODS.iter().filter(|method| method.unavailable(&card.spec).is_none()) {
        for sample in (method.samples)(&card) {
            let subject = match sample.subject {
                Subject::Prompt(_) => Subject::Prompt(prompt.clone()),
                other => other,
            };
            let mut asked = Asked::new(method, subject, &plan);
            (asked.ask, asked.picks) = (sample.ask, (sample.picks)(&tokens));
            asked.folder = folder.to_owned();
            client.worker.send(Request::Study(Box::new(asked.clone())));
            let findings = client.wait(|event| match event {
                Event::Findings(_, findings) if findings.done && *findings.asked == asked => Some(findings),
                _ => None,
            })?;
            save(&findings.found.figures(), folder)?;
            for warning in findings.found.facts().iter().filter(|fact| fact.name.starts_with(WARNING)) {
                note(&format!("{}: {} {}", method.id, warning.name, warning.text()));
            }
            // What the rates of FCCT lead to.
            if let Some(rates) = findings.value::<FcctFound>() {
                let of = rates.figures.first().map(|figure| figure.provenance.clone());
                save(&[Arc::new(iri_rates(&rates.iri(), of.unwrap_or_default()))], folder)?;
            }
        }
    }
    let generate = Generate { prompt, plan, max_new_tokens: NEW_TOKENS, temperature: 0.0, seed: 0 };
    client.worker.send(Request::Generate(generate));
    let text = client.wait(|event| match event {
        Event::Text(_, text) if text.done => Some(text),
        _ => None,
    })?;
    save(&[Arc::clone(&text.figure)], folder)
}

fn save(figures: &[Arc<Figure>], folder: &Path) -> Result<()> {
    for figure in figures {
        for path in export::write_all(figure, Ground::Light, folder)? {
            out(&format!("{}\n", path.display()));
        }
    }
    Ok(())
}

/// The worker, awaited.
struct Client {
    worker: Worker,
    woken: Receiver<()>,
}

impl Client {
    fn new() -> Self {
        let (wake, woken) = bounded(1);
        let worker = Worker::spawn(move || {
            let _ = wake.try_send(());
        });
        Self { worker, woken }
    }

    /// The first thing that `pick` takes of the events; a failure ends the wait.
    fn wait<T>(&self, mut pick: impl FnMut(Event) -> Option<T>) -> Result<T> {
        loop {
            let mut found = None;
            for event in self.worker.poll() {
                if let Event::Failed(_, _, failure) = event {
                    return Err(Error::Reported { cause: failure.cause, next_step: failure.next_step });
                }
                found = found.or_else(|| pick(event));
            }
            if let Some(found) = found {
                return Ok(found);
            }
            if self.woken.recv().is_err() {
                return Err(Error::Internal("the worker thread ended".into()));
            }
        }
    }
}
