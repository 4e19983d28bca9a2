//! What stands where in a picture. Things do not meet by chance alone: the two halves of a frequent pair are nearly
//! always seen together, so that one of them makes a reader expect the other. That is the only source of hallucination
//! in this world; no label is ever wrong.

use super::kind::{KINDS, Kind};
use super::{Dice, Split, hash, owned};

/// Cells along a side of the loose grid.
pub const GRID: usize = 3;

/// Most objects in a picture.
pub const MOST: usize = 5;

/// Pairs that are nearly always seen together.
pub const PAIRS: usize = 12;

/// Chance that a drawn half of a pair brings the other along.
const TOGETHER: f64 = 0.9;

/// Share of objects behind something, lightly and heavily.
const HIDDEN: [f64; 2] = [0.12, 0.05];

/// An object of a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Cell of the grid, row by row from the top left.
    pub cell: usize,
    /// The larger of two sizes.
    pub large: bool,
    /// How much of it is behind something: 0 = nothing, 1 = about a third, 2 = about two thirds.
    pub hidden: usize,
}

/// A picture as what it shows, in the order of cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// What is seen.
    pub objects: Vec<Object>,
    /// Of everything that says nothing: places within the cells, light, noise.
    pub grain: u64,
}

impl Scene {
    /// Of what is seen and where; the same for two pictures that differ in grain, size or cover.
    pub fn hash(&self) -> u64 {
        hash(self.objects.iter().map(|object| (object.kind.index() * GRID * GRID + object.cell) as u64))
    }

    /// Whether it shows this kind.
    pub fn shows(&self, kind: Kind) -> bool {
        self.objects.iter().any(|object| object.kind == kind)
    }

    /// The heaviest cover of any object.
    pub fn cover(&self) -> usize {
        self.objects.iter().map(|object| object.hidden).max().unwrap_or(0)
    }
}

/// The scenes of a seed.
pub struct Scenes {
    seed: u64,
    /// The other half of each kind's pair.
    partner: [Option<Kind>; KINDS],
}

/// A question of an examination: is this kind in the scene?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exam {
    /// The picture.
    pub scene: Scene,
    /// The asked kind.
    pub asked: Kind,
    /// For absent kinds: the cover of the scene's most covered object; for present ones the object's own.
    pub cover: usize,
}

impl Scenes {
    /// The scenes of `seed`.
    pub fn new(seed: u64) -> Self {
        let kinds = Dice::new(seed, 100, 0).shuffled(Kind::all().collect());
        let mut partner = [None; KINDS];
        for pair in kinds.chunks_exact(2).take(PAIRS) {
            if let &[a, b] = pair {
                for (from, to) in [(a, b), (b, a)] {
                    if let Some(slot) = partner.get_mut(from.index()) {
                        *slot = Some(to);
                    }
                }
            }
        }
        Self { seed, partner }
    }

    /// The other half of a frequent pair.
    pub fn partner(&self, kind: Kind) -> Option<Kind> {
        self.partner.get(kind.index()).copied().flatten()
    }

    /// Every frequent pair, once.
    pub fn pairs(&self) -> Vec<(Kind, Kind)> {
        Kind::all()
            .filter_map(|kind| self.partner(kind).map(|other| (kind, other)))
            .filter(|(a, b)| a < b)
            .collect()
    }

    /// Scene `index` of a split.
    pub fn draw(&self, split: Split, index: u64) -> Scene {
        self.draw_at_most(split, index, MOST)
    }

    /// Scene `index` of a split, with at most so many objects: what training begins with.
    pub fn draw_at_most(&self, split: Split, index: u64, most: usize) -> Scene {
        owned(self.seed, 10, split, index, |dice| {
            let kinds = self.kinds(dice, most);
            let scene = place(dice, kinds);
            let hash = scene.hash();
            (scene, hash)
        })
    }

