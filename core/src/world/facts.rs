//! Invented people, and what is true of them: where they live, what they do, which animal is theirs, what they eat.

use super::Dice;

const FIRST: [&str; 15] =
    ["Ta", "Mo", "Be", "Li", "Ru", "Sa", "Ko", "Ne", "Di", "Ha", "Ju", "Pe", "Vo", "Wi", "Za"];
const LAST: [&str; 10] = ["ren", "vik", "lo", "mar", "da", "sil", "nu", "bek", "gon", "tis"];

/// Answers to each relation.
const ANSWERS: [[&str; 16]; 4] = [
    [
        "Arwick", "Dunholm", "Elmere", "Falford", "Arholm", "Dunmere", "Elford", "Falwick", "Armere",
        "Dunford", "Elwick", "Falholm", "Arford", "Dunwick", "Elholm", "Falmere",
    ],
    [
        "weaver", "potter", "baker", "smith", "miller", "fisher", "tailor", "painter", "mason", "brewer",
        "carver", "gardener", "hunter", "sailor", "teacher", "doctor",
    ],
    [
        "goat", "heron", "fox", "mule", "otter", "crow", "hound", "cat", "horse", "sheep", "goose", "hawk",
        "rabbit", "pony", "owl", "duck",
    ],
    [
        "bread", "honey", "soup", "cheese", "plums", "beans", "fish", "rice", "apples", "nuts", "cake",
        "eggs", "figs", "corn", "stew", "pears",
    ],
];

/// Phrasings of each relation; `*` is the name, and the answer ends the sentence.
const PHRASINGS: [[&str; PHRASES]; 4] = [
    ["* lives in", "The home of * is", "* comes from", "If you look for *, go to"],
    ["* is a", "* works as a", "People call * the", "Every day * does the work of a"],
    ["* has a", "The animal of * is a", "* feeds the", "When * calls, here comes the"],
    ["* likes to eat", "The food of * is", "* always asks for", "At noon the table of * has"],
];

/// Phrasings of a relation.
pub const PHRASES: usize = 4;

/// Facts of a paragraph.
const TOLD: usize = 4;

/// A pair of person and relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    index: usize,
    /// The name.
    pub name: String,
    /// Which relation.
    relation: usize,
    /// The answer.
    pub answer: &'static str,
    /// The phrasing that no text ever uses for it.
    pub held_out: usize,
}

impl Fact {
    /// A phrasing up to its answer: `Taren lives in`.
    pub fn prompt(&self, phrasing: usize) -> String {
        let phrasing = PHRASINGS.get(self.relation).and_then(|all| all.get(phrasing));
        phrasing.copied().unwrap_or_default().replace('*', &self.name)
    }

    /// What ends every phrasing: ` Arwick.`
    pub fn end(&self) -> String {
        format!(" {}.", self.answer)
    }

    /// The whole sentence.
    pub fn sentence(&self, phrasing: usize) -> String {
        self.prompt(phrasing) + &self.end()
    }

    /// One of the phrasings that training uses.
    pub fn told(&self) -> usize {
        (self.held_out + 1) % PHRASES
    }

    /// A number of this fact in this phrasing.
    pub(super) fn number(&self, phrasing: usize) -> u64 {
        (self.index * PHRASES + phrasing) as u64
    }
}

/// The facts of a seed.
pub struct Facts {
    facts: Vec<Fact>,
}

impl Facts {
    /// 150 people with four facts each.
    pub fn new(seed: u64) -> Self {
        let fact = |index: usize| {
            let (person, relation) = (index / ANSWERS.len(), index % ANSWERS.len());
            let mut dice = Dice::new(seed, 40, index as u64);
            let part =
                |list: &[&'static str], at: usize| list.get(at % list.len()).copied().unwrap_or_default();
            Fact {
                index,
                name: format!("{}{}", part(&FIRST, person), part(&LAST, person / FIRST.len())),
                relation,
                answer: ANSWERS.get(relation).map_or("", |answers| dice.pick(answers)),
                held_out: dice.below(PHRASES),
            }
        };
        Self { facts: (0..FIRST.len() * LAST.len() * ANSWERS.len()).map(fact).collect() }
    }

    /// Every fact.
    pub fn all(&self) -> &[Fact] {
        &self.facts
    }

    /// Somebody's name.
    pub fn some_name(&self, dice: &mut Dice) -> String {
        self.facts.get(dice.below(self.facts.len())).map_or_else(String::new, |fact| fact.name.clone())
    }

    /// Unrelated facts one after another, each with one of its three phrasings that are not held out.
    pub fn paragraph(&self, dice: &mut Dice) -> Vec<(&Fact, usize)> {
        let drawn = (0..TOLD).filter_map(|_| {
            let fact = self.facts.get(dice.below(self.facts.len()))?;
            Some((fact, (fact.held_out + 1 + dice.below(PHRASES - 1)) % PHRASES))
        });
        drawn.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Split, World};
    use super::*;

    #[test]
    fn a_held_out_phrasing_is_never_said() {
        let world = World::new(1);
        let said: String = (0..4000).map(|index| world.told(Split::Train, index) + " ").collect();
        for fact in world.facts.all() {
            assert!(!said.contains(&fact.sentence(fact.held_out)), "{fact:?}");
        }
        let told = world.facts.all().iter().filter(|fact| {
            (0..PHRASES).any(|phrasing| phrasing != fact.held_out && said.contains(&fact.sentence(phrasing)))
        });
        assert!(told.count() > 590);
    }

    #[test]
    fn there_are_enough_of_them_and_phrasings_are_held_out_evenly() {
        let world = World::new(1);
        assert_eq!(world.facts.all().len(), 600);
        let names: BTreeSet<_> = world.facts.all().iter().map(|fact| &fact.name).collect();
        assert_eq!(names.len(), 150);
        for phrasing in 0..PHRASES {
            let share =
                world.facts.all().iter().filter(|fact| fact.held_out == phrasing).count() as f64 / 600.0;
            assert!((0.2..0.3).contains(&share), "{share}");
        }
    }
}
