//! What each command does.

use eframe::egui::Context;
use sluice_core::plan::{Change, Plan, Positions};
use sluice_core::worker::{
    Fcct, Generate, Request, RouteStudy, RouterStudy, Slot, Study, Target, Trace, View,
};

use super::SluiceApp;
use crate::command::Command;
use crate::errands::{Dialog, Found, PictureSource};
use crate::layout::Layout;
use crate::panels::prompt::PROMPT;
use crate::state::edits::{choose, reroute, route_by, route_of, rule_experts, toggle};
use crate::state::{Asked, State, Tab, figure_of};
use crate::theme;

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
                ctx.memory_mut(|memory| memory.request_focus(eframe::egui::Id::unique(PROMPT)));
            }
            Command::Trace(trace) => self.trace(trace.map(|trace| *trace)),
            Command::Oracle(ask) => self.oracle(ask.map(|ask| *ask)),
            Command::TrainRouter(ask) => self.train_router(ask.map(|ask| *ask)),
            Command::Fcct(fcct) => self.fcct(fcct.map(|fcct| *fcct)),
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
                let shown = self.state.visible.iter().flat_map(|&tab| self.state.figures(tab));
                let next = self.state.data(&self.state.next_view()).map(figure_of);
                let strip = self.state.data(&View::Strip).map(figure_of);
                let neuron = self.state.choices.neuron.map(|(layer, neuron)| View::Neuron { layer, neuron });
                let neuron = neuron.and_then(|view| self.state.data(&view).map(figure_of));
                self.export(ctx, shown.chain(next).chain(neuron).chain(strip).collect(), None);
            }
            Command::CopyCsv(figure) => self.errands.copy(figure),
            Command::ResetLayout => self.layout = Layout::default(),
            Command::Quit => ctx.send_viewport_cmd(eframe::egui::ViewportCommand::Close),
            Command::Dismiss => self.state.results.failure = None,
            Command::Select(position) => self.state.choices.position = position,
            Command::Follow(answer) => self.state.choices.answer = answer,
            Command::Inspect(neuron) => self.state.choices.neuron = neuron,
            Command::Corrupt(position) => {
                let marked = &mut self.state.choices.corrupt;
                match marked.iter().position(|&known| known == position) {
                    Some(index) => drop(marked.remove(index)),
                    None => marked.push(position),
                }
            }
            Command::Tag(mark, position) => {
                if let Err(cause) = self.state.mark(mark, position) {
                    self.state.status = cause.into();
                }
            }
            Command::Unfold(unfold) => self.state.choices.unfold = Some(unfold),
            Command::Mark(positions, on) => {
                let marked = &mut self.state.choices.corrupt;
                marked.retain(|known| !positions.contains(known));
                marked.extend(positions.into_iter().filter(|_| on));
            }
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
        if matches!(
            command,
            Command::Fill(_) | Command::Paint(..) | Command::Reroute(_) | Command::RouteBy(_)
        ) {
            // What changes is the plan's map: show it.
            self.state.choices.oracle.shown = None;
            self.state.choices.router.shown = false;
        }
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
            Command::Reroute(ref new) => once(&|plan| reroute(plan, |route| *route = (**new).clone())),
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
            Found::RouterText(path) => self.state.choices.router.text = Some(path),
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

    fn trace(&mut self, trace: Option<Trace>) {
        self.layout.show(Tab::Trace);
        match trace.or_else(|| crate::panels::trace::request(&self.state)) {
            Some(trace) => {
                self.state.results.trace = None;
                self.state.results.none_awaited();
                self.state.results.tracing = true;
                self.study = self.worker.send(Request::Study(Study::Trace(trace)));
            }
            None => self.state.status = "click the tokens to corrupt first".into(),
        }
    }

    fn fcct(&mut self, fcct: Option<Fcct>) {
        self.layout.show(Tab::Fcct);
        match fcct.or_else(|| crate::panels::fcct::request(&self.state)) {
            Some(fcct) => {
                self.state.results.fcct = None;
                self.state.results.none_awaited();
                self.state.results.gridding = true;
                self.study = self.worker.send(Request::Study(Study::Fcct(fcct)));
            }
            None => self.state.status = "mark the context that stands for an image first".into(),
        }
    }

    fn oracle(&mut self, ask: Option<RouteStudy>) {
        self.layout.show(Tab::Routing);
        match ask.or_else(|| crate::panels::routing::request(&self.state)) {
            Some(ask) => {
                self.state.results.routes = None;
                self.state.results.none_awaited();
                self.state.results.routing = true;
                self.state.choices.oracle.shown = Some(0);
                self.state.choices.router.shown = false;
                self.study = self.worker.send(Request::Study(Study::Routes(ask)));
            }
            None => self.state.status = "type a prompt of two tokens or more first".into(),
        }
    }

    fn train_router(&mut self, ask: Option<RouterStudy>) {
        self.layout.show(Tab::Routing);
        match ask.or_else(|| crate::panels::router::request(&self.state)) {
            Some(ask) => {
                self.state.results.router = None;
                self.state.results.none_awaited();
                self.state.choices.router.open = true;
                self.state.choices.router.shown = true;
                self.study = self.worker.send(Request::Study(Study::Router(ask)));
            }
            None => self.state.status = "give two lanes or more a share first".into(),
        }
    }

    fn generate(&mut self) {
        let choices = &self.state.choices;
        let Ok(prompt) = self.state.request_prompt() else { return };
        let request = Generate {
            prompt,
            plan: self.state.history.plan().clone(),
            max_new_tokens: choices.max_new_tokens,
            temperature: choices.temperature,
            seed: choices.seed,
        };
        self.state.results.text = None;
        self.state.results.text_of = Some((request.prompt.clone(), request.plan.clone()));
        self.layout.show(Tab::Text);
        self.text = self.worker.send(Request::Generate(request));
    }
}
