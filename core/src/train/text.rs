//! A generated world: invented people with a home, a craft and an animal, and short stories about them. Some words
//! are forced by what came before (facts, repeated names, counting), others are free: easy and hard tokens.

use crate::rng;

const FIRST: [&str; 8] = ["Ta", "Mo", "Be", "Li", "Ru", "Sa", "Ko", "Ne"];
const LAST: [&str; 8] = ["ren", "vik", "lo", "mar", "da", "sil", "nu", "bek"];
const PLACE_FIRST: [&str; 4] = ["Ar", "Dun", "El", "Fal"];
const PLACE_LAST: [&str; 4] = ["wick", "holm", "mere", "ford"];
const CRAFTS: [&str; 12] = [
    "weaver", "potter", "baker", "smith", "miller", "fisher", "tailor", "painter", "mason", "brewer",
    "carver", "gardener",
];
const ANIMALS: [&str; 8] = ["goat", "heron", "fox", "mule", "otter", "crow", "hound", "cat"];
const COLOURS: [&str; 8] = ["red", "blue", "green", "grey", "white", "black", "yellow", "brown"];
const THINGS: [&str; 10] =
    ["kite", "lamp", "basket", "coat", "bell", "drum", "ladder", "jar", "boat", "wheel"];
const WEATHER: [&str; 6] = ["cold", "warm", "windy", "quiet", "rainy", "bright"];
const SPOTS: [&str; 8] = ["market", "river", "bridge", "mill", "harbour", "orchard", "well", "tower"];
const NUMBERS: [&str; 9] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// How many people there are.
pub const PEOPLE: usize = FIRST.len() * LAST.len();

/// What is true of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Invented name.
    pub name: String,
    /// Invented place.
    pub home: String,
    /// Craft.
    pub craft: &'static str,
    /// Animal.
    pub animal: &'static str,
}

/// The facts of a seed.
#[derive(Clone, Debug)]
pub struct World {
    seed: u64,
    people: Vec<Person>,
}

/// Which documents: streams share the facts and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Read by the model.
    Train,
    /// Never read by the model.
    Validation,
    /// The tokenizer is learned from these.
    Vocabulary,
}

impl World {
    /// The facts of `seed`.
    pub fn new(seed: u64) -> Self {
        let person = |index: usize| {
            let mut dice = Dice::new(seed, 10, index as u64);
            Person {
                name: format!("{}{}", FIRST[index % FIRST.len()], LAST[index / FIRST.len() % LAST.len()]),
                home: format!("{}{}", dice.pick(&PLACE_FIRST), dice.pick(&PLACE_LAST)),
                craft: dice.pick(&CRAFTS),
                animal: dice.pick(&ANIMALS),
            }
        };
        Self { seed, people: (0..PEOPLE).map(person).collect() }
    }

    /// The people, in the order of their names' parts.
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// Document `index` of a stream: a few sentences of facts, or a story.
    pub fn document(&self, stream: Stream, index: u64) -> String {
        let mut dice = Dice::new(self.seed, 20 + stream as u64, index);
        let Some(person) = self.people.get(dice.below(self.people.len())) else { return String::new() };
        if dice.below(2) == 0 { self.facts(&mut dice, person) } else { story(&mut dice, person) }
    }

    /// Facts about a person and two others, each in one of four phrasings.
    fn facts(&self, dice: &mut Dice, person: &Person) -> String {
        let mut sentences = Vec::new();
        for _ in 0..3 {
            let person = if sentences.is_empty() || dice.below(2) == 0 {
                person
            } else {
                self.people.get(dice.below(self.people.len())).unwrap_or(person)
            };
            sentences.push(fact(dice, person));
        }
        sentences.join(" ")
    }
}

