//! Rules about which experts a token goes through.

use super::Rows;
use crate::error::{Error, Result};

/// A rule about the experts of a block.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Positions.
    pub(crate) rows: Rows,
    /// How far the gate weights go from what they were.
    pub strength: f32,
    /// Cannot be chosen.
    pub knock_out: Vec<usize>,
    /// Always chosen.
    pub force: Vec<usize>,
    /// Experts per token.
    pub k: Option<usize>,
}

/// What several rules together say about the experts of one token; of two that disagree the later one counts.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Experts per token.
    pub k: usize,
    /// Who cannot be chosen.
    pub out: Vec<bool>,
    /// Who is always chosen.
    pub forced: Vec<bool>,
}

impl Rules {
    /// No rules, for `count` experts of which a token takes `top_k`.
    pub fn new(count: usize, top_k: usize) -> Self {
        Self { k: top_k, out: vec![false; count], forced: vec![false; count] }
    }

    /// Add a rule.
    pub fn add(&mut self, knock_out: &[usize], force: &[usize], k: Option<usize>) {
        self.k = k.unwrap_or(self.k);
        for (experts, out) in [(knock_out, true), (force, false)] {
            for &expert in experts {
                if let (Some(is_out), Some(forced)) = (self.out.get_mut(expert), self.forced.get_mut(expert))
                {
                    (*is_out, *forced) = (out, !out);
                }
            }
        }
    }

    /// Refuse what no choice can keep.
    pub fn check(&self, layer: usize) -> Result<()> {
        let (k, count) = (self.k, self.out.len());
        let of = |marks: &[bool]| marks.iter().filter(|mark| **mark).count();
        let (out, forced) = (of(&self.out), of(&self.forced));
        let refuse = |cause: String| Err(Error::Plan(cause));
        if k == 0 || k > count {
            return refuse(format!("k is {k}, block {layer} has {count} experts"));
        }
        if forced > k {
            return refuse(format!(
                "{forced} experts of block {layer} are forced where a token goes through {k}"
            ));
        }
        if count - out < k {
            return refuse(format!(
                "{out} of {count} experts knocked out leave fewer than the {k} of a token in block {layer}"
            ));
        }
        Ok(())
    }
}
