//! Rotary fields of config.json: 4.x (`rope_theta`, `rope_scaling`) and 5.x (`rope_parameters`) forms.

use super::super::fields::Fields;
use super::super::{RopeScaling, RopeSpec};
use crate::error::{Error, Result};

/// The rotary spec of a config with one kind of layer.
///
/// `partial` and `theta` are the config class's defaults, `trained` is `max_position_embeddings`.
pub(crate) fn read(
    fields: &Fields,
    d_head: usize,
    partial: f64,
    theta: f64,
    trained: usize,
) -> Result<RopeSpec> {
    let top_theta = fields.positive("rope_theta")?;
    let top_partial = fields.positive("partial_rotary_factor")?;
    // 4.x writes the original context beside the scaling, and it wins over one inside.
    let original = fields.count_opt("original_max_position_embeddings")?;
    let old = fields.object("rope_scaling")?;
    let new = fields.object("rope_parameters")?;
    let Some(scaling) = new.or(old) else {
        let dims = rotary_dims(d_head, top_partial.unwrap_or(partial))?;
        return Ok(RopeSpec { dims, theta: top_theta.unwrap_or(theta), scaling: RopeScaling::None });
    };
    let defaults = Defaults {
        partial: top_partial.unwrap_or(partial),
        theta: top_theta.unwrap_or(theta),
        trained,
        original,
    };
    parse(&scaling, d_head, &defaults)
}

/// Values that hold where a rope object leaves them out.
pub(crate) struct Defaults {
    /// Share of each head that is rotated.
    pub partial: f64,
    /// Base.
    pub theta: f64,
    /// `max_position_embeddings`.
    pub trained: usize,
    /// Top-level `original_max_position_embeddings`; wins over one inside.
    pub original: Option<usize>,
}

/// A rope object: `rope_scaling`, `rope_parameters`, or one layer type's part of the latter.
pub(crate) fn parse(rope: &Fields, d_head: usize, defaults: &Defaults) -> Result<RopeSpec> {
    let theta = rope.positive_or("rope_theta", defaults.theta)?;
    let dims = rotary_dims(d_head, rope.positive_or("partial_rotary_factor", defaults.partial)?)?;
    let kind = match rope.text("rope_type")? {
        Some(kind) => kind,
        None => rope.text("type")?.unwrap_or("default"),
    };
    let inner = rope.count_opt("original_max_position_embeddings")?;
    let original = defaults.original.or(inner).unwrap_or(defaults.trained);
    let scaling = match kind {
        "default" | "mrope" if rope.get("mrope_section").is_some() => {
            return Err(rope.bad("mrope_section", "multimodal rotary positions are not supported"));
        }
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: rope.positive_required("factor")? },
        "dynamic" => RopeScaling::Dynamic {
            factor: rope.positive_required("factor")?,
            // Transformers ignores an inner original context here.
            original: defaults.trained,
        },
        "llama3" => {
            let (low, high) =
                (rope.positive_required("low_freq_factor")?, rope.positive_required("high_freq_factor")?);
            if high <= low {
                return Err(rope.bad("high_freq_factor", format!("must be above low_freq_factor = {low}")));
            }
            RopeScaling::Llama3 { factor: rope.positive_required("factor")?, low, high, original }
        }
        "yarn" => yarn(rope, defaults.trained, original)?,
        // `su` is the first name of longrope.
        "longrope" | "su" => long_rope(rope, dims, defaults.trained, original)?,
        _ => {
            let name = if rope.get("rope_type").is_some() { "rope_type" } else { "type" };
            return Err(rope.bad(name, "supported: default, linear, dynamic, llama3, yarn, longrope"));
        }
    };
    Ok(RopeSpec { dims, theta, scaling })
}

fn rotary_dims(d_head: usize, partial: f64) -> Result<usize> {
    let dims = (d_head as f64 * partial) as usize;
    if dims == 0 || dims > d_head || !dims.is_multiple_of(2) {
        return Err(Error::config(
            "partial_rotary_factor",
            partial,
            format!("rotates {dims} of {d_head} dimensions; must be an even number of them"),
        ));
    }
    Ok(dims)
}

fn yarn(rope: &Fields, trained: usize, original: usize) -> Result<RopeScaling> {
    let factor = rope.positive("factor")?.unwrap_or(trained as f64 / original as f64);
    // Peng et al. 2023, section 3.4: sqrt(1/t) = 0.1 ln(s) + 1.
    let m = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
    let attention_factor =
        match (rope.positive("attention_factor")?, rope.float("mscale")?, rope.float("mscale_all_dim")?) {
            (Some(given), _, _) => given,
            (None, Some(some), Some(all)) if some != 0.0 && all != 0.0 => m(some) / m(all),
            _ => m(1.0),
        };
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: rope.positive_or("beta_fast", 32.0)?,
        beta_slow: rope.positive_or("beta_slow", 1.0)?,
        original,
        truncate: rope.flag_or("truncate", true)?,
        attention_factor,
    })
}

fn long_rope(rope: &Fields, dims: usize, trained: usize, original: usize) -> Result<RopeScaling> {
    let factors = |name: &str| {
        let list = rope.floats(name)?.ok_or_else(|| rope.bad(name, "is required"))?;
        if list.len() == dims / 2 {
            Ok(list)
        } else {
            Err(rope.bad(name, format!("must hold {} numbers, holds {}", dims / 2, list.len())))
        }
    };
    let factor = rope.positive("factor")?.unwrap_or(trained as f64 / original as f64);
    let attention_factor = match rope.positive("attention_factor")? {
        Some(given) => given,
        None if factor <= 1.0 => 1.0,
        None => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
    };
    Ok(RopeScaling::LongRope {
        short: factors("short_factor")?,
        long: factors("long_factor")?,
        original,
        attention_factor,
    })
}
