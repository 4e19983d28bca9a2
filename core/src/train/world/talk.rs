//! What is said about a scene.

use super::Dice;
use super::kind::{COLOURS, KINDS, Kind, SHAPES};
use super::scene::{GRID, Object, Scene};

/// Cells by name, row by row.
const PLACES: [&str; GRID * GRID] =
    ["top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right"];

const NUMBERS: [&str; 6] = ["no", "one", "two", "three", "four", "five"];

/// What asks for a caption.
pub const DESCRIBE: &str = "Describe the picture.";

/// A question and its answer, which begins with a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// `Is there a red circle?`
    pub question: String,
    /// ` Yes.`
    pub answer: String,
}

/// Every object from the top left to the bottom right: ` A red circle, a blue ring and an orange cross.`
pub fn caption(scene: &Scene) -> String {
    let names: Vec<String> = scene.objects.iter().map(|object| object.kind.with_article()).collect();
    let text = match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    };
    let mut letters = text.chars();
    let first = letters.next().map_or(String::new(), |letter| letter.to_uppercase().to_string());
    format!(" {first}{}.", letters.as_str())
}

/// The kinds that a caption names, in its order.
pub fn named(caption: &str) -> Vec<Kind> {
    let words: Vec<&str> =
        caption.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    let kind = |pair: &[&str]| {
        let &[colour, shape] = pair else { return None };
        let colour = COLOURS.iter().position(|known| known.0 == colour)?;
        let shape = SHAPES.iter().position(|known| *known == shape)?;
        Some(Kind::new(colour * SHAPES.len() + shape))
    };
    words.windows(2).filter_map(kind).collect()
}

/// `Is there a red circle?`
pub fn is_there(kind: Kind) -> String {
    format!("Is there {}?", kind.with_article())
}

/// A conversation about a scene: either its caption first and other questions then, or questions of every sort. Half of
/// the questions for presence ask for what is there; what is not there is drawn from all kinds alike, so nothing in the
/// questions tells of the picture.
pub fn conversation(scene: &Scene, dice: &mut Dice, turns: usize) -> Vec<Turn> {
    let describes = dice.chance(0.3);
    let caption = describes.then(|| Turn { question: DESCRIBE.into(), answer: caption(scene) });
    let asked = (0..turns).map(|_| match dice.below(10) {
        0 => place(scene, dice),
        1 => colour(scene, dice),
        2 => count(scene, dice),
        3 => any_shape(scene, dice),
        4 => any_colour(scene, dice),
        _ => presence(scene, dice),
    });
    caption.into_iter().chain(asked.collect::<Vec<_>>()).collect()
}

fn presence(scene: &Scene, dice: &mut Dice) -> Turn {
    let there = dice.chance(0.5);
    let kind = if there {
        one_of(scene, dice).map_or_else(Kind::default, |object| object.kind)
    } else {
        // A kind that shares its colour or its shape with what is there asks for a closer look than any other.
        let close = one_of(scene, dice).filter(|_| dice.chance(0.4));
        loop {
            let any = Kind::new(dice.below(KINDS));
            let fits = close.is_none_or(|object| {
                any.colour() == object.kind.colour() || any.shape() == object.kind.shape()
            });
            if fits && !scene.shows(any) {
                break any;
            }
        }
    };
    Turn { question: is_there(kind), answer: yes_or_no(scene.shows(kind)) }
}

/// Any circle at all? Half of the answers are yes where there is a shape to ask for that is not there.
fn any_shape(scene: &Scene, dice: &mut Dice) -> Turn {
    let shape = dice.below(SHAPES.len());
    let shape = if dice.chance(0.5) {
        one_of(scene, dice).map_or(shape, |object| object.kind.shape())
    } else {
        shape
    };
    let shown = scene.objects.iter().any(|object| object.kind.shape() == shape);
    let name = SHAPES.get(shape).copied().unwrap_or_default();
    Turn { question: format!("Is there any {name}?"), answer: yes_or_no(shown) }
}

