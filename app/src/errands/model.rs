//! Writing the model that a plan describes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine;
use sluice_core::files::{There, claim_apart, free};
use sluice_core::plan::Plan;
use sluice_core::save::{Save, Saved, save};
use sluice_core::worker::{Card, Foldable, Progress};
use sluice_core::{Error, Result};

use super::{Errands, Found, failed};

/// Time between two words of progress.
const OFTEN: Duration = Duration::from_millis(200);

impl Errands {
    /// Write the model that `plan` describes, `items` in weights, into a new folder in `folder`. One at a time: a later one
    /// stops the one before.
    pub fn save_model(&mut self, card: Arc<Card>, plan: Plan, items: Arc<Vec<Foldable>>, folder: PathBuf) {
        self.stop_saving();
        let stopped = Arc::new(AtomicBool::new(false));
        self.stopped = Arc::clone(&stopped);
        let (send, ctx) = (self.send.clone(), self.ctx.clone());
        self.run(move || {
            let out = free(&folder.join(format!("{}-changed", card.name)));
            let (begin, mut said) = (Instant::now(), Instant::now());
            let mut report = |done: u64, all: u64| {
                if said.elapsed() >= OFTEN {
                    said = Instant::now();
                    // Where the window has no room for it, the next one tells more.
                    drop(send.try_send(Found::Saving(Some(Progress::new(
                        "saving the model".into(),
                        done,
                        all,
                        begin,
                    )))));
                    ctx.request_repaint();
                }
            };
            let mut all = || -> Result<Saved> {
                let checkpoint = card.folder.as_deref().map_or_else(engine::bundled, Checkpoint::open)?;
                if checkpoint.fingerprint()? != card.fingerprint {
                    let cause = format!("{} was changed on the disk since it was opened", card.name);
                    return Err(Error::asked(cause, "open it again, then save"));
                }
                if let Some(from) = &card.folder {
                    claim_apart(&out, from)?;
                }
                let ask = Save { plan: &plan, items: &items, dtype: None, out: &out, there: There::Keep };
                save(&checkpoint, &ask, &mut report, &|| stopped.load(Ordering::Relaxed))
            };
            let ended = all();
            // Fails only when the window is gone.
            drop(send.send(Found::Saving(None)));
            Some(match ended {
                Ok(Saved { blocks: [before, now], .. }) => {
                    let blocks =
                        if now < before { format!(", {now} of {before} blocks") } else { String::new() };
                    Found::Wrote(format!("saved the changed model{blocks} into {}", out.display()), out)
                }
                Err(Error::Cancelled) => Found::Said("the model was not saved".into()),
                Err(error) => failed(error),
            })
        });
    }

    /// Stop the model that is saved; nothing of it stays.
    pub fn stop_saving(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}
