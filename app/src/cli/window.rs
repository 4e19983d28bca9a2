//! Plain `sluice`: the window; without a usable display, the report.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use eframe::egui::ViewportBuilder;
use sluice::app::SluiceApp;
use sluice_core::worker::Target;
use sluice_core::{Error, Result};

use super::{note, report};

/// Where the report goes when there is no display.
const REPORT: &str = "sluice-report";

/// Open the window on a checkpoint, or on none.
pub fn open(checkpoint: Option<&PathBuf>) -> Result<()> {
    let target = checkpoint.cloned().map(Target::Path);
    let viewport = ViewportBuilder::default().with_app_id("sluice").with_inner_size([1440.0, 900.0]);
    let options = eframe::NativeOptions { viewport, ..Default::default() };
    let run = || {
        let make: eframe::AppCreator = Box::new(|cc| Ok(Box::new(SluiceApp::new(&cc.egui_ctx, target))));
        eframe::run_native("Sluice", options, make)
    };
    // winit panics where X or xkb libraries are missing.
    let cause = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the display's libraries are missing".into(),
    };
    let cause = cause.lines().next().unwrap_or_default().to_owned();
    match checkpoint {
        Some(checkpoint) => {
            note(&format!("no window ({cause}); writing the report into {REPORT}"));
            report::write(checkpoint, Path::new(REPORT))
        }
        None => Err(Error::Input(format!("no window ({cause}), and no checkpoint is named to report on"))),
    }
}
