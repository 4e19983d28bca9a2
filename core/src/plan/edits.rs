//! Changes of a plan that a person makes at a time: take a sublayer out, paint the routing map, fill it from a preset, rule
//! about experts.

use serde::{Deserialize, Serialize};

use super::{Change, Experts, Item, Part, Plan, Route, Router, Skip, Sublayer};
use crate::rng;
use crate::spec::{Lane, LayerRoute, Positions};

/// Take a sublayer out, or put it back.
pub fn toggle(plan: &mut Plan, sublayer: Sublayer) {
    let out = plan.items.iter().any(|item| item.on && item.strength == 1.0 && skips(item, sublayer));
    plan.items.retain(|item| !skips(item, sublayer));
    if !out {
        plan.items.push(Change::Skip(Skip { sublayer, positions: Positions::All }).into());
    }
}

/// Index of the routing map that the brush paints: the last one that is on, or one that is to be switched on.
pub fn painted(items: &[Item]) -> Option<usize> {
    let is_route = |item: &Item| route_of(item).is_some();
    items.iter().rposition(|item| item.on && is_route(item)).or_else(|| items.iter().rposition(is_route))
}

/// Change the plan's routing map, and switch it on; an empty map leaves the plan.
pub fn reroute(plan: &mut Plan, change: impl FnOnce(&mut Route)) {
    let index = painted(&plan.items).unwrap_or_else(|| {
        plan.items.push(Change::Route(Route::default()).into());
        plan.items.len() - 1
    });
    let Some(item) = plan.items.get_mut(index) else { return };
    item.on = true;
    let Change::Route(route) = &mut item.change else { return };
    change(route);
    if route.layers.is_empty() && route.surrogate.is_default() {
        plan.items.remove(index);
    }
}

/// Let one learned router route, or none.
pub fn route_by(plan: &mut Plan, router: Option<&Router>) {
    plan.items.retain(|item| !matches!(item.change, Change::Router(_)));
    plan.items.extend(router.map(|router| Change::Router(router.clone()).into()));
}

/// The routing map of an item.
pub fn route_of(item: &Item) -> Option<&Route> {
    if let Change::Route(route) = &item.change { Some(route) } else { None }
}

/// Whether an item takes a sublayer out everywhere.
pub fn skips(item: &Item, sublayer: Sublayer) -> bool {
    matches!(&item.change, Change::Skip(skip) if skip.sublayer == sublayer && skip.positions == Positions::All)
}

/// The rule about a block's experts at some positions.
pub fn expert_rule<'a>(plan: &'a Plan, layer: usize, positions: &Positions) -> Option<&'a Experts> {
    plan.items.iter().find_map(|item| rule_of(item, layer, positions))
}

fn rule_of<'a>(item: &'a Item, layer: usize, positions: &Positions) -> Option<&'a Experts> {
    match &item.change {
        Change::Experts(rule) if rule.layer == Some(layer) && rule.positions == *positions => Some(rule),
        _ => None,
    }
}

/// Change the rule about a block's experts at some positions, and switch it on; an empty one leaves the plan.
pub fn rule_experts(plan: &mut Plan, layer: usize, positions: &Positions, change: impl FnOnce(&mut Experts)) {
    let known = plan.items.iter().position(|item| rule_of(item, layer, positions).is_some());
    let index = known.unwrap_or_else(|| {
        let rule = Experts { layer: Some(layer), positions: positions.clone(), ..Experts::default() };
        plan.items.push(Change::Experts(rule).into());
        plan.items.len() - 1
    });
    let Some(item) = plan.items.get_mut(index) else { return };
    item.on = true;
    let Change::Experts(rule) = &mut item.change else { return };
    change(rule);
    if rule.knock_out.is_empty() && rule.force.is_empty() && rule.k.is_none() {
        plan.items.remove(index);
    }
}

/// What a click on an expert does; a second click takes it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpertChange {
    /// It cannot be chosen.
    #[default]
    KnockOut,
    /// It is always chosen.
    Force,
}

impl ExpertChange {
    /// All of them, in the order shown.
    pub const ALL: [Self; 2] = [Self::KnockOut, Self::Force];

    /// Button text.
    pub fn name(self) -> &'static str {
        match self {
            Self::KnockOut => "knocks it out",
            Self::Force => "forces it",
        }
    }
}

/// Knock an expert out or force it, or take that back.
pub fn choose(rule: &mut Experts, expert: usize, change: ExpertChange) {
    let (list, other) = match change {
        ExpertChange::KnockOut => (&mut rule.knock_out, &mut rule.force),
        ExpertChange::Force => (&mut rule.force, &mut rule.knock_out),
    };
    other.retain(|&known| known != expert);
    match list.iter().position(|&known| known == expert) {
        Some(index) => drop(list.remove(index)),
        None => list.push(expert),
    }
    list.sort_unstable();
}

