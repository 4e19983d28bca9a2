//! `sluice screenshots`: every panel in both themes, from the real window.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use eframe::egui::{ColorImage, Context, Event, RawInput, ThemePreference, Ui, ViewportCommand};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _};
use sluice::app::SluiceApp;
use sluice::command::Command;
use sluice::state::edits::Preset;
use sluice::state::{ChipColour, ExpertChange, Settings, State};
use sluice_core::files::write_atomic;
use sluice_core::method::Method;
use sluice_core::method::fcct::{FCCT, FcctFound};
use sluice_core::plan::{Add, Change, Lane, Part, Positions, Source, Sublayer};
use sluice_core::site::{Hook, Site};
use sluice_core::worker::Target;
use sluice_core::{Error, Result};

use super::{out, window};

/// Frames drawn after everything is there: textures are uploaded and layouts have settled.
const REST: usize = 6;

#[derive(Args)]
pub struct Screenshots {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    /// Picture that the prompt is about, for a checkpoint that reads images
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Folder for the pictures
    #[arg(long)]
    out: PathBuf,
}

/// An answer that depends on the window.
type Of<T> = Box<dyn Fn(&State) -> T + Send>;

/// A picture: what is done before it, and when it can be taken.
struct Shot {
    name: &'static str,
    commands: Of<Vec<Command>>,
    ready: Of<bool>,
}

fn shot(
    name: &'static str,
    commands: impl Fn(&State) -> Vec<Command> + Send + 'static,
    ready: impl Fn(&State) -> bool + Send + 'static,
) -> Shot {
    Shot { name, commands: Box::new(commands), ready: Box::new(ready) }
}

/// A method's panel with its first sample.
fn of_method(method: &'static Method) -> Shot {
    let done = move |state: &State| {
        let here = state.card.as_ref().is_some_and(|card| method.unavailable(&card.spec).is_none());
        !here || state.studies.findings(method.id).is_some_and(|findings| findings.done)
    };
    let sample = move |_: &State| vec![Command::Clear, Command::Show(method.id), Command::RunSample(method)];
    shot(method.id, sample, done)
}

/// Taken in this order, once per theme; each goes on from what the one before left.
fn shots() -> Vec<Shot> {
    let mut all = panels();
    all.extend(sluice::panels::asked().map(of_method));
    all.extend(others());
    all
}

/// The panels with a gesture of their own.
fn panels() -> Vec<Shot> {
    vec![
        shot(
            "routing",
            |_| vec![Command::Clear, Command::Show("routing"), Command::Fill(Preset::Coin)],
            always,
        ),
        shot("routing-skips", skips, always),
        shot("experts-view", experts, always),
        shot("pruning", pruning, always),
        shot(
            "activations",
            |_| vec![Command::Clear, Command::Show("activations"), Command::Inspect(Some((0, 3)))],
            always,
        ),
        shot("attention", |_| vec![Command::Inspect(None), Command::Show("attention")], always),
        shot("lens", |_| vec![Command::Show("lens")], always),
        shot("inject", inject, always),
    ]
}

/// What goes on from what methods found, and what is no panel.
fn others() -> Vec<Shot> {
    vec![
        shot("iri", iri, always),
        shot(
            "text",
            |_| vec![Command::Clear, Command::Fill(Preset::LateSmall), Command::Generate],
            |state| state.results.text.as_ref().is_some_and(|text| text.done),
        ),
        shot("palette", |_| vec![Command::Show("routing"), Command::Palette], always),
        shot(
            "broken-checkpoint",
            |_| vec![Command::Palette, Command::Open("no-such-checkpoint".into())],
            |state| state.results.failure.is_some(),
        ),
    ]
}

fn always(_: &State) -> bool {
    true
}

fn skips(state: &State) -> Vec<Command> {
    let layer = state.layers().saturating_sub(1);
    let len = state.results.tokens.len();
    let paint = |position| Command::Paint(layer, Some(position), Lane::SkipLayer);
    let next = Command::Paint(layer, None, Lane::SkipFfn);
    (0..len.min(4)).map(paint).chain([next]).collect()
}

/// Where there are experts, the first one knocked out for every token.
fn experts(state: &State) -> Vec<Command> {
    let block =
        state.card.as_ref().and_then(|card| card.spec.layers.iter().position(|l| l.experts.is_some()));
    let out = block.map(|layer| Command::Choose(layer, Positions::All, 0, ExpertChange::KnockOut));
    [Command::Clear, Command::Show("experts-view")].into_iter().chain(out).collect()
}

fn pruning(state: &State) -> Vec<Command> {
    let layer = state.layers().saturating_sub(1) / 2;
    let out = |part| Command::Toggle(Sublayer { layer, part });
    vec![Command::Clear, Command::Show("sublayers"), out(Part::Ffn), out(Part::Attn)]
}

/// The answer's own direction at the last token, where the panel's controls point.
fn inject(_: &State) -> Vec<Command> {
    let site = Site::block(0, Hook::ResidPost);
    let add = Add {
        site,
        positions: Positions::Last,
        source: Source::Base,
        from_site: Some(site),
        from_position: None,
        scale: -2.0,
        keep_norm: true,
    };
    vec![Command::Show("inject"), Command::Add(Box::new(Change::Add(add).into()))]
}

