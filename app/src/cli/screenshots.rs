//! `sluice screenshots`: every panel in both themes, from the real window.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use eframe::egui::{ColorImage, Context, Event, RawInput, ThemePreference, Ui, ViewportCommand};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _};
use sluice::app::SluiceApp;
use sluice::command::Command;
use sluice::panels::{Panel, panels};
use sluice::state::{ChipColour, Help, Settings, State};
use sluice_core::files::{There, claim_apart, claim_file, claim_folder, write};
use sluice_core::plan::Lane;
use sluice_core::plan::edits::Preset;
use sluice_core::worker::{Answer, Target};
use sluice_core::{Error, Result};

use super::{HeldArgs, out, there, window};

/// Frames drawn after everything is there: textures are uploaded and layouts have settled.
const REST: usize = 6;

#[derive(Args)]
pub struct Screenshots {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    held: HeldArgs,
    /// Picture that the prompt is about, for a checkpoint that reads images
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Folder for the pictures
    #[arg(long)]
    out: PathBuf,
    /// Size of the window, in points
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1440x900", value_parser = size)]
    size: [f32; 2],
    /// Write over pictures that are there
    #[arg(long)]
    overwrite: bool,
}

/// `1440x900`: from the smallest window to what a texture holds.
fn size(text: &str) -> std::result::Result<[f32; 2], String> {
    let sides =
        text.split_once('x').and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]));
    let fits = |sides: &[u16; 2]| (800..=8192).contains(&sides[0]) && (560..=8192).contains(&sides[1]);
    sides
        .filter(fits)
        .map(|sides| sides.map(f32::from))
        .ok_or_else(|| "it is like 1440x900, from 800x560 on".to_owned())
}

/// The themes, and what their pictures' names end with.
const THEMES: [(ThemePreference, &str); 2] =
    [(ThemePreference::Dark, "dark"), (ThemePreference::Light, "light")];

/// Where a picture goes.
fn file(folder: &Path, shot: &Shot, suffix: &str) -> PathBuf {
    folder.join(format!("{}-{suffix}.png", shot.name))
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

/// Taken in this order, once per theme; each goes on from what the one before left. Panels of methods come first: others
/// take over what these found.
fn shots() -> Vec<Shot> {
    let mut all: Vec<&'static dyn Panel> = panels().iter().map(|panel| &**panel).collect();
    all.sort_by_key(|panel| panel.method().is_none());
    let of_panel = |panel: &'static dyn Panel| {
        shot(panel.info().id, move |state| panel.pose(state), move |state| panel.is_posed(state))
    };
    all.into_iter().map(of_panel).chain(others()).collect()
}

/// What is no panel, or a second look at one.
fn others() -> [Shot; 5] {
    let broken = |_: &State| vec![Command::Palette, Command::Open("no-such-checkpoint".into())];
    [
        shot("routing-skips", skips, |_| true),
        shot("tour", |_| vec![Command::Show("lens"), Command::Help(Some(Help::Tour(2)))], |_| true),
        shot("help", |_| vec![Command::Help(Some(Help::Methods))], |_| true),
        shot("palette", |_| vec![Command::Help(None), Command::Palette], |_| true),
        shot("broken-checkpoint", broken, |state| state.results.failure.is_some()),
    ]
}

fn skips(state: &State) -> Vec<Command> {
    let layer = state.layers().saturating_sub(1);
    let begin = [Command::Clear, Command::Show("routing"), Command::Fill(Preset::Coin)];
    let len = state.results.tokens.len();
    let paint = |position| Command::Paint(layer, Some(position), Lane::SkipLayer);
    let next = Command::Paint(layer, None, Lane::SkipFfn);
    begin.into_iter().chain((0..len.min(4)).map(paint)).chain([next]).collect()
}

impl Screenshots {
    pub fn run(&self) -> Result<()> {
        self.held.apply();
        let there = there(self.overwrite);
        // Before any work.
        if let Some(checkpoint) = &self.checkpoint {
            claim_apart(&self.out, checkpoint)?;
        }
        claim_folder(&self.out)?;
        for (_, suffix) in THEMES {
            shots().iter().try_for_each(|shot| claim_file(&file(&self.out, shot, suffix), there))?;
        }
        let target = self.checkpoint.clone().map_or(Target::Bundled, Target::Path);
        let done: Arc<Mutex<Option<Result<()>>>> = Arc::default();
        let (folder, ended) = (self.out.clone(), Arc::clone(&done));
        let picture = self.image.clone();
        let given = picture.is_some();
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
                there,
                ended,
                at: 0,
                sent: false,
                rest: 0,
                picture: Arc::default(),
                given,
                asked: false,
            }))
        });
        if let Some(cause) = window::run(make, self.size)? {
            return Err(Error::Display(cause));
        }
        let done = done.lock().unwrap_or_else(PoisonError::into_inner).take();
        let closed = || {
            Error::asked(
                "the window was closed before the last picture",
                "leave it open until it closes itself",
            )
        };
        done.unwrap_or_else(|| Err(closed()))
    }
}

/// The window's content, driven from picture to picture.
struct Tour {
    app: SluiceApp,
    shots: Vec<Shot>,
    folder: PathBuf,
    there: There,
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
    /// The person gave a picture, which stays.
    given: bool,
}

impl Tour {
    fn advance(&mut self, ctx: &Context) {
        let Some(&(theme, suffix)) = THEMES.get(self.at / self.shots.len()) else {
            return self.end(ctx, Ok(()));
        };
        if let Some((_, failure)) = &self.app.state.results.failure
            && self.app.state.card.is_none()
        {
            let error = Error::asked(&failure.cause, &failure.next_step);
            return self.end(ctx, Err(error));
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
            as_at_first(&mut self.app, ctx, self.given);
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
        let path = file(&self.folder, shot, suffix);
        match save(&picture, &path, self.there) {
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

/// Nothing chosen, and the sample prompt, where an example before left its own and the person gave no picture.
fn as_at_first(app: &mut SluiceApp, ctx: &Context, given: bool) {
    for command in [Command::Inspect(None), Command::Follow(Answer::Top), Command::DismissMessage] {
        app.apply(ctx, command);
    }
    app.state.answer.clear();
    let words = app.state.card.as_ref().map(|card| card.sample_prompt.to_string());
    if !given && (app.state.image.is_some() || words.as_ref() != Some(&app.state.prompt)) {
        app.state.set_prompt("sample prompt", None, words);
    }
}

fn save(picture: &ColorImage, path: &Path, there: There) -> Result<()> {
    let [width, height] = picture.size;
    let rgb: Vec<u8> =
        picture.as_raw().as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive)
        .write_image(&rgb, width as u32, height as u32, ExtendedColorType::Rgb8)
        .map_err(|error| Error::write(path, error))?;
    write(path, &bytes, there)
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
