//! Work that must not hold up a frame: file dialogs, exports, pictures, reading and writing plans. Each errand has a short-lived
//! thread; what it brings back is taken at the start of a frame.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use eframe::egui::{Color32, ColorImage, Context};
use image::RgbImage;
use sluice_core::figure::page::{self, Part};
use sluice_core::figure::{Figure, Format, Sheet, csv, export};
use sluice_core::files::{There, claim_folder, free, write};
use sluice_core::plan::Plan;
use sluice_core::session::{Opened, Session};
use sluice_core::worker::{Card, Failure, Picture, Progress};
use sluice_core::{Error, Result};

use crate::browser::{self, Listing};
use crate::fonts;
use crate::gallery::{SAMPLES, Sample};
use crate::keep::{Home, Place};
use crate::state::{ExportChoice, Shown};

mod dialog;
mod line;
mod model;

pub use dialog::Dialog;
use line::Line;

/// Errands under way at most; more would wait for their turn.
const MOST: usize = 32;

/// What an errand brings back.
#[derive(Debug)]
pub enum Found {
    /// A checkpoint was chosen.
    Checkpoint(PathBuf),
    /// A folder for exports was chosen.
    ExportFolder(PathBuf),
    /// A folder for a changed model's folder was chosen.
    ModelFolder(PathBuf),
    /// How far the model that is saved is; `None` = it has ended.
    Saving(Option<Progress>),
    /// A sample text for surrogate small FFNs was chosen.
    Sample(PathBuf),
    /// A text file for a method, by its id.
    Text(&'static str, PathBuf),
    /// A list of prompts for a method.
    List(&'static str, PathBuf),
    /// A file for a parameter of a method, by their names.
    Parameter(&'static str, &'static str, PathBuf),
    /// A picture file was chosen.
    PictureFile(PathBuf),
    /// A picture was read, or could not be.
    Picture(Box<Fetched>),
    /// The sample pictures.
    Gallery(Vec<Arc<ColorImage>>),
    /// A plan file was read.
    Plan(Box<Plan>),
    /// A file for the plan was chosen; what becomes of one that is there.
    PlanFile(PathBuf, There),
    /// A session file was chosen.
    SessionPath(PathBuf),
    /// A session file was read; the place to keep it in, where there is one.
    Session(PathBuf, Box<Opened>, Option<Box<Place>>),
    /// A file for the session was chosen; what becomes of one that is there.
    SessionFile(PathBuf, There),
    /// The session was written to a file; which of those that the window had.
    SavedSession(PathBuf, u64),
    /// The desktop has no dialog: our own browser is to ask.
    NoDialog(Dialog),
    /// A folder was read for the browser.
    Listing(PathBuf, Listing),
    /// A text for the clipboard.
    Copy(String),
    /// A picture for the clipboard.
    CopyPicture(ColorImage),
    /// A message.
    Said(String),
    /// Something was written: a message, and the folder that it is in.
    Wrote(String, PathBuf),
    /// It did not work.
    Failed(Failure),
}

/// Where a picture comes from.
#[derive(Debug)]
pub enum PictureSource {
    /// A file.
    File(PathBuf),
    /// The clipboard.
    Pasted(Arc<ColorImage>),
    /// The gallery, by index.
    Sample(usize),
    /// One that was read before, with the words that come with it.
    Again(Picture, Option<&'static str>),
    /// One of the history, whose view alone is wanted.
    View(Picture),
}

/// A picture that was asked for.
#[derive(Debug)]
pub struct Fetched {
    /// Counts up with every picture asked for.
    pub number: u64,
    /// The checkpoint it was prepared for.
    pub card: Arc<Card>,
    /// The picture.
    pub shown: Result<Shown, Failure>,
    /// The prompt that comes with it.
    pub words: Option<&'static str>,
    /// Its view alone was wanted.
    pub view: bool,
}

/// The errands of a window.
pub struct Errands {
    send: Sender<Found>,
    found: Receiver<Found>,
    /// One dialog at a time.
    dialog: Arc<AtomicBool>,
    line: Arc<Line>,
    ctx: Context,
    /// Pictures asked for so far.
    pictures: u64,
    /// Set to stop the model that is saved.
    stopped: Arc<AtomicBool>,
}

impl Errands {
    /// No errand yet; `ctx` is repainted when one ends.
    pub fn new(ctx: &Context) -> Self {
        let (send, found) = bounded(MOST);
        Self {
            send,
            found,
            dialog: Arc::default(),
            line: Arc::default(),
            ctx: ctx.clone(),
            pictures: 0,
            stopped: Arc::default(),
        }
    }

    /// What came back since the last call. Never blocks.
    pub fn found(&self) -> Vec<Found> {
        self.found.try_iter().collect()
    }

    /// Whether something came back that was not taken yet.
    pub fn waits(&self) -> bool {
        !self.found.is_empty()
    }

    fn run(&self, work: impl FnOnce() -> Option<Found> + Send + 'static) {
        let (send, ctx) = (self.send.clone(), self.ctx.clone());
        let spawned = std::thread::Builder::new().name("errand".into()).spawn(move || {
            if let Some(found) = work() {
                // Fails only when the window is gone.
                let _ = send.send(found);
                ctx.request_repaint();
            }
        });
        // Without a thread nothing can be done off the frame; the person can try again.
        drop(spawned);
    }

    /// Work on files that later work may write over: one after the other, as they were asked for.
    pub fn in_line(&self, work: impl FnOnce() -> Option<Found> + Send + 'static) {
        self.line.push(work);
        let line = Arc::clone(&self.line);
        self.run(move || line.next());
    }

    /// Wait until everything in line is done, or it takes too long.
    pub fn finish(&self, most: Duration) {
        self.line.finish(most);
    }

    /// Read a plan file.
    pub fn open_plan(&self, path: PathBuf) {
        self.run(move || Some(Plan::read(&path).map_or_else(failed, |plan| Found::Plan(Box::new(plan)))));
    }

    /// Read a picture and prepare it for a checkpoint. Returns the number that it comes back with.
    pub fn picture(&mut self, source: PictureSource, card: Arc<Card>) -> u64 {
        self.pictures += 1;
        let number = self.pictures;
        let view = matches!(source, PictureSource::View(_));
        self.run(move || {
            // A decoder's panic on somebody's file must come back too.
            let read =
                || read_picture(source).and_then(|(picture, words)| Ok((Shown::new(picture, &card)?, words)));
            let read = catch_unwind(AssertUnwindSafe(read));
            let read = read.unwrap_or_else(|_| Err(Error::image("picture", "its decoder failed")));
            let (shown, words) = match read {
                Ok((shown, words)) => (Ok(shown), words),
                Err(error) => (Err(failure(&error)), None),
            };
            Some(Found::Picture(Box::new(Fetched { number, card, shown, words, view })))
        });
        number
    }

    /// Decode the sample pictures.
    pub fn gallery(&self) {
        self.run(|| {
            let thumb = |sample: &Sample| {
                let picture = Picture::decode(sample.name, sample.png).ok()?;
                let (width, height) = picture.pixels().dimensions();
                let size = [width as usize, height as usize];
                Some(Arc::new(ColorImage::from_rgb(size, picture.pixels().as_raw())))
            };
            Some(Found::Gallery(SAMPLES.iter().filter_map(thumb).collect()))
        });
    }

    /// Let the window use the fonts of the system.
    pub fn fonts(&self) {
        let (send, ctx) = (self.send.clone(), self.ctx.clone());
        self.run(move || {
            // Called in the middle of a frame: where there is no room for the note, the next start has it.
            fonts::add(&ctx, move |text| drop(send.try_send(Found::Said(text))));
            None
        });
    }

    /// Write figures into a folder as was chosen. Files that are there stay: new ones get a number.
    pub fn export(&self, figures: Vec<Arc<Figure>>, choice: ExportChoice, folder: PathBuf) {
        self.run(move || {
            let write = |figure: &Arc<Figure>| -> Result<String> {
                let paths = export::write_free(figure, &choice.formats, choice.sheet, &folder)?;
                let stem = paths.first().and_then(|path| path.file_stem()).unwrap_or_default();
                Ok(stem.to_string_lossy().into_owned())
            };
            Some(match figures.iter().map(write).collect::<Result<Vec<String>>>() {
                Ok(names) => {
                    let text =
                        format!("wrote {} as {} into {}", names.join(", "), choice.kinds(), folder.display());
                    Found::Wrote(text, folder)
                }
                Err(error) => failed(error),
            })
        });
    }

    /// Write figures as one page. One that is there stays: the new one gets a number.
    pub fn page(&self, title: String, parts: Vec<Part>, sheet: Sheet, folder: PathBuf) {
        self.run(move || {
            let first = parts.first().map_or_else(String::new, |part| export::begins(&part.figure));
            let write = || -> Result<PathBuf> {
                claim_folder(&folder)?;
                let path = free(&folder.join(format!("{first}-page.html")));
                let page = page::to_html(&title, &parts, sheet);
                write(&path, page.as_bytes(), There::Keep)?;
                Ok(path)
            };
            Some(match write() {
                Ok(path) => {
                    Found::Wrote(format!("wrote {} figures as {}", parts.len(), path.display()), folder)
                }
                Err(error) => failed(error),
            })
        });
    }

    /// A figure for the clipboard.
    pub fn copy_picture(&self, figure: Arc<Figure>, sheet: Sheet) {
        self.run(move || {
            let read = || -> Result<ColorImage> {
                let png = export::bytes(&figure, Format::Png, sheet)?;
                let picture = Picture::decode(&figure.name, &png)?;
                let (width, height) = picture.pixels().dimensions();
                Ok(ColorImage::from_rgb([width as usize, height as usize], picture.pixels().as_raw()))
            };
            Some(read().map_or_else(failed, Found::CopyPicture))
        });
    }

    /// The numbers of a figure for the clipboard.
    pub fn copy(&self, figure: Arc<Figure>) {
        self.run(move || Some(Found::Copy(csv::records(&figure))));
    }

    /// Write the plan. One that is there and stays gives the new one a number.
    pub fn save_plan(&self, plan: Plan, path: PathBuf, there: There) {
        self.in_line(move || {
            let path = if there == There::Keep { free(&path) } else { path };
            let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
            let written = claim_folder(&folder).and_then(|()| plan.write(&path));
            Some(match written {
                Ok(()) => Found::Wrote(format!("wrote {}", path.display()), folder),
                Err(error) => failed(error),
            })
        });
    }

    /// Read a session file, and make a place to keep it in.
    pub fn open_session(&self, path: PathBuf, home: Option<Home>) {
        self.run(move || {
            // The path that it has wherever Sluice is started.
            let path = std::path::absolute(&path).unwrap_or(path);
            Some(Session::read(&path).map_or_else(failed, |opened| {
                let place = home.and_then(|home| home.begin(true).ok());
                Found::Session(path, Box::new(opened), place.map(Box::new))
            }))
        });
    }

    /// Write a session. One that is there and stays gives the new one a number.
    pub fn save_session(&self, session: Session, path: PathBuf, there: There, saving: u64) {
        self.in_line(move || {
            let path = if there == There::Keep { free(&path) } else { path };
            let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
            let written = claim_folder(&folder).and_then(|()| session.write(&path, there));
            Some(written.map_or_else(failed, |()| Found::SavedSession(path, saving)))
        });
    }

    /// Read a folder for the browser.
    pub fn list(&self, folder: PathBuf) {
        self.run(move || {
            let listing = browser::list(&folder);
            Some(Found::Listing(folder, listing))
        });
    }
}

/// A picture with the words that come with it.
fn read_picture(source: PictureSource) -> Result<(Picture, Option<&'static str>)> {
    Ok(match source {
        PictureSource::File(path) => (Picture::read(&path)?, None),
        PictureSource::Again(picture, words) => (picture, words),
        PictureSource::View(picture) => (picture, None),
        PictureSource::Pasted(image) => (pasted(&image)?, None),
        PictureSource::Sample(index) => {
            let missing = || Error::image("sample", "there is no such sample picture");
            let sample = SAMPLES.get(index).ok_or_else(missing)?;
            (Picture::decode(sample.name, sample.png)?, Some(sample.prompt))
        }
    })
}

/// A picture of the clipboard, on white where it is transparent.
fn pasted(image: &ColorImage) -> Result<Picture> {
    let on_white = |pixel: &Color32| {
        let [red, green, blue, alpha] = pixel.to_array();
        [red, green, blue].map(|value| value.saturating_add(255 - alpha))
    };
    let [width, height] = image.size;
    let values = image.pixels.iter().flat_map(on_white).collect();
    let pixels = RgbImage::from_raw(width as u32, height as u32, values);
    let pixels = pixels.filter(|pixels| !pixels.is_empty());
    let empty = || Error::image("pasted picture", "the clipboard's picture is empty");
    Ok(Picture::new("pasted picture", pixels.ok_or_else(empty)?))
}

/// Whether a path looks like a picture, also one of a kind that cannot be read: the message then says so.
pub fn is_picture(path: &std::path::Path) -> bool {
    const ENDS: [&str; 10] = ["png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff", "heic", "avif"];
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    ENDS.iter().any(|known| known.eq_ignore_ascii_case(end))
}

fn failed(error: Error) -> Found {
    Found::Failed(failure(&error))
}

fn failure(error: &Error) -> Failure {
    Failure { cause: error.to_string(), next_step: error.next_step() }
}
