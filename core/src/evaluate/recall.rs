//! Every fact in every phrasing: recalled where the model's most likely tokens after the phrasing are the answer's.

use serde::Serialize;

use super::Subject;
use super::prompts::{Ask, last_logits};
use crate::error::Result;
use crate::metric::top_k;
use crate::statistics::Share;
use crate::world::facts::PHRASES;

/// What is known.
#[derive(Clone, Debug, Serialize)]
pub struct Recall {
    /// Pairs of fact and phrasing that training may have read.
    pub trained: Share,
    /// Pairs that nothing ever said.
    pub held_out: Share,
}

/// Ask for every fact.
pub fn measure(subject: &Subject) -> Result<Recall> {
    let (mut asks, mut answers, mut held_out) = (Vec::new(), Vec::new(), Vec::new());
    for fact in subject.world.facts.all() {
        for phrasing in 0..PHRASES {
            let mut ids = subject.tokens(&fact.prompt(phrasing), true)?;
            let answer = subject.tokens(&format!(" {}", fact.answer), false)?;
            // The last token of the answer is not read, only predicted.
            ids.extend(answer.iter().take(answer.len().saturating_sub(1)));
            asks.push(Ask { ids, picture: None });
            answers.push(answer);
            held_out.push(fact.held_out == phrasing);
        }
    }
    let counts: Vec<usize> = answers.iter().map(Vec::len).collect();
    let logits = last_logits(subject, &asks, &counts)?;
    let known = |(rows, answer): (&Vec<Vec<f32>>, &Vec<u32>)| {
        rows.iter().zip(answer).all(|(row, &id)| top_k(row, 1).first().is_some_and(|best| best.0 == id))
    };
    let known: Vec<bool> = logits.iter().zip(&answers).map(known).collect();
    let of = |wanted: bool| {
        Share::of(known.iter().zip(&held_out).filter(|(_, held)| **held == wanted).map(|(known, _)| *known))
    };
    Ok(Recall { trained: of(false), held_out: of(true) })
}
