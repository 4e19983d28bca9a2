//! What outlives the window: its session and its settings, written by a thread of their own while a person works, and read
//! when the next one begins.

mod home;
mod snapshot;

use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use eframe::egui::{Context, Memory};
use serde::{Deserialize, Serialize};
use sluice_core::files::{There, read_within, write_atomic};
use sluice_core::session::{Opened, Session};
use sluice_core::worker::Failure;
use sluice_core::{Error, Result};

pub use home::{APP, Home, Place};
pub use snapshot::{restore, session};

use crate::paths::is_kept;
use crate::state::Settings;

/// Seconds that what was done rests before it is written.
pub const REST: f64 = 2.0;
/// How long a window that is closed waits for its disk.
pub const FAREWELL: Duration = Duration::from_secs(10);
/// Bytes of settings and of what egui remembers, at most.
const MOST: u64 = 16 << 20;

/// What egui remembers, and the window's size.
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Looks {
    /// As egui keeps its own: its keys are no strings.
    memory: String,
    size: [f32; 2],
    /// The file that the session was opened from or saved to last.
    file: Option<PathBuf>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { memory: String::new(), size: SIZE, file: None }
    }
}

/// Size of a first window in points, and what sizes are believed.
const SIZE: [f32; 2] = [1440.0, 900.0];
const SIZES: std::ops::RangeInclusive<f32> = 200.0..=20_000.0;

/// All that is written at a time.
pub struct Snapshot {
    /// The session.
    pub session: Session,
    /// The settings.
    pub settings: Settings,
    /// What egui remembers.
    pub memory: Box<Memory>,
    /// Size of the window in points.
    pub size: [f32; 2],
    /// The session's file.
    pub file: Option<PathBuf>,
}

/// Who writes.
pub struct Keeper {
    /// None = nothing more comes.
    send: Option<Sender<Box<Snapshot>>>,
    done: Receiver<Option<Failure>>,
    lives: Receiver<()>,
    home: Home,
    session: PathBuf,
}

/// What a window begins with.
pub struct Begin {
    /// Who keeps its session.
    pub keeper: Option<Keeper>,
    /// Its settings; none where none were kept.
    pub settings: Option<Settings>,
    /// The session that it goes on with, and what cannot be read of it.
    pub opened: Option<Opened>,
    /// What egui remembers.
    pub memory: Option<Memory>,
    /// Size of the window.
    pub size: [f32; 2],
    /// The session's file.
    pub file: Option<PathBuf>,
    /// Kept sessions that it does not go on with, the newest first.
    pub kept: Vec<PathBuf>,
}

impl Begin {
    /// Take a place and read what is there, or the session that is named instead. What cannot be read is told in the window and
    /// stays where it is; what cannot be written there is told once it is tried.
    ///
    /// # Errors
    /// A session that was named and cannot be read.
    pub fn new(home: Option<Home>, named: Option<&std::path::Path>) -> Result<Self> {
        let named_file = named.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        // One that is only kept has no file of a person's own.
        let named_file = named_file.filter(|path| !is_kept(path));
        let named = named.map(Session::read).transpose()?;
        let Some(home) = home else {
            return Ok(Self {
                keeper: None,
                settings: None,
                opened: named,
                memory: None,
                size: SIZE,
                file: named_file,
                kept: Vec::new(),
            });
        };
        let settings = json(&home.settings());
        let mut opened = named;
        let mut place = home.begin(opened.is_some());
        if let Ok(at) = place.as_ref().map(Place::session)
            && place.as_ref().is_ok_and(|place| place.goes_on)
        {
            match Session::read(&at) {
                Ok(read) => {
                    // What could not be read of it stays where it is.
                    if !read.missing.is_empty() {
                        place = home.begin(true);
                    }
                    opened = Some(read);
                }
                Err(error) => {
                    // It is left for whoever can read it.
                    let missing = vec![format!("the last session: {error}; {}", error.next_step())];
                    opened = Some(Opened { missing, ..Opened::default() });
                    place = home.begin(true);
                }
            }
        }
        let own = place.as_ref().ok().map(Place::session);
        let kept = home.kept().into_iter().filter(|path| Some(path) != own.as_ref()).collect();
        let looks: Looks = place.as_ref().ok().and_then(|place| json(&place.memory())).unwrap_or_default();
        let size = if looks.size.iter().all(|side| SIZES.contains(side)) { looks.size } else { SIZE };
        let memory = ron::from_str(&looks.memory).ok();
        let keeper = match place {
            Ok(place) => Some(Keeper::new(place, home)),
            Err(error) => {
                let cause = format!("this session is not kept: {error}");
                opened.get_or_insert_default().missing.push(cause);
                None
            }
        };
        let file = named_file.or(looks.file);
        Ok(Self { keeper, settings, opened, memory, size, file, kept })
    }
}

