//! What stands beside the oracle on a prompt: the checkpoint's own routers, and coins of every budget.

use serde::Serialize;

use super::oracle;
use super::routes::scored;
use crate::engine::{Cancelled, Engine};
use crate::error::{Error, Result};
use crate::model::{Ask, Input, Logits, fused};
use crate::plan::{Change, Lane, LayerRoute, Plan, Route, Router};
use crate::rng;

/// A router on a prompt.
#[derive(Clone, Debug, Serialize)]
pub struct Routed {
    /// Its name: lanes and budgets.
    pub name: String,
    /// Big layers of a token in the mean.
    pub big: f64,
    /// Nats per token.
    pub loss: f64,
}

/// Routers and coins.
#[derive(Clone, Debug, Default)]
pub struct Rivals {
    /// The checkpoint's own routers among the lanes.
    pub routers: Vec<Routed>,
    /// By number of big layers, 0 first; nats per token.
    pub coins: Vec<f64>,
}

/// Run them on a prompt, under a plan whose own routing they replace. `lanes`: the big one last.
pub fn rivals(
    engine: &mut Engine,
    plan: &Plan,
    tokens: &Input,
    lanes: &[Lane],
    cancelled: Cancelled,
) -> Result<Rivals> {
    let layers = engine.model.spec.n_layers();
    let mut found = Rivals::default();
    let names: Vec<String> = engine
        .model
        .spec
        .routers
        .iter()
        .filter(|router| router.lanes.iter().all(|lane| lanes.contains(lane)))
        .map(|router| router.name.clone())
        .collect();
    for name in names {
        let change = Change::Router(Router { name: name.clone(), file: None });
        let (loss, big) = under(engine, plan, change, tokens, cancelled)?;
        found.routers.push(Routed { name, big, loss });
    }
    let Some(&first) = lanes.first() else { return Ok(found) };
    for budget in 0..=layers {
        let mut route = Route { surrogate: plan.surrogate(), ..Route::default() };
        for layer in 0..layers {
            let big = |position: usize| {
                rng::uniform(31 + budget as u64, layer as u64, position as u64) * (layers as f64)
                    < budget as f64
            };
            let lane = |position| if big(position) { Lane::Big } else { first };
            route.set_layer(LayerRoute {
                layer,
                tokens: (0..tokens.len()).map(lane).collect(),
                next: Lane::Big,
            });
        }
        found.coins.push(under(engine, plan, Change::Route(route), tokens, cancelled)?.0);
    }
    Ok(found)
}

/// Nats per scored token, and big layers of a token in the mean where a router chose.
fn under(
    engine: &mut Engine,
    plan: &Plan,
    routing: Change,
    tokens: &Input,
    cancelled: Cancelled,
) -> Result<(f64, f64)> {
    let mut plan = plan.clone();
    plan.items.retain(|item| !matches!(item.change, Change::Route(_) | Change::Router(_)));
    plan.items.push(routing.into());
    let schedule = engine.schedule(&plan, tokens, cancelled)?;
    let ask = Ask { logits: Logits::All, ..Ask::default() };
    let (output, _) = engine.pass(tokens, &schedule, ask, cancelled)?;
    let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
    let next: Vec<u32> = tokens.iter().skip(1).copied().collect();
    let losses: Vec<f32> = fused::surprisal(&logits.narrow(0, 0, next.len())?, &next)?.to_vec1()?;
    let own: Vec<f32> = scored(tokens).iter().filter_map(|&position| losses.get(position).copied()).collect();
    let big = output.lanes.values().flatten().filter(|lane| **lane == Lane::Big).count();
    Ok((oracle::average(&own), big as f64 / tokens.len().max(1) as f64))
}
