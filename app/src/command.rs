//! What a person can do, as values: panels push them, the app applies them once per frame.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{Key, KeyboardShortcut, Modifiers};
use sluice_core::figure::Figure;
use sluice_core::plan::{Item, Lane, Sublayer};
use sluice_core::worker::{Slot, Trace};

use crate::state::Tab;

/// One user action.
#[derive(Clone, Debug)]
pub enum Command {
    /// Open a checkpoint folder.
    Open(PathBuf),
    /// Take back the last change of the plan.
    Undo,
    /// Do it again.
    Redo,
    /// Show a tab.
    Show(Tab),
    /// Take a sublayer out, or put it back.
    Toggle(Sublayer),
    /// Set a cell of the routing map; no position = positions past the prompt.
    Paint(usize, Option<usize>, Lane),
    /// Set every cell of the routing map.
    PaintAll(Lane),
    /// Add an intervention.
    Add(Box<Item>),
    /// Replace an intervention, by index.
    Edit(usize, Box<Item>),
    /// Remove an intervention, by index.
    Remove(usize),
    /// Remove all interventions.
    Clear,
    /// Look at what follows a prompt position; none = the last.
    Select(Option<usize>),
    /// Mark a position to be corrupted by the trace, or not.
    Corrupt(usize),
    /// Start a causal trace.
    Trace(Box<Trace>),
    /// Continue the prompt.
    Generate,
    /// Stop a job.
    Cancel(Slot),
    /// Write a figure as PNG, SVG and CSV.
    Export(Arc<Figure>),
    /// Close the shown failure.
    Dismiss,
}

/// A command with a key.
pub struct Shortcut {
    /// Menu text.
    pub text: &'static str,
    /// The key.
    pub keys: KeyboardShortcut,
    /// The command.
    pub command: fn() -> Command,
}

/// All commands that have a key.
pub const SHORTCUTS: [Shortcut; 2] = [
    Shortcut {
        text: "Redo",
        keys: KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::Z),
        command: || Command::Redo,
    },
    Shortcut {
        text: "Undo",
        keys: KeyboardShortcut::new(Modifiers::COMMAND, Key::Z),
        command: || Command::Undo,
    },
];
