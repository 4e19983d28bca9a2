//! What each command does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui::{Context, OpenUrl};
use sluice_core::figure::Figure;
use sluice_core::method::{ListOf, Method};
use sluice_core::plan::{Change, Plan, Positions};
use sluice_core::session::History;
use sluice_core::worker::{Request, Slot, Study, Target, Variant};

use super::{Folding, SluiceApp};
use crate::browser::Browser;
use crate::command::Command;
use crate::errands::{Dialog, Found, PictureSource};
use crate::layout::Layout;
use crate::panels::{self, navigation::FILTER, prompt::PROMPT, text};
use crate::paths;
use crate::state::{Kept, Remedy, Settings, State, shortened};
use crate::theme;
use sluice_core::plan::edits::{choose, reroute, route_by, route_of, rule_experts, toggle};

impl SluiceApp {
    /// Do what a person asked.
    pub fn apply(&mut self, ctx: &Context, command: Command) {
        match command {
            Command::Open(path) => self.open(Target::Path(path)),
            Command::OpenBundled => self.open(Target::Bundled),
            Command::OpenPlan(path) => self.errands.open_plan(path),
            Command::Recompute => {
                self.asked = None;
                self.state.results.beside.asked = None;
                self.state.results.failure = None;
            }
            Command::Ask(Dialog::Picture) if self.refusal().is_some() => {
                self.state.results.failure = self.refusal().map(|failure| (Slot::Open, failure));
            }
            Command::Ask(dialog) => self.errands.ask(dialog),
            Command::OpenPicture(path) => self.read_picture(PictureSource::File(path)),
            Command::PastePicture(image) => self.read_picture(PictureSource::Pasted(image)),
            Command::Example(index) => self.show_example(ctx, index),
            Command::Examples(shown) => {
                self.state.settings.examples_hidden = !shown;
                if shown {
                    self.layout.show(panels::lens::ID);
                }
            }
            Command::Shorten(keep) => {
                let context = self.state.card.as_ref().map_or(0, |card| card.spec.context);
                let words = shortened(&self.state.results.tokens, context, keep, self.state.ids_only());
                let image = self.state.image.clone();
                self.state.set_prompt("prompt shortened", image, Some(words));
                self.state.offer("prompt shortened", Remedy::Undo);
            }
            Command::Sample(index) => self.read_picture(PictureSource::Sample(index)),
            Command::RemovePicture => {
                self.reading = None;
                if self.state.image.is_some() {
                    self.state.set_prompt("picture removed", None, None);
                    self.state.offer("picture removed", Remedy::Undo);
                }
            }
            Command::SavePlan => self.errands.ask(Dialog::SavePlan),
            Command::SaveSession { anew } => self.save_session(anew),
            Command::OpenSession(path) => {
                let home = self.keeper.as_ref().map(|keeper| keeper.home().clone());
                self.errands.open_session(path, home);
            }
            Command::Show(tab) => self.layout.show(tab),
            Command::Help(page) => self.state.help = page,
            Command::Pose(panel) => {
                let pose = panels::find(panel).map_or_else(Vec::new, |panel| panel.pose(&self.state));
                pose.into_iter().for_each(|command| self.apply(ctx, command));
            }
            Command::Pin(panel) => {
                let pins = &mut self.state.settings.pins;
                match pins.iter().position(|pin| pin == panel) {
                    Some(index) => drop(pins.remove(index)),
                    None => pins.push(panel.to_owned()),
                }
                self.actions = panels::actions(pins);
            }
            Command::Fold(group) => {
                let folded = &mut self.state.settings.folded;
                match folded.iter().position(|name| name == group.name()) {
                    Some(index) => drop(folded.remove(index)),
                    None => folded.push(group.name().to_owned()),
                }
            }
            Command::Filter => {
                ctx.memory_mut(|memory| memory.request_focus(eframe::egui::Id::unique(FILTER)));
            }
            Command::Theme(theme) => ctx.set_theme(theme),
            Command::Palette => {
                ctx.data_mut(|data| {
                    data.remove_temp::<(String, usize)>(eframe::egui::Id::unique("palette-mark"))
                });
                self.state.palette = if self.state.palette.is_some() { None } else { Some(String::new()) };
            }
            Command::Write(words) if self.opening.is_some() => self.waiting_words = Some(words),
            Command::Write(words) => self.write(words),
            Command::EditPrompt => {
                self.state.editing = true;
                self.state.typings += 1;
                ctx.memory_mut(|memory| memory.request_focus(eframe::egui::Id::unique(PROMPT)));
            }
            Command::Run(method) => self.run(method),
            Command::RunSample(method) => {
                self.state.take_sample(method, 0);
                self.run(method);
            }
            Command::RunVisible => {
                let method = panels::methods(&self.state).next();
                match method {
                    Some(method) => self.run(method),
                    None => self.state.say("no method is on screen: open one from the list"),
                }
            }
            Command::Generate => {
                self.layout.show(text::ID);
                self.generate();
            }
            Command::PinVariant => self.pin(),
            Command::Unpin(index) => self.unpin(index),
            Command::Repin(index, pinned) => {
                let index = index.min(self.state.variants.len());
                self.state.variants.insert(index, *pinned);
                self.measuring.clear();
                self.state.message = None;
            }
            Command::TakeVariant(index) => self.take_variant(index),
            Command::ContinueVariants => self.continue_variants(),
            Command::MeasureVariants => self.measure(),
            Command::Cancel(slot) => {
                if slot == Slot::Fold {
                    self.errands.stop_saving();
                }
                self.worker.cancel(slot);
            }
            Command::CancelAll => {
                let slots: Vec<Slot> = self.state.results.progress.keys().copied().collect();
                self.errands.stop_saving();
                for slot in slots.into_iter().chain([Slot::Generate, Slot::Study]) {
                    self.worker.cancel(slot);
                }
            }
            Command::Export(figure) => self.export(vec![figure]),
            Command::ExportAs(choice) => self.state.settings.export = choice,
            Command::ExportVisible => {
                let figures = panels::figures(&self.state);
                match figures.is_empty() {
                    true => self.state.say("no figure is on screen"),
                    false => self.export(figures),
                }
            }
            Command::ExportPage => {
                let parts = panels::parts(&self.state);
                match (&self.state.card, parts.is_empty()) {
                    (Some(card), false) => {
                        let title = format!("{}: {}", card.name, theme::short(&self.state.prompt, 60));
                        let settings = &self.state.settings;
                        self.errands.page(
                            title,
                            parts,
                            settings.export.sheet,
                            settings.export_folder.clone(),
                        );
                    }
                    _ => self.state.say("no figure is on screen"),
                }
            }
            Command::CopyPicture(figure) => {
                self.errands.copy_picture(figure, self.state.settings.export.sheet);
            }
            Command::CopyCsv(figure) => self.errands.copy(figure),
            Command::ResetLayout => self.layout = Layout::default(),
            Command::Quit => ctx.send_viewport_cmd(eframe::egui::ViewportCommand::Close),
            Command::Dismiss => self.state.results.failure = None,
            Command::DismissMessage => self.state.message = None,
            Command::OpenFolder(folder) => {
                ctx.open_url(OpenUrl::new_tab(paths::address(&folder)));
            }
            Command::Select(position) => self.state.choices.position = position,
            Command::Follow(answer) => self.state.choices.answer = answer,
            Command::Inspect(neuron) => self.state.choices.neuron = neuron,
            Command::Mark(method, pick, positions, on) => {
                if let Err(cause) = self.state.mark(method, pick, &positions, on) {
                    self.state.say(cause);
                }
            }
            Command::Unfold(unfold) => self.state.choices.unfold = Some(unfold),
            Command::Undo => self.travel(History::undo),
            Command::Redo => self.travel(History::redo),
            Command::Jump(step) => self.travel(|history| history.jump(step)),
            change => self.change_plan(ctx, change),
        }
    }

