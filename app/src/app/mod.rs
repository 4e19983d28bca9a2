//! One frame: take the worker's events, draw, apply commands, ask for what is visible.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eframe::egui::{CentralPanel, Context, Event, Frame, InputState, Key, Panel, ScrollArea, Ui, vec2};
use sluice_core::plan::Plan;
use sluice_core::worker::{Card, Failure, Prompt, Request, RequestId, Scene, Slot, Target, View, Worker};

use crate::browser::{Browser, Step};
use crate::command::{Action, Command};
use crate::errands::{self, Errands, PictureSource};
use crate::keep::Keeper;
use crate::layout::{self, Layout};
use crate::panels;
use crate::state::{Settings, State};
use crate::theme;
use crate::widgets::{area, export};

mod apply;
mod cost;
mod example;
mod keep;
mod picture;
mod take;
mod variants;

/// A plan on its way into the weights of a checkpoint.
struct Folding {
    id: RequestId,
    card: Arc<Card>,
    plan: Plan,
    /// The folder for the model's.
    folder: PathBuf,
}

/// How long the prompt must rest before it is run, seconds.
const REST: f64 = 0.15;

/// The window's content, drivable without a window.
pub struct SluiceApp {
    /// What is asked and known.
    pub state: State,
    /// Where the panels are.
    pub layout: Layout,
    /// Every named command.
    pub actions: Vec<Action>,
    ctx: Context,
    worker: Worker,
    errands: Errands,
    /// What the newest scene asked, so that the same is not asked twice.
    asked: Option<(Prompt, Plan, Vec<View>)>,
    scene: RequestId,
    /// Views of the newest scene that are there; the others on screen are of the scene before.
    fresh: HashSet<View>,
    /// The newest scene brings nothing: what is on screen stays.
    keeps: bool,
    /// The newest scene has been answered, by its views or a failure.
    answered: bool,
    /// The newest study and continuation; what older ones report is dropped.
    study: RequestId,
    text: RequestId,
    /// The newest request to bring findings back.
    restore: RequestId,
    /// The newest variants, and their continuations.
    columns: RequestId,
    column_text: RequestId,
    /// A plan on its way into weights.
    folding: Option<Folding>,
    /// What the plan's cost was measured of last.
    costed: Option<cost::Costed>,
    /// Pins whose plan is yet to be measured, first the one that is.
    measuring: VecDeque<usize>,
    prompt_changed: Option<(f64, String)>,
    /// The prompt box holds no prompt, and the failure on screen says so.
    bad_prompt: bool,
    opening: Option<(RequestId, Target)>,
    /// The picture that is being read; what older ones bring is dropped.
    reading: Option<u64>,
    /// The picture of the history whose view is being made.
    viewing: Option<u64>,
    /// A picture that waits for the checkpoint that is being opened.
    waiting: Option<PictureSource>,
    /// A prompt that waits for it.
    waiting_words: Option<String>,
    /// Our own file browser, while it is open.
    browser: Option<Browser>,
    /// An example under way.
    example: Option<example::Showing>,
    /// Who keeps the session; none where nothing is kept.
    keeper: Option<Keeper>,
    /// Since when something was done that is not kept yet.
    touched: Option<f64>,
    /// What of the session could not be brought back.
    missing: Vec<String>,
    /// A checkpoint was opened since, and that told.
    told: bool,
    /// Sessions that were opened in this window.
    sessions: u64,
    /// It was told that opening another session loses what could not be written of this one.
    warned: bool,
}

impl SluiceApp {
    /// Start the worker and, where given, open a checkpoint.
    pub fn new(ctx: &Context, target: Option<Target>, settings: Settings) -> Self {
        theme::install(ctx);
        let repaint = ctx.clone();
        let worker = Worker::spawn(move || repaint.request_repaint());
        let mut app = Self {
            layout: Layout::default(),
            actions: panels::actions(&settings.pins),
            state: State { settings, ..State::default() },
            ctx: ctx.clone(),
            worker,
            errands: Errands::new(ctx),
            asked: None,
            scene: 0,
            fresh: HashSet::new(),
            keeps: false,
            answered: false,
            study: 0,
            text: 0,
            restore: 0,
            columns: 0,
            folding: None,
            costed: None,
            column_text: 0,
            measuring: VecDeque::new(),
            prompt_changed: None,
            bad_prompt: false,
            opening: None,
            reading: None,
            viewing: None,
            waiting: None,
            waiting_words: None,
            browser: None,
            example: None,
            keeper: None,
            touched: None,
            missing: Vec::new(),
            told: false,
            sessions: 0,
            warned: false,
        };
        if let Some(target) = target {
            app.open(target);
        }
        app
    }

    /// Let the window use the fonts of the system for what its own lack.
    pub fn use_system_fonts(&self) {
        self.errands.fonts();
    }

