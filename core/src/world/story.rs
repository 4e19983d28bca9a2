//! Short tales. Some words are forced by what came before (names, repeated things, counting), others are free.

use super::Dice;

const COLOURS: [&str; 8] = ["red", "blue", "green", "grey", "white", "black", "yellow", "brown"];
const THINGS: [&str; 10] =
    ["kite", "lamp", "basket", "coat", "bell", "drum", "ladder", "jar", "boat", "wheel"];
const WEATHER: [&str; 6] = ["cold", "warm", "windy", "quiet", "rainy", "bright"];
const SPOTS: [&str; 8] = ["market", "river", "bridge", "mill", "harbour", "orchard", "well", "tower"];
const NUMBERS: [&str; 9] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// A tale about somebody.
pub fn story(dice: &mut Dice, name: &str) -> String {
    let (colour, thing) = (dice.pick(&COLOURS), dice.pick(&THINGS));
    let (weather, spot) = (dice.pick(&WEATHER), dice.pick(&SPOTS));
    let mut text = match dice.below(3) {
        0 => format!("Once upon a time {name} had a {colour} {thing}. "),
        1 => format!("One {weather} morning {name} left home with a {colour} {thing}. "),
        _ => format!("It was a {weather} day. {name} was awake and saw a {colour} {thing}. "),
    };
    text += &match dice.below(3) {
        0 => format!("{name} went to the {spot} with the {thing}. "),
        1 => format!("At the {spot} {name} put the {colour} {thing} down. "),
        _ => format!("{name} walked to the {spot} to sell the {colour} {thing}. "),
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
        _ => format!("A bird took the {thing} and flew from the {spot}. "),
    };
    text += &match dice.below(3) {
        0 => format!("In the evening {name} came back from the {spot}."),
        1 => format!("Then {name} went home on a {weather} road."),
        _ => format!("The {colour} {thing} stayed at the {spot}."),
    };
    text
}