/// Anything red at all?
fn any_colour(scene: &Scene, dice: &mut Dice) -> Turn {
    let colour = dice.below(COLOURS.len());
    let colour = if dice.chance(0.4) {
        one_of(scene, dice).map_or(colour, |object| object.kind.colour())
    } else {
        colour
    };
    let shown = scene.objects.iter().any(|object| object.kind.colour() == colour);
    let name = COLOURS.get(colour).map_or("", |colour| colour.0);
    Turn { question: format!("Is there anything {name}?"), answer: yes_or_no(shown) }
}

fn yes_or_no(yes: bool) -> String {
    if yes { " Yes." } else { " No." }.into()
}

fn one_of<'a>(scene: &'a Scene, dice: &mut Dice) -> Option<&'a Object> {
    scene.objects.get(dice.below(scene.objects.len()))
}

fn place(scene: &Scene, dice: &mut Dice) -> Turn {
    let Some(object) = one_of(scene, dice) else { return presence(scene, dice) };
    let name = format!("{} {}", object.kind.colour_name(), object.kind.shape_name());
    let place = PLACES.get(object.cell).copied().unwrap_or_default();
    Turn { question: format!("Where is the {name}?"), answer: format!(" At the {place}.") }
}

fn colour(scene: &Scene, dice: &mut Dice) -> Turn {
    let alone = |object: &&Object| {
        scene.objects.iter().filter(|other| other.kind.shape() == object.kind.shape()).count() == 1
    };
    match one_of(scene, dice).filter(alone) {
        Some(object) => Turn {
            question: format!("What colour is the {}?", object.kind.shape_name()),
            answer: format!(" {}.", object.kind.colour_name()),
        },
        None => count(scene, dice),
    }
}

fn count(scene: &Scene, dice: &mut Dice) -> Turn {
    let number = |count: usize| NUMBERS.get(count).copied().unwrap_or_default();
    match one_of(scene, dice).filter(|_| dice.chance(0.5)) {
        Some(object) => {
            let same = scene.objects.iter().filter(|other| other.kind.shape() == object.kind.shape());
            Turn {
                question: format!("How many {} are there?", plural(object.kind.shape_name())),
                answer: format!(" There {}.", there(number(same.count()))),
            }
        }
        None => Turn {
            question: "How many things are there?".into(),
            answer: format!(" There {}.", there(number(scene.objects.len()))),
        },
    }
}

fn there(number: &str) -> String {
    format!("{} {number}", if number == "one" { "is" } else { "are" })
}

fn plural(shape: &str) -> String {
    format!("{shape}{}", if shape.ends_with('s') { "es" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::super::{Split, World};
    use super::*;

    #[test]
    fn captions_name_what_is_there_in_order() {
        let world = World::new(1);
        for index in 0..200 {
            let scene = world.scene(Split::Train, index);
            let kinds: Vec<Kind> = scene.objects.iter().map(|object| object.kind).collect();
            assert_eq!(named(&caption(&scene).to_lowercase()), kinds);
        }
    }

    #[test]
    fn answers_are_true_and_presence_is_balanced() {
        let world = World::new(1);
        let (mut yes, mut all) = (0, 0);
        for index in 0..400 {
            let scene = world.scene(Split::Train, index);
            for turn in conversation(&scene, &mut Dice::new(1, 2, index), 10) {
                if let Some(kind) = turn.question.strip_prefix("Is there a") {
                    let kind = &format!("a{kind}");
                    if named(kind).is_empty() {
                        continue;
                    }
                    let truth = named(kind).iter().all(|&kind| scene.shows(kind));
                    assert_eq!(turn.answer == " Yes.", truth, "{turn:?}");
                    yes += usize::from(truth);
                    all += 1;
                }
            }
        }
        let share = f64::from(yes as u32) / f64::from(all);
        assert!((0.45..0.55).contains(&share), "{share}");
    }
}
