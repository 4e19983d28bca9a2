//! Integration tests of sluice-core, one binary.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]
#![expect(clippy::unwrap_used, reason = "a failed test should stop where it fails")]
#![allow(missing_docs, reason = "tests")]

mod answers;
mod batch;
mod bundled;
mod changing_files;
mod chat;
mod checkpoints;
mod chromium;
mod configs;
mod experts;
mod fcct;
mod fields;
mod held;
mod hostile;
mod identity;
mod images;
mod iri;
mod learn;
mod methods;
mod over_lists;
mod parity;
mod plans;
mod prune;
mod random_plans;
mod records;
mod refusals;
mod repairs;
mod rooms;
mod routers;
mod routes;
mod save;
mod score;
mod sessions;
mod sizes;
mod stories;
mod studies;
mod support;
mod tensor_names;
mod tokenizers;
mod training;
mod views;
mod worker;
mod writing;
