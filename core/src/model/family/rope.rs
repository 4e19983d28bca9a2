//! Rotary fields of config.json: 4.x (`rope_theta`, `rope_scaling`) and 5.x (`rope_parameters`) forms.

use std::sync::Arc;

use super::super::fields::Fields;
use crate::error::{Error, Result};
use crate::spec::*;

/// What holds where a rope object is silent: top-level fields, or the config class.
#[derive(Clone, Copy)]
pub(crate) struct Defaults {
    /// Share of each head that is rotated.
    pub partial: Option<f64>,
    /// Base.
    pub theta: f64,
    /// `max_position_embeddings`.
    pub trained: usize,
    /// Top-level `original_max_position_embeddings`; wins over one inside.
    pub original: Option<usize>,
    /// Whether the class can rotate a part of each head.
    pub splits: bool,
    /// Whether that part may be odd: the class cuts heads where its angles end, one dimension on.
    pub odd: bool,
    /// Whether the object is one layer type's part of a larger one.
    pub nested: bool,
    /// Whether longrope is all the class knows (Phi-3, where an early name of it was `yarn`).
    pub long_only: bool,
}

impl Defaults {
    /// Top-level fields. `partial` is the class's share, `None` where the class rotates whole heads; `theta` its base.
    pub(crate) fn read(fields: &Fields, partial: Option<f64>, theta: f64, trained: usize) -> Result<Self> {
        Ok(Self {
            partial: share(fields, "partial_rotary_factor")?.or(partial),
            theta: fields.positive_or("rope_theta", theta)?,
            trained,
            original: fields.count_opt("original_max_position_embeddings")?,
            splits: partial.is_some(),
            odd: false,
            nested: false,
            long_only: false,
        })
    }
}

/// A share of each head; 0 rotates nothing.
pub(crate) fn share(fields: &Fields, name: &str) -> Result<Option<f64>> {
    match fields.float(name)? {
        Some(share) if share < 0.0 => Err(fields.bad(name, "must not be negative")),
        share => Ok(share),
    }
}

/// The rotary spec of a config with one kind of layer.
pub(crate) fn read(fields: &Fields, d_head: usize, defaults: &Defaults) -> Result<RopeSpec> {
    // Transformers too lets the older object win where both are written.
    let old = fields.object("rope_scaling")?.filter(|old| !old.is_empty());
    let new = fields.object("rope_parameters")?;
    match old.or(new) {
        Some(rope) => parse(&rope, d_head, defaults),
        None => plain(d_head, defaults),
    }
}

/// Rotary positions without an object.
fn plain(d_head: usize, defaults: &Defaults) -> Result<RopeSpec> {
    let partial = defaults.partial.filter(|_| defaults.splits).unwrap_or(1.0);
    let dims = rotary_dims(d_head, partial, defaults)?;
    Ok(RopeSpec { dims, theta: defaults.theta, scaling: RopeScaling::None })
}

