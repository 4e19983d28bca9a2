//! Opening a checkpoint, beside a plain loop that reads as many bytes.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, never, peak_since, reset_peak};
use sluice_core::{Error, Result};

use super::{Row, random_checkpoint};

const REPEATS: usize = 3;
/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// A gigabyte of bf16.
fn shape() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 8,
        "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32000,
        "max_position_embeddings": 2048, "hidden_act": "silu", "rms_norm_eps": 1e-5
    })
}

/// Measure.
pub fn run(checkpoint: Option<&Path>, folder: &Path) -> Result<Vec<Row>> {
    let path = match checkpoint {
        Some(path) => path,
        None => {
            random_checkpoint(folder, &shape())?;
            folder
        }
    };
    let files = weights(path)?;
    let (mut ours, mut plain, mut peak, mut held) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..REPEATS {
        let before = reset_peak();
        let begin = Instant::now();
        let opened = engine::open(&Checkpoint::open(path)?, &mut |_, _| {}, &never)?;
        ours.push(1e3 * begin.elapsed().as_secs_f64());
        peak = before.and_then(peak_since).unwrap_or(0).max(peak);
        held = opened.card.bytes_resident;
        drop(opened);
        reset_peak();
        let begin = Instant::now();
        let read = files.iter().map(|file| read(file)).collect::<std::io::Result<Vec<_>>>();
        let read = read.map_err(|error| Error::read(path, &error))?;
        plain.push(1e3 * begin.elapsed().as_secs_f64());
        drop(read);
    }
    ours.sort_by(f64::total_cmp);
    plain.sort_by(f64::total_cmp);
    let median = |sorted: &[f64]| sorted.get(REPEATS / 2).copied().unwrap_or(f64::NAN);
    let ratio = median(&ours) / median(&plain);
    let memory = peak as f64 / held.max(1) as f64;
    let bytes: u64 = files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    let what = format!("open {} MB", bytes / 1_000_000);
    let figures = vec![
        ("median", median(&ours)),
        ("a plain loop", median(&plain)),
        ("ratio", ratio),
        ("peak / weights", memory),
    ];
    let target = (
        "at most 1.2 of a plain loop, peak at most 1.1 of the weights".into(),
        ratio <= 1.2 && memory <= 1.1,
    );
    Ok(vec![Row { what, figures, unit: "ms", target: Some(target) }])
}

/// The safetensors files of a folder.
fn weights(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::read(folder, &error))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(files.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect())
}

/// The file's bytes, read into fresh memory by two threads.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let bytes = usize::try_from(path.metadata()?.len()).unwrap_or(0);
    let mut out = vec![0; bytes];
    let half = bytes.div_ceil(2).max(1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = out
            .chunks_mut(half)
            .enumerate()
            .map(|(number, out)| scope.spawn(move || part(path, number * half, out)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(std::io::Error::other("a thread died")))
        })
    })?;
    Ok(out)
}

fn part(path: &Path, from: usize, out: &mut [u8]) -> std::io::Result<()> {
    use std::io::Seek as _;
    let mut file = File::open(path)?;
    file.seek(std::io::SeekFrom::Start(from as u64))?;
    out.chunks_mut(PIECE).try_for_each(|out| file.read_exact(out))
}
