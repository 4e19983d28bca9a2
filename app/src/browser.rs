//! A file browser for desktops without a dialog of their own. The box holds a folder and, after its last slash, what names
//! must have in them; arrows and Enter, or the pointer, go on from there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui::{
    Align, Align2, FontId, Id, Key, Layout, Modal, Modifiers, RichText, Role, ScrollArea, Sense, TextEdit,
    Ui, WidgetInfo, pos2, vec2,
};

use crate::errands::Dialog;
use crate::paths::typed;
use crate::theme;

/// Names of a folder that are listed at most.
const MOST: usize = 10_000;
/// Size in points.
const SIZE: [f32; 2] = [640.0, 420.0];

/// What stands in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// In the folder.
    pub name: String,
    /// It is a folder.
    pub folder: bool,
    /// A folder that holds a checkpoint.
    pub checkpoint: bool,
}

/// A folder's content, or why it cannot be read.
pub type Listing = Result<Vec<Name>, String>;

/// Read a folder: folders first, each in the order of the alphabet. Takes longer than a frame may.
pub fn list(folder: &Path) -> Listing {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let name = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let folder = path.is_dir();
        let checkpoint = folder && path.join("config.json").is_file();
        Some(Name { name: entry.file_name().into_string().ok()?, folder, checkpoint })
    };
    let mut names: Vec<Name> = entries.take(MOST).filter_map(|entry| name(entry.ok()?)).collect();
    names.sort_by_key(|name| (!name.folder, name.name.to_lowercase()));
    Ok(names)
}

/// What a person did.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Stays,
    /// This folder is to be read.
    List(PathBuf),
    /// A choice, or none.
    Done(Option<PathBuf>),
}

/// A browser on screen.
pub struct Browser {
    /// What is chosen.
    pub dialog: Dialog,
    /// The box.
    text: String,
    /// The folder that the list is of, once it was read.
    listed: Option<(PathBuf, Arc<Listing>)>,
    /// The folder that was asked for.
    asked: Option<PathBuf>,
    hidden: bool,
    marked: usize,
    /// The box is to hold the keyboard's cursor at its end.
    fresh: bool,
}

impl Browser {
    /// In a folder; for a file that is written, with its name.
    pub fn new(dialog: Dialog, folder: &Path, name: &str) -> Self {
        let text = format!("{}/{name}", folder.display().to_string().trim_end_matches('/'));
        Self { dialog, text, listed: None, asked: None, hidden: false, marked: 0, fresh: true }
    }

    /// A folder was read.
    pub fn take(&mut self, folder: PathBuf, listing: Listing) {
        if self.asked.as_ref() == Some(&folder) {
            self.listed = Some((folder, Arc::new(listing)));
            self.marked = 0;
        }
    }

    /// The folder in the box, and what names must have in them.
    fn parts(&self) -> (PathBuf, String) {
        match self.text.rsplit_once('/') {
            Some(("", rest)) => (PathBuf::from("/"), rest.to_owned()),
            Some((folder, rest)) => (typed(folder), rest.to_owned()),
            None => (typed("~"), self.text.clone()),
        }
    }

    fn enter(&mut self, folder: &Path) {
        self.text = format!("{}/", folder.display().to_string().trim_end_matches('/'));
        (self.fresh, self.marked) = (true, 0);
    }

    /// Draw it. `recent` are checkpoints that were opened before.
    pub fn ui(&mut self, ui: &Ui, recent: &[PathBuf]) -> Step {
        let mut done = None;
        let modal = Modal::new(Id::unique("browser")).show(ui.ctx(), |ui| {
            let room = ui.ctx().content_rect().size() - vec2(64.0, 64.0);
            ui.set_width(SIZE[0].min(room.x));
            ui.set_height(SIZE[1].min(room.y));
            done = self.contents(ui, recent);
        });
        if modal.should_close() {
            return Step::Done(None);
        }
        if let Some(path) = done {
            return Step::Done(Some(path));
        }
        let (folder, _) = self.parts();
        if self.asked.as_ref() != Some(&folder) {
            self.asked = Some(folder.clone());
            return Step::List(folder);
        }
        Step::Stays
    }

