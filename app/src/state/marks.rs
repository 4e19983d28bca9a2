//! What the FCCT panel marks in the prompt.

use super::State;

/// What a click on a token marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// The context that stands for an image, from the prompt's begin up to the token.
    #[default]
    Context,
    /// The object, in the image or the context.
    Object,
    /// A word of the question that names the object.
    Word,
}

/// The marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// What a click marks.
    pub brush: Mark,
    /// Positions that stand for an image; empty where the prompt has one.
    pub context: Vec<usize>,
    /// The object's positions.
    pub object: Vec<usize>,
    /// Positions of the words that name it.
    pub words: Vec<usize>,
}

impl Marks {
    /// What a position is marked as.
    pub fn of(&self, position: usize) -> Option<Mark> {
        let in_list = |list: &[usize]| list.contains(&position);
        if in_list(&self.object) {
            Some(Mark::Object)
        } else if in_list(&self.words) {
            Some(Mark::Word)
        } else {
            in_list(&self.context).then_some(Mark::Context)
        }
    }

    /// Nothing is marked.
    pub fn clear(&mut self) {
        *self = Self { brush: self.brush, ..Self::default() };
    }
}

impl State {
    /// Mark a position, or take the mark away. What stands in the way, where something does.
    pub fn mark(&mut self, mark: Mark, position: usize) -> Result<(), &'static str> {
        let image = self.image_positions();
        let bos = self.card.as_ref().and_then(|card| card.spec.bos);
        let begin = usize::from(self.results.tokens.first().is_some_and(|token| Some(token.id) == bos));
        let marks = &mut self.choices.marks;
        let visual = |marks: &Marks| if image.is_empty() { marks.context.clone() } else { image.clone() };
        match mark {
            Mark::Context if !image.is_empty() => Err("the picture is what is corrupted: mark the object"),
            Mark::Context => {
                let ends_here = marks.context.last() == Some(&position);
                marks.context = if ends_here { Vec::new() } else { (begin..=position).collect() };
                marks.object.retain(|at| marks.context.contains(at));
                marks.words.retain(|at| !marks.context.contains(at));
                Ok(())
            }
            Mark::Object if !visual(marks).contains(&position) => {
                Err("the object is marked inside the picture, or inside the context")
            }
            Mark::Word if visual(marks).contains(&position) => {
                Err("the words that name the object are marked after the picture or the context")
            }
            Mark::Object => {
                toggle(&mut marks.object, position);
                Ok(())
            }
            Mark::Word => {
                toggle(&mut marks.words, position);
                Ok(())
            }
        }
    }
}

fn toggle(list: &mut Vec<usize>, position: usize) {
    match list.iter().position(|&known| known == position) {
        Some(index) => drop(list.remove(index)),
        None => list.push(position),
    }
}
