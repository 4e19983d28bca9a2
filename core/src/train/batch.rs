//! What a training step reads.

use candle_core::{Device, Tensor};
use image::RgbImage;

use super::config::LEN;
use super::loss::Batch;
use super::vocabulary::{BOS_ID, IMAGE_ID};
use crate::checkpoint::Tokenizer;
use crate::error::Result;
use crate::world::kind::{COLOURS, Kind, SHAPES};
use crate::world::paint::{PATCH, SIDE, paint};
use crate::world::talk::conversation;
use crate::world::{Dice, Scene, Split, World};

/// Tokens of a picture.
pub const PATCHES: usize = (SIDE / PATCH) * (SIDE / PATCH);

/// Sequences of a step, of each sort.
#[derive(Clone, Copy, Debug)]
pub struct Diet {
    /// Pictures with a conversation.
    pub pictures: usize,
    /// Paragraphs of facts.
    pub facts: usize,
    /// Stories.
    pub stories: usize,
}

/// What answers, questions and stories count in the loss. Nobody can foresee what is asked; what the answer is can be
/// known, and there are few answers among many words.
const ANSWER: f32 = 3.0;
const ASKED: f32 = 0.1;
const STORY: f32 = 0.5;

/// Parts of a step that are computed side by side. Fixed, so that sums come out the same whatever the machine.
const SHARDS: u64 = 2;

/// A part of a step: its batch, with what the patches of its pictures show.
pub struct Shard {
    /// For the loss.
    pub batch: Batch,
    /// Of every picture and patch, its shape and its colour; past the last one = nothing.
    pub patches: [Vec<u32>; 2],
}

/// What batches are made from.
pub struct Source<'a> {
    /// What is said and shown.
    pub world: &'a World,
    /// How it is read.
    pub tokenizer: &'a Tokenizer,
    /// Of the conversations.
    pub seed: u64,
    /// Sequences of each sort.
    pub diet: Diet,
}

/// Batch `step` of the training split, in parts. Pictures show at most `most` objects.
pub fn shards(source: &Source, step: u64, most: usize) -> Result<Vec<Shard>> {
    (0..SHARDS).map(|own| shard(source, step, most, own)).collect()
}

/// Pictures of a step that the tower looks at by itself.
pub const LOOKED_AT: usize = 64;

/// [`LOOKED_AT`] pictures of the training split without a word, in parts.
pub fn looks(world: &World, step: u64) -> Result<Vec<Shard>> {
    let part = |own: u64| {
        let (mut patches, mut images) = ([Vec::new(), Vec::new()], Vec::new());
        for index in (0..LOOKED_AT as u64).filter(|index| index % SHARDS == own) {
            let scene = world.scenes.draw(Split::Train, step * LOOKED_AT as u64 + index);
            look(&scene, &mut images, &mut patches);
        }
        let batch = Batch { pictures: Some(pixels(&images)?), ..Batch::default() };
        Ok(Shard { batch, patches })
    };
    (0..SHARDS).map(part).collect()
}

/// Adds a scene's picture and what its patches show.
fn look(scene: &Scene, images: &mut Vec<RgbImage>, [shapes, colours]: &mut [Vec<u32>; 2]) {
    let painted = paint(scene);
    let kinds = painted.patches.iter().map(|patch| Some(scene.objects.get((*patch)?)?.kind));
    for kind in kinds {
        shapes.push(kind.map_or(SHAPES.len(), Kind::shape) as u32);
        colours.push(kind.map_or(COLOURS.len(), Kind::colour) as u32);
    }
    images.push(painted.image);
}

fn shard(source: &Source, step: u64, most: usize, own: u64) -> Result<Shard> {
    let Source { world, tokenizer, seed, diet } = *source;
    // Sequences are dealt out in turn, over all sorts, so that the parts are of one size.
    let mut dealt = 0..;
    let mut mine = || dealt.next().is_some_and(|number: u64| number % SHARDS == own);
    let mut batch = Batch { len: LEN, ..Batch::default() };
    let mut patches = [Vec::new(), Vec::new()];
    let mut images = Vec::new();
    for sequence in 0..diet.pictures as u64 {
        if !mine() {
            continue;
        }
        let index = step * diet.pictures as u64 + sequence;
        let scene = world.scenes.draw_at_most(Split::Train, index, most);
        look(&scene, &mut images, &mut patches);
        let (ids, weights) = talked(tokenizer, &scene, &mut Dice::new(seed, 60, index))?;
        push(&mut batch, &ids, &weights);
    }
    for (stories, count) in [(false, diet.facts), (true, diet.stories)] {
        for sequence in 0..count as u64 {
            if !mine() {
                continue;
            }
            // Far apart, so that sequences of one run never share a document.
            let mut document = (step * count as u64 + sequence) << 5;
            let (mut ids, mut weights) = (Vec::new(), Vec::new());
            while ids.len() <= LEN {
                ids.push(BOS_ID);
                weights.push(0.0);
                let mut say = |text: &str, weight: f32| -> Result<()> {
                    ids.extend(tokenizer.encode(text, false)?);
                    weights.resize(ids.len(), weight);
                    Ok(())
                };
                if stories {
                    say(&world.story(Split::Train, document), STORY)?;
                } else {
                    for (fact, phrasing) in world.paragraph(Split::Train, document) {
                        say(&fact.prompt(phrasing), ASKED)?;
                        say(&fact.end(), ANSWER)?;
                    }
                }
                document += 1;
            }
            push(&mut batch, &ids, &weights);
        }
    }
    if !images.is_empty() {
        batch.pictures = Some(pixels(&images)?);
    }
    Ok(Shard { batch, patches })
}

/// One sequence, cut or padded to the length; padding counts nothing.
fn push(batch: &mut Batch, ids: &[u32], weights: &[f32]) {
    let at = |index: usize| ids.get(index).copied().unwrap_or(BOS_ID);
    batch.inputs.extend((0..batch.len).map(at));
    batch.targets.extend((1..=batch.len).map(at));
    batch.weights.extend((1..=batch.len).map(|index| weights.get(index).copied().unwrap_or(0.0)));
}

/// A picture's tokens and a conversation about it, with what each counts.
fn talked(tokenizer: &Tokenizer, scene: &Scene, dice: &mut Dice) -> Result<(Vec<u32>, Vec<f32>)> {
    let mut ids = vec![IMAGE_ID; PATCHES + 1];
    if let Some(first) = ids.first_mut() {
        *first = BOS_ID;
    }
    let mut weights = vec![0.0; ids.len()];
    for turn in conversation(scene, dice) {
        for (text, weight) in [(turn.question, ASKED), (turn.answer, ANSWER)] {
            ids.extend(tokenizer.encode(&text, false)?);
            weights.resize(ids.len(), weight);
        }
    }
    Ok((ids, weights))
}

/// `[images, 3, side, side]`, from -1 to 1.
pub fn pixels(images: &[RgbImage]) -> Result<Tensor> {
    let mut values = Vec::with_capacity(images.len() * 3 * SIDE * SIDE);
    for image in images {
        for channel in 0..3 {
            let value =
                |pixel: &image::Rgb<u8>| pixel.0.get(channel).map_or(0.0, |&x| f32::from(x) / 127.5 - 1.0);
            values.extend(image.pixels().map(value));
        }
    }
    Ok(Tensor::from_vec(values, (images.len(), 3, SIDE, SIDE), &Device::Cpu)?)
}
