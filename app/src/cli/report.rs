//! `sluice report`: the figures of every view on a prompt, as PNG, SVG and CSV.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use sluice_core::Result;
use sluice_core::engine::{self, Opened, never};
use sluice_core::figure::{Figure, Ground, Provenance, export};
use sluice_core::plan::Plan;
use sluice_core::site::Hook;
use sluice_core::view::{self, Runs};
use sluice_core::worker::{Answer, Prompt, Side, View, ViewData};

use super::out;

#[derive(Args)]
pub struct Report {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    /// Folder for the figures
    #[arg(long)]
    out: PathBuf,
}

impl Report {
    pub fn run(&self) -> Result<()> {
        write(self.checkpoint.as_deref(), &self.out)
    }
}

/// Write every view of the checkpoint's sample prompt into `folder`.
pub fn write(checkpoint: Option<&Path>, folder: &Path) -> Result<()> {
    let Opened { mut engine, card } = engine::open(&super::checkpoint(checkpoint)?, &mut |_, _| {}, &never)?;
    let (tokens, prompt): (Arc<[u32]>, String) = match &card.sample_prompt {
        Prompt::Text(text) => (engine.encode(text)?.into(), text.clone()),
        Prompt::Tokens(ids) => (ids.as_slice().into(), format!("{ids:?}")),
    };
    let base = engine.base(&tokens, &never)?;
    let runs = Runs {
        plan: Arc::clone(&base),
        base,
        source: Plan::default(),
        tokens: tokens.iter().map(|&id| view::token(&engine, id)).collect(),
        provenance: Provenance {
            checkpoint: card.name.clone(),
            fingerprint: card.fingerprint.clone(),
            prompt,
            plan: Plan::default().summary(),
            dtype: card.dtype.into(),
        },
    };
    let side = Side::Plan;
    let views = [
        View::Next { position: None, top: 10, answer: Answer::Top },
        View::Strip,
        View::Activations { layer: 0, hook: Hook::MlpPost, side, sort: true, top: Some(64) },
        View::Neuron { layer: 0, neuron: 0 },
        View::Attention { layer: 0, head: None, side },
        View::Lens { side },
        View::Routing,
        View::Ladder,
    ];
    for view in views {
        let figure: Arc<Figure> = match view::compute(&mut engine, &runs, &view, &never)? {
            ViewData::Next(next) => next.figure,
            ViewData::Strip(strip) => strip.figure,
            ViewData::Activations(activations) => activations.figure,
            ViewData::Neuron(neuron) => neuron.figure,
            ViewData::Figure(figure) => figure,
        };
        for path in export::write_all(&figure, Ground::Light, folder)? {
            out(&format!("{}\n", path.display()));
        }
    }
    Ok(())
}
