//! The Sluice window, thin over sluice-core: it holds what was asked and what came back, and draws.
//!
//! | room | what it holds |
//! |---|---|
//! | [`app`] | one frame: take events, draw, apply commands, ask for what is visible |
//! | [`browser`] | files and folders, for desktops without a dialog |
//! | [`command`] | what a person can do, as values |
//! | [`errands`] | dialogs, exports and plan files, off the frame |
//! | [`fonts`] | glyphs from the fonts of the system |
//! | [`gallery`] | sample pictures with their prompts |
//! | [`glossary`] | words that a newcomer cannot know |
//! | [`keep`] | what outlives the window: its session and its settings |
//! | [`layout`] | the docked panels of the centre |
//! | [`paths`] | paths as people type them |
//! | [`state`] | prompt, plan with its history, newest results |
//! | [`panels`] | one file per panel |
//! | [`widgets`] | figure frame, states |
//! | [`theme`] | all colours and sizes |

pub mod app;
pub mod browser;
pub mod command;
pub mod errands;
pub mod fonts;
pub mod gallery;
pub mod glossary;
pub mod keep;
pub mod layout;
pub mod panels;
pub mod paths;
pub mod state;
pub mod theme;
pub mod widgets;