    /// Take events and errands, ask for what is visible. Paints nothing.
    pub fn logic(&mut self, ctx: &Context) {
        let (events, found) = (self.worker.poll(), self.errands.found());
        if !events.is_empty() || !found.is_empty() || ctx.input(is_touched) {
            self.touch(ctx);
        }
        for event in events {
            self.take(event);
        }
        for found in found {
            self.fetch(ctx, found);
        }
        self.ask(ctx);
        self.ask_columns();
        self.follow_cost();
        self.go_on(ctx);
        self.keep(ctx);
    }

    /// Whether everything asked is there: no scene, job or typing under way.
    pub fn is_settled(&self) -> bool {
        self.is_still() && self.example.is_none()
    }

    /// The same but for an example, which goes on once everything else is there.
    fn is_still(&self) -> bool {
        let read = self.opening.is_none() && self.reading.is_none() && self.viewing.is_none();
        let here = self.answered || self.state.card.is_none();
        read && here && self.state.results.progress.is_empty()
    }

    /// Draw and apply what was done.
    pub fn ui(&mut self, ui: &mut Ui) {
        let mut commands = Vec::new();
        keys(ui, &self.state, &self.actions, &mut commands);
        given(ui, &mut commands);
        export::keep(ui.ctx(), &self.state.settings.export, &self.state.settings.export_folder);
        let state = &mut self.state;
        Panel::top("top").frame(theme::bar(ui)).show(ui, |ui| {
            panels::top::ui(ui, state, &self.actions, &mut commands);
        });
        if state.card.is_some() {
            // More than two rows of tokens scroll, in as much room as the line under them is dragged to.
            let long = panels::strip::is_long(ui.ctx());
            let panel = Panel::top(if long { "long-prompt" } else { "prompt" }).resizable(long);
            let panel =
                if long { panel.default_size(theme::LONG).size_range(theme::LONG..=240.0) } else { panel };
            panel.frame(theme::bar(ui)).show(ui, |ui| {
                let prompt = ui.scope(|ui| panels::prompt::ui(ui, state, long, &mut commands)).response.rect;
                area::keep(ui, area::PROMPT, prompt);
            });
        }
        Panel::bottom("status")
            .frame(theme::bar(ui))
            .show(ui, |ui| panels::status::ui(ui, state, &mut commands));
        if state.card.is_some() {
            // In a small window the sides leave the centre its room.
            let all = ui.available_width();
            let side = |panel: Panel, size: f32, share: f32| {
                let widest = (share * all).clamp(140.0, 480.0);
                panel.default_size(size.min(widest)).max_size(widest)
            };
            side(Panel::left("methods"), theme::LEFT, 0.16).frame(theme::side(ui)).show(ui, |ui| {
                area::keep(ui, area::METHODS, ui.max_rect().expand2(vec2(11.0, 7.0)));
                panels::navigation::ui(ui, state, &self.actions, &mut commands);
            });
            side(Panel::right("inspector"), theme::RIGHT, 0.24).frame(theme::side(ui)).show(ui, |ui| {
                // Each has a room of its own, which only the line between them changes.
                let height = ui.available_height();
                let plan = Panel::bottom("plan").default_size(0.32 * height).size_range(72.0..=0.7 * height);
                plan.frame(Frame::new()).show(ui, |ui| {
                    area::keep(ui, area::PLAN, ui.max_rect().expand2(vec2(11.0, 7.0)));
                    let list = ScrollArea::vertical().id_salt("plan").auto_shrink(false);
                    list.show(ui, |ui| panels::plan::ui(ui, state, &mut commands));
                });
                let inspector = ScrollArea::vertical().id_salt("answer").auto_shrink(false);
                inspector.show(ui, |ui| {
                    let answer = ui.scope(|ui| panels::next::ui(ui, state, &mut commands)).response.rect;
                    area::keep(ui, area::ANSWER, answer);
                    panels::cell::ui(ui, state);
                    panels::neuron::ui(ui, state, &mut commands);
                });
            });
        }
        CentralPanel::default().frame(theme::centre(ui)).show(ui, |ui| {
            if state.card.is_none() {
                return panels::welcome::ui(ui, state, &mut commands);
            }
            layout::ui(ui, &mut self.layout, state, &mut commands);
        });
        panels::help::ui(ui, state, &self.actions, &mut commands);
        panels::palette::ui(ui, state, &self.actions, &mut commands);
        if let Some(browser) = &mut self.browser {
            match browser.ui(ui, &self.state.settings.recent) {
                Step::Stays => {}
                Step::List(folder) => self.errands.list(folder),
                Step::Done(path) => {
                    if let Some(path) = path {
                        self.errands.chosen(browser.dialog, path);
                    }
                    self.browser = None;
                }
            }
        }
        panels::top::drop_target(ui);
        let acted = !commands.is_empty();
        if acted {
            self.touch(ui.ctx());
        }
        for command in commands {
            self.apply(ui.ctx(), command);
        }
        self.state.visible = self.layout.visible();
        self.state.busy = self.state.card.is_some() && !self.answered;
        self.ask(ui.ctx());
        self.ask_columns();
        if acted || self.errands.waits() {
            ui.ctx().request_repaint();
        }
    }