/// Strong enough to be seen.
fn iri(state: &State) -> Vec<Command> {
    let rates = state.studies.found::<FcctFound>(&FCCT);
    let add = rates.map(|rates| Command::Add(Box::new(Change::Iri(rates.iri()).into())));
    [Command::Clear, Command::Show("iri")].into_iter().chain(add).collect()
}

impl Screenshots {
    pub fn run(&self) -> Result<()> {
        std::fs::create_dir_all(&self.out).map_err(|error| Error::write(&self.out, error))?;
        let target = self.checkpoint.clone().map_or(Target::Bundled, Target::Path);
        let done: Arc<Mutex<Option<Result<()>>>> = Arc::default();
        let (folder, ended) = (self.out.clone(), Arc::clone(&done));
        let picture = self.image.clone();
        let make: eframe::AppCreator = Box::new(move |cc| {
            let mut app = SluiceApp::new(&cc.egui_ctx, Some(target), Settings::default());
            app.state.choices.colour = ChipColour::Surprisal;
            if let Some(path) = picture {
                app.apply(&cc.egui_ctx, Command::OpenPicture(path));
            }
            Ok(Box::new(Tour {
                app,
                shots: shots(),
                folder,
                ended,
                at: 0,
                sent: false,
                rest: 0,
                picture: Arc::default(),
                asked: false,
            }))
        });
        if let Some(cause) = window::run(make, false)? {
            return Err(Error::Display(cause));
        }
        let done = done.lock().unwrap_or_else(PoisonError::into_inner).take();
        done.unwrap_or_else(|| Err(Error::Input("the window was closed before the last picture".into())))
    }
}

/// The window's content, driven from picture to picture.
struct Tour {
    app: SluiceApp,
    shots: Vec<Shot>,
    folder: PathBuf,
    ended: Arc<Mutex<Option<Result<()>>>>,
    /// Index of the picture, through both themes.
    at: usize,
    /// Its commands were applied.
    sent: bool,
    /// Frames since it could be taken.
    rest: usize,
    /// A screenshot was asked for.
    asked: bool,
    picture: Arc<Mutex<Option<Arc<ColorImage>>>>,
}

impl Tour {
    fn advance(&mut self, ctx: &Context) {
        let (theme, suffix) = match self.at / self.shots.len() {
            0 => (ThemePreference::Dark, "dark"),
            1 => (ThemePreference::Light, "light"),
            _ => return self.end(ctx, Ok(())),
        };
        if let Some((_, failure)) = &self.app.state.results.failure
            && self.app.state.card.is_none()
        {
            let cause = failure.cause.clone();
            return self.end(ctx, Err(Error::Input(cause)));
        }
        ctx.request_repaint();
        let Some(shot) = self.shots.get(self.at % self.shots.len()) else { return };
        if !self.app.is_settled() {
            self.rest = 0;
            return;
        }
        if !self.sent {
            self.sent = true;
            self.app.apply(ctx, Command::Theme(theme));
            self.app.apply(ctx, Command::Dismiss);
            self.app.state.choices.colour = ChipColour::Surprisal;
            self.app.state.path.clear();
            for command in (shot.commands)(&self.app.state) {
                self.app.apply(ctx, command);
            }
            return;
        }
        let Some(picture) = self.picture.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            self.rest +=
                usize::from((shot.ready)(&self.app.state) || self.app.state.results.failure.is_some());
            if self.rest > REST && !self.asked {
                self.asked = true;
                let slot = Arc::clone(&self.picture);
                ctx.request_screenshot(move |image| {
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(image);
                });
            }
            return;
        };
        let path = self.folder.join(format!("{}-{suffix}.png", shot.name));
        match save(&picture, &path) {
            Ok(()) => out(&format!("{}\n", path.display())),
            Err(error) => return self.end(ctx, Err(error)),
        }
        (self.at, self.sent, self.rest, self.asked) = (self.at + 1, false, 0, false);
    }

    fn end(&mut self, ctx: &Context, done: Result<()>) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        ctx.send_viewport_cmd(ViewportCommand::Close);
    }
}

fn save(picture: &ColorImage, path: &std::path::Path) -> Result<()> {
    let [width, height] = picture.size;
    let rgb: Vec<u8> =
        picture.as_raw().as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive)
        .write_image(&rgb, width as u32, height as u32, ExtendedColorType::Rgb8)
        .map_err(|error| Error::write(path, error))?;
    write_atomic(path, &bytes)
}

impl eframe::App for Tour {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        self.app.logic(ctx);
    }

    fn raw_input_hook(&mut self, _ctx: &Context, input: &mut RawInput) {
        // Wherever the pointer happens to be, no tooltip belongs into the pictures.
        input.events.retain(|event| !matches!(event, Event::PointerMoved(_) | Event::MouseMoved(_)));
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.app.ui(ui);
        self.advance(ui.ctx());
    }
}
