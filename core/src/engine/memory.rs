//! What a run will allocate, said before it does.

use crate::error::{Error, Result};
use crate::model::{KvCache, Spec};

/// Estimate of a run's memory, bytes.
#[derive(Clone, Debug)]
pub struct RunSize<'a> {
    spec: &'a Spec,
    tokens: u64,
    bytes: u64,
}

impl<'a> RunSize<'a> {
    /// A pass over `tokens` rows with last-row logits: activations of the widest layer, attention scores of one
    /// layer, keys and values.
    pub fn new(spec: &'a Spec, tokens: usize) -> Self {
        // Longer prompts are refused by the pass; the estimate must not overflow on the way there.
        let tokens = tokens.min(spec.context);
        let rows = tokens as u64;
        let widest = spec.layers.iter().map(|layer| {
            let ffn = 4 * layer.ffn.d_mlp as u64;
            let attn = 4 * (layer.attn.heads * layer.attn.d_head) as u64;
            // Scores, mask sum, shifted exponentials and pattern live at the same time.
            let scores = 4 * layer.attn.heads as u64 * rows;
            ffn.max(attn + scores)
        });
        let per_row = widest.max().unwrap_or(0) + 6 * spec.d_model as u64;
        let bytes = 4 * rows * per_row + KvCache::bytes(spec, tokens) + 4 * spec.vocab as u64;
        Self { spec, tokens: rows, bytes }
    }

    /// Keep the stream at every sublayer boundary.
    pub fn with_boundaries(mut self) -> Self {
        self.bytes += 4 * self.tokens * self.spec.d_model as u64 * (2 * self.spec.n_layers() as u64 + 1);
        self
    }

    /// Logits at every row, with one copy.
    pub fn with_all_logits(mut self) -> Self {
        self.bytes += 8 * self.tokens * self.spec.vocab as u64;
        self
    }

    /// A cache of `capacity` positions instead of the prompt's.
    pub fn with_cache(mut self, capacity: usize) -> Self {
        self.bytes += KvCache::bytes(self.spec, capacity);
        self
    }

    /// Values kept beside, in elements.
    pub fn with_elements(mut self, elements: u64) -> Self {
        self.bytes += 4 * elements;
        self
    }

    /// The estimate.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Refuse, with the numbers, where the estimate is over what the system has available.
    pub fn check(&self) -> Result<()> {
        check(&format!("a run of {} tokens", self.tokens), self.bytes)
    }
}

/// Refuse `what` where `bytes` are not available.
pub fn check(what: &str, bytes: u64) -> Result<()> {
    match available_bytes() {
        Some(have) if bytes > have => {
            Err(Error::Memory { what: what.into(), need_mib: bytes >> 20, have_mib: have >> 20 })
        }
        _ => Ok(()),
    }
}

/// Memory that can be used without swapping; `None` where the system does not say (other than Linux).
pub fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
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
        libc::mallopt(libc::M_TOP_PAD, 16 << 20);
        // One arena: the worker's blocks are then reused whatever thread frees them.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