    fn open(&mut self, target: Target) {
        if let Target::Path(path) = &target {
            self.state.path = path.display().to_string();
        }
        self.state.results.failure = None;
        let id = self.worker.send(Request::Open(target.clone()));
        self.opening = Some((id, target));
    }

    /// Send a scene where prompt, plan or visible views changed. A prompt being typed rests first.
    fn ask(&mut self, ctx: &Context) {
        if self.state.card.is_none() {
            return;
        }
        if self.state.prompt != *self.state.history.document().words {
            if self.is_typing(ctx) {
                self.answered = false;
                return;
            }
            self.state.take_typed();
        }
        let prompt = match self.state.request_prompt() {
            Ok(prompt) => prompt,
            Err(cause) => {
                if !self.bad_prompt {
                    let next_step = "separate ids with commas".into();
                    self.state.results.failure = Some((Slot::Scene, Failure { cause, next_step }));
                }
                (self.bad_prompt, self.answered) = (true, true);
                return;
            }
        };
        if std::mem::take(&mut self.bad_prompt) {
            self.state.results.failure = None;
        }
        let views = panels::wanted(&self.state);
        let plan = self.state.history.plan();
        let typed = match &self.asked {
            Some((asked, known, wanted)) if *asked == prompt => {
                if known == plan && *wanted == views {
                    return;
                }
                false
            }
            Some(_) => true,
            None => false,
        };
        self.answered = false;
        if typed {
            let choices = &mut self.state.choices;
            choices.position = None;
            panels::panels().iter().for_each(|panel| panel.another_prompt(choices));
            self.state.studies.forget_picks();
        }
        let (views, plan) = (panels::wanted(&self.state), self.state.history.plan().clone());
        self.asked = Some((prompt.clone(), plan.clone(), views.clone()));
        self.fresh.clear();
        self.keeps = false;
        self.scene = self.worker.send(Request::Scene(Scene { prompt, plan, views }));
    }

    /// Whether the prompt changed less than [`REST`] ago.
    fn is_typing(&mut self, ctx: &Context) -> bool {
        let now = ctx.input(|input| input.time);
        let since = match &self.prompt_changed {
            Some((since, text)) if *text == self.state.prompt => *since,
            _ => {
                self.prompt_changed = Some((now, self.state.prompt.clone()));
                now
            }
        };
        let typing = now - since < REST;
        if typing {
            ctx.request_repaint_after(Duration::from_secs_f64(REST));
        }
        typing
    }
}

/// Whether anything but the pointer's place is another: a click, a key, a scrolled list.
fn is_touched(input: &InputState) -> bool {
    input
        .events
        .iter()
        .any(|event| !matches!(event, Event::PointerMoved(_) | Event::MouseMoved(_) | Event::PointerGone))
}

/// What was dropped on the window or pasted into it.
fn given(ui: &Ui, commands: &mut Vec<Command>) {
    for file in ui.input(|input| input.raw.dropped_files.clone()) {
        let path = file.path().to_path_buf();
        let is_plan = path.extension().is_some_and(|end| end == "json") && !path.ends_with("config.json");
        commands.push(match is_plan {
            true => Command::OpenPlan(path),
            false if errands::is_picture(&path) => Command::OpenPicture(path),
            false => Command::Open(path),
        });
    }
    ui.input(|input| {
        for event in &input.events {
            if let Event::PasteImage(image) = event {
                commands.push(Command::PastePicture(Arc::clone(image)));
            }
        }
    });
}

/// Commands whose key was pressed. While text is edited its own undo and keys of movement belong to the text.
fn keys(ui: &Ui, state: &State, actions: &[Action], commands: &mut Vec<Command>) {
    let editing = ui.ctx().text_edit_focused();
    for action in actions {
        let Some(keys) = action.keys else { continue };
        let of_text = keys.conflicts_with_text_editing() || keys.logical_key == Key::Z;
        if (editing && of_text) || (state.palette.is_some() && keys.modifiers.is_none()) {
            continue;
        }
        // Two presses within a frame are two.
        let presses = ui.input_mut(|input| input.count_and_consume_key(keys.modifiers, keys.logical_key));
        commands.extend(std::iter::repeat_n(action.command.clone(), presses));
    }
}

impl eframe::App for SluiceApp {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        Self::logic(self, ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        Self::ui(self, ui);
    }

    fn on_exit(&mut self, _gl: Option<&eframe::glow::Context>) {
        let ctx = self.ctx.clone();
        self.farewell(&ctx);
    }

    /// The session has what egui remembers.
    fn persist_egui_memory(&self) -> bool {
        false
    }
}
