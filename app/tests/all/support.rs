//! The real panels without a window, driven by label.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::after;
use eframe::egui::{Key, Modifiers, Role, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use serde_json::Value;
use sluice::app::SluiceApp;
use sluice::keep::{Begin, Home};
use sluice::state::{Settings, State};
use sluice_core::figure::{Figure, Format};
use sluice_core::method::view::NextTokens;
use sluice_core::method::{Findings, Method};
use sluice_core::worker::{Target, ViewData};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Window {
    pub harness: Harness<'static, Option<SluiceApp>>,
    /// Where its exports go.
    pub folder: tempfile::TempDir,
}

impl Window {
    /// A window on a checkpoint, or on none.
    pub fn new(target: Option<Target>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { export_folder: folder.path().join("figures"), ..Settings::default() };
        let harness = Harness::builder().with_size(vec2(1440.0, 900.0)).build_ui_state(
            move |ui, app: &mut Option<SluiceApp>| {
                let app =
                    app.get_or_insert_with(|| SluiceApp::new(ui.ctx(), target.clone(), settings.clone()));
                app.logic(ui.ctx());
                app.ui(ui);
            },
            None,
        );
        Self { harness, folder }
    }

    /// A window whose session is kept under a folder, or goes on with a file.
    pub fn kept(home: &Path, named: Option<&Path>) -> Self {
        let mut begin = Some(Begin::new(Some(Home::at(home)), named).unwrap());
        let size = vec2(1440.0, 900.0);
        let harness = Harness::builder().with_size(size).build_ui_state(
            move |ui, app: &mut Option<SluiceApp>| {
                let app = app.get_or_insert_with(|| SluiceApp::begin(ui.ctx(), begin.take().unwrap(), None));
                app.logic(ui.ctx());
                app.ui(ui);
            },
            None,
        );
        let mut window = Self { harness, folder: tempfile::tempdir().unwrap() };
        window.until("the checkpoint", |state| state.card.is_some() || state.results.failure.is_some());
        window.settle();
        window
    }

    /// Close it as a person does: what was done is kept.
    pub fn quit(mut self) {
        let ctx = self.harness.ctx.clone();
        self.harness.state_mut().as_mut().unwrap().farewell(&ctx);
    }

    pub fn apply(&mut self, command: sluice::command::Command) {
        let ctx = self.harness.ctx.clone();
        self.harness.state_mut().as_mut().unwrap().apply(&ctx, command);
        self.settle();
    }

    /// A window on the bundled checkpoint, everything computed.
    pub fn bundled() -> Self {
        let mut window = Self::new(Some(Target::Bundled));
        window.until("the bundled checkpoint", |state| state.card.is_some());
        window.settle();
        window
    }

    pub fn app(&self) -> &SluiceApp {
        self.harness.state().as_ref().unwrap()
    }

    pub fn state(&self) -> &State {
        &self.app().state
    }

    /// Frames until `done`.
    pub fn until(&mut self, what: &str, done: impl Fn(&State) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            self.harness.step();
            if done(self.state()) {
                return;
            }
            assert!(Instant::now() < end, "{what} did not come; failure: {:?}", self.state().results.failure);
            let _ = after(Duration::from_millis(5)).recv();
        }
    }

    /// Frames until everything asked is there.
    pub fn settle(&mut self) {
        let end = Instant::now() + PATIENCE;
        self.harness.run_steps(3);
        while !self.app().is_settled() {
            assert!(Instant::now() < end, "not settled");
            let _ = after(Duration::from_millis(5)).recv();
            self.harness.step();
        }
        self.harness.run_steps(3);
    }

    pub fn click(&mut self, label: &str) {
        self.harness.get_by_label(label).click();
        self.settle();
    }

    pub fn click_role(&mut self, role: Role, label: &str) {
        self.harness.get_by_role_and_label(role, label).click();
        self.settle();
    }

    /// Open the export sheet of a figure, choose kinds of file and export.
    pub fn export(&mut self, figure: &str, formats: &[Format]) {
        self.harness.state_mut().as_mut().unwrap().state.settings.export.formats = formats.to_vec();
        self.harness.run_steps(2);
        self.harness.get_by_label(&format!("Export {figure}")).click();
        self.harness.run_steps(3);
        self.harness.get_by_role_and_label(Role::Button, "Export").click();
        self.until("the export", |state| state.said().starts_with("wrote "));
    }

    /// Replace what a text box holds.
    pub fn fill(&mut self, role: Role, label: &str, text: &str) {
        self.harness.get_by_role_and_label(role, label).focus();
        self.harness.run_steps(2);
        self.harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
        self.harness.run_steps(2);
        self.harness.get_by_role_and_label(role, label).type_text(text);
        self.harness.run_steps(2);
    }

    /// Write another prompt.
    pub fn type_prompt(&mut self, text: &str) {
        if !self.state().editing {
            self.harness.get_by_label("Edit prompt").click();
            self.harness.run_steps(2);
        }
        let label = if self.state().ids_only() { "Prompt, token ids" } else { "Prompt" };
        self.fill(Role::MultilineTextInput, label, text);
        self.harness.key_press(Key::Escape);
        self.harness.run_steps(2);
    }

    /// Write a folder into the box of the checkpoint's menu.
    pub fn type_folder(&mut self, path: &str) {
        self.harness.get_by_label("Checkpoint").click();
        self.harness.run_steps(3);
        self.fill(Role::TextInput, "Checkpoint folder", path);
    }

    /// Open a menu, in the routing panel where it is not on screen, and choose an entry.
    pub fn choose(&mut self, menu: &str, entry: &str) {
        if self.harness.query_by_label(menu).is_none() {
            self.click("Routing panel");
        }
        self.harness.get_by_label(menu).click();
        self.harness.run_steps(3);
        self.harness.get_by_label(entry).click();
        self.settle();
    }

    /// Whether the note behind the (i) of the panel on screen says this.
    pub fn notes(&mut self, text: &str) -> bool {
        self.harness.get_by_label_contains("About: ").click();
        self.harness.run_steps(3);
        let said = self.harness.query_by_label_contains(text).is_some();
        self.harness.key_press(Key::Escape);
        self.harness.run_steps(3);
        said
    }

    /// The first figure of a panel.
    pub fn figure(&self, panel: &'static str) -> Arc<Figure> {
        let figures = sluice::panels::find(panel).unwrap().figures(self.state());
        figures.into_iter().next().unwrap_or_else(|| panic!("{panel} shows no figure"))
    }

    /// Frames until the findings of a method are whole.
    pub fn found(&mut self, method: &'static Method) -> Arc<Findings> {
        self.until(method.id, |state| state.studies.findings(method.id).is_some_and(|found| found.done));
        self.settle();
        Arc::clone(self.state().studies.findings(method.id).unwrap())
    }

    /// The marked positions of a method.
    pub fn marked(&self, method: &'static Method, pick: &str) -> Vec<usize> {
        let picks = self.state().studies.get(method.id).map(|study| &study.picks);
        picks.and_then(|picks| picks.get(pick)).cloned().unwrap_or_default()
    }

    /// The next-token table on screen.
    pub fn next(&self) -> NextTokens {
        match self.state().data(&self.state().next_view()) {
            Some(ViewData::Next(next)) => next.clone(),
            _ => panic!("no next-token table"),
        }
    }

    /// The newest file of a figure, by the figure's name and the ending: `sublayers.svg`.
    pub fn file(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join("figures");
        let (stem, end) = name.split_once('.').unwrap();
        let is = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.contains(&format!("-{stem}-")) && name.ends_with(&format!(".{end}"))
        };
        let all = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let newest = all.filter(is).max_by_key(|path| path.metadata().unwrap().modified().unwrap());
        newest.unwrap_or_else(|| folder.join(name))
    }
}

