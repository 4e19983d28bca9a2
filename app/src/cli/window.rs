//! Plain `sluice`: the window; without a usable display, the report.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eframe::egui::ViewportBuilder;
use sluice::app::SluiceApp;
use sluice::command::Command;
use sluice::keep::{APP, Begin, Home};
use sluice_core::files::free;
use sluice_core::worker::Target;
use sluice_core::{Error, Result};

use super::{note, report};

/// Where the report goes when there is no display; with a number where it is there.
const REPORT: &str = "sluice-report";

/// What the window is opened on.
pub struct Asked<'a> {
    /// Checkpoint folder; none = the one of the session, else the bundled one.
    pub checkpoint: Option<&'a PathBuf>,
    /// A session file in place of the last session.
    pub session: Option<&'a Path>,
    /// A prompt in place of the session's.
    pub prompt: Option<&'a str>,
    /// Its picture.
    pub image: Option<&'a Path>,
}

/// Open the window.
pub fn open(asked: &Asked<'_>) -> Result<()> {
    let Asked { checkpoint, image, .. } = *asked;
    if let Some(path) = checkpoint.filter(|path| !path.exists()) {
        let cause = "no such folder, and no subcommand of this name";
        return Err(Error::missing(path, cause));
    }
    if let Some(path) = image.filter(|path| !path.exists()) {
        return Err(Error::missing(path, "no such file"));
    }
    let (picture, words) = (image.map(Path::to_owned), asked.prompt.map(str::to_owned));
    let target = checkpoint.cloned().map(Target::Path);
    let mut begin = Begin::new(Home::of_the_system(), asked.session)?;
    let size = begin.size;
    let make: eframe::AppCreator = Box::new(move |cc| {
        // Those of before they had a file of their own.
        let before = || cc.storage.and_then(|storage| eframe::get_value(storage, "settings-1"));
        begin.settings = begin.settings.or_else(before);
        let mut app = SluiceApp::begin(&cc.egui_ctx, begin, target);
        app.use_system_fonts();
        if let Some(words) = words {
            app.apply(&cc.egui_ctx, Command::Write(words));
        }
        if let Some(path) = picture {
            app.apply(&cc.egui_ctx, Command::OpenPicture(path));
        }
        Ok(Box::new(app))
    });
    match run(make, size)? {
        None => Ok(()),
        Some(cause) => {
            let folder = free(Path::new(REPORT));
            note(&format!("no window ({cause}); writing the report into {}", folder.display()));
            report::write(checkpoint.map(PathBuf::as_path), image, &folder)
        }
    }
}

/// Run a window of a size until it is closed. `Some` = it could not be opened, and why, in one
/// line.
pub fn run(make: eframe::AppCreator, size: [f32; 2]) -> Result<Option<String>> {
    let opened = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&opened);
    let make: eframe::AppCreator = Box::new(move |cc| {
        open.store(true, Ordering::Release);
        make(cc)
    });
    let viewport =
        ViewportBuilder::default().with_app_id(APP).with_inner_size(size).with_min_inner_size([800.0, 560.0]);
    let options = eframe::NativeOptions {
        viewport,
        persist_window: false,
        system_font_fallback: false,
        ..Default::default()
    };
    // winit panics where X or xkb libraries are missing; the panic's own message would be a second cause.
    let hook = std::panic::take_hook();
    let main = std::thread::current().id();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != main {
            hook(info);
        }
    }));
    let ran = catch_unwind(AssertUnwindSafe(|| eframe::run_native("Sluice", options, make)));
    drop(std::panic::take_hook());
    let cause = match ran {
        Ok(Ok(())) => return Ok(None),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "the display's libraries are missing".into()),
    };
    let cause = one_line(&cause);
    if opened.load(Ordering::Acquire) { Err(Error::Internal(cause)) } else { Ok(Some(cause)) }
}

/// The reason in an error of the window library, without its source positions and dumps.
fn one_line(cause: &str) -> String {
    const LONGEST: usize = 100;
    let line = cause.lines().next().unwrap_or_default();
    let line = if line.contains("/src/") { line.rsplit(": ").next().unwrap_or(line) } else { line };
    match line.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{} …", line.get(..cut).unwrap_or_default().trim_end()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn reasons_are_short() {
        let winit = "os error at /home/me/winit/src/platform_impl/linux/mod.rs:788: Failed to load a library";
        assert_eq!(one_line(winit), "Failed to load a library");
        assert_eq!(one_line("no display\nbacktrace"), "no display");
        assert!(one_line(&"x".repeat(500)).chars().count() < 110);
    }
}
