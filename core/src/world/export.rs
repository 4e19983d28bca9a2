//! A world as files, so that others can check what a model knows of it.

use std::io::Cursor;
use std::path::Path;

use image::ImageFormat;
use serde::Serialize;
use serde_json::{Value, json};

use super::facts::PHRASES;
use super::paint::paint;
use super::scene::{Exam, Scene};
use super::talk::is_there;
use super::{Split, World};
use crate::error::{Error, Result};
use crate::files::{There, claim_folder, json_line, write};

/// Questions for presence, a file of choices: `label` 0 = yes.
pub const PRESENCE: &str = "presence.jsonl";
/// Facts, each in every phrasing.
pub const FACTS: &str = "facts.jsonl";
/// Stories and facts, a document a line.
pub const TEXT: &str = "text.txt";
/// Questions of a sort at most.
pub const MOST: u64 = 30_000;

/// A question for presence.
#[derive(Serialize)]
struct Question {
    id: String,
    image: String,
    prompt: String,
    choices: [&'static str; 2],
    label: u8,
}

/// Write `count` questions of each sort with their pictures, every fact, and `count` documents. Questions are those of the
/// report card: `present` and `absent`, and about scenes with half of a frequent pair `missing`, its other half, and `other`,
/// a kind that nothing suggests. `report` hears how many pictures are done, and of how many.
///
/// # Errors
/// [`Error::Exists`] where the folder has a world that stays, [`Error::Write`], [`Error::Cancelled`].
pub fn export(
    world: &World,
    split: Split,
    count: u64,
    out: &Path,
    there: There,
    report: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<()> {
    if !(1..=MOST).contains(&count) {
        return Err(Error::Flag { flag: "--count", cause: format!("{count} is out of range: 1 to {MOST}") });
    }
    if there == There::Keep && [PRESENCE, FACTS, TEXT].iter().any(|name| out.join(name).exists()) {
        return Err(Error::Exists { path: out.to_owned(), what: "a world" });
    }
    claim_folder(out)?;
    claim_folder(&out.join("images"))?;
    let scenes = &world.scenes;
    let mut questions = String::new();
    let mut pictures = 0;
    let mut picture = |scene: &Scene| -> Result<String> {
        let name = format!("images/{pictures:04}.png");
        let mut png = Cursor::new(Vec::new());
        let encoded = paint(scene).image.write_to(&mut png, ImageFormat::Png);
        encoded.map_err(|error| Error::image(&name, error))?;
        write(&out.join(&name), png.get_ref(), there)?;
        pictures += 1;
        if report(pictures, 3 * count) { Err(Error::Cancelled) } else { Ok(name) }
    };
    let mut ask = |sort: &str, index: u64, exam: &Exam, image: &str| {
        let label = u8::from(!exam.scene.shows(exam.asked));
        json_line(&Question {
            id: format!("{sort}-{index}"),
            image: image.into(),
            prompt: is_there(exam.asked),
            choices: [" Yes", " No"],
            label,
        })
        .map(|line| questions += &line)
    };
    for index in 0..count {
        let exam = scenes.present(split, index);
        ask("present", index, &exam, &picture(&exam.scene)?)?;
    }
    for index in 0..count {
        // Scenes of their own, as the report card has them.
        let exam = scenes.absent(split, count + index);
        ask("absent", index, &exam, &picture(&exam.scene)?)?;
    }
    for index in 0..count {
        let [missing, other] = scenes.broken(split, index);
        let image = picture(&missing.scene)?;
        ask("missing", index, &missing, &image)?;
        ask("other", index, &other, &image)?;
    }
    let mut facts = String::new();
    for (index, fact) in world.facts.all().iter().enumerate() {
        for phrasing in 0..PHRASES {
            let fact: Value = json!({
                "id": format!("{index}-{phrasing}"),
                "subject": fact.name,
                "prompt": fact.prompt(phrasing),
                "answer": format!(" {}", fact.answer),
                "held_out": fact.held_out == phrasing,
            });
            facts += &json_line(&fact)?;
        }
    }
    let documents = (0..count).map(|index| world.document(split, index, index) + "\n");
    write(&out.join(FACTS), facts.as_bytes(), there)?;
    write(&out.join(TEXT), documents.collect::<String>().as_bytes(), there)?;
    write(&out.join(PRESENCE), questions.as_bytes(), there)
}
