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

/// A conversation about a scene. It begins with a description or with questions for presence, whose answers nothing
/// said before gives away: no kind is asked for twice, there are as many kinds that are there as kinds that are not, and
/// questions that take something for granted come later.
pub fn conversation(scene: &Scene, dice: &mut Dice) -> Vec<Turn> {
    let mut turns = if dice.chance(0.25) {
        vec![Turn { question: DESCRIBE.into(), answer: caption(scene) }]
    } else {
        presence(scene, dice)
    };
    let mut others: Vec<Turn> = scene.objects.iter().flat_map(|object| about(scene, object)).collect();
    others.push(Turn { question: "How many things are there?".into(), answer: amount(scene.objects.len()) });
    others.extend(any_shapes(scene, dice));
    others.extend(any_colours(scene, dice));
    turns.extend(dice.shuffled(others));
    turns
}

/// Is it there? Every object, and as many kinds that are not there.
fn presence(scene: &Scene, dice: &mut Dice) -> Vec<Turn> {
    let mut asked: Vec<Kind> = scene.objects.iter().map(|object| object.kind).collect();
    for object in &scene.objects {
        // A kind that shares its colour or its shape with what is there asks for a closer look than any other.
        let close = dice.chance(0.4);
        let absent = loop {
            let any = Kind::new(dice.below(KINDS));
            let fits = any.colour() == object.kind.colour() || any.shape() == object.kind.shape();
            if (fits || !close) && !asked.contains(&any) {
                break any;
            }
        };
        asked.push(absent);
    }
    let turn = |kind: Kind| Turn { question: is_there(kind), answer: yes_or_no(scene.shows(kind)) };
    dice.shuffled(asked).into_iter().map(turn).collect()
}

/// Where an object is, and, where its shape is there once, its colour.
fn about(scene: &Scene, object: &Object) -> Vec<Turn> {
    let (colour, shape) = (object.kind.colour_name(), object.kind.shape_name());
    let place = PLACES.get(object.cell).copied().unwrap_or_default();
    let mut turns = vec![Turn {
        question: format!("Where is the {colour} {shape}?"),
        answer: format!(" At the {place}."),
    }];
    let same = scene.objects.iter().filter(|other| other.kind.shape() == object.kind.shape()).count();
    if same == 1 {
        turns.push(Turn { question: format!("What colour is the {shape}?"), answer: format!(" {colour}.") });
    }
    turns
}

/// One shape that is there and one that is not, as far as there are both: any of it, and how many.
fn any_shapes(scene: &Scene, dice: &mut Dice) -> Vec<Turn> {
    let count = |shape: usize| scene.objects.iter().filter(|object| object.kind.shape() == shape).count();
    let mut turns = Vec::new();
    for shape in one_of_each(SHAPES.len(), |shape| count(shape) > 0, dice) {
        let name = SHAPES.get(shape).copied().unwrap_or_default();
        turns.push(if dice.chance(0.5) {
            Turn { question: format!("Is there any {name}?"), answer: yes_or_no(count(shape) > 0) }
        } else {
            Turn { question: format!("How many {} are there?", plural(name)), answer: amount(count(shape)) }
        });
    }
    turns
}

/// One colour that is there and one that is not.
fn any_colours(scene: &Scene, dice: &mut Dice) -> Vec<Turn> {
    let shown = |colour: usize| scene.objects.iter().any(|object| object.kind.colour() == colour);
    let turn = |colour: usize| {
        let name = COLOURS.get(colour).map_or("", |colour| colour.0);
        Turn { question: format!("Is there anything {name}?"), answer: yes_or_no(shown(colour)) }
    };
    one_of_each(COLOURS.len(), shown, dice).into_iter().map(turn).collect()
}

/// A random number below `of` that is `there` and one that is not, as far as there are such.
fn one_of_each(of: usize, there: impl Fn(usize) -> bool, dice: &mut Dice) -> Vec<usize> {
    let (yes, no): (Vec<usize>, Vec<usize>) = (0..of).partition(|&number| there(number));
    [yes, no].into_iter().filter_map(|list| list.get(dice.below(list.len())).copied()).collect()
}

fn yes_or_no(yes: bool) -> String {
    if yes { " Yes." } else { " No." }.into()
}

fn amount(count: usize) -> String {
    let number = NUMBERS.get(count).copied().unwrap_or_default();
    format!(" There {} {number}.", if count == 1 { "is" } else { "are" })
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
            let mut asked = std::collections::BTreeSet::new();
            for turn in conversation(&scene, &mut Dice::new(1, 2, index)) {
                if let Some(kind) = turn.question.strip_prefix("Is there a") {
                    let &[kind] = named(kind).as_slice() else { continue };
                    let truth = scene.shows(kind);
                    assert_eq!(turn.answer == " Yes.", truth, "{turn:?}");
                    assert!(asked.insert(kind), "{kind:?} is asked for twice");
                    yes += usize::from(truth);
                    all += 1;
                }
            }
        }
        let share = f64::from(yes as u32) / f64::from(all);
        assert!((0.45..0.55).contains(&share), "{share}");
    }
}
