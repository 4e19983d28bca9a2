//! What each command does.

use eframe::egui::Context;
use sluice_core::method::Method;
use sluice_core::plan::{Change, Plan, Positions};
use sluice_core::worker::{Request, Slot, Target};

use super::SluiceApp;
use crate::command::Command;
use crate::errands::{Dialog, Found, PictureSource};
use crate::layout::Layout;
use crate::panels::{self, prompt::PROMPT, text};
use crate::state::{Asked, State};
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
                self.state.results.failure = None;
            }
            Command::Ask(Dialog::Picture) if self.refusal().is_some() => {
                self.state.results.failure = self.refusal().map(|failure| (Slot::Open, failure));
            }
            Command::Ask(dialog) => self.errands.ask(dialog),
            Command::OpenPicture(path) => self.read_picture(PictureSource::File(path)),
            Command::PastePicture(image) => self.read_picture(PictureSource::Pasted(image)),
            Command::Example(index) => self.show_example(index),
            Command::Examples(shown) => {
                self.state.settings.examples_hidden = !shown;
                if shown {
                    self.layout.show(panels::lens::ID);
                }
            }
            Command::Sample(index) => self.read_picture(PictureSource::Sample(index)),
            Command::RemovePicture => {
                self.reading = None;
                if self.state.image.is_some() {
                    self.state.replace_picture(Asked::default());
                }
            }
            Command::SavePlan => {
                let folder = self.state.settings.export_folder.clone();
                self.errands.save_plan(self.state.history.plan().clone(), folder);
            }
            Command::Show(tab) => self.layout.show(tab),
            Command::Theme(theme) => ctx.set_theme(theme),
            Command::Palette => {
                ctx.data_mut(|data| {
                    data.remove_temp::<(String, usize)>(eframe::egui::Id::unique("palette-mark"))
                });
                self.state.palette = if self.state.palette.is_some() { None } else { Some(String::new()) };
            }
            Command::EditPrompt => {
                self.state.editing = true;
                ctx.memory_mut(|memory| memory.request_focus(eframe::egui::Id::unique(PROMPT)));
            }
            Command::Run(method) => self.run(method),
            Command::RunSample(method) => {
                self.state.take_sample(method);
                self.run(method);
            }
            Command::RunVisible => {
                let method = panels::methods(&self.state).next();
                match method {
                    Some(method) => self.run(method),
                    None => self.state.status = "no method is on screen: open one from the list".into(),
                }
            }
            Command::Generate => self.generate(),
            Command::Cancel(slot) => self.worker.cancel(slot),
            Command::CancelAll => {
                let slots: Vec<Slot> = self.state.results.progress.keys().copied().collect();
                for slot in slots.into_iter().chain([Slot::Generate, Slot::Study]) {
                    self.worker.cancel(slot);
                }
            }
            Command::Export(figure, format) => self.export(ctx, vec![figure], format),
            Command::ExportVisible => {
                let figures = panels::figures(&self.state);
                self.export(ctx, figures, None);
            }
            Command::CopyCsv(figure) => self.errands.copy(figure),
            Command::ResetLayout => self.layout = Layout::default(),
            Command::Quit => ctx.send_viewport_cmd(eframe::egui::ViewportCommand::Close),
            Command::Dismiss => self.state.results.failure = None,
            Command::Select(position) => self.state.choices.position = position,
            Command::Follow(answer) => self.state.choices.answer = answer,
            Command::Inspect(neuron) => self.state.choices.neuron = neuron,
            Command::Mark(method, pick, positions, on) => {
                if let Err(cause) = self.state.mark(method, pick, &positions, on) {
                    self.state.status = cause;
                }
            }
            Command::Unfold(unfold) => self.state.choices.unfold = Some(unfold),
            Command::Undo => {
                let State { history, image, prompt, .. } = &mut self.state;
                history.undo(|asked| asked.exchange(image, prompt));
            }
            Command::Redo => {
                let State { history, image, prompt, .. } = &mut self.state;
                history.redo(|asked| asked.exchange(image, prompt));
            }
            change => self.change_plan(ctx, change),
        }
    }

    /// Commands that change the plan, undoable. From press to release of the pointer is one step.
    fn change_plan(&mut self, ctx: &Context, command: Command) {
        let pressed = ctx.input(|input| input.pointer.press_start_time()).map(f64::to_bits);
        let (layers, len) = (self.state.layers(), self.state.results.tokens.len());
        let history = &mut self.state.history;
        let mut once = |change: &dyn Fn(&mut Plan)| history.change(None, change);
        match command {
            Command::Toggle(sublayer) => once(&|plan| toggle(plan, sublayer)),
            Command::Fill(preset) => once(&|plan| reroute(plan, |route| preset.fill(route, layers, len))),
            Command::Choose(layer, ref positions, expert, change) => {
                once(&|plan| rule_experts(plan, layer, positions, |rule| choose(rule, expert, change)));
            }
            Command::ExpertsPerToken(layer, k) => {
                history.change(pressed, |plan| {
                    rule_experts(plan, layer, &Positions::All, |rule| rule.k = k);
                });
            }
            Command::RouteBy(ref router) => once(&|plan| route_by(plan, router.as_deref())),
            Command::Take(method, ref offer) => {
                once(&|plan| offer.apply(&mut plan.items));
                self.state.studies.get_mut(method.id).taken.extend(offer.items.iter().cloned());
            }
            Command::Add(item) => once(&|plan| plan.items.push((*item).clone())),
            Command::AddAll(items) => once(&|plan| plan.items.extend(items.iter().cloned())),
            Command::Raise(index) => once(&|plan| {
                if index > 0 && index < plan.items.len() {
                    plan.items.swap(index - 1, index);
                }
            }),
            Command::Remove(index) => once(&|plan| {
                if index < plan.items.len() {
                    plan.items.remove(index);
                }
            }),
            Command::Clear => once(&|plan| plan.items.clear()),
            Command::Paint(layer, position, lane) => {
                history.change(pressed, |plan| reroute(plan, |route| route.set(layer, position, lane)));
            }
            Command::Edit(index, item) => history.change(pressed, |plan| {
                if let Some(slot) = plan.items.get_mut(index) {
                    *slot = *item;
                }
            }),
            _ => {}
        }
    }

    /// What an errand brought back.
    pub(super) fn fetch(&mut self, ctx: &Context, found: Found) {
        match found {
            Found::Checkpoint(path) => self.open(Target::Path(path)),
            Found::ExportFolder(path) => {
                self.state.status = format!("figures go to {}", path.display());
                self.state.settings.export_folder = path;
            }
            Found::Sample(path) => {
                let routed = self.state.history.plan().items.iter().any(|item| route_of(item).is_some());
                if !routed {
                    self.state.status = "send a token through a small FFN first, then choose its text".into();
                }
                self.state.history.change(None, |plan| {
                    for item in &mut plan.items {
                        if let Change::Route(route) = &mut item.change {
                            route.surrogate.sample = Some(path.clone());
                        }
                    }
                });
            }
            Found::Text(method, path) => self.state.studies.get_mut(method).text = Some(path),
            Found::Parameter(method, name, path) => {
                let path = path.to_string_lossy().into_owned();
                self.state.studies.get_mut(method).ask.insert(name.to_owned(), path.into());
            }
            Found::PictureFile(path) => self.read_picture(PictureSource::File(path)),
            Found::Picture(fetched) => self.take_picture(*fetched),
            Found::Gallery(gallery) => self.state.gallery = gallery,
            Found::Plan(plan) => self.state.history.change(None, |current| *current = *plan),
            Found::Copy(text) => {
                ctx.copy_text(text);
                self.state.status = "copied as CSV".into();
            }
            Found::Said(text) => {
                self.state.status = text;
                drop(self.state.results.failure.take_if(|(slot, _)| *slot == Slot::Open));
            }
            Found::Failed(failure) => {
                self.state.status.clear();
                self.state.results.failure = Some((Slot::Open, failure));
            }
        }
    }

    fn export(
        &mut self,
        ctx: &Context,
        figures: Vec<std::sync::Arc<sluice_core::figure::Figure>>,
        format: Option<sluice_core::figure::Format>,
    ) {
        let folder = self.state.settings.export_folder.clone();
        self.state.status = format!("writing into {} …", folder.display());
        self.errands.export(figures, format, theme::ground(ctx), folder);
    }

    /// Start a method as its panel says; what is missing is said.
    fn run(&mut self, method: &'static Method) {
        self.layout.show(method.id);
        self.state.number_file(method);
        let asked = match self.state.ask_of(method) {
            Ok(asked) => asked,
            Err(cause) => {
                self.state.status = cause;
                return;
            }
        };
        self.state.studies.ended();
        self.state.studies.running = Some(method.id);
        let study = self.state.studies.get_mut(method.id);
        (study.findings, study.awaited) = (None, true);
        study.taken.clear();
        self.study = self.worker.send(Request::Study(Box::new(asked)));
    }

    fn generate(&mut self) {
        let Some(request) = text::request(&self.state) else { return };
        self.state.results.text = None;
        self.state.results.text_of = Some((request.prompt.clone(), request.plan.clone()));
        self.layout.show(text::ID);
        self.text = self.worker.send(Request::Generate(request));
    }
}
