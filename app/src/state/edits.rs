//! Changes of a plan that panels make: take a sublayer out, paint the routing map, fill it from a preset.

use sluice_core::plan::{Change, Item, Lane, Part, Plan, Positions, Route, Skip, Sublayer};
use sluice_core::rng;

/// Take a sublayer out, or put it back.
pub fn toggle(plan: &mut Plan, sublayer: Sublayer) {
    let before = plan.items.len();
    plan.items.retain(|item| !skips(item, sublayer));
    if plan.items.len() == before {
        plan.items.push(Change::Skip(Skip { sublayer, positions: Positions::All }).into());
    }
}

/// Change the plan's routing map; an empty map leaves the plan.
pub fn reroute(plan: &mut Plan, change: impl FnOnce(&mut Route)) {
    let index = plan.items.iter().position(|item| route_of(item).is_some());
    let index = index.unwrap_or_else(|| {
        plan.items.push(Change::Route(Route::default()).into());
        plan.items.len() - 1
    });
    let Some(Change::Route(route)) = plan.items.get_mut(index).map(|item| &mut item.change) else { return };
    change(route);
    if route.layers.is_empty() {
        plan.items.remove(index);
    }
}

/// The routing map of an item.
pub fn route_of(item: &Item) -> Option<&Route> {
    if let Change::Route(route) = &item.change { Some(route) } else { None }
}

/// Whether an item takes a sublayer out everywhere.
pub fn skips(item: &Item, sublayer: Sublayer) -> bool {
    matches!(&item.change, Change::Skip(skip) if skip.sublayer == sublayer && skip.positions == Positions::All)
}

/// Both sublayers of a layer.
pub const PARTS: [Part; 2] = [Part::Attn, Part::Ffn];

/// Fillings of the whole routing map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The unmodified model.
    AllBig,
    /// Every token through the small FFNs.
    AllSmall,
    /// Small in the first half of the layers.
    EarlySmall,
    /// Small in the second half of the layers.
    LateSmall,
    /// Big for the last prompt token only.
    LastBig,
    /// Big or small by a seeded coin per layer and token, as a Duo model is trained (Duo-LLM, section 2).
    Coin,
}

impl Preset {
    /// In the order shown.
    pub const ALL: [Self; 6] =
        [Self::AllBig, Self::AllSmall, Self::EarlySmall, Self::LateSmall, Self::LastBig, Self::Coin];

    /// Button text.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllBig => "All big",
            Self::AllSmall => "All small",
            Self::EarlySmall => "Early small",
            Self::LateSmall => "Late small",
            Self::LastBig => "Last big",
            Self::Coin => "Coin toss",
        }
    }

    /// Fill the map of `layers` layers and `len` prompt tokens; the `next` column follows the last token.
    pub fn fill(self, route: &mut Route, layers: usize, len: usize) {
        let small = |layer: usize, position: usize| match self {
            Self::AllBig => false,
            Self::AllSmall => true,
            Self::EarlySmall => layer < layers / 2,
            Self::LateSmall => layer >= layers / 2,
            Self::LastBig => position + 1 < len,
            Self::Coin => rng::bits(0, layer as u64, position as u64) >> 63 == 1,
        };
        let lane = |small: bool| if small { Lane::Small } else { Lane::Big };
        for layer in 0..layers {
            for position in 0..len {
                route.set(layer, Some(position), lane(small(layer, position)));
            }
            route.set(layer, None, lane(small(layer, len.saturating_sub(1))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_fill_every_cell() {
        let count = |preset: Preset| {
            let mut route = Route::default();
            preset.fill(&mut route, 4, 6);
            (0..4)
                .flat_map(|l| (0..6).map(move |p| (l, p)))
                .filter(|&(l, p)| route.lane(l, p, 6) == Lane::Small)
                .count()
        };
        assert_eq!(Preset::ALL.map(count)[..5], [0, 24, 12, 12, 20]);
        assert!((1..24).contains(&count(Preset::Coin)));
    }

    #[test]
    fn an_emptied_map_leaves_the_plan() {
        let mut plan = Plan::default();
        reroute(&mut plan, |route| route.set(1, Some(2), Lane::Small));
        assert_eq!(plan.items.len(), 1);
        reroute(&mut plan, |route| route.set(1, Some(2), Lane::Big));
        assert!(plan.items.is_empty());
    }
}
