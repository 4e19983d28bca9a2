//! `sluice report`: the figures of every method on a prompt, the checkpoint's sample where none is given, as PNG, SVG and
//! CSV. Asks the worker what the window asks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use crossbeam_channel::{Receiver, bounded};
use sluice_core::figure::{Figure, Format, Ground, export};
use sluice_core::files::{There, claim_file, claim_folder};
use sluice_core::method::fcct::{FcctFound, iri_rates};
use sluice_core::method::{Asked, METHODS, Method, Subject, WARNING, find};
use sluice_core::plan::Plan;
use sluice_core::worker::*;
use sluice_core::{Error, Result};

use super::nearest::nearest;
use super::prompt::{PromptArgs, at_most_one};
use super::{HeldArgs, apart, checkpoint, note, out, there};

/// Length of the continuations.
const NEW_TOKENS: usize = 48;

/// The continuations, which are no method of the list.
const TEXT: &str = "text";

#[derive(Args)]
#[command(group(at_most_one()))]
pub struct Report {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    held: HeldArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Plan file
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Methods, by id as `sluice methods` lists them; text is the continuations; left out = all
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = trimmed)]
    only: Vec<String>,
    /// Folder for the figures
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Write over figures that are there
    #[arg(long)]
    overwrite: bool,
}

/// Blanks around an id do not matter.
fn trimmed(id: &str) -> std::result::Result<String, String> {
    Ok(id.trim().to_owned())
}

impl Report {
    pub fn run(&self) -> Result<()> {
        self.held.apply();
        for id in self.only.iter().filter(|id| *id != TEXT) {
            find(id).ok_or_else(|| unknown(id))?;
        }
        let plan = self.plan.as_deref().map(Plan::read).transpose()?.unwrap_or_default();
        // Before any work: a folder that cannot be written is known at once.
        claim_folder(&self.out)?;
        let checkpoint = checkpoint(self.checkpoint.as_deref())?;
        apart(&self.out, &checkpoint)?;
        let prompt = self.prompt.read(&checkpoint)?;
        let image = self.prompt.image()?;
        let there = there(self.overwrite);
        Page { checkpoint: self.checkpoint.as_deref(), prompt, image, plan, only: &self.only, there }
            .write(&self.out)
    }
}

/// An id that no method has, with the one that may be meant.
fn unknown(id: &str) -> Error {
    let ids =
        METHODS.iter().flat_map(|method| method.aliases.iter().copied().chain([method.id])).chain([TEXT]);
    let hint = nearest(id, ids)
        .map_or_else(|| "`sluice methods` lists them".to_owned(), |near| format!("did you mean {near}?"));
    Error::Reported { cause: format!("--only {id}: no method has this id"), next_step: hint }
}

/// Write every method's figures on the checkpoint's sample prompt, about a picture where one is given, into a new folder.
pub fn write(checkpoint: Option<&Path>, image: Option<&Path>, folder: &Path) -> Result<()> {
    let image = image.map(Picture::read).transpose()?;
    claim_folder(folder)?;
    let there = There::Keep;
    Page { checkpoint, prompt: None, image, plan: Plan::default(), only: &[], there }.write(folder)
}

/// What a report is of.
struct Page<'a> {
    checkpoint: Option<&'a Path>,
    /// None = the checkpoint's sample prompt.
    prompt: Option<Prompt>,
    image: Option<Picture>,
    plan: Plan,
    /// Ids; none = all that the checkpoint can be asked.
    only: &'a [String],
    there: There,
}

