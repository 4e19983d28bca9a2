//! Plain `sluice`: the window; without a usable display, the report.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use eframe::egui::ViewportBuilder;
use sluice::app::{SETTINGS, SluiceApp};
use sluice_core::Result;
use sluice_core::worker::Target;

use super::{note, report};

/// Where the report goes when there is no display.
const REPORT: &str = "sluice-report";

/// Open the window on a checkpoint, or on none.
pub fn open(checkpoint: Option<&PathBuf>) -> Result<()> {
    let target = checkpoint.cloned().map_or(Target::Bundled, Target::Path);
    let viewport = ViewportBuilder::default().with_app_id("sluice").with_inner_size([1440.0, 900.0]);
    let options = eframe::NativeOptions { viewport, ..Default::default() };
    let run = || {
        let make: eframe::AppCreator = Box::new(|cc| {
            let settings =
                cc.storage.and_then(|storage| eframe::get_value(storage, SETTINGS)).unwrap_or_default();
            Ok(Box::new(SluiceApp::new(&cc.egui_ctx, Some(target), settings)))
        });
        eframe::run_native("Sluice", options, make)
    };
    // winit panics where X or xkb libraries are missing.
    let cause = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the display's libraries are missing".into(),
    };
    let cause = cause.lines().next().unwrap_or_default().to_owned();
    note(&format!("no window ({cause}); writing the report into {REPORT}"));
    report::write(checkpoint.map(PathBuf::as_path), Path::new(REPORT))
}
