//! Plain `sluice`: the window; without a usable display, the report.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eframe::egui::ViewportBuilder;
use sluice::app::{SETTINGS, SluiceApp};
use sluice_core::worker::Target;
use sluice_core::{Error, Result};

use super::{note, report};

/// Where the report goes when there is no display.
const REPORT: &str = "sluice-report";

/// Open the window on a checkpoint, or on the bundled one.
pub fn open(checkpoint: Option<&PathBuf>) -> Result<()> {
    let target = checkpoint.cloned().map_or(Target::Bundled, Target::Path);
    let make: eframe::AppCreator = Box::new(|cc| {
        let settings =
            cc.storage.and_then(|storage| eframe::get_value(storage, SETTINGS)).unwrap_or_default();
        Ok(Box::new(SluiceApp::new(&cc.egui_ctx, Some(target), settings)))
    });
    match run(make, true)? {
        None => Ok(()),
        Some(cause) => {
            note(&format!("no window ({cause}); writing the report into {REPORT}"));
            report::write(checkpoint.map(PathBuf::as_path), Path::new(REPORT))
        }
    }
}

/// Run a window until it is closed. `Some` = it could not be opened, and why, in one line.
pub fn run(make: eframe::AppCreator, persist: bool) -> Result<Option<String>> {
    let opened = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&opened);
    let make: eframe::AppCreator = Box::new(move |cc| {
        open.store(true, Ordering::Release);
        make(cc)
    });
    let viewport = ViewportBuilder::default()
        .with_app_id("sluice")
        .with_inner_size([1440.0, 900.0])
        .with_min_inner_size([800.0, 560.0]);
    let options = eframe::NativeOptions { viewport, persist_window: persist, ..Default::default() };
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
    let cause = cause.lines().next().unwrap_or_default().to_owned();
    if opened.load(Ordering::Acquire) { Err(Error::Internal(cause)) } else { Ok(Some(cause)) }
}