impl Page<'_> {
    fn write(self, folder: &Path) -> Result<()> {
        let client = Client::new();
        let target = self.checkpoint.map_or(Target::Bundled, |path| Target::Path(path.to_owned()));
        client.worker.send(Request::Open(target));
        let card = client.wait(|event| if let Event::Opened(_, card) = event { Some(card) } else { None })?;
        let Self { image, plan, .. } = &self;
        let sample = || Prompt { words: card.sample_prompt.clone(), image: image.clone() };
        let prompt = self.prompt.clone().unwrap_or_else(sample);
        // The prompt's tokens: samples mark some of them.
        let scene = Scene { prompt: prompt.clone(), plan: plan.clone(), views: Vec::new() };
        client.worker.send(Request::Scene(scene));
        let tokens =
            client.wait(|event| if let Event::Tokens(_, tokens) = event { Some(tokens) } else { None })?;
        // What one method warns of in several figures is said once.
        let (mut failed, mut said) = (Vec::new(), BTreeSet::new());
        for &method in METHODS.iter().filter(|method| self.asks(method)) {
            if let Some(cause) = method.unavailable(&card.spec) {
                if !self.only.is_empty() {
                    return Err(Error::Reported {
                        cause: format!("{}: {cause}", method.id),
                        next_step: format!("take {} out of --only, or choose another checkpoint", method.id),
                    });
                }
                continue;
            }
            let samples = (method.samples)(&card);
            if samples.is_empty() && !self.only.is_empty() {
                return Err(Error::Reported {
                    cause: format!("{}: a report asks nothing of it on this checkpoint", method.id),
                    next_step: format!("ask it by `sluice study {0}`, or take {0} out of --only", method.id),
                });
            }
            for sample in samples {
                let subject = match sample.subject {
                    Subject::Prompt(_) => Subject::Prompt(prompt.clone()),
                    other => other,
                };
                let own = if plan.items.is_empty() { &sample.plan } else { plan };
                let mut asked = Asked::new(method, subject, own);
                (asked.ask, asked.picks) = (sample.ask, (sample.picks)(&tokens));
                asked.folder = folder.to_owned();
                match client.figures(&asked, &mut said) {
                    Ok(figures) => save(&figures, folder, self.there)?,
                    // A prompt or a plan that is not the checkpoint's own may not suit one method; the others are asked.
                    Err(Error::Reported { cause, next_step }) => {
                        note(&format!("{}: {cause}", method.id));
                        failed.push((method.id, next_step));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        if self.only.is_empty() || self.only.iter().any(|id| id == TEXT) {
            let (prompt, plan) = (prompt, self.plan.clone());
            save(&[client.continuations(prompt, plan)?], folder, self.there)?;
        }
        failed.dedup_by_key(|(id, _)| *id);
        let ids: Vec<&str> = failed.iter().map(|(id, _)| *id).collect();
        match failed.into_iter().next() {
            Some((_, next_step)) => {
                Err(Error::Reported { cause: format!("not in the report: {}", ids.join(", ")), next_step })
            }
            None => Ok(()),
        }
    }

    fn asks(&self, method: &Method) -> bool {
        self.only.is_empty() || self.only.iter().any(|id| find(id).is_some_and(|one| one == method))
    }
}

fn save(figures: &[Arc<Figure>], folder: &Path, there: There) -> Result<()> {
    // Of a method's figures all or none.
    for figure in figures {
        for format in Format::OF_A_STUDY {
            claim_file(&folder.join(export::file_name(figure, format)), there)?;
        }
    }
    for figure in figures {
        for path in export::write_all(figure, Ground::Light, folder, there)? {
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
    /// The figures of a method, and those that they lead to; a warning that was `said` is not said again.
    fn figures(&self, asked: &Asked, said: &mut BTreeSet<String>) -> Result<Vec<Arc<Figure>>> {
        self.worker.send(Request::Study(Box::new(asked.clone().into())));
        let findings = self.wait(|event| match event {
            Event::Findings(_, findings) if findings.done && *findings.asked == *asked => Some(findings),
            _ => None,
        })?;
        for warning in findings.found.facts().iter().filter(|fact| fact.name.starts_with(WARNING)) {
            let line = format!("{}: {} {}", asked.method.id, warning.name, warning.text());
            if !said.contains(&line) {
                note(&line);
                said.insert(line);
            }
        }
        let mut figures = findings.found.figures();
        // What the rates of FCCT lead to.
        if let Some(rates) = findings.value::<FcctFound>() {
            let of = rates.figures.first().map(|figure| figure.provenance.clone());
            figures.push(Arc::new(iri_rates(&rates.iri(), of.unwrap_or_default())));
        }
        Ok(figures)
    }

    /// The prompt continued with and without the plan.
    fn continuations(&self, prompt: Prompt, plan: Plan) -> Result<Arc<Figure>> {
        let model = Variant { prompt: prompt.clone(), plan: Plan::default().into() };
        let streams = vec![
            ("unmodified".into(), model),
            ("under the plan".into(), Variant { prompt, plan: plan.into() }),
        ];
        let generate = Generate { streams, max_new_tokens: NEW_TOKENS, temperature: 0.0, seed: 0 };
        self.worker.send(Request::Generate(generate));
        let text = self.wait(|event| match event {
            Event::Text(_, text) if text.done => Some(text),
            _ => None,
        })?;
        Ok(Arc::clone(&text.figure))
    }

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