    /// Commands that change the plan, undoable. From press to release of the pointer is one step.
    fn change_plan(&mut self, ctx: &Context, command: Command) {
        let pressed = ctx.input(|input| input.pointer.press_start_time()).map(f64::to_bits);
        let (layers, len) = (self.state.layers(), self.state.results.tokens.len());
        let Some(name) = step(&self.state, &command) else { return };
        let words = is_told(&command).then(|| name.clone());
        self.state.take_typed();
        let history = &mut self.state.history;
        let mut once = |change: &dyn Fn(&mut Plan)| history.change(name.as_str(), None, change);
        let changed = match command {
            Command::Toggle(sublayer) => once(&|plan| toggle(plan, sublayer)),
            Command::Fill(preset) => once(&|plan| reroute(plan, |route| preset.fill(route, layers, len))),
            Command::Choose(layer, ref positions, expert, change) => {
                once(&|plan| rule_experts(plan, layer, positions, |rule| choose(rule, expert, change)))
            }
            Command::ExpertsPerToken(layer, k) => history.change(name, pressed, |plan| {
                rule_experts(plan, layer, &Positions::All, |rule| rule.k = k);
            }),
            Command::RouteBy(ref router) => once(&|plan| route_by(plan, router.as_deref())),
            Command::Take(method, ref offer) => {
                let changed = once(&|plan| offer.apply(&mut plan.items));
                self.state.studies.get_mut(method.id).taken.extend(offer.items.iter().cloned());
                changed
            }
            Command::Add(item) => once(&|plan| plan.items.push((*item).clone())),
            Command::AddAll(items) => once(&|plan| plan.items.extend(items.iter().cloned())),
            Command::Move(from, to) => once(&|plan| {
                if from < plan.items.len() && to < plan.items.len() {
                    let item = plan.items.remove(from);
                    plan.items.insert(to, item);
                }
            }),
            Command::RemoveAll(ref range) => once(&|plan| {
                let mut index = 0;
                plan.items.retain(|_| {
                    index += 1;
                    !range.contains(&(index - 1))
                });
            }),
            Command::Remove(index) => once(&|plan| {
                if index < plan.items.len() {
                    plan.items.remove(index);
                }
            }),
            Command::Clear => once(&|plan| plan.items.clear()),
            Command::Paint(layer, position, lane) => {
                history.change(name, pressed, |plan| reroute(plan, |route| route.set(layer, position, lane)))
            }
            Command::Edit(index, item) => history.change(name, pressed, |plan| {
                if let Some(slot) = plan.items.get_mut(index) {
                    *slot = *item;
                }
            }),
            _ => false,
        };
        if changed {
            self.forget_undo();
            if let Some(words) = words {
                self.state.offer(words, Remedy::Undo);
            }
        }
    }

