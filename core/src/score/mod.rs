//! How well texts are foretold, without and with plans: nats, perplexity, bits per byte, KL, agreement. Texts stream: what is
//! alive is a window's streams and the logits of some of its rows.

pub mod judged;
mod question;
mod reading;
mod tally;
mod texts;
mod windows;

use std::collections::{HashMap, VecDeque};

use rayon::prelude::*;

pub use question::{question, question_judged};
pub use reading::{Losses, Reading};
pub use tally::{PlanScore, Record, Score, Sums, Tally};
pub use texts::{Piece, Source, Texts, Words};
pub use windows::{Window, Windows};

use crate::engine::{Cancelled, Engine, budget};
use crate::error::{Error, Result};
use crate::model::Work;
use crate::plan::Plan;
use crate::records::Shard;

/// Windows at a time at most.
const TOGETHER: usize = 4;
/// What may wait behind a window: a list may have any number of entries that cannot be read.
const WAITING: usize = 64;

/// What is to be scored.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The texts.
    pub source: Source,
    /// Items at most; none = all.
    pub items: Option<u64>,
    /// Tokens of a window, and of an item of several; none = the context.
    pub length: Option<usize>,
    /// Tokens from one window to the next; none = the length.
    pub stride: Option<usize>,
    /// Plans under which they are scored too.
    pub plans: Vec<Plan>,
    /// The items to be scored.
    pub shard: Shard,
}

/// A window that was read.
#[derive(Clone, Debug)]
pub struct Scored {
    /// Number of the item, 0 = the first; those that cannot be read count.
    pub item: u64,
    /// The window.
    pub window: Window,
    /// Without a plan, then under each.
    pub losses: Vec<Losses>,
}

/// What a step came to.
#[derive(Debug)]
pub enum Step {
    /// There is more to do.
    More,
    /// A window is done; none of an item that has nothing to score.
    Done(Record, Option<Scored>),
    /// An item that cannot be read, and why; the rest goes on.
    Failed(Record, Error),
    /// Everything is.
    End,
}

/// Texts under way.
pub struct Scorer {
    ask: Ask,
    texts: Texts,
    length: usize,
    stride: usize,
    under_way: Option<Item>,
    /// Windows that are read side by side, and what is said between them; in their order.
    queue: VecDeque<Queued>,
    /// Windows at a time: what one thread does alone in one of them goes on beside the others.
    together: usize,
    /// There is nothing more to read.
    ended: bool,
    /// Number of the next item.
    item: u64,
    /// The window up to which everything was scored earlier.
    known: Option<(u64, u64)>,
    bytes: HashMap<u32, u64>,
    work: Work,
}

/// What is to be said next.
enum Queued {
    /// A window, and whether it is done.
    Window(Box<Reads>),
    /// An item without any, and why it cannot be read.
    Said(Record, Option<Error>),
}

/// A window under way.
struct Reads {
    item: u64,
    window: Window,
    reading: Reading,
    done: bool,
}

/// The item under way.
struct Item {
    number: u64,
    windows: Windows,
    /// All of it was read.
    ended: bool,
    /// A window of it was found.
    any: bool,
}

impl Queued {
    fn under_way(&mut self) -> Option<&mut Reads> {
        match self {
            Self::Window(reads) if !reads.done => Some(reads),
            _ => None,
        }
    }
}

impl Scorer {
    /// Nothing read yet.
    ///
    /// # Errors
    /// A file that cannot be opened, windows of fewer than 2 tokens or more than the context, a stride that leaves tokens out,
    /// shards of a text that is one item.
    pub fn new(engine: &Engine, ask: Ask) -> Result<Self> {
        let context = engine.model.spec.context;
        let length = ask.length.unwrap_or(context);
        if !(2..=context).contains(&length) {
            let cause = format!("a window has 2 to {context} tokens, not {length}");
            return Err(Error::asked(cause, "give another --length"));
        }
        let stride = ask.stride.unwrap_or(length);
        if !(1..=length).contains(&stride) {
            let cause = format!("a stride of {stride} does not fit windows of {length} tokens");
            return Err(Error::asked(cause, "give --stride from 1 to the length"));
        }
        if matches!(ask.source, Source::Whole(_)) && ask.shard != Shard::ALL {
            let cause = "a text without --split is one item: it has no shards";
            return Err(Error::asked(cause, "give --split, or leave --shard out"));
        }
        let texts = Texts::open(&ask.source)?;
        let one = reading::size(&engine.model.spec, length, 1 + ask.plans.len()).bytes();
        let fit = usize::try_from(budget() / one.max(1)).unwrap_or(TOGETHER);
        Ok(Self {
            texts,
            length,
            stride,
            under_way: None,
            queue: VecDeque::new(),
            together: rayon::current_num_threads().min(fit).clamp(1, TOGETHER),
            ended: false,
            item: 0,
            known: None,
            bytes: HashMap::new(),
            work: Work::default(),
            ask,
        })
    }