    /// The choice, once there is one.
    fn contents(&mut self, ui: &mut Ui, recent: &[PathBuf]) -> Option<PathBuf> {
        ui.label(RichText::new(self.dialog.title()).size(theme::TITLE));
        let enter = ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Enter));
        self.path_box(ui);
        let (folder, filter) = self.parts();
        let listed = self.listed.clone().filter(|(of, _)| *of == folder);
        let names: Vec<Name> = match listed.as_ref().map(|(_, listing)| &**listing) {
            Some(Ok(names)) => names.iter().filter(|name| self.fits(name, &filter)).cloned().collect(),
            _ => Vec::new(),
        };
        let moved = |key| usize::from(ui.input_mut(|input| input.consume_key(Modifiers::NONE, key)));
        let (down, up) = (moved(Key::ArrowDown), moved(Key::ArrowUp));
        self.marked = (self.marked + down).saturating_sub(up).min(names.len().saturating_sub(1));
        let mut done = self.foot(ui, &folder, &filter);
        let mut opened = names.get(self.marked).filter(|_| enter).cloned();
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            if self.dialog == Dialog::Checkpoint && filter.is_empty() {
                done = done.take().or(recently(ui, recent));
            }
            match listed.as_ref().map(|(_, listing)| &**listing) {
                None => drop(ui.weak("reading …")),
                Some(Err(cause)) => drop(ui.colored_label(theme::warning(ui.ctx()), cause)),
                Some(Ok(_)) if names.is_empty() => drop(ui.weak("nothing here fits")),
                Some(Ok(_)) => {}
            }
            for (index, name) in names.iter().enumerate() {
                if row(ui, name, index == self.marked, down + up > 0) {
                    self.marked = index;
                    opened = Some(name.clone());
                }
            }
        });
        if enter && opened.is_none() && !filter.is_empty() {
            done = done.or_else(|| Some(folder.join(&filter)).filter(|_| self.dialog.writes()));
        }
        let Some(opened) = opened else { return done };
        let path = folder.join(&opened.name);
        if opened.folder && !(opened.checkpoint && self.dialog == Dialog::Checkpoint) {
            self.enter(&path);
            return done;
        }
        done.or(Some(path))
    }

    fn path_box(&mut self, ui: &mut Ui) {
        theme::fields(ui);
        let edit = TextEdit::singleline(&mut self.text)
            .id(Id::unique("browser-path"))
            .align(Align2::LEFT_CENTER)
            .desired_width(f32::INFINITY);
        let mut edit = edit.show(ui);
        edit.response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Path"));
        edit.response.request_focus();
        if std::mem::take(&mut self.fresh) {
            let end = eframe::egui::text::CCursor::new(self.text.chars().count());
            edit.state.cursor.set_char_range(Some(eframe::egui::text::CCursorRange::one(end)));
            edit.state.store(ui.ctx(), edit.response.id);
        }
        if edit.response.changed() {
            self.marked = 0;
        }
    }

    /// Up, home, hidden names; the folder itself, or the file that is written, as the choice.
    fn foot(&mut self, ui: &mut Ui, folder: &Path, filter: &str) -> Option<PathBuf> {
        ui.horizontal(|ui| {
            if ui.button("Up").clicked()
                && let Some(parent) = folder.parent()
            {
                self.enter(parent);
            }
            if ui.button("Home").clicked() {
                self.enter(&typed("~"));
            }
            ui.checkbox(&mut self.hidden, "hidden names");
            let filled = theme::filled(ui.ctx(), self.dialog.choose());
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let path = match (self.dialog.writes(), self.dialog.is_folder()) {
                    (true, _) => Some(folder.join(filter)).filter(|_| !filter.is_empty()),
                    (_, true) => Some(folder.to_owned()),
                    _ => None,
                };
                let shown = self.dialog.writes() || self.dialog.is_folder();
                let chosen = shown && ui.add_enabled(path.is_some(), filled).clicked();
                path.filter(|_| chosen)
            })
            .inner
        })
        .inner
    }

    /// Whether a name is listed.
    fn fits(&self, name: &Name, filter: &str) -> bool {
        let hidden = name.name.starts_with('.') && !self.hidden && !filter.starts_with('.');
        // What is written over is chosen by name, not by what the box says so far.
        let held = self.dialog.writes() || name.name.to_lowercase().contains(&filter.to_lowercase());
        let kind = name.folder || self.dialog.takes(&name.name);
        !hidden && held && kind
    }
}

/// Checkpoints that were opened before, as links.
fn recently(ui: &mut Ui, recent: &[PathBuf]) -> Option<PathBuf> {
    let mut chosen = None;
    for path in recent.iter().take(4) {
        if ui.link(path.display().to_string()).clicked() {
            chosen = Some(path.clone());
        }
    }
    if !recent.is_empty() {
        ui.separator();
    }
    chosen
}

/// A name. True when it was clicked.
fn row(ui: &mut Ui, name: &Name, marked: bool, moved: bool) -> bool {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW), Sense::click());
    let visuals = ui.visuals();
    if marked {
        ui.painter().rect_filled(rect, 3.0, theme::soft(ui.ctx()));
        if moved {
            response.scroll_to_me(None);
        }
    } else if response.hovered() {
        ui.painter().rect_filled(rect, 3.0, visuals.faint_bg_color);
    }
    let slash = if name.folder { "/" } else { "" };
    let at = pos2(rect.left() + 8.0, rect.center().y);
    let (text, quiet) = (visuals.text_color(), visuals.weak_text_color());
    let font = FontId::proportional(13.5);
    ui.painter().text(at, Align2::LEFT_CENTER, format!("{}{slash}", name.name), font, text);
    if name.checkpoint {
        let at = pos2(rect.right() - 8.0, rect.center().y);
        ui.painter().text(at, Align2::RIGHT_CENTER, "checkpoint", FontId::proportional(12.0), quiet);
    }
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, marked, &name.name));
    response.clicked()
}
