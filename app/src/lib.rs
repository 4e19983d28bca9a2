//! The Sluice window, thin over sluice-core: it holds what was asked and what came back, and draws.
//!
//! | room | what it holds |
//! |---|---|
//! | [`app`] | one frame: take events, draw, apply commands, ask for what is visible |
//! | [`command`] | what a person can do, as values |
//! | [`state`] | prompt, plan with its history, newest results |
//! | [`panels`] | one file per panel |
//! | [`widgets`] | figure frame, states |
//! | [`theme`] | all colours and sizes |

pub mod app;
pub mod command;
pub mod panels;
pub mod state;
pub mod theme;
pub mod widgets;
