//! Attention pattern of a head, or the mean over heads: destination rows, source columns.

use std::sync::Arc;

use super::activations::side_name;
use super::{Runs, Side, map};
use crate::engine::{Cancelled, Engine};
use crate::error::{Error, Result};
use crate::figure::{Figure, FigureId, Plot, Scale};
use crate::site::{Hook, Site};

/// The pattern of a head, or of their mean.
const ATTENTION: FigureId = FigureId("attention");

pub(super) fn compute(
    engine: &Engine,
    runs: &Runs,
    layer: usize,
    head: Option<usize>,
    side: Side,
    cancelled: Cancelled,
) -> Result<Arc<Figure>> {
    let site = Site::block(layer, Hook::Pattern);
    let captures = engine.replay(runs.side(side), layer, [site].into(), cancelled)?;
    let pattern = captures.get(&site).ok_or_else(|| Error::Internal(format!("{site} was not kept")))?;
    let (values, which) = match head {
        Some(head) if head < pattern.dim(0)? => (pattern.get(head)?, format!("head {head}")),
        Some(head) => return Err(Error::Input(format!("layer {layer} has no head {head}"))),
        None => (pattern.mean(0)?, "mean over heads".into()),
    };
    let values: Vec<f32> = values.flatten_all()?.to_vec1()?;
    let labels = runs.labels();
    let mut map =
        map("Destination", Arc::clone(&labels), labels, values, Scale::Attention, "attention weight");
    map.cols.name = "Source".into();
    let head = head.map_or_else(|| "mean".to_owned(), |head| format!("head-{head}"));
    let detail = format!("layer-{layer} {head} {}", super::side_slug(side));
    let title = format!("Attention, layer {layer}, {which}");
    Ok(runs.figure(ATTENTION, &detail, title, Plot::Map(map), vec![side_name(side).into()]))
}
