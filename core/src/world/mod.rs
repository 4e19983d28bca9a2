//! The generated world of the bundled checkpoint, drawn from a seed: pictures of coloured shapes with captions and
//! questions, invented people with facts, and stories. What is true in it is known, so what a model gets wrong can be
//! counted.
//!
//! | file | what it holds |
//! |---|---|
//! | [`kind`] | the things that pictures show: a shape in a colour |
//! | [`scene`] | what stands where in a picture, and which things go together |
//! | [`paint`] | a scene as pixels |
//! | [`talk`] | captions, questions and answers about a scene |
//! | [`facts`] | people, and what is true of them, in several phrasings |
//! | [`story`] | short tales of easy and hard words |
//!
//! Training, validation and test are disjoint by construction: a hash of what a scene or document says decides which
//! of them may use it, and draws that belong elsewhere are thrown away.

pub mod export;
pub mod facts;
pub mod kind;
pub mod paint;
pub mod scene;
pub mod story;
pub mod talk;

pub use facts::{Fact, Facts};
pub use scene::{Scene, Scenes};

use serde::Serialize;
use serde_json::Value;

use crate::rng;

/// Which part of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Split {
    /// Read by the model; four fifths of all there is.
    Train,
    /// What settings may be chosen on; a tenth.
    Validation,
    /// What is reported; a tenth.
    Test,
}

impl Split {
    /// The split that owns whatever has this hash.
    fn of(hash: u64) -> Self {
        match hash % 10 {
            0 => Self::Test,
            1 => Self::Validation,
            _ => Self::Train,
        }
    }
}

/// Everything that is true for a seed.
pub struct World {
    seed: u64,
    /// Pictures.
    pub scenes: Scenes,
    /// People.
    pub facts: Facts,
}

impl World {
    /// The world of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, scenes: Scenes::new(seed), facts: Facts::new(seed) }
    }

    /// The world that a checkpoint of `sluice train` was made in, by its config.json.
    pub fn of(config: &Value) -> Option<Self> {
        let seed = config.get("sluice")?.get("world_seed")?.as_u64()?;
        Some(Self::new(seed))
    }

    /// What it is drawn from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A document for reading: facts in sequences of even number, stories in the others.
    pub fn document(&self, split: Split, sequence: u64, index: u64) -> String {
        if sequence.is_multiple_of(2) { self.told(split, index) } else { self.story(split, index) }
    }

    /// Story `index` of a split.
    pub fn story(&self, split: Split, index: u64) -> String {
        owned(self.seed, 1, split, index, |dice| {
            let name = self.facts.some_name(dice);
            let story = story::story(dice, &name);
            let hash = hash(story.bytes().map(u64::from));
            (story, hash)
        })
    }

    /// A few facts of a split, each in a phrasing that training may use. The facts are everywhere the same: what is
    /// split is which of them stand together. What no split says are the held out pairs of fact and phrasing.
    pub fn paragraph(&self, split: Split, index: u64) -> Vec<(&Fact, usize)> {
        owned(self.seed, 2, split, index, |dice| {
            let chosen = self.facts.paragraph(dice);
            let hash = hash(chosen.iter().map(|(fact, phrasing)| fact.number(*phrasing)));
            (chosen, hash)
        })
    }

    /// [`World::paragraph`] as text.
    pub fn told(&self, split: Split, index: u64) -> String {
        let sentences = self.paragraph(split, index);
        sentences.iter().map(|(fact, phrasing)| fact.sentence(*phrasing)).collect::<Vec<_>>().join(" ")
    }

    /// Scene `index` of a split, as training sees them.
    pub fn scene(&self, split: Split, index: u64) -> Scene {
        self.scenes.draw(split, index)
    }
}

/// The first draw of stream `stream` for `index` that belongs to `split`.
fn owned<T>(
    seed: u64,
    stream: u64,
    split: Split,
    index: u64,
    mut draw: impl FnMut(&mut Dice) -> (T, u64),
) -> T {
    // Splits draw from streams of their own, so that an index means another thing in each.
    let stream = (stream << 2) | split as u64;
    let mut attempt = 0;
    loop {
        let (value, hash) = draw(&mut Dice::new(seed, stream, (index << 8) | attempt));
        attempt += 1;
        // A tenth belongs to the rarest split: 255 misses in a row do not happen, but would end here.
        if Split::of(hash) == split || attempt == 256 {
            return value;
        }
    }
}

/// A hash of numbers, order included.
fn hash(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0x51_u64, |hash, number| rng::bits(hash, 7, number))
}

/// Draws of one document or scene.
pub struct Dice {
    seed: u64,
    counter: u64,
}

impl Dice {
    /// Draws that depend on these three numbers only.
    pub fn new(seed: u64, stream: u64, index: u64) -> Self {
        Self { seed: rng::bits(seed, stream, index), counter: 0 }
    }

    /// Uniform in \[0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.counter += 1;
        rng::uniform(self.seed, 0, self.counter)
    }

    /// Uniform in 0 .. n; 0 where n is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// One of a list; the default where it is empty.
    pub fn pick<T: Copy + Default>(&mut self, list: &[T]) -> T {
        list.get(self.below(list.len())).copied().unwrap_or_default()
    }

    /// The list in another order (Fisher and Yates).
    pub fn shuffled<T>(&mut self, mut list: Vec<T>) -> Vec<T> {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_drawn_depends_on_seed_split_and_index_only() {
        let (world, again, other) = (World::new(1), World::new(1), World::new(2));
        assert_eq!(world.story(Split::Train, 3), again.story(Split::Train, 3));
        assert_ne!(world.story(Split::Train, 3), other.story(Split::Train, 3));
        assert_eq!(world.told(Split::Test, 3), again.told(Split::Test, 3));
        assert_eq!(world.scene(Split::Test, 9), again.scene(Split::Test, 9));
        assert_ne!(world.scene(Split::Test, 9), world.scene(Split::Test, 10));
    }

    #[test]
    fn splits_share_nothing() {
        let world = World::new(1);
        let of = |split| -> BTreeSet<String> {
            (0..400).map(|i| world.story(split, i)).chain((0..400).map(|i| world.told(split, i))).collect()
        };
        let scenes = |split| -> BTreeSet<u64> { (0..2000).map(|i| world.scene(split, i).hash()).collect() };
        let splits = [Split::Train, Split::Validation, Split::Test];
        for (index, a) in splits.into_iter().enumerate() {
            for b in splits.into_iter().skip(index + 1) {
                assert!(of(a).is_disjoint(&of(b)), "{a:?} {b:?}");
                assert!(scenes(a).is_disjoint(&scenes(b)), "{a:?} {b:?}");
            }
        }
    }
}
