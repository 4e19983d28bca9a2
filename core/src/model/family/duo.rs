//! What this repository's trainer adds to a Llama config, under `sluice`: small FFNs beside the big ones, and learned
//! routers between them (Duo-LLM, arXiv 2410.10846). Other readers see the all-big model.

use super::super::fields::Fields;
use crate::error::Result;
use crate::spec::*;

/// Most routers: each has a matrix in every block.
const MAX_ROUTERS: usize = 32;

/// Add them to `spec`.
pub(super) fn read(fields: &Fields, spec: &mut Spec) -> Result<()> {
    let Some(ours) = fields.object("sluice")? else { return Ok(()) };
    if let Some(d_mlp) = ours.count_opt("small_intermediate_size")? {
        for layer in &mut spec.layers {
            layer.small = Some(FfnSpec { d_mlp, ..layer.ffn });
        }
    }
    let names = ours.texts("routers")?.unwrap_or_default();
    if names.len() > MAX_ROUTERS {
        return Err(ours.bad("routers", format!("names more than {MAX_ROUTERS}")));
    }
    for name in names {
        let known = spec.routers.iter().any(|router| router.name == name);
        match router(name).filter(|_| !known && spec.is_duo()) {
            Some(router) => spec.routers.push(router),
            None => return Err(ours.bad("routers", format!("\"{name}\" is not a router's name"))),
        }
    }
    Ok(())
}

/// A router by its name: the lanes with their budgets in percent, `big50_small50` or `big30_small50_skip20`.
pub fn router(name: &str) -> Option<RouterSpec> {
    let (mut lanes, mut budget) = (Vec::new(), Vec::new());
    for part in name.split('_') {
        let digits = part.find(|c: char| c.is_ascii_digit())?;
        let (lane, percent) = part.split_at_checked(digits)?;
        let lane = match lane {
            "big" => Lane::Big,
            "small" => Lane::Small,
            "skip" => Lane::SkipFfn,
            _ => return None,
        };
        if lanes.contains(&lane) {
            return None;
        }
        lanes.push(lane);
        budget.push(percent.parse::<u8>().ok().filter(|&percent| percent <= 100)?);
    }
    let whole = budget.iter().map(|&part| u32::from(part)).sum::<u32>() == 100;
    let budget = budget.iter().map(|&percent| f32::from(percent) / 100.0).collect();
    (whole && lanes.len() > 1).then(|| RouterSpec { name: name.into(), lanes, budget })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_lanes_and_budgets() {
        let spec = router("big30_small50_skip20").unwrap();
        assert_eq!(spec.lanes, [Lane::Big, Lane::Small, Lane::SkipFfn]);
        assert_eq!(spec.budget, [0.3, 0.5, 0.2]);
        for name in
            ["", "big100", "big50_big50", "big60_small50", "big_small", "huge50_small50", "big50_small-5"]
        {
            assert!(router(name).is_none(), "{name}");
        }
    }
}