    /// Another prompt about the same picture.
    pub(super) fn write(&mut self, words: String) {
        let image = self.state.image.clone();
        self.state.set_prompt("prompt given", image, Some(words));
    }

    /// Go to another step of the history.
    fn travel(&mut self, go: impl FnOnce(&mut History)) {
        self.forget_undo();
        // What is being typed is a step too.
        self.state.take_typed();
        go(&mut self.state.history);
        self.show_document();
    }

    /// Put prompt and picture of the history's document on screen; a picture that was not prepared yet is.
    pub(super) fn show_document(&mut self) {
        self.state.show_document();
        self.see_picture();
    }

    /// A message that offers to take back what is no longer the last step.
    fn forget_undo(&mut self) {
        drop(self.state.message.take_if(|message| message.remedy == Some(Remedy::Undo)));
    }

    /// What an errand brought back.
    pub(super) fn fetch(&mut self, ctx: &Context, found: Found) {
        match found {
            Found::Checkpoint(path) => self.open(Target::Path(path)),
            Found::ExportFolder(path) => {
                self.state.say(format!("figures go to {}", path.display()));
                self.state.settings.export_folder = path;
            }
            Found::Sample(path) => {
                let routed = self.state.history.plan().items.iter().any(|item| route_of(item).is_some());
                if !routed {
                    self.state.say("send a token through a small FFN first, then choose its text");
                }
                self.state.history.change("text of surrogates", None, |plan| {
                    for item in &mut plan.items {
                        if let Change::Route(route) = &mut item.change {
                            route.surrogate.sample = Some(path.clone());
                        }
                    }
                });
            }
            Found::PlanFile(path, there) => {
                self.errands.save_plan(self.state.history.plan().clone(), path, there);
            }
            Found::ModelFolder(folder) => self.fold(folder),
            Found::Saving(Some(progress)) => {
                self.state.results.progress.insert(Slot::Fold, progress);
            }
            Found::Saving(None) => {
                self.state.results.progress.remove(&Slot::Fold);
            }
            Found::NoDialog(dialog) => self.browse(dialog),
            Found::Listing(folder, listing) => {
                if let Some(browser) = &mut self.browser {
                    browser.take(folder, listing);
                }
            }
            Found::Text(method, path) => self.state.studies.get_mut(method).text = Some(path),
            Found::List(method, file) => {
                let study = self.state.studies.get_mut(method);
                study.list = Some(ListOf { file, ..study.list.take().unwrap_or_default() });
            }
            Found::Parameter(method, name, path) => {
                let path = path.to_string_lossy().into_owned();
                self.state.studies.get_mut(method).ask.insert(name.to_owned(), path.into());
            }
            Found::PictureFile(path) => self.read_picture(PictureSource::File(path)),
            Found::Picture(fetched) => self.take_picture(*fetched),
            Found::Gallery(gallery) => self.state.gallery = gallery,
            Found::Plan(plan) => {
                self.state.take_typed();
                if self.state.history.change("plan of a file", None, |current| *current = *plan) {
                    self.state.offer("the plan is that of the file", Remedy::Undo);
                }
            }

            Found::Session(path, opened, place) => {
                self.open_session(ctx, path, *opened, place.map(|place| *place));
            }
            Found::SessionPath(path) => self.apply(ctx, Command::OpenSession(path)),
            Found::SessionFile(path, there) => self.write_session(path, there),
            Found::SavedSession(path, saving) => {
                self.state.settings.remember_session(path.clone());
                let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
                self.state.offer(format!("session saved as {}", path.display()), Remedy::Folder(folder));
                // Another session may have been opened meanwhile.
                if saving == self.sessions {
                    self.state.session_file = Some(path);
                }
            }
            Found::Copy(text) => {
                ctx.copy_text(text);
                self.state.say("copied as CSV");
            }
            Found::CopyPicture(picture) => {
                ctx.copy_image(picture);
                self.state.say("copied as picture");
            }
            Found::Said(text) => self.state.say(text),
            Found::Wrote(text, folder) => {
                self.state.offer(text, Remedy::Folder(folder));
                drop(self.state.results.failure.take_if(|(slot, _)| *slot == Slot::Open));
            }
            Found::Failed(failure) => {
                self.state.message = None;
                self.state.results.failure = Some((Slot::Open, failure));
            }
        }
    }