/// Items of one sort in one line, where each is a few words and a number: "take out FFN 2, 3 and attention 5".
pub fn together(items: &[Item]) -> Option<String> {
    let summaries: Vec<String> = items.iter().map(|item| item.change.summary()).collect();
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for summary in &summaries {
        let (words, number) = summary.rsplit_once(' ')?;
        number.parse::<usize>().ok()?;
        match groups.iter_mut().find(|(known, _)| *known == words) {
            Some((_, numbers)) => numbers.push(number),
            None => groups.push((words, vec![number])),
        }
    }
    // What all begin with is said once.
    let first = groups.first()?.0;
    let shared = |at: usize| groups.iter().all(|(words, _)| words.get(..at) == first.get(..at));
    let begin = first.match_indices(' ').map(|(at, _)| at + 1).rfind(|&at| shared(at)).unwrap_or(0);
    let said = groups.iter().enumerate().map(|(index, (words, numbers))| {
        let words = if index == 0 { words } else { words.get(begin..).unwrap_or_default() };
        format!("{words} {}", numbers.join(", "))
    });
    Some(said.collect::<Vec<_>>().join(" and "))
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
    /// Big with this chance in percent, by a seeded draw per layer and token.
    Chance(u8),
    /// So many layers big for every token, drawn with a seed (Duo-LLM, section 3.2.1).
    Exactly(usize),
    /// The same with a budget that falls along the prompt, from one and a half times as many to half as many (figure 4c: 6 to
    /// 2 of 12 beside a constant 4).
    Ramp(usize),
}

impl Preset {
    /// Presets without a number, in the order shown.
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
            Self::Chance(_) => "Random cells",
            Self::Exactly(_) => "Random layers",
            Self::Ramp(_) => "Falling budget",
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
            Self::Chance(percent) => {
                rng::uniform(2, layer as u64, position as u64) * 100.0 >= f64::from(percent)
            }
            Self::Exactly(budget) => !drawn(layer, position, layers, budget),
            Self::Ramp(budget) => !drawn(layer, position, layers, falling(budget, position, len)),
        };
        let lane = |small: bool| if small { Lane::Small } else { Lane::Big };
        for layer in 0..layers {
            let tokens = (0..len).map(|position| lane(small(layer, position))).collect();
            let next = lane(small(layer, len.saturating_sub(1)));
            route.set_layer(LayerRoute { layer, tokens, next });
        }
    }
}

/// Whether a layer is among the `budget` big ones of a token.
fn drawn(layer: usize, position: usize, layers: usize, budget: usize) -> bool {
    let lot = |layer: usize| (rng::bits(1, position as u64, layer as u64), layer);
    (0..layers).filter(|&other| lot(other) < lot(layer)).count() < budget
}

/// From 3/2 of `budget` at the first token to 1/2 of it at the last, to the nearest whole number.
fn falling(budget: usize, position: usize, len: usize) -> usize {
    let way = position as f64 / len.saturating_sub(1).max(1) as f64;
    (budget as f64 * (1.5 - way)).round().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removals_are_said_together() {
        let out = |part, layer| {
            Item::from(Change::Skip(Skip { sublayer: Sublayer { layer, part }, positions: Positions::All }))
        };
        let items = [out(Part::Ffn, 2), out(Part::Attn, 5), out(Part::Ffn, 3)];
        assert_eq!(together(&items).as_deref(), Some("take out FFN 2, 3 and attention 5"));
        assert_eq!(together(&items[..1]).as_deref(), Some("take out FFN 2"));
        let Change::Skip(mut some) = items[0].change.clone() else { panic!() };
        some.positions = Positions::At(vec![1]);
        let mixed = together(&[items[0].clone(), Change::Skip(some).into()]);
        assert_eq!(mixed.as_deref(), Some("take out FFN 2 and FFN 2 at 1"));
    }

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
    fn budgets_are_kept_token_by_token() {
        let big = |preset: Preset, position: usize| {
            let mut route = Route::default();
            preset.fill(&mut route, 12, 9);
            (0..12).filter(|&layer| route.lane(layer, position, 9) == Lane::Big).count()
        };
        assert!((0..9).all(|position| big(Preset::Exactly(4), position) == 4));
        let ramp: Vec<usize> = (0..9).map(|position| big(Preset::Ramp(4), position)).collect();
        assert_eq!((ramp[0], ramp[4], ramp[8]), (6, 4, 2));
        assert!(ramp.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn a_sublayer_whose_removal_is_off_is_taken_out() {
        let (mut plan, sublayer) = (Plan::default(), Sublayer { layer: 2, part: Part::Ffn });
        toggle(&mut plan, sublayer);
        plan.items[0].on = false;
        toggle(&mut plan, sublayer);
        assert!(plan.items.len() == 1 && plan.items[0].on);
    }

    #[test]
    fn the_brush_paints_the_map_that_counts() {
        let mut plan = Plan::default();
        for layer in [0, 1] {
            let mut route = Route::default();
            route.set(layer, Some(0), Lane::Small);
            plan.items.push(Change::Route(route).into());
        }
        plan.items[1].on = false;
        assert_eq!(painted(&plan.items), Some(0));
        plan.items[0].on = false;
        reroute(&mut plan, |route| route.set(3, Some(0), Lane::SkipFfn));
        assert!(plan.items[1].on && !plan.items[0].on);
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
