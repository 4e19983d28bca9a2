//! Which cells of a trace can change the answer at all: what was corrupted reaches the cell, and the cell reaches the
//! prompt's last token, whose prediction is followed.

use super::Component;
use crate::spec::{Residual, Spec};

/// Whether restoring a component of layer l at token t can move the answer, `[L * T]`, by the architecture alone: a model is
/// causal, a window of attention is as long as it is, and the last block's output is read at the last token only. The other
/// cells hold the corrupted run's answer whatever is restored there.
pub(super) fn can_change(spec: &Spec, component: Component, corrupt: &[usize], len: usize) -> Vec<bool> {
    let block = |layer: &crate::spec::LayerSpec| Block {
        window: layer.attn.window.unwrap_or(usize::MAX).max(1),
        own_only: component == Component::Ffn && layer.residual == Residual::Parallel,
    };
    cells(&spec.layers.iter().map(block).collect::<Vec<_>>(), corrupt, len)
}

/// What counts of a block.
#[derive(Clone, Copy)]
struct Block {
    /// Positions that a query sees, its own with them.
    window: usize,
    /// What is restored does not read this block's attention.
    own_only: bool,
}

fn cells(blocks: &[Block], corrupt: &[usize], len: usize) -> Vec<bool> {
    // Streams that differ from the clean run.
    let mut differs: Vec<bool> = (0..len).map(|position| corrupt.contains(&position)).collect();
    let mut cells = Vec::with_capacity(blocks.len());
    for block in blocks {
        let before = differs.clone();
        let mut last = None;
        for (position, differs) in differs.iter_mut().enumerate() {
            last = if *differs { Some(position) } else { last };
            *differs = last.is_some_and(|last| position - last < block.window);
        }
        cells.push(if block.own_only { before } else { differs.clone() });
    }
    // Streams that the answer depends on.
    let mut read: Vec<bool> = (0..len).map(|position| position + 1 == len).collect();
    for (cells, block) in cells.iter_mut().zip(blocks).rev() {
        cells.iter_mut().zip(&read).for_each(|(cell, read)| *cell = *cell && *read);
        let mut next = None;
        for (position, read) in read.iter_mut().enumerate().rev() {
            next = if *read { Some(position) } else { next };
            *read = next.is_some_and(|next| next - position < block.window);
        }
    }
    cells.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(blocks: &[(usize, bool)], corrupt: &[usize], len: usize) -> Vec<String> {
        let blocks: Vec<Block> =
            blocks.iter().map(|&(window, own_only)| Block { window, own_only }).collect();
        let mark = |can: &bool| if *can { '#' } else { '.' };
        cells(&blocks, corrupt, len).chunks(len).map(|row| row.iter().map(mark).collect()).collect()
    }

    const WHOLE: (usize, bool) = (usize::MAX, false);

    #[test]
    fn from_the_first_corrupted_token_on_and_in_the_last_block_at_the_last_token() {
        assert_eq!(rows(&[WHOLE; 3], &[2, 3], 5), ["..###", "..###", "....#"]);
        assert_eq!(rows(&[WHOLE], &[0], 3), ["..#"]);
    }

    #[test]
    fn windows_bound_what_is_reached_and_read() {
        // Two tokens: one step to the right in each block, and one to the left of what is read.
        assert_eq!(rows(&[(2, false); 3], &[1], 6), ["......"; 3]);
        assert_eq!(rows(&[(2, false); 3], &[2], 6), ["...#..", "....#.", ".....#"]);
        assert_eq!(rows(&[(2, false), WHOLE], &[1], 5), [".##..", "....#"]);
    }

    #[test]
    fn an_ffn_beside_its_attention_does_not_read_it() {
        assert_eq!(rows(&[(usize::MAX, true); 2], &[1], 4), [".#..", "...#"]);
    }
}
