//! What a run will allocate, said before it does.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::limits;
use crate::error::{Error, Load, Result};
use crate::model::KvCache;
use crate::spec::{Spec, VisionSpec};

/// Estimate of a run's memory, bytes.
#[derive(Clone, Debug)]
pub struct RunSize<'a> {
    spec: &'a Spec,
    tokens: u64,
    bytes: u64,
}

impl<'a> RunSize<'a> {
    /// A pass over `tokens` rows with last-row logits: what is alive in the widest sublayer, keys and values.
    pub fn new(spec: &'a Spec, tokens: usize) -> Self {
        // Longer prompts are refused by the pass; the estimate must not overflow on the way there.
        let tokens = tokens.min(spec.context);
        let rows = tokens as u64;
        let widest = spec.layers.iter().map(|layer| {
            let (attn, d_model) = (&layer.attn, spec.d_model);
            let (heads, kv_heads) = (attn.heads * attn.d_head, attn.kv_heads * attn.d_head);
            // Queries, keys and values; then what they are copied into, or what comes out of them.
            let attention = heads + 2 * kv_heads + heads.max(2 * kv_heads);
            // What experts put out waits until all of them are done.
            let outputs = layer.experts.map_or(0, |experts| 2 * experts.top_k * d_model);
            let ffn = layer.ffn_width() + outputs;
            // The stream, what is read of it, and what is added to it.
            (3 * d_model + attention.max(ffn)) as u64
        });
        let bytes = product(&[4, rows, widest.max().unwrap_or(0)])
            .saturating_add(KvCache::bytes(spec, tokens))
            .saturating_add(product(&[4, spec.vocab as u64]));
        Self { spec, tokens: rows, bytes }
    }

    /// The logits of `rows` rows of a kept run, and a copy of them.
    pub fn logits(spec: &'a Spec, rows: usize) -> Self {
        let rows = rows.min(spec.context) as u64;
        Self { spec, tokens: rows, bytes: product(&[12, rows, spec.d_model as u64]) }.with_all_logits()
    }

    /// Keep the stream at every sublayer boundary, as far as the budget goes.
    pub fn with_boundaries(self) -> Self {
        let stride = stride(self.spec, self.tokens as usize);
        self.keeping(stride)
    }

    /// Keep every `stride`-th boundary and the last.
    pub(super) fn keeping(self, stride: usize) -> Self {
        let kept = (2 * self.spec.n_layers()).div_ceil(stride.max(1)) + 1;
        self.with_streams(kept)
    }

    /// Keep the stream so many times.
    pub(super) fn with_streams(self, count: usize) -> Self {
        let factors = [4, self.tokens, self.spec.d_model as u64, count as u64];
        self.add(&factors)
    }

    /// Logits at every row, with one copy.
    pub fn with_all_logits(self) -> Self {
        let factors = [8, self.tokens, self.spec.vocab as u64];
        self.add(&factors)
    }

    /// A cache of `capacity` positions instead of the prompt's.
    pub fn with_cache(self, capacity: usize) -> Self {
        let bytes = KvCache::bytes(self.spec, capacity);
        self.add(&[bytes])
    }

    /// Values kept beside, in elements.
    pub fn with_elements(self, elements: u64) -> Self {
        self.add(&[4, elements])
    }

    fn add(mut self, factors: &[u64]) -> Self {
        self.bytes = self.bytes.saturating_add(product(factors));
        self
    }

    /// Write values to a file when the pass is over: they, their bytes and the file's stand side by side.
    pub fn with_written(mut self, elements: u64) -> Self {
        self.bytes = self.bytes.max(product(&[12, elements]));
        self
    }

    /// The estimate.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Refuse, with the numbers, where the estimate is over what the system has available.
    ///
    /// # Errors
    /// [`Error::Memory`], with both figures.
    pub fn check(&self) -> Result<()> {
        check(Load::Run(self.tokens), self.bytes)
    }
}

