//! One frame: take the worker's events, draw, apply commands, ask for what is visible.

use std::time::Duration;

use eframe::egui::{CentralPanel, Context, Panel, ProgressBar, Ui};
use sluice_core::figure::export;
use sluice_core::plan::{Plan, Route};
use sluice_core::worker::*;

use crate::command::{Command, SHORTCUTS};
use crate::panels;
use crate::state::{State, Tab, reroute, toggle};
use crate::theme;

/// How long the prompt must rest before it is run.
const REST: f64 = 0.15;

/// The window's content, drivable without a window.
pub struct SluiceApp {
    /// What is asked and known.
    pub state: State,
    worker: Worker,
    /// What the newest scene asked, so that the same is not asked twice.
    asked: Option<(Prompt, Plan, Vec<View>)>,
    scene: RequestId,
    prompt_changed: Option<(f64, String)>,
}

impl SluiceApp {
    /// Start the worker and, where given, open a checkpoint.
    pub fn new(ctx: &Context, target: Option<Target>) -> Self {
        theme::install(ctx);
        let repaint = ctx.clone();
        let worker = Worker::spawn(move || repaint.request_repaint());
        let mut state = State { export_folder: "sluice-figures".into(), ..State::default() };
        if let Some(target) = target {
            if let Target::Path(path) = &target {
                state.path = path.display().to_string();
            }
            worker.send(Request::Open(target));
        }
        Self { state, worker, asked: None, scene: 0, prompt_changed: None }
    }

    /// Take events, ask for what is visible. Paints nothing.
    pub fn logic(&mut self, ctx: &Context) {
        for event in self.worker.poll() {
            self.take(event);
        }
        self.ask(ctx);
    }

    /// Draw and apply what was done.
    pub fn ui(&mut self, ui: &mut Ui) {
        let mut commands = Vec::new();
        for shortcut in &SHORTCUTS {
            if !ui.ctx().text_edit_focused() && ui.input_mut(|input| input.consume_shortcut(&shortcut.keys)) {
                commands.push((shortcut.command)());
            }
        }
        for file in ui.input(|input| input.raw.dropped_files.clone()) {
            commands.push(Command::Open(file.path().to_path_buf()));
        }
        let state = &mut self.state;
        Panel::top("top").show(ui, |ui| {
            ui.add_space(theme::UNIT);
            panels::top::ui(ui, state, &mut commands);
            panels::prompt::ui(ui, state, &mut commands);
            ui.add_space(theme::UNIT);
        });
        Panel::bottom("status").show(ui, |ui| status(ui, state, &mut commands));
        Panel::left("plan").default_size(theme::SIDE).show(ui, |ui| {
            eframe::egui::ScrollArea::vertical().show(ui, |ui| panels::plan::ui(ui, state, &mut commands));
        });
        Panel::right("inspector").default_size(theme::SIDE).show(ui, |ui| {
            eframe::egui::ScrollArea::vertical().show(ui, |ui| panels::next::ui(ui, state, &mut commands));
        });
        CentralPanel::default().show(ui, |ui| {
            ui.horizontal(|ui| {
                for tab in Tab::ALL {
                    if ui.selectable_label(state.choices.tab == tab, format!("{tab:?}")).clicked() {
                        commands.push(Command::Show(tab));
                    }
                }
            });
            ui.separator();
            if state.card.is_none() {
                let opening = state.results.progress.contains_key(&Slot::Open);
                return if opening {
                    crate::widgets::states::loading(ui, "Opening the checkpoint");
                } else {
                    let next = "type the folder of a Hugging Face checkpoint above, or drop it here";
                    crate::widgets::states::empty(ui, "No checkpoint is open", next);
                };
            }
            match state.choices.tab {
                Tab::Routing => panels::routing::ui(ui, state, &mut commands),
                Tab::Activations => panels::activations::ui(ui, state, &mut commands),
                Tab::Pruning => panels::pruning::ui(ui, state, &mut commands),
                Tab::Trace => panels::trace::ui(ui, state, &mut commands),
                Tab::Lens => panels::lens::ui(ui, state, &mut commands),
                Tab::Attention => panels::attention::ui(ui, state, &mut commands),
                Tab::Text => panels::text::ui(ui, state, &mut commands),
            }
        });
        let drew = !commands.is_empty();
        for command in commands {
            self.apply(ui.ctx(), command);
        }
        self.ask(ui.ctx());
        if drew {
            ui.ctx().request_repaint();
        }
    }

    fn take(&mut self, event: Event) {
        let results = &mut self.state.results;
        match event {
            Event::Opened(_, card) => {
                self.state.prompt = match &card.sample_prompt {
                    Prompt::Text(text) => text.clone(),
                    Prompt::Tokens(ids) => ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
                };
                self.state.history = Default::default();
                self.state.choices = Default::default();
                *results = Default::default();
                self.state.card = Some(card);
                self.asked = None;
            }
            Event::Progress(_, slot, progress) => drop(results.progress.insert(slot, progress)),
            Event::Tokens(_, tokens) => results.tokens = tokens,
            Event::View(id, view, data) if id == self.scene => drop(results.views.insert(view, data)),
            Event::View(..) => {}
            Event::SceneDone(_, recomputed) => {
                results.recomputed = Some(recomputed);
                results.failure = None;
            }
            Event::Text(_, text) => results.text = Some(text),
            Event::Study(_, findings) => {
                if findings.done {
                    results.progress.remove(&Slot::Study);
                }
                results.trace = Some(findings);
            }
            Event::Failed(_, slot, failure) => {
                results.progress.remove(&slot);
                results.failure = Some(failure);
            }
            Event::Cancelled(_, slot) => drop(results.progress.remove(&slot)),
        }
    }

