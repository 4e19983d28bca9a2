//! The matrix product under every pass, by rows: beside gemm, beside a sweep of the matrix's bytes, and by width of vectors.

use sluice_core::Result;
use sluice_core::model::fused;

use super::Row;

/// Inputs and outputs: an attention projection and an FFN's two matrices of GPT-2 small.
const SHAPES: [(usize, usize); 3] = [(768, 768), (768, 3072), (3072, 768)];
const ROWS: [usize; 6] = [1, 8, 32, 128, 512, 1024];
/// How long each is repeated.
const SECONDS: f64 = 0.6;

/// Measure.
pub fn run() -> Result<Vec<Row>> {
    let shapes = SHAPES.into_iter().flat_map(|shape| ROWS.map(|rows| (shape, rows)));
    shapes.map(|((inputs, outputs), rows)| one(rows, inputs, outputs)).collect()
}

fn one(rows: usize, inputs: usize, outputs: usize) -> Result<Row> {
    let taken = fused::product(rows, inputs, outputs, SECONDS)?;
    let rate = |seconds: f64| 2e-9 * (rows * inputs * outputs) as f64 / seconds;
    let figures = vec![
        ("all cores", rate(taken.ours)),
        ("held as bf16", rate(taken.half)),
        ("of gemm's time", taken.ours / taken.gemm),
        ("of a sweep's time", taken.ours / taken.sweep),
        ("one core, 8 lanes", rate(taken.narrow)),
        ("16 lanes", rate(taken.wide)),
    ];
    Ok(Row { what: format!("{rows} x {inputs} x {outputs}"), figures, unit: "GFLOP/s", target: None })
}