    /// Go on behind the record that was written last.
    pub fn go_on_behind(&mut self, last: &Record) {
        self.known = Some((last.item, last.start));
    }

    /// Items read so far, those of other shards too.
    pub fn items(&self) -> u64 {
        self.item
    }

    /// Do a small piece.
    ///
    /// # Errors
    /// What the model refuses, or [`Error::Cancelled`].
    pub fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<Step> {
        match self.queue.pop_front() {
            Some(Queued::Said(record, Some(error))) => return Ok(Step::Failed(record, error)),
            Some(Queued::Said(record, None)) => return Ok(Step::Done(record, None)),
            Some(Queued::Window(reads)) if reads.done => return Ok(self.finish(engine, *reads)),
            Some(other) => self.queue.push_front(other),
            None if self.ended => return Ok(Step::End),
            None => {}
        }
        let full = self.queue.len() >= WAITING;
        let mut windows: Vec<&mut Reads> = self.queue.iter_mut().filter_map(Queued::under_way).collect();
        if windows.len() < self.together && !full && !self.ended {
            return self.fetch(engine, cancelled).map(|()| Step::More);
        }
        let engine: &Engine = engine;
        windows.par_iter_mut().try_for_each(|reads| -> Result<()> {
            reads.done = reads.reading.step(engine)?;
            Ok(())
        })?;
        Ok(Step::More)
    }

    /// A window was read.
    fn finish(&mut self, engine: &Engine, reads: Reads) -> Step {
        let (losses, work) = reads.reading.finish();
        self.work += work;
        let scored = Scored { item: reads.item, window: reads.window, losses };
        let record = Record::of(&scored, engine, &mut self.bytes);
        Step::Done(record, Some(scored))
    }

    /// Get a little further towards the next window.
    fn fetch(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        if let Some(item) = &mut self.under_way {
            let number = item.number;
            if let Some(window) = item.windows.next(item.ended) {
                item.any = true;
                if self.known.is_none_or(|known| (number, window.start as u64) > known) {
                    let reading = Reading::new(engine, &window, &self.ask.plans, cancelled)?;
                    let reads = Reads { item: number, window, reading, done: false };
                    self.queue.push_back(Queued::Window(Box::new(reads)));
                }
                return Ok(());
            }
            if item.ended {
                if !item.any {
                    let empty = Record { item: number, ..Record::default() };
                    self.queue.push_back(Queued::Said(empty, None));
                }
                self.under_way = None;
                return Ok(());
            }
        }
        self.read_on(engine)
    }

    /// The next piece of a text.
    fn read_on(&mut self, engine: &Engine) -> Result<()> {
        if self.under_way.is_none() && self.ask.items.is_some_and(|most| self.item >= most) {
            self.ended = true;
            return Ok(());
        }
        let piece = self.texts.piece();
        let number = match &self.under_way {
            Some(item) => item.number,
            None => {
                if matches!(piece, Ok(None)) {
                    self.ended = true;
                    return Ok(());
                }
                self.item += 1;
                self.item - 1
            }
        };
        let whole = matches!(self.ask.source, Source::Whole(_));
        let is_known = !whole && self.known.is_some_and(|(last, _)| number <= last);
        if is_known || !self.ask.shard.has(number) {
            return Ok(());
        }
        let read = piece.and_then(|piece| {
            let Some(piece) = piece else { return Ok(None) };
            let ids = ids(engine, piece.words, piece.first).map_err(|error| self.texts.failed(error))?;
            Ok(Some((ids, piece.last)))
        });
        let (mut ids, ended) = match read {
            Ok(Some(read)) => read,
            Ok(None) => {
                self.ended = true;
                return Ok(());
            }
            Err(error @ Error::Entry { .. }) => {
                let record = Record { item: number, failed: Some(error.to_string()), ..Record::default() };
                self.queue.push_back(Queued::Said(record, Some(error)));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if !whole {
            ids.truncate(self.length);
        }
        let new =
            || Item { number, windows: Windows::new(self.length, self.stride), ended: false, any: false };
        let item = self.under_way.get_or_insert_with(new);
        item.windows.push(&ids);
        item.ended = ended;
        Ok(())
    }

    /// What all windows cost.
    pub fn work(&self) -> Work {
        self.work
    }
}

fn ids(engine: &Engine, words: Words, first: bool) -> Result<Vec<u32>> {
    let ids = match words {
        Words::Tokens(ids) => ids,
        Words::Text(text) => engine.piece(&text, first)?,
    };
    let vocab = engine.model.spec.vocab;
    match ids.iter().find(|&&id| id as usize >= vocab) {
        Some(id) => Err(Error::Input(format!("token id {id} is past the vocabulary of {vocab}"))),
        None => Ok(ids),
    }
}
