//! What is explained.

/// A page of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Help {
    /// A step of the tour, from 0.
    Tour(usize),
    /// Every method with its paper.
    Methods,
    /// The glossary.
    Words,
    /// The keys.
    Keys,
}
