//! A line in the status bar, and what can be done about it.

use std::path::PathBuf;

use sluice_core::session::Pinned;

/// What a message offers.
#[derive(Clone, Debug, PartialEq)]
pub enum Remedy {
    /// Take back what was done.
    Undo,
    /// Show the folder that something was written into.
    Folder(PathBuf),
    /// Pin a variant again, in its place.
    Pin(usize, Box<Pinned>),
}

/// A message. It stays for some seconds after it was first drawn, longer while the pointer is on it.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// What happened, in one line.
    pub text: String,
    /// What can be done about it.
    pub remedy: Option<Remedy>,
    /// When it was first drawn, or last pointed at, in seconds.
    pub since: Option<f64>,
}
