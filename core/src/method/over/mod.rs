//! A method over a list: about one item after the other, with means over them as findings. What an item came to is a line of
//! the records, which a killed run goes on behind and shards are merged from.

mod found;
mod head;
mod item;
mod kept;
mod recorded;

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

pub use found::ListFound;
use found::{Shape, Totals, shapes};
pub use head::{head, is_work};
pub use item::ItemFound;
use item::{FIELDS, Item};
use kept::Kept;
pub use recorded::recorded;

use super::asked::check_picks;
use super::{Ask, Asked, Case, Content, Found, ListOf, Method, State, Stepper, Steps};
use crate::engine::{Cancelled, Engine};
use crate::error::{Error, Result};
use crate::figure::Provenance;
use crate::model::Work;
use crate::plan::Plan;
use crate::records::{Items, Map, Taken};

/// A method over a list, under way.
pub struct ListRun {
    method: &'static Method,
    list: ListOf,
    ask: Ask,
    plan: Plan,
    provenance: Provenance,
    shapes: Arc<[Shape]>,
    /// Items of all shards.
    count: u64,
    /// Opened once it is known what is done.
    items: Option<Items>,
    now: Option<Now>,
    /// What the last item came to, until it is taken.
    ended: Option<ItemFound>,
    /// The last item that is done.
    behind: Option<u64>,
    totals: Totals,
    work: Work,
    /// Findings of so many items.
    shown: RefCell<Option<(u64, Arc<ListFound>)>>,
}

/// An item under way.
struct Now {
    item: u64,
    id: Option<Value>,
    run: Box<dyn Stepper>,
}

impl ListRun {
    /// Nothing is read yet. `asked` is about `list`.
    ///
    /// # Errors
    /// A map that cannot be read, or a state of other measures.
    pub(super) fn new(
        asked: &Asked,
        list: &ListOf,
        content: &Content,
        provenance: Provenance,
        (engine, kept): (&Engine, Option<State>),
    ) -> Result<Self> {
        // Before any item.
        map(list)?;
        let shapes: Arc<[Shape]> = shapes(asked.method, &engine.model.spec).into();
        let Kept { behind, totals, work } = match kept {
            Some(state) => Kept::read(&state)?,
            None => Kept { behind: None, totals: Totals::new(&shapes)?, work: Work::default() },
        };
        if !totals.fits(&shapes) {
            return Err(Error::Study("what is to be resumed has other measures".into()));
        }
        Ok(Self {
            method: asked.method,
            list: list.clone(),
            ask: asked.ask.clone(),
            plan: asked.plan.clone(),
            provenance,
            shapes,
            count: content.items.unwrap_or(0),
            items: None,
            now: None,
            ended: None,
            behind,
            totals,
            work,
            shown: RefCell::default(),
        })
    }

    /// Take in an item that an earlier run had done; in their order, before the first step.
    ///
    /// # Errors
    /// Values of another shape.
    pub(super) fn hear(&mut self, item: &ItemFound) -> Result<()> {
        self.totals.add(item, &self.shapes)?;
        self.behind = Some(item.item);
        Ok(())
    }

    /// What the last item came to, once.
    pub(super) fn ended(&mut self) -> Option<ItemFound> {
        self.ended.take()
    }

    /// Items of the list, of all shards.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Items that could not be asked about.
    pub fn failed(&self) -> u64 {
        self.totals.failed
    }

    fn items(&mut self) -> Result<&mut Items> {
        if self.items.is_none() {
            let taken = Taken { most: self.list.most, shard: self.list.shard, behind: self.behind };
            self.items = Some(Items::open(&self.list.file, map(&self.list)?, taken)?);
        }
        self.items.as_mut().ok_or_else(|| Error::Internal("a list that is not open".into()))
    }

    /// Begin the next item. One that cannot be asked about says why, and the rest goes on.
    fn begin(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        let Some((item, read)) = self.items()?.next::<Item>(&FIELDS)? else {
            return Err(Error::asked("the list has changed: it has fewer items now", "begin anew"));
        };
        let read = match read {
            Ok(read) => read,
            Err(error) => return self.fail(item, None, &error),
        };
        match self.start(&read, engine, cancelled) {
            Ok(run) => self.now = Some(Now { item, id: read.id, run }),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => self.fail(item, read.id, &error)?,
        }
        Ok(())
    }

    fn start(&self, item: &Item, engine: &mut Engine, cancelled: Cancelled) -> Result<Box<dyn Stepper>> {
        let folder = self.list.file.parent().unwrap_or(Path::new(""));
        let input = item.input(engine, folder)?;
        let picks = item.picks(self.method, &self.list.marks, &engine.tokens(&input))?;
        check_picks(self.method.picks, &picks, input.image().is_some())?;
        let case = Case { plan: self.plan.clone(), picks, cancelled, ..Case::new(engine, input) };
        (self.method.start)(case, &item.ask(self.method, &self.ask))
    }

    fn fail(&mut self, item: u64, id: Option<Value>, error: &Error) -> Result<()> {
        // The entry that was read last.
        let failed = match error {
            Error::Entry { .. } => error.to_string(),
            _ => self.items()?.broken(error).to_string(),
        };
        self.end(ItemFound { item, id, failed: Some(failed), ..ItemFound::default() })
    }

    fn end(&mut self, item: ItemFound) -> Result<()> {
        self.hear(&item)?;
        self.ended = Some(item);
        Ok(())
    }
}

impl Stepper for ListRun {
    fn step(&mut self, engine: &mut Engine, cancelled: Cancelled) -> Result<()> {
        let Some(mut now) = self.now.take() else {
            return if self.is_done() { Ok(()) } else { self.begin(engine, cancelled) };
        };
        match now.run.step(engine, cancelled) {
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => return self.fail(now.item, now.id, &error),
            Ok(()) if !now.run.is_done() => {
                self.now = Some(now);
                return Ok(());
            }
            Ok(()) => {}
        }
        self.work += now.run.work();
        let Now { item, id, run } = now;
        let found = ItemFound { item, id, ..ItemFound::default() };
        self.end(match run.found(engine).measured() {
            Ok(values) => ItemFound { values, ..found },
            Err(why) => ItemFound { dropped: Some(why), ..found },
        })
    }

    fn progress(&self) -> Steps {
        Steps {
            done: self.totals.done() as usize,
            all: self.list.shard.share(self.count) as usize,
            unit: "items",
        }
    }

    fn found(&self, _: &Engine) -> Arc<dyn Found> {
        let done = self.totals.done();
        let mut shown = self.shown.borrow_mut();
        if let Some((of, found)) = &*shown
            && *of == done
        {
            return Arc::<ListFound>::clone(found);
        }
        let provenance = self.provenance.clone();
        let found = Arc::new(self.totals.found(self.method, &self.shapes, self.list.shard, provenance));
        *shown = Some((done, Arc::clone(&found)));
        found
    }

    fn work(&self) -> Work {
        self.work
    }

    fn state(&self) -> Result<State> {
        Kept { behind: self.behind, totals: self.totals.clone(), work: self.work }.state()
    }
}

/// What stands for the fields of an item.
fn map(list: &ListOf) -> Result<Option<Map>> {
    Map::parse(&list.map).map_err(|cause| Error::Flag { flag: "--map", cause })
}
