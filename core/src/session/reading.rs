//! A session out of its file: what can be read of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::shapes::{
    AnsweredFile, AskedFile, InquiryFile, PictureFile, PinnedFile, StepFile, SubjectFile, WorkFile, is_kept,
};
use super::{Answered, Document, History, Inquiry, Pinned, Work};
use crate::checkpoint::Picture;
use crate::engine::Prompt;
use crate::error::{Error, Result};
use crate::files::stands;
use crate::method::{Ask, Asked, Picks, Reached, Subject, complete, find};
use crate::plan::{Item, Plan};

/// Bytes of all pictures of a session, decoded: more than a history and what was pinned and asked beside it hold.
const MOST_PIXELS: usize = 512 << 20;

/// The text without plans and steps: plans are weighed one by one as they are read, steps take about as much as their text.
pub(super) fn without_steps(text: &str) -> String {
    #[derive(Deserialize)]
    struct Lists<'a> {
        #[serde(borrow, default)]
        plans: Option<&'a RawValue>,
        #[serde(borrow, default)]
        steps: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Works<'a> {
        #[serde(borrow, default)]
        checkpoints: Vec<Lists<'a>>,
    }
    let Ok(works) = serde_json::from_str::<Works<'_>>(text) else { return text.to_owned() };
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    let address = |list: &&RawValue| list.get().as_ptr() as usize;
    let mut lists: Vec<&RawValue> =
        works.checkpoints.iter().flat_map(|work| [work.plans, work.steps]).flatten().collect();
    lists.sort_by_key(address);
    for list in lists {
        let begin = address(&list).saturating_sub(text.as_ptr() as usize);
        out.push_str(text.get(from..begin).unwrap_or_default());
        from = begin + list.get().len();
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

pub(super) struct Reader<'a> {
    folder: &'a Path,
    pub(super) missing: Vec<String>,
    /// Bytes of the pictures so far.
    pixels: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self { folder, missing: Vec::new(), pixels: 0 }
    }

    fn lacks(&mut self, what: String) {
        // The same plan or picture is named by many steps.
        if !self.missing.contains(&what) {
            self.missing.push(what);
        }
    }

    pub(super) fn work(&mut self, work: WorkFile) -> Work {
        let name = work.checkpoint.name.clone();
        let plans: Vec<Arc<Plan>> = work.plans.iter().map(|raw| Arc::new(self.plan(raw))).collect();
        let pictures: Vec<Option<Picture>> =
            work.pictures.iter().map(|picture| self.picture(picture)).collect();
        let picture = |index: Option<usize>| pictures.get(index?).cloned().flatten();
        let plan = |index: usize| plans.get(index).cloned().unwrap_or_default();
        let prompts: Vec<Arc<str>> = work.prompts.into_iter().map(Arc::from).collect();
        let mut all = work.steps.iter().chain(work.variants.iter().map(|pinned| &pinned.document));
        if all.any(|step| step.plan >= plans.len() || step.prompt >= prompts.len()) {
            self.lacks(format!("{name}: prompts or plans that steps name"));
        }
        let document = |step: &StepFile| Document {
            words: prompts.get(step.prompt).cloned().unwrap_or_default(),
            picture: picture(step.picture),
            plan: plan(step.plan),
        };
        let steps = work.steps.iter().map(|step| (step.name.as_str().into(), document(step)));
        let history = History::of(steps.collect(), work.at);
        let pinned = |of: PinnedFile| Pinned {
            name: of.document.name.as_str().into(),
            document: document(&of.document),
            shown: of.shown,
            cost: of.cost,
        };
        let variants = work.variants.into_iter().map(pinned).collect();
        let mut methods = BTreeMap::new();
        for (id, inquiry) in work.methods {
            match find(&id) {
                Some(method) => {
                    let inquiry = self.inquiry(method, inquiry, &picture, &plan);
                    methods.insert(method.id, inquiry);
                }
                None => self.lacks(format!("{name}: there is no method {id:?}")),
            }
        }
        Work { checkpoint: work.checkpoint, history, variants, methods, window: work.window }
    }

    /// What can be read of a plan.
    fn plan(&mut self, raw: &RawValue) -> Plan {
        #[derive(Deserialize)]
        struct Items {
            items: Vec<Box<RawValue>>,
        }
        let error = match Plan::from_json(raw.get()) {
            Ok(plan) => return plan,
            Err(error) => error,
        };
        let Ok(Items { items }) = serde_json::from_str(raw.get()) else {
            self.lacks(error.to_string());
            return Plan::default();
        };
        Plan { items: items.iter().filter_map(|raw| self.item(raw)).collect(), ..Plan::default() }
    }

    fn item(&mut self, raw: &RawValue) -> Option<Item> {
        let text = format!(r#"{{"version": {}, "items": [{}]}}"#, crate::plan::PLAN_VERSION, raw.get());
        match Plan::from_json(&text) {
            Ok(mut plan) => plan.items.pop(),
            Err(error) => {
                self.lacks(error.to_string());
                None
            }
        }
    }

    fn picture(&mut self, picture: &PictureFile) -> Option<Picture> {
        let full = self.pixels > MOST_PIXELS;
        let read = || -> Result<Picture> {
            if full {
                return Err(Error::missing(&picture.file, "is past what a session's pictures may take"));
            }
            if !is_kept(&picture.file) {
                return Err(Error::missing(&picture.file, "is no name of a kept picture"));
            }
            Picture::read(&self.folder.join(&picture.file))
        };
        match read() {
            Ok(read) => {
                self.pixels += read.pixels().as_raw().len();
                Some(read.named(&picture.name, picture.sha256.as_deref()))
            }
            Err(error) => {
                self.lacks(format!("picture {}: {error}", picture.name));
                None
            }
        }
    }

    fn inquiry(
        &mut self,
        method: &'static crate::method::Method,
        inquiry: InquiryFile,
        picture: &dyn Fn(Option<usize>) -> Option<Picture>,
        plan: &dyn Fn(usize) -> Arc<Plan>,
    ) -> Inquiry {
        let mut ask = inquiry.ask;
        if let Err(error) = complete(method.fields, &ask) {
            self.lacks(format!("choices of {}: {error}", method.name));
            ask = Ask::new();
        }
        let found = inquiry.found.and_then(|found| {
            let answered = self.answered(method, found, picture, plan);
            if let Err(cause) = &answered {
                self.lacks(format!("findings of {}: {cause}", method.name));
            }
            answered.ok()
        });
        Inquiry {
            ask,
            picks: ordered(inquiry.picks),
            text: inquiry.text,
            taken: inquiry.taken.iter().filter_map(|raw| self.item(raw)).collect(),
            window: inquiry.window,
            found,
        }
    }

    fn answered(
        &self,
        method: &'static crate::method::Method,
        found: AnsweredFile,
        picture: &dyn Fn(Option<usize>) -> Option<Picture>,
        plan: &dyn Fn(usize) -> Arc<Plan>,
    ) -> std::result::Result<Answered, String> {
        let AskedFile { subject, picks, plan: of, ask, folder } = found.asked;
        let subject = match subject {
            SubjectFile::Prompt { words, picture: index } => {
                let image = picture(index);
                if image.is_none() && index.is_some() {
                    return Err("their picture is gone".into());
                }
                Subject::Prompt(Prompt { words, image })
            }
            SubjectFile::List(list) => Subject::List(list),
            SubjectFile::Text(path) => Subject::Text(path),
            SubjectFile::Nothing => Subject::Nothing,
        };
        if subject.kind() != method.subject {
            return Err(format!("they are about a {}", subject.kind().name()));
        }
        complete(method.fields, &ask).map_err(|error| error.to_string())?;
        let state = match found.state {
            Some(name) if !Reached::is_name(&name) => return Err(format!("{name:?} is no name of a state")),
            state => state,
        };
        if let Some(name) = state.as_ref().filter(|name| !stands(&self.folder.join(name))) {
            return Err(format!("{} is gone", self.folder.join(name).display()));
        }
        if !Reached::is_name(&format!("{}.json", found.stem)) {
            return Err(format!("{:?} is no name of findings", found.stem));
        }
        let asked = Asked { method, subject, picks: ordered(picks), plan: (*plan(of)).clone(), ask, folder };
        let reached = Reached::written(found.stem, found.done, self.folder, state.as_deref());
        Ok(Answered { asked: Arc::new(asked), reached: Arc::new(reached), findings: None })
    }
}

/// Positions ascending, each once, as everybody relies on.
fn ordered(mut picks: Picks) -> Picks {
    for at in picks.values_mut() {
        at.sort_unstable();
        at.dedup();
    }
    picks
}
