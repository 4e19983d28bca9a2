//! What a person can do, as values: panels push them, the app applies them once per frame. Menu, palette and keys read
//! one table, [`actions`].

use std::borrow::Cow;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{ColorImage, Key, KeyboardShortcut, Modifiers, ThemePreference};
use sluice_core::figure::Figure;
use sluice_core::method::{Group, Method, Offer, Pick};
use sluice_core::plan::edits::{ExpertChange, Preset};
use sluice_core::plan::{Item, Lane, Positions, Router, Sublayer};
use sluice_core::session::Pinned;
use sluice_core::worker::{Answer, Slot};

use crate::errands::Dialog;
use crate::state::{ExportChoice, Help, Keep, PanelId, PanelInfo};

/// One user action.
#[derive(Clone, Debug)]
pub enum Command {
    /// Open a checkpoint folder.
    Open(PathBuf),
    /// Open the checkpoint that ships with Sluice.
    OpenBundled,
    /// Read a plan file.
    OpenPlan(PathBuf),
    /// Read a picture file for the prompt.
    OpenPicture(PathBuf),
    /// Take a picture from the clipboard.
    PastePicture(Arc<ColorImage>),
    /// Show an example, by index: its prompt or picture, then its method.
    Example(usize),
    /// Show the examples on the first screen, or hide them.
    Examples(bool),
    /// Take a sample picture with its prompt, by index.
    Sample(usize),
    /// Keep as much of the prompt as the context holds: its begin, or its end.
    Shorten(Keep),
    /// The prompt is about no picture any longer.
    RemovePicture,
    /// Ask again for what is on screen.
    Recompute,
    /// Choose a file or folder.
    Ask(Dialog),
    /// Write the plan to a file.
    SavePlan,
    /// Write the session to its file; `anew` or where it has none, to one that is asked for.
    SaveSession {
        /// To another file.
        anew: bool,
    },
    /// Read a session file.
    OpenSession(PathBuf),
    /// Take back the last change of prompt, picture or plan.
    Undo,
    /// Do it again.
    Redo,
    /// Go to a step of the history, by its number.
    Jump(usize),
    /// Show a panel.
    Show(PanelId),
    /// Pin a panel, or take its pin away.
    Pin(PanelId),
    /// Fold a group of the list at the left, or unfold it.
    Fold(Group),
    /// Put the cursor into the filter of the list at the left.
    Filter,
    /// Light, dark, or as the system says.
    Theme(ThemePreference),
    /// Explain the window, or stop to.
    Help(Option<Help>),
    /// What shows a panel at its best.
    Pose(PanelId),
    /// Open or close the command palette.
    Palette,
    /// Put the cursor into the prompt box.
    EditPrompt,
    /// Write a prompt, into the checkpoint that is being opened where one is.
    Write(String),
    /// Take a sublayer out, or put it back.
    Toggle(Sublayer),
    /// Set a cell of the routing map; no position = positions past the prompt.
    Paint(usize, Option<usize>, Lane),
    /// Fill the routing map.
    Fill(Preset),
    /// Add an intervention.
    Add(Box<Item>),
    /// Add interventions in one step.
    AddAll(Vec<Item>),
    /// Replace an intervention, by index.
    Edit(usize, Box<Item>),
    /// Move an intervention to another place, by index.
    Move(usize, usize),
    /// Remove an intervention, by index.
    Remove(usize),
    /// Remove interventions that stand in a row.
    RemoveAll(Range<usize>),
    /// Remove all interventions.
    Clear,
    /// Look at what follows a prompt position; none = the last.
    Select(Option<usize>),
    /// Follow a token.
    Follow(Answer),
    /// Look into a neuron: layer and index.
    Inspect(Option<(usize, usize)>),
    /// Give every patch of a picture a chip in the strip, or fold them into one.
    Unfold(bool),
    /// Mark positions for a method, or take their marks away; none = turn each round.
    Mark(&'static Method, &'static Pick, Vec<usize>, Option<bool>),
    /// Start a method as its panel says.
    Run(&'static Method),
    /// Ask and mark as a method's first sample does, and start it.
    RunSample(&'static Method),
    /// Start the method on screen.
    RunVisible,
    /// Take over what findings of a method offer.
    Take(&'static Method, Box<Offer>),
    /// Knock an expert of a block out or force it at some positions, or take that back.
    Choose(usize, Positions, usize, ExpertChange),
    /// Experts that every token goes through in a block; none = as the model has it.
    ExpertsPerToken(usize, Option<usize>),
    /// Route by a learned router; none = by none.
    RouteBy(Option<Box<Router>>),
    /// Continue the prompt.
    Generate,
    /// Pin prompt and plan as they are.
    PinVariant,
    /// Take a pin away, by its index.
    Unpin(usize),
    /// Put one back in its place.
    Repin(usize, Box<Pinned>),
    /// Prompt and plan of a pin in place of those on screen.
    TakeVariant(usize),
    /// Continue every variant.
    ContinueVariants,
    /// Measure what each pinned plan costs on a text.
    MeasureVariants,
    /// Stop a job.
    Cancel(Slot),
    /// Stop every job.
    CancelAll,
    /// Write a figure as was chosen.
    Export(Arc<Figure>),
    /// Choose how figures are written.
    ExportAs(ExportChoice),
    /// Write every figure on screen.
    ExportVisible,
    /// Write all of them as one page.
    ExportPage,
    /// Put a figure into the clipboard.
    CopyPicture(Arc<Figure>),
    /// Put a figure's numbers into the clipboard.
    CopyCsv(Arc<Figure>),
    /// Close the shown failure.
    Dismiss,
    /// Close the message.
    DismissMessage,
    /// Show a folder in the desktop's file manager.
    OpenFolder(PathBuf),
    /// Put every panel back where it was at first.
    ResetLayout,
    /// Close the window.
    Quit,
}

/// A menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Menu {
    File,
    Edit,
    View,
    Run,
    Help,
}

/// A command with a name.
pub struct Action {
    /// Where it is listed.
    pub menu: Menu,
    /// Menu text.
    pub text: Cow<'static, str>,
    /// What it does, where the text is not enough.
    pub tooltip: Cow<'static, str>,
    /// The key.
    pub keys: Option<KeyboardShortcut>,
    /// The command.
    pub command: Command,
}

fn action(
    menu: Menu,
    text: &'static str,
    tooltip: &'static str,
    keys: Option<KeyboardShortcut>,
    command: Command,
) -> Action {
    Action { menu, text: text.into(), tooltip: tooltip.into(), keys, command }
}

const fn ctrl(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND, key))
}