    /// Have the worker say what the plan comes to in weights; then the model is written.
    fn fold(&mut self, folder: PathBuf) {
        self.state.take_typed();
        let prompt = match self.state.request_prompt() {
            Ok(prompt) => prompt,
            Err(cause) => return self.state.say(cause),
        };
        let Some(card) = self.state.card.clone() else { return };
        let plan = self.state.history.plan().clone();
        let id = self.worker.send(Request::Fold(Variant { prompt, plan: Arc::new(plan.clone()) }));
        self.folding = Some(Folding { id, card, plan, folder });
        self.state.say("saving the changed model …");
    }

    /// Open our own browser where the last choice was, or at home.
    fn browse(&mut self, dialog: Dialog) {
        let settings = &self.state.settings;
        let last = match dialog {
            Dialog::OpenSession | Dialog::SaveSession => {
                let file = settings.sessions.first();
                file.and_then(|file| file.parent()).map(Path::to_owned)
            }
            Dialog::ExportFolder | Dialog::ModelFolder | Dialog::SavePlan | Dialog::OpenPlan => {
                std::path::absolute(&settings.export_folder).ok()
            }
            _ => settings.recent.first().and_then(|path| path.parent()).map(Path::to_owned),
        };
        let folder = last.filter(|folder| folder.is_dir()).unwrap_or_else(|| paths::typed("~"));
        let name = dialog.name();
        self.browser = Some(Browser::new(dialog, &folder, name));
    }

