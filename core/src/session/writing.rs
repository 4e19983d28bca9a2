//! A session on its way into a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::shapes::{
    AnsweredFile, AskedFile, File, InquiryFile, MOST, PICTURE, PictureFile, PinnedFile, StepFile,
};
use super::shapes::{SubjectFile, VERSION, WorkFile, is_kept, raw};
use super::{Answered, Document, Inquiry, Session, Work};
use crate::checkpoint::Picture;
use crate::engine::Prompt;
use crate::error::{Error, Result};
use crate::files::{self, claim_folder, stands, write_atomic};
use crate::method::Subject;
use crate::plan::Plan;

pub(super) struct Writer<'a> {
    folder: &'a Path,
    made: bool,
    /// Files that the session names.
    names: BTreeSet<String>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self { folder, made: stands(folder), names: BTreeSet::new() }
    }

    pub(super) fn session(&mut self, session: &Session) -> Result<String> {
        let checkpoints = session.works.iter().map(|work| self.work(work)).collect::<Result<Vec<_>>>()?;
        let file = File {
            version: VERSION,
            sluice: env!("CARGO_PKG_VERSION").into(),
            open: Some(session.open).filter(|&open| open < checkpoints.len()),
            checkpoints,
            notes: session.notes.clone(),
            window: session.window.clone(),
        };
        let text = serde_json::to_string(&file).map_err(|error| Error::Internal(error.to_string()))?;
        if text.len() as u64 >= MOST {
            let cause = format!("the session is over {} MiB", MOST >> 20);
            return Err(Error::asked(
                cause,
                "save it, then open a new one: clear plans with large maps or vectors",
            ));
        }
        Ok(text + "\n")
    }

    fn work(&mut self, work: &Work) -> Result<WorkFile> {
        let mut shared = Shared::default();
        let steps = work.history.all().iter().map(|step| shared.step(&step.name, &step.document));
        let steps = steps.collect::<Result<Vec<_>>>()?;
        let variants = work.variants.iter().map(|pinned| {
            let document = shared.step(&pinned.name, &pinned.document)?;
            Ok(PinnedFile { document, shown: pinned.shown, cost: pinned.cost.clone() })
        });
        let variants = variants.collect::<Result<Vec<_>>>()?;
        let methods = work
            .methods
            .iter()
            .map(|(id, inquiry)| Ok(((*id).to_owned(), self.inquiry(inquiry, &mut shared)?)));
        let methods = methods.collect::<Result<BTreeMap<_, _>>>()?;
        let pictures =
            shared.pictures.iter().map(|picture| self.picture(picture)).collect::<Result<Vec<_>>>()?;
        Ok(WorkFile {
            checkpoint: work.checkpoint.clone(),
            prompts: shared.prompts.iter().map(|prompt| prompt.to_string()).collect(),
            plans: shared.texts,
            pictures,
            steps,
            at: work.history.at(),
            variants,
            methods,
            window: work.window.clone(),
        })
    }

    fn inquiry(&mut self, inquiry: &Inquiry, shared: &mut Shared) -> Result<InquiryFile> {
        let found = inquiry.found.as_ref().map(|found| self.answered(found, shared)).transpose()?.flatten();
        Ok(InquiryFile {
            ask: inquiry.ask.clone(),
            picks: inquiry.picks.clone(),
            text: inquiry.text.clone(),
            taken: inquiry.taken.iter().map(raw).collect::<Result<_>>()?,
            window: inquiry.window.clone(),
            found,
        })
    }

    /// None where its state cannot be read any longer: the rest of the session is not lost with it.
    fn answered(&mut self, found: &Answered, shared: &mut Shared) -> Result<Option<AnsweredFile>> {
        self.make()?;
        let Answered { asked, reached, findings } = found;
        let state = match reached.write_into(self.folder) {
            Err(Error::Read { .. }) => return Ok(None),
            state => state?,
        };
        self.names.extend(state.clone());
        let name = format!("{}.json", reached.stem);
        let path = self.folder.join(&name);
        if !stands(&path) {
            match findings {
                Some(findings) => write_atomic(&path, findings.json(&|_| Vec::new())?.as_bytes())?,
                None => reached.copy_findings(&path)?,
            }
        }
        self.names.insert(name);
        let subject = match &asked.subject {
            Subject::Prompt(Prompt { words, image }) => SubjectFile::Prompt {
                words: words.clone(),
                picture: image.as_ref().map(|picture| shared.picture(picture)),
            },
            Subject::List(list) => SubjectFile::List(list.clone()),
            Subject::Text(path) => SubjectFile::Text(path.clone()),
            Subject::Nothing => SubjectFile::Nothing,
        };
        let asked = AskedFile {
            subject,
            picks: asked.picks.clone(),
            plan: shared.plan(&Arc::new(asked.plan.clone()))?,
            ask: asked.ask.clone(),
            folder: asked.folder.clone(),
        };
        Ok(Some(AnsweredFile { asked, done: reached.done, stem: reached.stem.clone(), state }))
    }

    fn picture(&mut self, picture: &Picture) -> Result<PictureFile> {
        self.make()?;
        let (begin, end) = PICTURE;
        let file = format!("{begin}{:016x}{end}", picture.fingerprint());
        let path = self.folder.join(&file);
        if !stands(&path) {
            write_atomic(&path, &picture.png()?)?;
        }
        self.names.insert(file.clone());
        Ok(PictureFile { file, name: picture.name().into(), sha256: picture.sha256().map(str::to_owned) })
    }

    fn make(&mut self) -> Result<()> {
        if !self.made {
            claim_folder(self.folder)?;
            self.made = true;
        }
        Ok(())
    }

    /// Take away what the session before named and this one does not. What stays by mistake harms nobody.
    pub(super) fn sweep(&self) {
        let there = if self.made { files::names(self.folder) } else { Ok(Vec::new()) };
        for name in there.unwrap_or_default() {
            if is_kept(&name) && !self.names.contains(&name) {
                drop(std::fs::remove_file(self.folder.join(name)));
            }
        }
    }
}

