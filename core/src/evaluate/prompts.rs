//! Many prompts at once through the trainer's forward pass.

use image::RgbImage;

use super::Subject;
use crate::error::{Error, Result};
use crate::train::batch::{PATCHES, pixels};
use crate::train::loss::{Batch, Routing, forward, see};
use crate::train::vocabulary::{BOS_ID, IMAGE_ID};

/// Prompts of one batch.
const TOGETHER: usize = 32;

/// Ids, with a picture right after the first of them or without.
pub struct Ask {
    /// Ids, the picture's among them.
    pub ids: Vec<u32>,
    /// The picture.
    pub picture: Option<RgbImage>,
}

impl Ask {
    /// A question about a picture.
    pub fn about(subject: &Subject, picture: RgbImage, question: &str) -> Result<Self> {
        let mut ids = vec![BOS_ID];
        ids.extend([IMAGE_ID; PATCHES]);
        ids.extend(subject.tokens(question, false)?);
        Ok(Self { ids, picture: Some(picture) })
    }
}

/// Logits of the last `count` rows of every prompt, all big, in the order of the prompts. Either all prompts have pictures
/// or none.
pub fn last_logits(subject: &Subject, asks: &[Ask], count: &[usize]) -> Result<Vec<Vec<Vec<f32>>>> {
    let model = &subject.engine.model;
    let mut all = Vec::with_capacity(asks.len());
    for (asks, counts) in asks.chunks(TOGETHER).zip(count.chunks(TOGETHER)) {
        let len = asks.iter().map(|ask| ask.ids.len()).max().unwrap_or(0);
        let mut batch = Batch { len, ..Batch::default() };
        let mut images = Vec::new();
        for ask in asks {
            // What stands behind a prompt cannot change it.
            batch.inputs.extend((0..len).map(|at| ask.ids.get(at).copied().unwrap_or(BOS_ID)));
            images.extend(ask.picture.clone());
        }
        let seen = if images.is_empty() { None } else { Some(see(model, &pixels(&images)?)?) };
        let logits = forward(model, &batch, seen.as_ref(), Routing::Uniform(&[]))?.logits;
        for ((number, ask), &count) in asks.iter().enumerate().zip(counts) {
            let first = ask.ids.len().checked_sub(count);
            let first = first.ok_or_else(|| Error::Internal("more rows than a prompt has".into()))?;
            all.push(logits.narrow(0, number * len + first, count)?.to_vec2()?);
        }
    }
    Ok(all)
}
