//! Dialogs for a file or a folder: that of the desktop, or our own browser where it has none.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluice_core::files::There;
use sluice_core::plan::Plan;

use super::{Errands, Found, failed, is_picture};

/// Nobody closes a dialog faster.
const NO_PERSON: Duration = Duration::from_millis(250);
/// What a plan and a session are called at first.
const PLAN: &str = "plan.json";
const SESSION: &str = "session.json";

/// Which dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialog {
    /// A checkpoint folder.
    Checkpoint,
    /// A folder for exports.
    ExportFolder,
    /// A text file for surrogate small FFNs.
    Sample,
    /// A text file for a method, by its id.
    Text(&'static str),
    /// A list of prompts for a method.
    List(&'static str),
    /// A file for a parameter of a method, by their names.
    Parameter(&'static str, &'static str),
    /// A plan file to read.
    OpenPlan,
    /// A plan file to write.
    SavePlan,
    /// A session file to read.
    OpenSession,
    /// A session file to write.
    SaveSession,
    /// A folder for a changed model's folder.
    ModelFolder,
    /// A picture for the prompt.
    Picture,
}

impl Dialog {
    /// Above it.
    pub fn title(self) -> String {
        match self {
            Self::Checkpoint => "Open a checkpoint folder".into(),
            Self::ExportFolder => "Folder for exported figures".into(),
            Self::Sample => "Text for surrogate small FFNs".into(),
            Self::Text(method) => format!("Text for {method}"),
            Self::List(method) => format!("List of prompts for {method}"),
            Self::Parameter(_, name) => format!("File for {}", name.replace('_', " ")),
            Self::OpenPlan => "Open a plan".into(),
            Self::SavePlan => "Save the plan".into(),
            Self::OpenSession => "Open a session".into(),
            Self::SaveSession => "Save the session".into(),
            Self::ModelFolder => "Folder for the changed model's folder".into(),
            Self::Picture => "Open an image".into(),
        }
    }

    /// On the button that chooses.
    pub fn choose(self) -> &'static str {
        if self.writes() { "Save" } else { "Choose this folder" }
    }

    /// A folder is chosen.
    pub fn is_folder(self) -> bool {
        matches!(self, Self::Checkpoint | Self::ExportFolder | Self::ModelFolder)
    }

    /// A file is written.
    pub fn writes(self) -> bool {
        matches!(self, Self::SavePlan | Self::SaveSession)
    }

    /// What the file that is written is called at first; none of others.
    pub fn name(self) -> &'static str {
        match self {
            Self::SavePlan => PLAN,
            Self::SaveSession => SESSION,
            _ => "",
        }
    }

    /// Whether a file of a name can be chosen.
    pub fn takes(self, name: &str) -> bool {
        match self {
            Self::Checkpoint | Self::ExportFolder | Self::ModelFolder => false,
            Self::Sample | Self::Text(_) | Self::List(_) | Self::Parameter(..) => true,
            Self::OpenPlan | Self::SavePlan | Self::OpenSession | Self::SaveSession => {
                name.to_lowercase().ends_with(".json")
            }
            Self::Picture => is_picture(name.as_ref()),
        }
    }

    /// What the desktop's dialog brings; none where it was closed.
    fn pick(self) -> Option<PathBuf> {
        let files = rfd::FileDialog::new().set_title(self.title());
        match self {
            Self::Checkpoint | Self::ExportFolder | Self::ModelFolder => files.pick_folder(),
            Self::Sample | Self::Text(_) | Self::List(_) | Self::Parameter(..) => files.pick_file(),
            Self::OpenPlan => files.add_filter("plan", &["json"]).pick_file(),
            Self::OpenSession => files.add_filter("session", &["json"]).pick_file(),
            Self::SavePlan | Self::SaveSession => files.set_file_name(self.name()).save_file(),
            Self::Picture => files.add_filter("PNG and JPEG", &["png", "jpg", "jpeg"]).pick_file(),
        }
    }

    /// A choice as what it brings back; `asked` is what becomes of a file that is there. Reads a plan: takes longer than a frame
    /// may.
    fn found(self, path: PathBuf, asked: There) -> Found {
        match self {
            Self::Checkpoint => Found::Checkpoint(path),
            Self::ExportFolder => Found::ExportFolder(path),
            Self::ModelFolder => Found::ModelFolder(path),
            Self::Sample => Found::Sample(path),
            Self::Text(method) => Found::Text(method, path),
            Self::List(method) => Found::List(method, path),
            Self::Parameter(method, name) => Found::Parameter(method, name, path),
            Self::Picture => Found::PictureFile(path),
            Self::SavePlan => Found::PlanFile(path, asked),
            Self::SaveSession => Found::SessionFile(path, asked),
            Self::OpenSession => Found::SessionPath(path),
            Self::OpenPlan => Plan::read(&path).map_or_else(failed, |plan| Found::Plan(Box::new(plan))),
        }
    }
}

impl Errands {
    /// Ask for a file or a folder. Does nothing while another dialog is open.
    pub fn ask(&self, dialog: Dialog) {
        let taken = self.dialog.swap(true, Ordering::AcqRel);
        if taken {
            return;
        }
        let open = OpenDialog { flag: Arc::clone(&self.dialog), begin: Instant::now() };
        self.run(move || match dialog.pick() {
            // Whether to write over a file is asked by the desktop's dialog itself.
            Some(path) => Some(dialog.found(path, There::Replace)),
            None => open.no_person().then_some(Found::NoDialog(dialog)),
        });
    }

    /// Take a choice of our own browser.
    pub fn chosen(&self, dialog: Dialog, path: PathBuf) {
        self.run(move || Some(dialog.found(path, There::Keep)));
    }
}

/// A dialog on screen. Dropping it, also by a panic inside the dialog, lets the next one come.
struct OpenDialog {
    flag: Arc<AtomicBool>,
    begin: Instant,
}

impl OpenDialog {
    /// Whether it closed sooner than a person could: the desktop has no dialog to show.
    fn no_person(&self) -> bool {
        self.begin.elapsed() < NO_PERSON
    }
}

impl Drop for OpenDialog {
    fn drop(&mut self) {
        self.flag.store(false, Ordering::Release);
    }
}