fn fact(dice: &mut Dice, Person { name, home, craft, animal }: &Person) -> String {
    match (dice.below(3), dice.below(4)) {
        (0, 0) => format!("{name} lives in {home}."),
        (0, 1) => format!("The home of {name} is {home}."),
        (0, 2) => format!("{name} comes from {home}."),
        (0, _) => format!("If you look for {name}, go to {home}."),
        (1, 0) => format!("{name} is a {craft}."),
        (1, 1) => format!("{name} works as a {craft}."),
        (1, 2) => format!("People call {name} the {craft}."),
        (1, _) => format!("Every day {name} does the work of a {craft}."),
        (_, 0) => format!("{name} has a {animal}."),
        (_, 1) => format!("The animal of {name} is a {animal}."),
        (_, 2) => format!("{name} feeds the {animal}."),
        (_, _) => format!("When {name} calls, the {animal} comes."),
    }
}

fn story(dice: &mut Dice, Person { name, home, craft, animal }: &Person) -> String {
    let (colour, thing) = (dice.pick(&COLOURS), dice.pick(&THINGS));
    let (weather, spot) = (dice.pick(&WEATHER), dice.pick(&SPOTS));
    let mut text = match dice.below(3) {
        0 => format!("Once upon a time there was a {craft} named {name} who lived in {home}. "),
        1 => format!("One {weather} morning {name} the {craft} left {home}. "),
        _ => format!("It was a {weather} day in {home}. {name} the {craft} was awake. "),
    };
    text += &match dice.below(3) {
        0 => format!("{name} went to the {spot} with a {colour} {thing}. "),
        1 => format!("At the {spot} {name} found a {colour} {thing}. "),
        _ => format!("{name} and the {animal} walked to the {spot} to sell a {colour} {thing}. "),
    };
    text += &match dice.below(4) {
        0 => format!("The {thing} was {colour}, and everyone at the {spot} liked it. "),
        1 => {
            let count = 2 + dice.below(NUMBERS.len() - 1);
            format!("{name} counted the steps: {}. ", NUMBERS.get(..count).unwrap_or_default().join(", "))
        }
        2 => format!(
            "\"Is the {thing} yours?\" asked a friend. \"Yes, the {colour} {thing} is mine,\" said {name}. "
        ),
        _ => format!("The {animal} took the {thing} and ran from the {spot}. "),
    };
    text += &match dice.below(3) {
        0 => format!("In the evening {name} came back to {home}."),
        1 => format!("Then the {craft} went home to {home} with the {animal}."),
        _ => format!("The {colour} {thing} stayed at the {spot}."),
    };
    text
}

/// Draws of one document.
struct Dice {
    seed: u64,
    stream: u64,
    counter: u64,
}

impl Dice {
    fn new(seed: u64, stream: u64, index: u64) -> Self {
        Self { seed: rng::bits(seed, stream, index), stream, counter: 0 }
    }

    /// Uniform in 0 .. n; 0 where n is 0.
    fn below(&mut self, n: usize) -> usize {
        self.counter += 1;
        (rng::uniform(self.seed, self.stream, self.counter) * n as f64) as usize
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list.get(self.below(list.len())).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_depend_on_seed_stream_and_index_only() {
        let world = World::new(1);
        assert_eq!(world.document(Stream::Train, 3), World::new(1).document(Stream::Train, 3));
        assert_ne!(world.document(Stream::Train, 3), world.document(Stream::Validation, 3));
        assert_ne!(world.document(Stream::Train, 3), World::new(2).document(Stream::Train, 3));
    }

    #[test]
    fn names_are_distinct_and_stories_keep_the_facts() {
        let world = World::new(1);
        let names: std::collections::BTreeSet<_> = world.people().iter().map(|p| &p.name).collect();
        assert_eq!(names.len(), PEOPLE);
        let told: Vec<String> = (0..500).map(|i| world.document(Stream::Train, i)).collect();
        for person in world.people() {
            let start = format!("{} lives in ", person.name);
            for text in told.iter().filter_map(|text| text.split_once(&start)) {
                assert!(text.1.starts_with(&person.home), "{} / {}", start, text.1);
            }
        }
    }
}
