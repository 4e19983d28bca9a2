//! How the time of a trace grows with the prompt and with the depth, on GPT-2 small's width.

use std::path::Path;
use std::time::Instant;

use sluice_core::Result;
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, Opened, never};

use super::engine::{gpt2, grid_of, tokens};
use super::{Row, random_checkpoint};

const LENGTHS: [usize; 6] = [8, 16, 32, 64, 128, 256];
const DEPTHS: [usize; 4] = [4, 8, 12, 24];
/// What is not varied.
const LENGTH: usize = 32;
const DEPTH: usize = 12;

/// Measure.
pub fn run(folder: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for depth in DEPTHS {
        let own = folder.join(depth.to_string());
        random_checkpoint(&own, &gpt2(depth))?;
        let Opened { mut engine, .. } = engine::open(&Checkpoint::open(&own)?, &mut |_, _| {}, &never)?;
        let lengths = if depth == DEPTH { &LENGTHS[..] } else { &[LENGTH][..] };
        for &length in lengths {
            let tokens = tokens(&engine, length);
            let begin = Instant::now();
            let found = grid_of(&mut engine, &tokens)?;
            let seconds = begin.elapsed().as_secs_f64();
            let flops = found.flops.iter().sum::<u64>() as f64;
            let cells = (depth * length) as f64;
            let figures = vec![
                ("s", seconds),
                ("ms a cell", 1e3 * seconds / cells),
                ("share of the rows", found.rows_computed as f64 / found.rows_full as f64),
                ("GFLOP/s", flops / seconds / 1e9),
            ];
            rows.push(Row {
                what: format!("residual trace {depth} x {length}"),
                figures,
                unit: "",
                target: None,
            });
        }
    }
    Ok(rows)
}
