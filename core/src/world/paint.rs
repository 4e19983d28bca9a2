//! A scene as pixels: shapes on a grey ground with a gradient, bars in front of some of them, specks that mean nothing,
//! and noise.

use image::{Rgb, RgbImage};

use super::Dice;
use super::scene::{GRID, Object, Scene};
use crate::rng;

/// Side of a picture in pixels.
pub const SIDE: usize = 48;
/// Side of a patch of the model that reads them.
pub const PATCH: usize = 8;
/// Side of a cell.
const CELL: f32 = (SIDE / GRID) as f32;
/// Standard deviation of the noise, in steps of 255.
const NOISE: f32 = 9.0;
/// Samples along a side of a pixel: edges are smooth.
const SAMPLES: usize = 2;

/// A picture with what its patches show.
pub struct Painted {
    /// [`SIDE`] x [`SIDE`].
    pub image: RgbImage,
    /// Per patch, row by row: the index into the scene's objects of what fills most of it, at least an eighth.
    pub patches: Vec<Option<usize>>,
}

/// An object on the canvas.
struct Figure {
    object: Object,
    centre: [f32; 2],
    radius: f32,
    colour: [f32; 3],
    /// Rectangle in front of it: left, top, right, bottom.
    bar: Option<[f32; 4]>,
    bar_grey: f32,
}

/// Paint a scene.
pub fn paint(scene: &Scene) -> Painted {
    let mut dice = Dice::new(scene.grain, 20, 0);
    let figures: Vec<Figure> = scene.objects.iter().map(|&object| figure(object, &mut dice)).collect();
    let ground = 40.0 + 60.0 * dice.uniform() as f32;
    let slope = [dice.uniform() as f32 - 0.5, dice.uniform() as f32 - 0.5];
    let specks: Vec<([f32; 2], f32)> = (0..dice.below(6))
        .map(|_| {
            let at = [SIDE as f32 * dice.uniform() as f32, SIDE as f32 * dice.uniform() as f32];
            (at, 30.0 + 150.0 * dice.uniform() as f32)
        })
        .collect();
    let side = SIDE / PATCH;
    let mut shares = vec![vec![0usize; figures.len()]; side * side];
    let mut image = RgbImage::new(SIDE as u32, SIDE as u32);
    for (index, pixel) in image.pixels_mut().enumerate() {
        let (row, col) = (index / SIDE, index % SIDE);
        let mut sum = [0.0f32; 3];
        for sample in 0..SAMPLES * SAMPLES {
            let offset = |part: usize| (part as f32 + 0.5) / SAMPLES as f32;
            let at = [col as f32 + offset(sample % SAMPLES), row as f32 + offset(sample / SAMPLES)];
            let grey = ground + 40.0 * (slope[0] * at[0] + slope[1] * at[1]) / SIDE as f32;
            let mut colour = [grey; 3];
            for (speck, shade) in &specks {
                if (speck[0] - at[0]).abs().max((speck[1] - at[1]).abs()) < 1.0 {
                    colour = [*shade; 3];
                }
            }
            for (number, figure) in figures.iter().enumerate() {
                if figure.bar.is_some_and(|bar| inside(bar, at)) {
                    colour = [figure.bar_grey; 3];
                } else if figure.covers(at) {
                    colour = figure.colour;
                    let patch = (row / PATCH) * side + col / PATCH;
                    if let Some(share) = shares.get_mut(patch).and_then(|shares| shares.get_mut(number)) {
                        *share += 1;
                    }
                }
            }
            for (sum, part) in sum.iter_mut().zip(colour) {
                *sum += part / (SAMPLES * SAMPLES) as f32;
            }
        }
        let noisy = |channel: usize, value: f32| {
            let noise = rng::normal(scene.grain, 21, (3 * index + channel) as u64);
            (value + NOISE * noise).round().clamp(0.0, 255.0) as u8
        };
        *pixel = Rgb([noisy(0, sum[0]), noisy(1, sum[1]), noisy(2, sum[2])]);
    }
    let least = SAMPLES * SAMPLES * PATCH * PATCH / 8;
    let most = |shares: &Vec<usize>| {
        let (number, &share) = shares.iter().enumerate().max_by_key(|(_, share)| **share)?;
        (share >= least).then_some(number)
    };
    Painted { image, patches: shares.iter().map(most).collect() }
}

fn figure(object: Object, dice: &mut Dice) -> Figure {
    let radius = if object.large { 7.2 } else { 5.6 };
    let room = CELL / 2.0 - radius + 0.6;
    let mut along = |cell: usize| (cell as f32 + 0.5) * CELL + room * (2.0 * dice.uniform() as f32 - 1.0);
    let centre = [along(object.cell % GRID), along(object.cell / GRID)];
    let light = 0.78 + 0.27 * dice.uniform() as f32;
    let colour = object.kind.paint().map(|part| (f32::from(part) * light).min(255.0));
    let share = [0.0, 0.35, 0.65].get(object.hidden).copied().unwrap_or(0.0);
    let [x, y] = centre;
    let (full, part) = (radius + 0.5, 2.0 * radius * share);
    let bar = match dice.below(4) {
        0 => [x - full, y - full, x - radius + part, y + full],
        1 => [x + radius - part, y - full, x + full, y + full],
        2 => [x - full, y - full, x + full, y - radius + part],
        _ => [x - full, y + radius - part, x + full, y + full],
    };
    let bar_grey = 20.0 + 120.0 * dice.uniform() as f32;
    Figure { object, centre, radius, colour, bar: (object.hidden > 0).then_some(bar), bar_grey }
}

fn inside([left, top, right, bottom]: [f32; 4], [x, y]: [f32; 2]) -> bool {
    (left..right).contains(&x) && (top..bottom).contains(&y)
}

impl Figure {
    /// Whether the shape fills this point.
    fn covers(&self, at: [f32; 2]) -> bool {
        let [x, y] = [(at[0] - self.centre[0]) / self.radius, (at[1] - self.centre[1]) / self.radius];
        let distance = x.hypot(y);
        match self.object.kind.shape() {
            0 => distance < 1.0,
            1 => x.abs().max(y.abs()) < 0.88,
            // The base is at the bottom.
            2 => y < 0.8 && y > -1.0 && x.abs() < (y + 1.0) * 0.56,
            3 => x.abs().min(y.abs()) < 0.32 && x.abs().max(y.abs()) < 1.0,
            _ => distance < 1.0 && distance > 0.52,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Split, World};
    use super::*;

    #[test]
    fn every_object_that_nothing_hides_fills_a_patch() {
        let world = World::new(1);
        for index in 0..200 {
            let scene = world.scene(Split::Train, index);
            let painted = paint(&scene);
            assert_eq!(painted.patches.len(), 36);
            for (number, object) in scene.objects.iter().enumerate() {
                assert!(object.hidden > 0 || painted.patches.contains(&Some(number)), "{scene:?}");
            }
        }
    }
}