/// Prompts, plans and pictures that several steps share.
#[derive(Default)]
struct Shared {
    prompts: Vec<Arc<str>>,
    plans: Vec<Arc<Plan>>,
    texts: Vec<Box<RawValue>>,
    pictures: Vec<Picture>,
    /// Indices by address, which the `Arc`s kept here keep from being another's.
    known: BTreeMap<usize, usize>,
}

impl Shared {
    fn step(&mut self, name: &str, Document { words, picture, plan }: &Document) -> Result<StepFile> {
        Ok(StepFile {
            name: name.to_owned(),
            prompt: self.prompt(words),
            picture: picture.as_ref().map(|picture| self.picture(picture)),
            plan: self.plan(plan)?,
        })
    }

    fn prompt(&mut self, words: &Arc<str>) -> usize {
        *self.known.entry(words.as_ptr() as usize).or_insert_with(|| {
            self.prompts.push(Arc::clone(words));
            self.prompts.len() - 1
        })
    }

    fn plan(&mut self, plan: &Arc<Plan>) -> Result<usize> {
        let address = Arc::as_ptr(plan) as usize;
        if let Some(index) = self.known.get(&address) {
            return Ok(*index);
        }
        self.texts.push(raw(&**plan)?);
        self.plans.push(Arc::clone(plan));
        self.known.insert(address, self.texts.len() - 1);
        Ok(self.texts.len() - 1)
    }

    fn picture(&mut self, picture: &Picture) -> usize {
        let known = self.pictures.iter().position(|known| known == picture && known.name() == picture.name());
        known.unwrap_or_else(|| {
            self.pictures.push(picture.clone());
            self.pictures.len() - 1
        })
    }
}