/// Estimate of what reading a picture takes, bytes: the rows of the tower's widest sublayer, with scores and pattern of all
/// heads, or the projector's.
pub fn picture_bytes(spec: &VisionSpec) -> u64 {
    let (rows, width, pixels) = (spec.rows() as u64, spec.width as u64, spec.image_size as u64);
    let (heads, d_mlp, d_model) = (spec.heads as u64, spec.d_mlp as u64, spec.d_model as u64);
    let sum = |parts: &[u64]| parts.iter().fold(0, |all: u64, &part| all.saturating_add(part));
    // The stream, what is read of it, and queries, keys and values, whose heads are put side by side.
    let attention = sum(&[product(&[8, rows, width]), product(&[2, heads, rows, rows])]);
    let ffn = sum(&[product(&[3, rows, width]), product(&[2, rows, d_mlp])]);
    let projector = sum(&[product(&[2, rows, width]), product(&[3, rows, d_model])]);
    let image = product(&[3, 3, pixels, pixels]);
    sum(&[attention.max(ffn).max(projector), image]).saturating_mul(4).saturating_add(product(&[16, rows]))
}

/// A product; [`u64::MAX`] stands for more.
fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |all, &factor| all.saturating_mul(factor))
}

/// Of how many boundaries a run of `tokens` tokens keeps one, so that it fits into the budget; 1 = all are kept.
pub fn stride(spec: &Spec, tokens: usize) -> usize {
    let budget = budget();
    let run = RunSize::new(spec, tokens);
    // A piece between two that is computed again is kept as well while it is looked at.
    let bytes = |stride: usize| {
        let again = if stride > 1 { stride } else { 0 };
        run.clone().keeping(stride).with_streams(again).bytes()
    };
    // Whole blocks: what goes on between the sublayers of a block is not in the stream alone.
    let all = 2 * spec.n_layers();
    let strides = || std::iter::once(1).chain((2..=all).step_by(2));
    let fits = strides().find(|&stride| bytes(stride) <= budget);
    fits.or_else(|| strides().min_by_key(|&stride| (bytes(stride), Reverse(stride)))).unwrap_or(1)
}

/// Refuse what needs `bytes` where they are not available.
pub fn check(load: impl Into<Load>, bytes: u64) -> Result<()> {
    match available_bytes() {
        Some(have) if bytes > have => {
            Err(Error::Memory { load: load.into(), need_mib: bytes >> 20, have_mib: have >> 20 })
        }
        _ => Ok(()),
    }
}

/// Bytes that a run may take; 0 = a quarter of what the process could have.
static BUDGET: AtomicU64 = AtomicU64::new(0);

/// Let runs take `bytes` each; past that they keep fewer boundaries and compute again what lies between.
pub fn set_budget(bytes: u64) {
    BUDGET.store(bytes, Ordering::Relaxed);
}

/// What a run may take, bytes: a quarter of what this process could have, unless it was set.
pub fn budget() -> u64 {
    match BUDGET.load(Ordering::Relaxed) {
        0 => limits::memory(Path::new("/")).map_or(u64::MAX, |memory| memory.all / 4),
        set => set,
    }
}

/// Memory that can be used without swapping, and without going past what a control group or the process may have; `None`
/// where the system does not say (other than Linux).
pub fn available_bytes() -> Option<u64> {
    limits::memory(Path::new("/")).map(|memory| memory.free)
}

/// Forget the most memory that this process has had, and give freed blocks back to the system. Returns what it has now,
/// bytes; `None` where the system cannot (other than Linux).
pub fn reset_peak() -> Option<u64> {
    give_back();
    // 5: reset the peak of resident memory (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    status("VmRSS:")
}

/// The most memory above `before` that this process has had since [`reset_peak`], bytes.
pub fn peak_since(before: u64) -> Option<u64> {
    Some(status("VmHWM:")?.saturating_sub(before))
}

fn status(field: &str) -> Option<u64> {
    limits::kib(&std::fs::read_to_string("/proc/self/status").ok()?, field)
}

fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(
        unsafe_code,
        reason = "malloc_trim has no safe form; it only releases free memory of the allocator"
    )]
    // SAFETY: callable at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Let the process keep freed blocks of up to 32 MiB for its next tensors. By default glibc maps and unmaps each one,
/// and the kernel clears every page again: a third of the time of a training step. Call once, before any tensor.
pub fn keep_freed_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "mallopt has no safe form; it only sets numbers of the allocator")]
    // SAFETY: called before other threads allocate; every argument is in the documented range.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 512 << 20);
        // Little more than asked for: what is kept for later would be cleared before it is handed out as zeros.
        libc::mallopt(libc::M_TOP_PAD, 128 << 10);
        // One arena: the worker's blocks are then reused whatever thread frees them.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
