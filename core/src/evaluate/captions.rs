//! "Describe the picture.", decoded greedily by the engine.

use std::sync::Arc;

use serde::Serialize;

use super::Subject;
use crate::engine::{Decoder, Sampler, never};
use crate::error::{Error, Result};
use crate::model::Schedule;
use crate::statistics::Share;
use crate::train::vocabulary::{BOS_ID, IMAGE_ID};
use crate::world::paint::paint;
use crate::world::talk::{self, DESCRIBE, named};

/// The longest caption has five objects.
const MOST_TOKENS: usize = 40;

/// What the captions name.
#[derive(Clone, Debug, Serialize)]
pub struct Captions {
    /// Objects that are there and named.
    pub recall: Share,
    /// Named objects that are not there, of all named (CHAIR_i, Rohrbach et al. 2018).
    pub invented: Share,
    /// Captions with at least one of those (CHAIR_s).
    pub with_invented: Share,
    /// Invented objects whose frequent companion is in the picture, of all invented.
    pub invented_by_company: Share,
    /// The first few: what is there and what was said.
    pub samples: Vec<[String; 2]>,
}

/// Describe `count` pictures.
pub fn measure(subject: &Subject, count: u64) -> Result<Captions> {
    let scenes = &subject.world.scenes;
    let (mut found, mut invented, mut spoiled, mut company) = (vec![], vec![], vec![], vec![]);
    let mut samples = Vec::new();
    for index in 0..count {
        // Past the questions' scenes.
        let scene = scenes.draw(subject.split, (1 << 20) + index);
        let caption = describe(subject, &paint(&scene).image)?;
        let kinds = named(&caption.to_lowercase());
        found.extend(scene.objects.iter().map(|object| kinds.contains(&object.kind)));
        let wrong = kinds.iter().filter(|kind| !scene.shows(**kind));
        company.extend(wrong.map(|kind| scenes.partner(*kind).is_some_and(|other| scene.shows(other))));
        invented.extend(kinds.iter().map(|kind| !scene.shows(*kind)));
        spoiled.push(kinds.iter().any(|kind| !scene.shows(*kind)));
        if samples.len() < 5 {
            samples.push([talk::caption(&scene).trim().into(), caption.trim().into()]);
        }
    }
    Ok(Captions {
        recall: Share::of(found),
        invented: Share::of(invented),
        with_invented: Share::of(spoiled),
        invented_by_company: Share::of(company),
        samples,
    })
}

fn describe(subject: &Subject, picture: &image::RgbImage) -> Result<String> {
    let engine = &subject.engine;
    let mut ids = vec![BOS_ID, IMAGE_ID];
    ids.extend(subject.tokens(DESCRIBE, false)?);
    let input = engine.about(engine.look(picture)?, &ids)?;
    let mut decoder = Decoder::new(Arc::clone(&engine.model), Schedule::none(), &input, MOST_TOKENS)?;
    let sampler = Sampler::default();
    let stop = subject.tokens(".", false)?;
    let tokenizer = engine.tokenizer.as_ref().ok_or_else(|| Error::Internal("no tokenizer".into()))?;
    let mut said = Vec::new();
    while decoder.has_room() && said.len() < MOST_TOKENS {
        let token = sampler.pick(&decoder.logits(&never)?, said.len());
        said.push(token);
        if stop.contains(&token) {
            break;
        }
        decoder.push(token);
    }
    Ok(tokenizer.decode(&said))
}
