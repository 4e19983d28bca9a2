//! "Is there a red circle?" Yes where P(Yes) > P(No) after the question.

use serde::Serialize;

use super::Subject;
use super::prompts::{Ask, last_logits};
use crate::error::{Error, Result};
use crate::statistics::{Mean, Share};
use crate::world::paint::paint;
use crate::world::scene::Exam;
use crate::world::talk::is_there;

/// Levels of cover: nothing, a third, two thirds.
pub const COVERS: usize = 3;

/// What came of the questions.
#[derive(Clone, Debug, Serialize)]
pub struct Presence {
    /// Objects that are there: share answered yes.
    pub present: Share,
    /// By the asked object's own cover.
    pub present_by_cover: Vec<Share>,
    /// Kinds that are not there and that nothing suggests: share answered no.
    pub absent: Share,
    /// Mean of both.
    pub balanced_accuracy: f64,
    /// Scenes with half of a frequent pair, asked for the missing half: share answered yes.
    pub adversarial_false_yes: Share,
    /// The same scenes, asked for a kind that nothing suggests: share answered yes.
    pub random_false_yes: Share,
    /// Difference of the two, scene by scene.
    pub gap: Mean,
    /// Both rates and their gap by the scene's heaviest cover.
    pub by_cover: Vec<[Share; 2]>,
}

/// Ask `count` questions of each sort.
pub fn measure(subject: &Subject, count: u64) -> Result<Presence> {
    let scenes = &subject.world.scenes;
    let exams = |exam: &dyn Fn(u64) -> Exam| -> Vec<Exam> { (0..count).map(exam).collect() };
    let present = exams(&|index| scenes.present(subject.split, index));
    // Scenes of their own: the first half of the indices is taken.
    let absent = exams(&|index| scenes.absent(subject.split, count + index));
    let (missing, stranger): (Vec<Exam>, Vec<Exam>) =
        (0..count).map(|index| scenes.broken(subject.split, index)).map(|[a, b]| (a, b)).unzip();
    let [yes_present, yes_absent, yes_missing, yes_stranger] =
        [&present, &absent, &missing, &stranger].map(|exams| answers(subject, exams));
    let (yes_present, yes_absent) = (yes_present?, yes_absent?);
    let (yes_missing, yes_stranger) = (yes_missing?, yes_stranger?);
    let at = |exams: &[Exam], yes: &[bool], cover: usize| {
        Share::of(exams.iter().zip(yes).filter(|(exam, _)| exam.cover == cover).map(|(_, yes)| *yes))
    };
    let (hits, rejected) = (Share::of(yes_present.clone()), Share::of(yes_absent.iter().map(|yes| !yes)));
    let differences: Vec<f64> = yes_missing
        .iter()
        .zip(&yes_stranger)
        .map(|(&missing, &stranger)| f64::from(u8::from(missing)) - f64::from(u8::from(stranger)))
        .collect();
    Ok(Presence {
        balanced_accuracy: (hits.share + rejected.share) / 2.0,
        present: hits,
        present_by_cover: (0..COVERS).map(|cover| at(&present, &yes_present, cover)).collect(),
        absent: rejected,
        adversarial_false_yes: Share::of(yes_missing.clone()),
        random_false_yes: Share::of(yes_stranger.clone()),
        gap: Mean::of(&differences),
        by_cover: (0..COVERS)
            .map(|cover| [at(&missing, &yes_missing, cover), at(&stranger, &yes_stranger, cover)])
            .collect(),
    })
}

/// Whether each is answered with yes.
fn answers(subject: &Subject, exams: &[Exam]) -> Result<Vec<bool>> {
    let word = |text: &str| -> Result<usize> {
        let ids = subject.tokens(text, false)?;
        let first = ids.first().copied();
        first.map(|id| id as usize).ok_or_else(|| Error::Internal("a word without tokens".into()))
    };
    let (yes, no) = (word(" Yes")?, word(" No")?);
    let asks: Vec<Ask> = exams
        .iter()
        .map(|exam| Ask::about(subject, paint(&exam.scene).image, &is_there(exam.asked)))
        .collect::<Result<_>>()?;
    let logits = last_logits(subject, &asks, &vec![1; asks.len()])?;
    let answer = |rows: &Vec<Vec<f32>>| {
        let row = rows.first().map_or(&[][..], Vec::as_slice);
        row.get(yes) > row.get(no)
    };
    Ok(logits.iter().map(answer).collect())
}
