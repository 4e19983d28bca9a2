//! The worker thread's loop: which request is served next, and what is kept between them.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::columns::{Comparing, Shown};
use super::guard::{guarded, slice};
use super::jobs::Generating;
use super::studies::{Restoring, Studying};
use super::{Board, Waiting};
use crate::checkpoint::Checkpoint;
use crate::engine::{self, Engine, Opened};
use crate::error::{Error, Load, Result};
use crate::figure::Provenance;
use crate::files;
use crate::method::view::Runs;
use crate::protocol::*;

/// What the thread keeps.
#[derive(Default)]
pub(super) struct Desk {
    open: Option<(Engine, Arc<Card>)>,
    /// Scenes of the newest prompt, newest last: undo and redo return them as they are.
    scenes: Vec<Shown>,
    generating: Option<Generating>,
    studying: Option<Studying>,
    restoring: Option<Restoring>,
    comparing: Option<Comparing>,
    /// Variants that were shown last.
    variants: Vec<Shown>,
}

/// Scenes kept.
const MOST_SCENES: usize = 8;
/// How long a scene may take before it reports progress.
const QUIET: Duration = Duration::from_millis(100);
/// Share of the free memory that kept scenes may take.
const SCENES_SHARE: u64 = 4;

/// Serve until the handle is dropped.
pub(super) fn work(board: &Arc<Board>, wake: &Receiver<()>) {
    let mut desk = Desk::default();
    while !board.quit.load(std::sync::atomic::Ordering::Acquire) {
        if !serve(board, &mut desk) && wake.recv().is_err() {
            return;
        }
    }
}

/// Do the most urgent piece of work. False = there was none.
fn serve(board: &Arc<Board>, desk: &mut Desk) -> bool {
    const ORDER: [Slot; 7] =
        [Slot::Open, Slot::Scene, Slot::Fold, Slot::Columns, Slot::Restore, Slot::Generate, Slot::Study];
    for slot in ORDER {
        let Some(Waiting { id, request, since }) = board.take(slot) else { continue };
        let waited = since.elapsed();
        guarded(board, slot, id, || start(board, desk, id, request, waited));
        return true;
    }
    if let Some(mut job) = desk.comparing.take() {
        if let Some((engine, card)) = &mut desk.open
            && job.go_on(board, engine, card, (&desk.scenes, &mut desk.variants))
        {
            desk.comparing = Some(job);
        }
        return true;
    }
    if let Some(mut job) = desk.restoring.take() {
        if let Some((engine, card)) = &mut desk.open
            && job.go_on(board, engine, card)
        {
            desk.restoring = Some(job);
        }
        return true;
    }
    if let Some(mut job) = desk.generating.take() {
        if let Some((engine, _)) = &desk.open {
            let done = guarded(board, Slot::Generate, job.id, || {
                slice(board, Slot::Generate, job.id, || job.step(engine))?;
                board.post(Event::Text(job.id, job.text(engine)));
                Ok(job.is_done())
            });
            if done == Some(false) && !board.stale(Slot::Generate, job.id) {
                desk.generating = Some(job);
            }
        }
        return true;
    }
    if let Some(mut job) = desk.studying.take() {
        if let Some((engine, card)) = &mut desk.open
            && job.go_on(board, engine, card)
        {
            desk.studying = Some(job);
        }
        return true;
    }
    false
}