    fn export(&mut self, figures: Vec<Arc<Figure>>) {
        let Settings { export_folder, export, .. } = self.state.settings.clone();
        self.state.say(format!("writing into {} …", export_folder.display()));
        self.errands.export(figures, export, export_folder);
    }

    /// Start a method as its panel says; what is missing is said.
    fn run(&mut self, method: &'static Method) {
        self.layout.show(method.id);
        self.state.number_file(method);
        let asked = match self.state.ask_of(method) {
            Ok(asked) => asked,
            Err(cause) => {
                self.state.say(cause);
                return;
            }
        };
        if self.state.studies.running != Some(method.id) {
            // What this one stops is measured again behind it.
            self.costed = None;
        }
        self.state.studies.ended();
        self.state.studies.running = Some(method.id);
        let study = self.state.studies.get_mut(method.id);
        (study.findings, study.failure, study.awaited) = (None, None, true);
        study.taken.clear();
        // One that was stopped goes on.
        let goes_on = |kept: &Kept| *kept.asked == asked && !kept.reached.done;
        // What it goes on from stays until there is more.
        study.kept = study.kept.take().filter(goes_on);
        let from = study.kept.as_ref().map(|kept| Arc::clone(&kept.reached));
        self.measuring.clear();
        self.study = self.worker.send(Request::Study(Box::new(Study { asked, from })));
    }

    /// Continue the prompt.
    pub(super) fn generate(&mut self) {
        let Some(request) = text::request(&self.state) else { return };
        self.state.results.text = None;
        self.state.results.text_of =
            request.streams.last().map(|(_, of)| (of.prompt.clone(), (*of.plan).clone()));
        self.text = self.worker.send(Request::Generate(request));
    }
}

/// Whether a change of the plan is told once it is done: it replaces or removes something; others are seen where they are made.
fn is_told(command: &Command) -> bool {
    matches!(
        command,
        Command::Clear
            | Command::Remove(_)
            | Command::RemoveAll(_)
            | Command::Fill(_)
            | Command::Take(..)
            | Command::AddAll(_)
    )
}

/// What a change of the plan is called; none of other commands.
fn step(state: &State, command: &Command) -> Option<String> {
    let items = &state.history.plan().items;
    Some(match command {
        Command::Toggle(sublayer) if state.is_out(*sublayer) => format!("{sublayer} put back"),
        Command::Toggle(sublayer) => format!("{sublayer} taken out"),
        Command::Clear => format!("plan cleared of {}", counted(items.len())),
        Command::Remove(index) => format!("removed: {}", items.get(*index)?.change.summary()),
        Command::RemoveAll(range) => format!("removed {}", counted(range.len())),
        Command::Move(..) => "plan reordered".into(),
        Command::Fill(preset) => format!("routing map filled: {}", preset.name().to_lowercase()),
        Command::Paint(layer, ..) => format!("routing map painted, layer {layer}"),
        Command::Take(_, offer) => format!("taken over: {}", counted(offer.items.len())),
        Command::Add(item) => format!("added: {}", item.summary()),
        Command::AddAll(items) => format!("added {}", counted(items.len())),
        Command::Edit(_, item) => format!("changed: {}", item.summary()),
        Command::Choose(layer, _, expert, _) => format!("rule for expert {expert} of layer {layer}"),
        Command::ExpertsPerToken(layer, _) => format!("experts a token in layer {layer}"),
        Command::RouteBy(Some(router)) => format!("routed by {}", router.name),
        Command::RouteBy(None) => "no learned router".into(),
        _ => return None,
    })
}

/// `1 change`, `4 changes`
fn counted(count: usize) -> String {
    if count == 1 { "1 change".into() } else { format!("{count} changes") }
}