    /// Kinds that meet as they do in the world.
    fn kinds(&self, dice: &mut Dice, most: usize) -> Vec<Kind> {
        let wanted = 1 + dice.below(most);
        let mut kinds: Vec<Kind> = Vec::new();
        while kinds.len() < wanted {
            let kind = Kind::new(dice.below(KINDS));
            let with = self.partner(kind).filter(|_| dice.chance(TOGETHER));
            for kind in [Some(kind), with].into_iter().flatten() {
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
        }
        kinds.truncate(most);
        kinds
    }

    /// A question whose answer is yes.
    pub fn present(&self, split: Split, index: u64) -> Exam {
        let scene = self.draw(split, index);
        let mut dice = Dice::new(self.seed, 110, index);
        let object = scene.objects.get(dice.below(scene.objects.len()));
        let (asked, cover) = object.map_or((Kind::default(), 0), |object| (object.kind, object.hidden));
        Exam { scene, asked, cover }
    }

    /// A question whose answer is no, about a kind that nothing in the scene suggests.
    pub fn absent(&self, split: Split, index: u64) -> Exam {
        let scene = self.draw(split, index);
        let asked = self.stranger(&scene, &mut Dice::new(self.seed, 111, index));
        Exam { cover: scene.cover(), scene, asked }
    }

    /// A pair of questions about one scene that shows half of a frequent pair without the other. The answer to both is
    /// no: the first asks for the missing half, the second for a kind that nothing suggests.
    pub fn broken(&self, split: Split, index: u64) -> [Exam; 2] {
        let pairs = self.pairs();
        let (scene, missing) = owned(self.seed, 12, split, index, |dice| {
            let (a, b) = pairs.get(dice.below(pairs.len())).copied().unwrap_or_default();
            let (half, missing) = if dice.chance(0.5) { (a, b) } else { (b, a) };
            let mut kinds = self.kinds(dice, MOST);
            kinds.retain(|&kind| kind != missing && kind != half);
            kinds.truncate(MOST - 1);
            kinds.push(half);
            let scene = place(dice, kinds);
            let hash = scene.hash();
            ((scene, missing), hash)
        });
        let stranger = self.stranger(&scene, &mut Dice::new(self.seed, 112, index));
        let exam = |asked| Exam { scene: scene.clone(), asked, cover: scene.cover() };
        [exam(missing), exam(stranger)]
    }

    /// A kind that is not there and whose other half is not there.
    fn stranger(&self, scene: &Scene, dice: &mut Dice) -> Kind {
        loop {
            let kind = Kind::new(dice.below(KINDS));
            let suggested = self.partner(kind).is_some_and(|other| scene.shows(other));
            if !scene.shows(kind) && !suggested {
                return kind;
            }
        }
    }
}

/// Kinds put into cells of their own.
fn place(dice: &mut Dice, kinds: Vec<Kind>) -> Scene {
    let mut cells = dice.shuffled((0..GRID * GRID).collect());
    cells.truncate(kinds.len());
    let mut objects: Vec<Object> = kinds
        .into_iter()
        .zip(cells)
        .map(|(kind, cell)| {
            let draw = dice.uniform();
            let [light, heavy] = HIDDEN;
            let hidden = if draw < heavy { 2 } else { usize::from(draw < heavy + light) };
            Object { kind, cell, large: dice.chance(0.5), hidden }
        })
        .collect();
    objects.sort_by_key(|object| object.cell);
    Scene { objects, grain: (dice.uniform() * (1u64 << 53) as f64) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_pair_meet_and_strangers_do_not() {
        let scenes = Scenes::new(1);
        assert_eq!(scenes.pairs().len(), PAIRS);
        let drawn: Vec<Scene> = (0..6000).map(|index| scenes.draw(Split::Train, index)).collect();
        let (mut with, mut all) = (0u32, 0u32);
        for (scene, (a, b)) in
            drawn.iter().flat_map(|scene| scenes.pairs().into_iter().map(move |p| (scene, p)))
        {
            if scene.shows(a) {
                all += 1;
                with += u32::from(scene.shows(b));
            }
        }
        let share = f64::from(with) / f64::from(all);
        assert!((0.8..0.97).contains(&share), "{share}");
        assert!(drawn.iter().all(|scene| (1..=MOST).contains(&scene.objects.len())));
    }

    #[test]
    fn exams_ask_what_they_say() {
        let scenes = Scenes::new(3);
        for index in 0..300 {
            let exam = scenes.present(Split::Test, index);
            assert!(exam.scene.shows(exam.asked));
            let exam = scenes.absent(Split::Test, index);
            assert!(!exam.scene.shows(exam.asked));
            assert!(scenes.partner(exam.asked).is_none_or(|other| !exam.scene.shows(other)));
            let [missing, stranger] = scenes.broken(Split::Test, index);
            assert!(!missing.scene.shows(missing.asked));
            assert!(missing.scene.shows(scenes.partner(missing.asked).unwrap()));
            assert!(scenes.partner(stranger.asked).is_none_or(|other| !stranger.scene.shows(other)));
            assert_eq!(Split::of(missing.scene.hash()), Split::Test);
        }
    }
}