/// A rope object: `rope_scaling`, `rope_parameters`, or one layer type's part of the latter.
pub(crate) fn parse(rope: &Fields, d_head: usize, defaults: &Defaults) -> Result<RopeSpec> {
    let partial = share(rope, "partial_rotary_factor")?.or(defaults.partial);
    let defaults = &Defaults { theta: rope.positive_or("rope_theta", defaults.theta)?, partial, ..*defaults };
    let kind = match rope.text("rope_type")? {
        Some(kind) => kind,
        None => rope.text("type")?.unwrap_or("default"),
    };
    let kind = match kind {
        // `su` is the first name of longrope.
        "su" => "longrope",
        "yarn" if defaults.long_only => "longrope",
        kind => kind,
    };
    let inner = rope.count_opt("original_max_position_embeddings")?;
    let original = defaults.original.or(inner).unwrap_or(defaults.trained);
    let dims = rotary_dims(d_head, partial.unwrap_or(1.0), defaults);
    // A class that rotates whole heads reads the share in the scaled types only, and fails on a part.
    let dims = match kind {
        "default" if !defaults.splits => rotary_dims(d_head, 1.0, defaults)?,
        _ => dims?,
    };
    if !defaults.splits && dims != d_head {
        return Err(rope.bad("partial_rotary_factor", "this family rotates whole heads"));
    }
    let name = if rope.get("rope_type").is_some() { "rope_type" } else { "type" };
    let scaling = match kind {
        "linear" | "dynamic" | "llama3" if defaults.long_only => {
            return Err(rope.bad(name, "supported by this family: default, longrope"));
        }
        "default" | "mrope" if rope.get("mrope_section").is_some() => {
            return Err(rope.bad("mrope_section", "multimodal rotary positions are not supported"));
        }
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: rope.positive_required("factor")? },
        "dynamic" if dims == 2 => {
            return Err(rope.bad(name, "has no frequencies to change in 2 rotated dimensions"));
        }
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
        // Transformers has one step of its ramp for two dimensions, which fits one step or an even number of dimensions.
        "yarn" if dims % 2 == 1 && dims != 3 => {
            return Err(rope.bad(name, format!("has no ramp over {dims} rotated dimensions")));
        }
        "yarn" => yarn(rope, defaults, original)?,
        "longrope" => long_rope(rope, dims, defaults.trained, original)?,
        _ => return Err(rope.bad(name, "supported: default, linear, dynamic, llama3, yarn, longrope")),
    };
    Ok(RopeSpec { dims, theta: defaults.theta, scaling })
}

/// Dimensions of each head that a share of it is; none where it is too small for one.
fn rotary_dims(d_head: usize, partial: f64, defaults: &Defaults) -> Result<usize> {
    let dims = (d_head as f64 * partial) as usize;
    let fits = if dims.is_multiple_of(2) { dims <= d_head } else { defaults.odd && dims < d_head };
    if fits {
        return Ok(dims);
    }
    if dims == d_head {
        return Err(Error::config("head_dim", d_head, "is odd; rotary positions turn pairs of dimensions"));
    }
    let cause = format!("rotates {dims} of {d_head} dimensions; must be an even number of them");
    Err(Error::config("partial_rotary_factor", partial, cause))
}

/// `factor`, which may be written as null: then the ratio of the contexts.
fn ratio(rope: &Fields, trained: usize, original: usize) -> Result<f64> {
    Ok(rope.positive("factor")?.unwrap_or(trained as f64 / original as f64))
}

fn yarn(rope: &Fields, defaults: &Defaults, original: usize) -> Result<RopeScaling> {
    if !rope.has("factor") {
        return Err(rope.bad("factor", "is required"));
    }
    let factor = ratio(rope, defaults.trained, original)?;
    // Peng et al. 2023, section 3.4: sqrt(1/t) = 0.1 ln(s) + 1.
    let m = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
    let attention_factor =
        match (rope.positive("attention_factor")?, rope.float("mscale")?, rope.float("mscale_all_dim")?) {
            (Some(given), _, _) => given,
            (None, Some(some), Some(all)) if some != 0.0 && all != 0.0 => m(some) / m(all),
            _ => m(1.0),
        };
    // Transformers looks for this one beside the layer types, where nobody writes it.
    let truncate = rope.flag_or("truncate", true)? || defaults.nested;
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: rope.positive_or("beta_fast", 32.0)?,
        beta_slow: rope.positive_or("beta_slow", 1.0)?,
        original,
        truncate,
        attention_factor,
    })
}

fn long_rope(rope: &Fields, dims: usize, trained: usize, original: usize) -> Result<RopeScaling> {
    let factors = |name: &str| {
        let list = rope.floats(name)?.ok_or_else(|| rope.bad(name, "is required by longrope"))?;
        match (list.as_slice(), dims) {
            // Of two frequencies, which both have the only number.
            (&[one], 3) => Ok([one; 2].into()),
            (list, dims) if dims % 2 == 0 && list.len() == dims / 2 => Ok(Arc::from(list)),
            (list, dims) => {
                let cause = format!(
                    "must hold {} numbers for {dims} rotated dimensions, holds {}",
                    dims / 2,
                    list.len()
                );
                Err(rope.bad(name, cause))
            }
        }
    };
    let factor = ratio(rope, trained, original)?;
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
