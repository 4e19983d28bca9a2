//! Integration tests of the window and the command line, one binary.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]
#![expect(clippy::unwrap_used, reason = "a failed test should stop where it fails")]
#![allow(missing_docs, reason = "tests")]

mod answers;
mod browser;
mod cli;
mod continuations;
mod examples;
mod experts;
mod figures;
mod fonts;
mod images;
mod inspect;
mod lists;
mod main_job;
mod panels;
mod prompts;
mod provenance;
mod replay;
mod room;
mod save;
mod sessions;
mod states;
mod studies;
mod study_lists;
mod support;
mod tokenizers;
mod travel;
mod usage;
mod variants;
mod window;
mod writing;
