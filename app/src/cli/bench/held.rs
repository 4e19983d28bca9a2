//! Weights as the file has them beside the same weights held as f32: what decoding takes, and the memory.

use std::path::Path;

use sluice_core::Result;
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, Engine, Opened, never, peak_since, reset_peak};

use super::engine::{LEN, NEW, decode, gpt2, paired, spread};
use super::{Row, random_checkpoint};

const REPEATS: usize = 5;

/// Measure a checkpoint, or GPT-2 small's shape in bf16.
pub fn run(checkpoint: Option<&Path>, folder: &Path) -> Result<Vec<Row>> {
    let path = match checkpoint {
        Some(path) => path,
        None => {
            random_checkpoint(folder, &gpt2(12))?;
            folder
        }
    };
    let (held, bytes) = opened(Checkpoint::open(path)?)?;
    let (wide, wide_bytes) = opened(Checkpoint::open(path)?.widened())?;
    let (time, ratio) = paired(REPEATS, || decode(&wide), || decode(&held))?;
    let mut figures = spread(time);
    figures.push(("of the same as f32", ratio));
    let decoded = Row {
        what: format!("decode {NEW} tokens after {LEN}, held as in the file"),
        figures,
        unit: "ms",
        target: Some(("at most 0.65 of the same as f32".into(), ratio <= 0.65)),
    };
    let share = bytes / wide_bytes;
    let figures = vec![("held", bytes), ("as f32", wide_bytes), ("ratio", share)];
    let target = Some(("at most 0.55 of the same as f32".into(), share <= 0.55));
    Ok(vec![decoded, Row { what: "memory of the weights".into(), figures, unit: "MiB", target }])
}

/// An engine, and what memory it takes once it is there, MiB; NaN where the system does not say.
fn opened(checkpoint: Checkpoint) -> Result<(Engine, f64)> {
    let before = reset_peak();
    let Opened { engine, .. } = engine::open(&checkpoint, &mut |_, _| {}, &never)?;
    // What opening took and gave back does not count.
    reset_peak();
    let taken = before.and_then(peak_since).map_or(f64::NAN, |bytes| bytes as f64 / f64::from(1 << 20));
    Ok((engine, taken))
}