/// A JSON file of ours; none where there is none or it cannot be read.
fn json<T: for<'de> Deserialize<'de>>(path: &std::path::Path) -> Option<T> {
    let (bytes, more) = read_within(path, MOST).ok()?;
    serde_json::from_slice(&bytes).ok().filter(|_| !more)
}

impl Keeper {
    /// Begin to keep.
    pub fn new(place: Place, home: Home) -> Self {
        let (session, settings) = (place.session(), home.settings());
        let (send, snapshots) = bounded::<Box<Snapshot>>(1);
        let (said, done) = bounded(1);
        let (held, lives) = bounded(0);
        let work = move || {
            let mut written = Written::default();
            for snapshot in snapshots {
                let failure = write(&place, &settings, &snapshot, &mut written).err().map(|error| Failure {
                    cause: format!("the session is not saved: {error}"),
                    next_step: error.next_step(),
                });
                // Who does not listen any longer has closed the window.
                drop(said.send(failure));
            }
            // Whoever waits for the end finds the place free.
            drop(place);
            drop(held);
        };
        // Without a thread nothing is kept, and nobody waits for it.
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(work);
        Self { send: thread.is_ok().then_some(send), done, lives, home, session }
    }

    /// Where all sessions are kept.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Where the session is kept.
    pub fn session(&self) -> PathBuf {
        self.session.clone()
    }

    /// Write a snapshot; false while the one before is still written.
    pub fn write(&self, snapshot: Box<Snapshot>) -> bool {
        self.send.as_ref().is_none_or(|send| send.try_send(snapshot).is_ok())
    }

    /// Whether there is room for a snapshot.
    pub fn is_free(&self) -> bool {
        self.send.as_ref().is_none_or(Sender::is_empty)
    }

    /// How the last write went, where one has ended: why it failed, or that it did not.
    pub fn ended(&self) -> Option<Option<Failure>> {
        self.done.try_iter().last()
    }

    /// Write the last snapshot, and wait until it is on the disk or the disk takes too long.
    pub fn finish(mut self, snapshot: Box<Snapshot>) {
        if let Some(send) = self.send.take() {
            // The answer to the one before is in the way of the last.
            drop(self.done.try_recv());
            drop(send.send_timeout(snapshot, FAREWELL));
        }
        let mut left = FAREWELL;
        while self.lives.recv_timeout(Duration::from_millis(10)) == Err(RecvTimeoutError::Timeout) {
            drop(self.done.try_recv());
            left = left.saturating_sub(Duration::from_millis(10));
            if left.is_zero() {
                break;
            }
        }
    }
}

/// What was written last: what did not change is not written again.
#[derive(Default)]
struct Written {
    settings: String,
    looks: String,
}

fn write(
    place: &Place,
    settings: &std::path::Path,
    snapshot: &Snapshot,
    written: &mut Written,
) -> Result<()> {
    let text = |error: serde_json::Error| Error::Internal(error.to_string());
    snapshot.session.write(&place.session(), There::Replace)?;
    let now = serde_json::to_string_pretty(&snapshot.settings).map_err(text)?;
    if now != written.settings {
        write_atomic(settings, now.as_bytes())?;
        written.settings = now;
    }
    let memory = ron::to_string(&*snapshot.memory).map_err(|error| Error::Internal(error.to_string()))?;
    let now = serde_json::to_string(&Looks { memory, size: snapshot.size, file: snapshot.file.clone() })
        .map_err(text)?;
    if now != written.looks {
        write_atomic(&place.memory(), now.as_bytes())?;
        written.looks = now;
    }
    Ok(())
}

/// What egui remembers and the window's size, for a snapshot.
pub fn looks(ctx: &Context) -> (Box<Memory>, [f32; 2]) {
    let size = ctx.input(|input| input.viewport().inner_rect).unwrap_or(ctx.content_rect()).size();
    (Box::new(ctx.memory(Clone::clone)), [size.x, size.y])
}