    /// Send a scene where prompt, plan or visible views changed. A prompt being typed rests first.
    fn ask(&mut self, ctx: &Context) {
        if self.state.card.is_none() {
            return;
        }
        let prompt = match self.state.request_prompt() {
            Ok(prompt) => prompt,
            Err(cause) => {
                let next_step = "separate ids with commas".into();
                self.state.results.failure = Some(Failure { cause, next_step });
                return;
            }
        };
        let scene = (prompt, self.state.history.plan().clone(), self.state.wanted());
        if self.asked.as_ref() == Some(&scene) {
            return;
        }
        let typing = self.asked.as_ref().is_some_and(|(prompt, ..)| *prompt != scene.0);
        if typing {
            let now = ctx.input(|input| input.time);
            let since = match &self.prompt_changed {
                Some((since, text)) if *text == self.state.prompt => *since,
                _ => {
                    self.prompt_changed = Some((now, self.state.prompt.clone()));
                    now
                }
            };
            if now - since < REST {
                ctx.request_repaint_after(Duration::from_secs_f64(REST));
                return;
            }
            let choices = &mut self.state.choices;
            choices.position = None;
            choices.corrupt.clear();
        }
        let (prompt, plan, _) = scene;
        let views = self.state.wanted();
        self.asked = Some((prompt.clone(), plan.clone(), views.clone()));
        self.scene = self.worker.send(Request::Scene(Scene { prompt, plan, views }));
    }

    fn apply(&mut self, ctx: &Context, command: Command) {
        let state = &mut self.state;
        let layers = state.card.as_ref().map_or(0, |card| card.spec.n_layers());
        let len = state.results.tokens.len();
        match command {
            Command::Open(path) => {
                state.path = path.display().to_string();
                state.results.failure = None;
                self.worker.send(Request::Open(Target::Path(path)));
            }
            Command::Undo => state.history.undo(),
            Command::Redo => state.history.redo(),
            Command::Show(tab) => state.choices.tab = tab,
            Command::Toggle(sublayer) => state.history.change(None, |plan| toggle(plan, sublayer)),
            Command::Paint(layer, position, lane) => {
                // A stroke from press to release is one step.
                let pressed = ctx.input(|input| input.pointer.press_start_time()).map(f64::to_bits);
                state.history.change(pressed, |plan| reroute(plan, |route| route.set(layer, position, lane)));
            }
            Command::PaintAll(lane) => {
                let fill = |route: &mut Route| {
                    for layer in 0..layers {
                        (0..len).for_each(|position| route.set(layer, Some(position), lane));
                        route.set(layer, None, lane);
                    }
                };
                state.history.change(None, |plan| reroute(plan, fill));
            }
            Command::Add(item) => state.history.change(None, |plan| plan.items.push(*item)),
            Command::Edit(index, item) => {
                let pressed = ctx.input(|input| input.pointer.press_start_time()).map(f64::to_bits);
                state.history.change(pressed, |plan| {
                    if let Some(slot) = plan.items.get_mut(index) {
                        *slot = *item;
                    }
                });
            }
            Command::Remove(index) => state.history.change(None, |plan| {
                if index < plan.items.len() {
                    plan.items.remove(index);
                }
            }),
            Command::Clear => state.history.change(None, |plan| plan.items.clear()),
            Command::Select(position) => state.choices.position = position,
            Command::Corrupt(position) => {
                let marked = &mut state.choices.corrupt;
                match marked.iter().position(|&known| known == position) {
                    Some(index) => drop(marked.remove(index)),
                    None => marked.push(position),
                }
            }
            Command::Trace(trace) => {
                state.results.trace = None;
                self.worker.send(Request::Study(Study::Trace(*trace)));
            }
            Command::Generate => {
                if let Ok(prompt) = state.request_prompt() {
                    state.results.text = None;
                    self.worker.send(Request::Generate(Generate {
                        prompt,
                        plan: state.history.plan().clone(),
                        max_new_tokens: state.choices.max_new_tokens,
                        temperature: state.choices.temperature,
                        seed: 0,
                    }));
                }
            }
            Command::Cancel(slot) => self.worker.cancel(slot),
            Command::Export(figure) => {
                state.status = match export::write_all(&figure, theme::ground(ctx), &state.export_folder) {
                    Ok(_) => format!(
                        "wrote {}.png, .svg and .csv into {}",
                        figure.name,
                        state.export_folder.display()
                    ),
                    Err(error) => format!("{error}; {}", error.next_step()),
                };
            }
            Command::Dismiss => state.results.failure = None,
        }
    }
}

/// Jobs, cost of the last change, exports.
fn status(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        for (slot, progress) in &state.results.progress {
            let share = progress.done as f32 / progress.total.max(1) as f32;
            if share >= 1.0 {
                continue;
            }
            let eta = progress.eta_s.map_or_else(String::new, |eta| format!(", {eta:.0} s left"));
            let text = format!("{} {:.0} %{eta}", progress.label, 100.0 * share);
            ui.add(ProgressBar::new(share).desired_width(240.0).text(text));
            if ui.button("Cancel").clicked() {
                commands.push(Command::Cancel(*slot));
            }
        }
        if let Some(recomputed) = state.results.recomputed {
            ui.weak(format!(
                "recomputed {:.0} % of the model in {:.1} ms",
                100.0 * recomputed.share,
                recomputed.millis
            ));
        }
        ui.weak(&state.status);
    });
}

impl eframe::App for SluiceApp {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        Self::logic(self, ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        Self::ui(self, ui);
    }
}
