//! Sluice: steer what flows through a transformer while you watch.
//!
//! `main` turns arguments into a subcommand; everything else is in [`cli`].

mod cli;

fn main() -> std::process::ExitCode {
    sluice_core::engine::keep_freed_blocks();
    sluice_core::files::allow_many();
    cli::main()
}
