//! The session: kept while a person works, gone on with at the start, saved to a file and opened from one.

use std::path::PathBuf;

use eframe::egui::Context;
use sluice_core::files::There;
use sluice_core::session::Opened;
use sluice_core::worker::{Card, Failure, Slot, Target};

use super::SluiceApp;
use crate::errands::Dialog;
use crate::keep::{self, Begin, FAREWELL, Keeper, Place, REST, Snapshot};
use crate::paths::{is_kept, with_json};

/// Seconds after which a session that could not be written is tried again.
const AGAIN: f64 = 5.0;
/// What is said of a session that lacks something.
const NEXT: &str = "what is there is open; the rest stays in the file that the session was read from";

/// What to do before a session is left that could not be written.
const UNSAVED: &str = "save this one to a file elsewhere first (Ctrl+Shift+S); opening the other once more leaves it as it was last saved";

impl SluiceApp {
    /// A window that begins with what was kept; `target` is opened in place of the session's checkpoint.
    pub fn begin(ctx: &Context, begin: Begin, target: Option<Target>) -> Self {
        if let Some(memory) = begin.memory {
            ctx.memory_mut(|now| *now = memory);
        }
        let mut app = Self::new(ctx, None, begin.settings.unwrap_or_default());
        app.keeper = begin.keeper;
        app.state.session_file = begin.file;
        app.state.kept = begin.kept;
        let open = begin.opened.and_then(|opened| app.take_session(opened));
        app.open(target.or(open).unwrap_or(Target::Bundled));
        app
    }

    /// Take a session over. The checkpoint that was open in it.
    fn take_session(&mut self, opened: Opened) -> Option<Target> {
        (self.missing, self.told) = (opened.missing, false);
        if !self.missing.is_empty() {
            // Saving it again would lose what is missing: a new file is asked for.
            self.state.session_file = None;
        }
        keep::restore(opened.session, &mut self.state, &mut self.layout)
    }

    /// Something was done that a session keeps.
    pub(super) fn touch(&mut self, ctx: &Context) {
        if self.keeper.is_some() {
            self.touched.get_or_insert(ctx.input(|input| input.time));
        }
    }

    /// Write the session once what was done has rested.
    pub(super) fn keep(&mut self, ctx: &Context) {
        let Some(keeper) = &self.keeper else { return };
        let now = ctx.input(|input| input.time);
        if let Some(ended) = keeper.ended() {
            if let Some(failure) = ended.clone().filter(|_| self.state.unsaved.is_none()) {
                self.state.results.failure = Some((Slot::Open, failure));
            }
            if ended.is_some() {
                self.touched = Some(now + AGAIN - REST);
            }
            self.warned &= ended.is_some();
            self.state.unsaved = ended;
        }
        let Some(since) = self.touched else { return };
        let left = REST - (now - since);
        if left > 0.0 || !keeper.is_free() {
            return ctx.request_repaint_after_secs(left.max(0.1) as f32);
        }
        self.touched = None;
        let snapshot = self.snapshot(ctx);
        if let Some(keeper) = &self.keeper {
            keeper.write(snapshot);
        }
    }

    /// Write what is there and end.
    pub fn farewell(&mut self, ctx: &Context) {
        if let Some(keeper) = self.keeper.take() {
            keeper.finish(self.snapshot(ctx));
        }
        // Files of a person's own that are still written.
        self.errands.finish(FAREWELL);
    }

    fn snapshot(&mut self, ctx: &Context) -> Box<Snapshot> {
        self.state.take_typed();
        let (memory, size) = keep::looks(ctx);
        let session = keep::session(&self.state, &self.layout);
        let file = self.state.session_file.clone();
        Box::new(Snapshot { session, settings: self.state.settings.clone(), memory, size, file })
    }

    /// A session was read: it takes the place of this one, which stays where it is kept.
    pub(super) fn open_session(
        &mut self,
        ctx: &Context,
        path: PathBuf,
        opened: Opened,
        place: Option<Place>,
    ) {
        if let Some(failure) = self.state.unsaved.clone().filter(|_| !self.warned) {
            self.warned = true;
            let next_step = UNSAVED.into();
            self.state.results.failure = Some((Slot::Open, Failure { next_step, ..failure }));
            return;
        }
        (self.warned, self.state.unsaved) = (false, None);
        let kept = self.keeper.is_none() || place.is_some();
        if let Some(keeper) = self.keeper.take() {
            let home = keeper.home().clone();
            self.state.kept.insert(0, keeper.session());
            let last = self.snapshot(ctx);
            // Not in a frame: a disk may be slow.
            self.errands.in_line(move || {
                keeper.finish(last);
                None
            });
            self.keeper = place.map(|place| Keeper::new(place, home));
        }
        self.sessions += 1;
        self.state.put_away();
        self.state.results = Default::default();
        // One that is only kept has no file of a person's own.
        self.state.session_file = Some(path).filter(|path| !is_kept(path));
        if let Some(path) = &self.state.session_file {
            self.state.settings.remember_session(path.clone());
        }
        let open = self.take_session(opened);
        if !kept {
            self.missing.push("this session is not kept: there is no place for it".into());
        }
        self.open(open.unwrap_or(Target::Bundled));
        self.touch(ctx);
    }

    /// Write the session to a file: the one that it has, or one that is asked for.
    pub(super) fn save_session(&mut self, anew: bool) {
        match self.state.session_file.clone().filter(|_| !anew) {
            Some(path) => self.write_session(path, There::Replace),
            None => self.errands.ask(Dialog::SaveSession),
        }
    }

    /// Write the session to a file that was chosen; it has that from now on.
    pub(super) fn write_session(&mut self, path: PathBuf, there: There) {
        self.state.take_typed();
        // Nobody was asked about a file with another name.
        let (path, there) = match path.extension().is_some_and(|end| end == "json") {
            true => (path, there),
            false => (with_json(&path), There::Keep),
        };
        let session = keep::session(&self.state, &self.layout);
        self.errands.save_session(session, path, there, self.sessions);
    }

    /// The checkpoint of a session was opened, or another in its place: what of the session fits goes on.
    pub(super) fn meet_expected(&mut self, card: &Card) {
        // What was told at an earlier opening is of that one.
        if std::mem::replace(&mut self.told, true) {
            self.missing.clear();
        }
        self.state.expected = None;
        if let Some(lost) = self.state.goes_on(card) {
            let name = &card.name;
            self.missing.push(match lost.is_empty() {
                true => format!("{name} has changed since"),
                false => format!("{name} has changed since; left out, as of before: {}", lost.join(", ")),
            });
        }
    }

    /// Tell what of a session is not there, all in one.
    pub(super) fn tell_missing(&mut self) {
        if !self.missing.is_empty() {
            let cause = self.missing.join("; ");
            self.state.results.failure = Some((Slot::Restore, Failure { cause, next_step: NEXT.into() }));
        }
    }
}