fn start(
    board: &Arc<Board>,
    desk: &mut Desk,
    id: RequestId,
    request: Request,
    waited: Duration,
) -> Result<()> {
    match request {
        Request::Open(target) => open(board, desk, id, target),
        Request::Scene(scene) => show(board, desk, id, &scene, waited),
        Request::Generate(generate) => {
            let (engine, card) = opened(&mut desk.open)?;
            let Generate { streams, max_new_tokens, temperature, seed } = &generate;
            let ask = serde_json::json!({"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed});
            // Of the last: beside it are what it is compared with.
            let provenance = streams.last().map(|(_, of)| card.provenance(&of.prompt, &of.plan));
            let provenance = Provenance { ask: ask.to_string(), ..provenance.unwrap_or_default() };
            let cancelled = || board.stale(Slot::Generate, id);
            desk.generating = Some(Generating::new(engine, id, &generate, provenance, &cancelled)?);
            Ok(())
        }
        Request::Study(study) => {
            let (engine, card) = opened(&mut desk.open)?;
            if let Some(mut before) = desk.studying.take() {
                before.tell(board, card);
            }
            desk.studying = Some(Studying::start(board, id, *study, engine, card)?);
            Ok(())
        }
        Request::Restore(studies) => {
            desk.restoring = Some(Restoring::new(id, studies));
            Ok(())
        }
        Request::Fold(Variant { prompt, plan }) => {
            let (engine, _) = opened(&mut desk.open)?;
            let tokens = engine.input(&prompt)?;
            let cancelled = || board.stale(Slot::Fold, id);
            let items = engine.foldable(&plan.fitted(tokens.len()), Some(&tokens), &cancelled)?;
            board.post(Event::Folded(id, Arc::new(items)));
            Ok(())
        }
        Request::Columns(columns) => {
            desk.comparing = Some(Comparing::new(id, columns));
            Ok(())
        }
    }
}

fn opened(open: &mut Option<(Engine, Arc<Card>)>) -> Result<(&mut Engine, &Arc<Card>)> {
    match open {
        Some((engine, card)) => Ok((engine, card)),
        None => Err(Error::NotOpen),
    }
}

/// A disk that does not answer holds up nobody: what is superseded is not waited for.
fn open(board: &Arc<Board>, desk: &mut Desk, id: RequestId, target: Target) -> Result<()> {
    let place = match &target {
        Target::Bundled => PathBuf::new(),
        Target::Path(path) => path.clone(),
    };
    let read = || -> Result<Opened> {
        let (theirs, target) = (Arc::clone(board), target.clone());
        let opened = files::apart(move || opening(&theirs, id, &target), &|| board.stale(Slot::Open, id));
        opened.map_err(|error| Error::read(&place, &error))?.ok_or(Error::Cancelled)?
    };
    let mut opened = read();
    let old = desk.open.as_ref().map_or(0, |(_, card)| card.bytes_resident);
    if let Err(error) = &opened
        && let Some(note) = goes_first(error, old)
    {
        *desk = Desk::default();
        opened = read();
        match &mut opened {
            Ok(opened) => opened.card.warnings.push(note),
            Err(_) => board.post(Event::Closed(id)),
        }
    }
    let opened = opened?;
    let card = Arc::new(opened.card);
    let mut engine = opened.engine;
    engine.report = surrogate_progress(Arc::clone(board));
    *desk = Desk { open: Some((engine, Arc::clone(&card))), ..Desk::default() };
    board.post(Event::Opened(id, card));
    Ok(())
}

/// Whether what is open, of so many bytes, goes before another checkpoint is read: both do not fit, the other alone does.
/// What to say of it.
fn goes_first(error: &Error, open: u64) -> Option<String> {
    let &Error::Memory { load: Load::Checkpoint, need_mib, have_mib } = error else { return None };
    let open = open >> 20;
    (need_mib > have_mib && need_mib <= have_mib + open).then(|| {
        format!(
            "what was open before, {open} MiB, was let go first: beside it {have_mib} MiB were free, this one takes {need_mib} MiB"
        )
    })
}

fn opening(board: &Board, id: RequestId, target: &Target) -> Result<Opened> {
    let checkpoint = match target {
        Target::Bundled => engine::bundled()?,
        Target::Path(path) => Checkpoint::open(path)?,
    };
    let label = format!("opening {}", checkpoint.name());
    let begin = Instant::now();
    let mut report = |done: u64, total: u64| {
        board.post(Event::Progress(id, Slot::Open, Progress::new(label.clone(), done, total, begin)));
    };
    engine::open(&checkpoint, &mut report, &|| board.stale(Slot::Open, id))
}

/// Reports of the engine as progress of the scene at hand.
fn surrogate_progress(board: Arc<Board>) -> engine::Report {
    let begin = Mutex::new(Instant::now());
    Box::new(move |label, done, total| {
        let mut begin = begin.lock().unwrap_or_else(PoisonError::into_inner);
        if done <= 1 {
            *begin = Instant::now();
        }
        let id = board.newest_of(Slot::Scene).load(std::sync::atomic::Ordering::Acquire);
        let progress = Progress::new(label.to_owned(), done, total, *begin);
        board.post(Event::Progress(id, Slot::Scene, progress));
    })
}

/// Run the scene where it changed, then compute the views that are not there yet, in the order asked.
fn show(board: &Board, desk: &mut Desk, id: RequestId, scene: &Scene, waited: Duration) -> Result<()> {
    let begin = Instant::now();
    let (engine, card) = opened(&mut desk.open)?;
    let all = 2 * engine.model.spec.n_layers();
    let stages = Cell::new(0u64);
    let cancelled = || {
        stages.set(stages.get() + 1);
        if begin.elapsed() > QUIET {
            let label = "computing what is on screen".to_owned();
            let total = (2 * all as u64).max(stages.get() + 1);
            board.post(Event::Progress(id, Slot::Scene, Progress::new(label, stages.get(), total, begin)));
        }
        board.stale(Slot::Scene, id)
    };
    let ids = engine.input(&scene.prompt)?;
    let context = engine.model.spec.context;
    if ids.len() > context {
        // So that the person sees what is too much.
        board.post(Event::Tokens(id, engine.tokens(&ids)));
        return Err(Error::Context { tokens: ids.len(), context });
    }
    let mut rows = 0;
    let plan = scene.plan.fitted(ids.len());
    desk.scenes.retain(|shown| shown.runs.base.tokens == ids);
    let known = desk.scenes.iter().position(|shown| shown.runs.source == plan);
    let mut shown = match known {
        Some(index) => desk.scenes.remove(index),
        None => {
            // What other plans of this prompt began from.
            let kept = desk.scenes.first().map(|shown| Arc::clone(&shown.runs.base));
            let here = kept.is_some() || engine.has_base(&ids);
            let base = kept.map_or_else(|| engine.base(&ids, &cancelled), Ok)?;
            rows += if here { 0 } else { base.work.rows };
            let provenance = card.provenance(&scene.prompt, &plan);
            let runs = Runs::under(engine, base, plan, provenance, &cancelled)?;
            rows += runs.work().rows;
            Shown { runs, views: Vec::new() }
        }
    };
    board.post(Event::Tokens(id, Arc::clone(&shown.runs.tokens)));
    // A view that fails takes none of the others with it.
    let mut done = Ok(());
    for view in &scene.views {
        match shown.view(view, engine, &cancelled) {
            Ok(data) => board.post(Event::View(id, view.clone(), data)),
            Err(Error::Cancelled) => {
                done = Err(Error::Cancelled);
                break;
            }
            Err(error) => done = done.and(Err(error)),
        }
    }
    desk.scenes.push(shown);
    forget_old(desk);
    done?;
    let Some((engine, _)) = &desk.open else { return Ok(()) };
    // Of the base run and the run under the plan.
    let runs = if scene.plan.active().is_empty() { 1 } else { 2 };
    let share = rows as f32 / (runs * 2 * engine.model.spec.n_layers() * ids.len()) as f32;
    let millis = 1000.0 * begin.elapsed().as_secs_f32();
    let waited = 1000.0 * waited.as_secs_f32();
    let bytes = engine::RunSize::new(&engine.model.spec, ids.len()).with_boundaries().bytes();
    board.post(Event::SceneDone(id, Recomputed { share, millis, waited, bytes }));
    Ok(())
}

/// Drop the oldest scenes past their number or their share of memory; the newest stays.
fn forget_old(desk: &mut Desk) {
    let Some((engine, _)) = &desk.open else { return };
    let tokens = desk.scenes.last().map_or(0, |shown| shown.runs.tokens.len());
    let each = engine::RunSize::new(&engine.model.spec, tokens).with_boundaries().bytes().max(1);
    let budget = engine::available_bytes().map_or(MOST_SCENES as u64, |free| free / SCENES_SHARE / each);
    let keep = (budget as usize).clamp(1, MOST_SCENES);
    let excess = desk.scenes.len().saturating_sub(keep);
    desk.scenes.drain(..excess);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_goes_where_only_the_other_alone_fits() {
        let memory = |load, need_mib, have_mib| Error::Memory { load, need_mib, have_mib };
        let open = 3000 << 20;
        assert!(goes_first(&memory(Load::Checkpoint, 4000, 1500), open).is_some());
        assert_eq!(goes_first(&memory(Load::Checkpoint, 4600, 1500), open), None);
        assert_eq!(goes_first(&memory(Load::Run(8), 4000, 1500), open), None);
        assert_eq!(goes_first(&memory(Load::Checkpoint, 4000, 1500), 0), None);
        assert_eq!(goes_first(&Error::Cancelled, open), None);
    }
}