/// Committed fixtures of the core.
pub fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/golden").join(case)
}

/// The command line in a folder, without a display.
pub fn sluice(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

/// The same with something on standard input.
pub fn sluice_reading(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(folder, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who refuses the arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// The command line in a folder, to be started.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(arguments).current_dir(folder).env("XDG_DATA_HOME", folder.join("data"));
    for display in ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"] {
        command.env_remove(display);
    }
    command
}

/// Start the command line again and again and kill it after so many milliseconds each. Whether it was ever at work then.
pub fn killed(folder: &Path, arguments: &[&str], waits: &[u64]) -> bool {
    let mut stopped = false;
    for wait in waits {
        let mut child = command(folder, arguments);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let _ = crossbeam_channel::after(std::time::Duration::from_millis(*wait)).recv();
        stopped |= child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    stopped
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Bits of a table's probabilities.
pub fn bits(next: &NextTokens) -> Vec<(u32, u32, u32)> {
    next.rows.iter().map(|row| (row.token.id, row.base.to_bits(), row.plan.to_bits())).collect()
}

/// The texts of an SVG file's elements of a name, in order.
pub fn svg_texts(path: &Path, element: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let document = resvg::usvg::roxmltree::Document::parse(&text).unwrap();
    let nodes = document.descendants().filter(|node| node.has_tag_name(element));
    nodes.filter_map(|node| node.text().map(str::to_owned)).collect()
}

pub fn name(figure: &Arc<Figure>) -> &str {
    &figure.name
}

/// The records of a CSV file, after the comments that say where they come from.
pub fn records(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.starts_with("# sluice: "), "{text}");
    text.split_inclusive('\n').filter(|line| !line.starts_with("# ")).collect()
}