const fn ctrl_shift(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), key))
}

/// Keys of the first panels.
const NUMBERS: [Key; 9] =
    [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8, Key::Num9];

/// Every named command: those of the window, a panel each, a method each that is asked in one. Keys with more modifiers come
/// before the same key with fewer. The number keys are those of the pinned panels; while there are none, of the first.
#[rustfmt::skip]
pub fn actions(panels: &[PanelInfo], methods: impl Iterator<Item = &'static Method>, pins: &[String]) -> Vec<Action> {
    let mut all = vec![
        action(Menu::File, "Open image…", "what the prompt is about, for checkpoints that read images", ctrl_shift(Key::O), Command::Ask(Dialog::Picture)),
        action(Menu::File, "Open checkpoint…", "a Hugging Face folder", ctrl(Key::O), Command::Ask(Dialog::Checkpoint)),
        action(Menu::File, "Open bundled checkpoint", "the one that ships with Sluice", None, Command::OpenBundled),
        action(Menu::File, "Open plan…", "replaces the plan", None, Command::Ask(Dialog::OpenPlan)),
        action(Menu::File, "Save plan…", "as JSON, for this window and the command line", None, Command::SavePlan),
        action(Menu::File, "Save the changed model…", "what the plan describes, as a Hugging Face folder that transformers opens", None, Command::Ask(Dialog::ModelFolder)),
        action(Menu::File, "Open session…", "prompts, plans and findings of a file", None, Command::Ask(Dialog::OpenSession)),
        action(Menu::File, "Save session as…", "with findings and pictures beside it", ctrl_shift(Key::S), Command::SaveSession { anew: true }),
        action(Menu::File, "Save session", "to its file; it is kept without one too", ctrl(Key::S), Command::SaveSession { anew: false }),
        action(Menu::File, "Export all as one page", "HTML with every figure on screen and its numbers", ctrl_shift(Key::E), Command::ExportPage),
        action(Menu::File, "Export figures on screen", "as the sheet behind an export button says, into the export folder", ctrl(Key::E), Command::ExportVisible),
        action(Menu::File, "Choose export folder…", "", None, Command::Ask(Dialog::ExportFolder)),
        action(Menu::File, "Quit", "", ctrl(Key::Q), Command::Quit),
        action(Menu::Edit, "Redo", "", ctrl_shift(Key::Z), Command::Redo),
        action(Menu::Edit, "Undo", "", ctrl(Key::Z), Command::Undo),
        action(Menu::Edit, "Clear plan", "back to the unmodified model", None, Command::Clear),
        action(Menu::Edit, "Pin the current plan", "with its prompt, beside others in Variants", ctrl(Key::B), Command::PinVariant),
        action(Menu::Edit, "Edit prompt", "", ctrl(Key::L), Command::EditPrompt),
        action(Menu::Edit, "Remove image", "the prompt is then text alone", None, Command::RemovePicture),
        action(Menu::Edit, "Choose sample text…", "the text that surrogate small FFNs are chosen on", None, Command::Ask(Dialog::Sample)),
        action(Menu::View, "Show examples", "questions with an answer in one click, over the lens", None, Command::Examples(true)),
        action(Menu::View, "Reset layout", "every panel back where it was at first", None, Command::ResetLayout),
        action(Menu::View, "Dark theme", "", None, Command::Theme(ThemePreference::Dark)),
        action(Menu::View, "Light theme", "", None, Command::Theme(ThemePreference::Light)),
        action(Menu::View, "Theme of the system", "", None, Command::Theme(ThemePreference::System)),
        action(Menu::View, "Find a command…", "", ctrl(Key::K), Command::Palette),
        action(Menu::Help, "Tour of the window", "five steps", None, Command::Help(Some(Help::Tour(0)))),
        action(Menu::Help, "Methods and papers", "two sentences and the paper of each", Some(KeyboardShortcut::new(Modifiers::NONE, Key::F1)), Command::Help(Some(Help::Methods))),
        action(Menu::Help, "Glossary", "words that stand in figures and notes", None, Command::Help(Some(Help::Words))),
        action(Menu::Help, "Keys", "every shortcut", None, Command::Help(Some(Help::Keys))),
        action(Menu::View, "Filter methods", "", Some(KeyboardShortcut::new(Modifiers::NONE, Key::Slash)), Command::Filter),
        action(Menu::Run, "Continue the prompt", "with and without the plan", ctrl(Key::Enter), Command::Generate),
        action(Menu::Run, "Run the method on screen", "as its panel says", ctrl(Key::T), Command::RunVisible),
        action(Menu::Run, "Compute again", "what is on screen", Some(KeyboardShortcut::new(Modifiers::NONE, Key::F5)), Command::Recompute),
        action(Menu::Run, "Stop all jobs", "", ctrl(Key::Period), Command::CancelAll),
    ];
    let number = |index: usize| {
        let id = panels.get(index)?.id;
        let index = if pins.is_empty() { Some(index) } else { pins.iter().position(|pin| pin == id) };
        NUMBERS.get(index?).and_then(|&key| ctrl(key))
    };
    all.extend(panels.iter().enumerate().map(|(index, info)| Action {
        menu: Menu::View,
        text: info.name.into(),
        tooltip: info.hint.into(),
        keys: number(index),
        command: Command::Show(info.id),
    }));
    all.extend(methods.map(|method| Action {
        menu: Menu::Run,
        text: run_label(method).into(),
        tooltip: method.line.into(),
        keys: None,
        command: Command::Run(method),
    }));
    all
}

/// "Run trace", "Run FCCT": a name keeps its capitals where it is an abbreviation.
pub fn run_label(method: &Method) -> String {
    let mut letters = method.name.chars();
    let second = letters.nth(1).is_some_and(char::is_uppercase);
    let name = if second { method.name.to_owned() } else { method.name.to_lowercase() };
    format!("Run {name}")
}
