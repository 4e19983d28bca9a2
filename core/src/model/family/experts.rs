//! What families with experts read alike.

use super::super::fields::{Fields, MAX_EXPERTS};
use crate::error::Result;
use crate::spec::*;

/// How many experts there are and how many a token goes through; `count` and `chosen` are the names of the fields, with
/// what their config class says.
pub(super) fn counts(
    fields: &Fields,
    (count, class_count): (&'static str, usize),
    (chosen, class_chosen): (&'static str, usize),
) -> Result<(usize, usize)> {
    let experts = fields.count_up_to_or(count, MAX_EXPERTS, class_count)?;
    let top_k = fields.count_up_to_or(chosen, MAX_EXPERTS, class_chosen)?;
    if top_k > experts {
        return Err(fields.bad(chosen, format!("there are {experts} experts")));
    }
    Ok((experts, top_k))
}

/// Experts scored by a softmax over all of them, without shared ones.
pub(super) fn plain((count, top_k): (usize, usize), renormalise: bool) -> ExpertsSpec {
    ExpertsSpec {
        count,
        top_k,
        score: Score::Softmax,
        renormalise,
        scale: 1.0,
        router_bias: false,
        correction: false,
        groups: (1, 1),
        shared: None,
        clamp: None,
    }
}
