//! The tree of routes: every leaf is the whole pass of its route.

use std::collections::BTreeMap;

use sluice_core::engine::{Engine, never};
use sluice_core::method::oracle::table::LossTable;
use sluice_core::method::oracle::{
    BeamRun, Controls, EveryFound, GreedyRun, Lanes, OracleAsk, OracleData, OracleRun, RouteTree, RoutesAsk,
    RoutesRun, labels,
};
use sluice_core::method::{self, Case};
use sluice_core::metric;
use sluice_core::model::Input;
use sluice_core::plan::{Change, Item, Lane, LayerRoute, Plan, Route};

use crate::support::{golden, logits, open};

const MODELS: &[&str] =
    &["gpt2", "llama", "gpt_neox", "gemma2", "opt-post-norm", "stablelm-parallel", "bundled"];

fn prompt() -> Vec<u32> {
    vec![3, 14, 15, 92, 65, 35, 8, 9, 7]
}

/// A route as a plan's map, on top of other items.
fn routed(table: &LossTable, pattern: usize, len: usize, mut items: Vec<Item>) -> Plan {
    let layers = (0..table.layers).map(|layer| {
        let lane = table.lane(pattern, layer);
        LayerRoute { layer, tokens: vec![lane; len], next: lane }
    });
    items.push(Change::Route(Route { layers: layers.collect(), ..Route::default() }).into());
    Plan { items, ..Plan::default() }
}

fn folder(model: &str) -> std::path::PathBuf {
    // The fixture beside the golden values of the bundled checkpoint is the checkpoint itself.
    if model == "bundled" { golden().join("../../../assets/bundled") } else { golden().join(model) }
}

/// Every route of a prompt.
fn every_route(engine: &mut Engine, plan: &Plan, tokens: &Input, lanes: Lanes) -> EveryFound {
    let mut case = Case::new(engine, tokens.clone());
    case.plan = plan.clone();
    let ask = OracleAsk { lanes: Some(lanes), ..OracleAsk::default() };
    let mut run = OracleRun::new(case, ask).unwrap();
    method::finish(&mut run, engine, &never).unwrap();
    match run.findings().data {
        OracleData::Every(found) => *found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_leaf_is_the_whole_pass_of_its_route() {
    let both = [Lane::SkipFfn, Lane::Small, Lane::Big];
    let scale = r#"{"kind":"scale","site":"blocks.1.hook_attn_out","factor":0.5}"#;
    let items: Vec<Item> = vec![serde_json::from_str(scale).unwrap()];
    for model in MODELS {
        let engine = &mut open(&folder(model));
        let lanes: &[Lane] = if *model == "bundled" { &both[1..] } else { &both };
        let tokens: Input = prompt().into();
        let plan = Plan { items: items.clone(), ..Plan::default() };
        let mut tree = RouteTree::new(engine, &plan, &tokens, lanes, Controls::PROMPT, &never).unwrap();
        assert_eq!(tree.scored(), (0..tokens.len() - 1).collect::<Vec<_>>());
        let targets = tree.targets().clone();
        let mut leaves = BTreeMap::new();
        while !tree.is_done() {
            for leaf in tree.step(engine).unwrap() {
                assert!(leaves.insert(leaf.pattern, leaf).is_none(), "{model}: a route came twice");
            }
        }
        let layers = engine.model.spec.n_layers();
        assert_eq!(leaves.len(), lanes.len().pow(layers as u32), "{model}");
        let table = LossTable::empty(lanes, layers, 0);
        let vocab = engine.model.spec.vocab;
        for (pattern, leaf) in leaves.iter().step_by(1 + 255 * usize::from(*model == "bundled") / 7) {
            let plan = routed(&table, *pattern, tokens.len(), items.clone());
            let rows = logits(engine, &tokens, &plan);
            let rows: Vec<&[f32]> = rows.chunks(vocab).collect();
            let labels = [
                (&leaf.of.next, &targets.next),
                (&leaf.of.wrong, &targets.wrong),
                (&leaf.of.drawn, &targets.drawn),
            ];
            for (losses, targets) in labels {
                assert_eq!(losses.len(), tokens.len() - 1);
                for (position, loss) in losses.iter().enumerate() {
                    let exact = metric::surprisal(rows[position], targets[position]);
                    let error = (loss - exact).abs();
                    assert!(error < 2e-6 * (1.0 + exact.abs()), "{model}: {}", table.spell(*pattern));
                }
            }
        }
        assert_eq!(targets.next[..tokens.len() - 1], tokens[1..]);
    }
}

/// Drawn labels come from the prediction with every FFN big, whatever the text says.
#[test]
fn drawn_labels_are_of_the_models_own_prediction() {
    let engine = &mut open(&golden().join("llama"));
    let tokens: Input = prompt().into();
    let lanes = [Lane::Small, Lane::Big];
    let plan = Plan::default();
    let mut drawn = |sequence| {
        let controls = Controls::With { wrong: None, sequence };
        let tree = RouteTree::new(engine, &plan, &tokens, &lanes, controls, &never).unwrap();
        tree.targets().drawn.clone()
    };
    let (first, second) = (drawn(0), drawn(1));
    assert!(first == drawn(0) && first != second, "another sequence has other draws");
    let rows = logits(engine, &tokens, &plan);
    let vocab = engine.model.spec.vocab;
    for (position, row) in rows.chunks(vocab).take(tokens.len() - 1).enumerate() {
        assert_eq!(first[position], labels::drawn_target(row, 0, position as u64));
    }
}

#[test]
fn the_oracle_is_the_least_of_its_routes_and_costs_a_part_of_them() {
    let engine = &mut open(&folder("bundled"));
    let ids: Vec<u32> = (0..64).map(|i| 3 + (i * 37) % 1000).collect();
    let found = every_route(engine, &Plan::default(), &ids.into(), Lanes::Small);
    let table = found.table.unwrap();
    assert_eq!((found.patterns, found.tokens.len()), (256, 63));
    assert!(found.flops_layers_full >= 4 * found.flops_layers);
    for token in &found.tokens {
        assert!(token.loss <= token.all_big && token.loss <= token.all_first);
        assert_eq!(token.best.len(), 8);
    }
    let budgets: Vec<usize> = table.by_budget.iter().map(|budget| budget.patterns).collect();
    assert_eq!(budgets, [1, 8, 28, 56, 70, 56, 28, 8, 1]);
    let least = table.by_budget.iter().map(|budget| budget.oracle.mean).fold(f64::INFINITY, f64::min);
    assert!(table.oracle.mean <= least && least <= table.all_big.mean);
}

#[test]
fn the_plans_own_routes_are_replaced_whole() {
    let engine = &mut open(&golden().join("llama"));
    let skip = r#"{"kind":"route","layers":[{"layer":0,"tokens":["skip_layer","skip_layer","skip_layer"]}]}"#;
    let routed = Plan { items: vec![serde_json::from_str(skip).unwrap()], ..Plan::default() };
    let mut all_big =
        |plan: &Plan| every_route(engine, plan, &prompt().into(), Lanes::Skip).table.unwrap().all_big.mean;
    assert_eq!(all_big(&routed), all_big(&Plan::default()));
}

#[test]
fn patches_of_a_picture_are_not_scored() {
    let engine = &mut open(&golden().join("llava"));
    let side = engine.model.spec.vision.as_ref().unwrap().image_size;
    let pixels =
        candle_core::Tensor::zeros((1, 3, side, side), candle_core::DType::F32, &candle_core::Device::Cpu);
    let image = engine.see(&pixels.unwrap()).unwrap();
    let tokens = engine.about(image, &[5, 6, 7]).unwrap();
    let found = every_route(engine, &Plan::default(), &tokens, Lanes::Skip);
    let before_words =
        found.tokens.iter().all(|token| Some(tokens[token.position + 1]) != tokens.image().map(|i| i.token));
    assert!(before_words && (2..=3).contains(&found.tokens.len()), "{}", found.tokens.len());
}

#[test]
fn too_many_routes_and_too_short_a_prompt_are_refused() {
    let engine = &mut open(&golden().join("llama"));
    let lanes = [Lane::Small, Lane::Big];
    let mut refuse = |lanes: &[Lane], ids: &[u32]| {
        let tree = RouteTree::new(engine, &Plan::default(), &ids.into(), lanes, Controls::PROMPT, &never);
        assert!(tree.is_err());
    };
    refuse(&lanes, &[1]);
    refuse(&[], &[1, 2]);
    refuse(&vec![Lane::Big; 2000], &[1, 2, 3]);
}

/// Against whole passes: every route of every token, with the routes of the tokens before it painted.
#[test]
fn the_greedy_oracle_keeps_what_it_chose() {
    for (model, budget) in [("llama", None), ("gpt_neox", Some(1)), ("gemma2", None)] {
        let engine = &mut open(&golden().join(model));
        let tokens: Input = prompt().into();
        let lanes = [Lane::SkipFfn, Lane::Small, Lane::Big];
        let mut run = GreedyRun::new(engine, &Plan::default(), &tokens, &lanes, budget, &never).unwrap();
        while !run.is_done() {
            run.step(engine).unwrap();
        }
        let table = run.table().clone();
        let vocab = engine.model.spec.vocab;
        let mut kept: Vec<usize> = Vec::new();
        for position in 0..tokens.len() - 1 {
            let mut found = Vec::new();
            for pattern in (0..9).filter(|&p| budget.is_none_or(|budget| table.big(p) == budget)) {
                let routes: Vec<usize> = kept.iter().copied().chain([pattern]).collect();
                let layers = (0..2).map(|layer| {
                    let tokens = routes.iter().map(|&route| table.lane(route, layer)).collect();
                    LayerRoute { layer, tokens, next: Lane::Big }
                });
                let route = Route { layers: layers.collect(), ..Route::default() };
                let plan = Plan { items: vec![Change::Route(route).into()], ..Plan::default() };
                let rows = logits(engine, &tokens, &plan);
                let row = &rows[position * vocab..(position + 1) * vocab];
                found.push((pattern, metric::surprisal(row, tokens[position + 1])));
            }
            let &(chosen, loss) = run.chosen.get(position).unwrap();
            let own = found.iter().find(|(pattern, _)| *pattern == chosen).unwrap().1;
            assert!((own - loss).abs() < 2e-6 * (1.0 + loss.abs()), "{model} {position}: {own} {loss}");
            assert!(found.iter().all(|(_, other)| *other >= loss - 1e-5), "{model} {position}");
            kept.push(chosen);
        }
    }
}

#[test]
fn a_beam_finds_routes_whose_losses_are_exact_and_no_better_than_all() {
    let engine = &mut open(&folder("bundled"));
    let tokens: Input = prompt().into();
    let lanes = [Lane::Small, Lane::Big];
    let plan = Plan::default();
    let all = every_route(engine, &plan, &tokens, Lanes::Small);
    let best = all.table.unwrap().oracle.mean;
    let mut oracles = Vec::new();
    for width in [1, 4, 256] {
        let mut run = BeamRun::new(engine, &plan, &tokens, &lanes, (width, 4096), &never).unwrap();
        while !run.is_done() {
            run.step(engine, &never).unwrap();
        }
        let found = run.findings();
        assert!(found.tried <= 256 && found.oracle >= best - 1e-9, "{width}");
        for ((pattern, loss), token) in run.least().into_iter().zip(&all.tokens) {
            assert!(loss >= token.loss - 2e-6 * (1.0 + loss), "{width}");
            let painted = logits(engine, &tokens, &routed(run.table(), pattern, tokens.len(), Vec::new()));
            let vocab = engine.model.spec.vocab;
            let row = &painted[token.position * vocab..(token.position + 1) * vocab];
            let exact = metric::surprisal(row, tokens[token.position + 1]);
            assert!((exact - loss).abs() < 2e-6 * (1.0 + exact.abs()), "{width}");
        }
        oracles.push(found.oracle);
    }
    assert!(oracles[2] <= oracles[0] + 1e-9 && oracles[1] <= oracles[0] + 1e-9, "{oracles:?}");
    assert!((oracles[2] - best).abs() < 1e-6, "a beam as wide as all routes finds the best");
}

#[test]
fn coins_of_the_whole_budget_are_all_big() {
    let engine = &mut open(&folder("bundled"));
    let tokens: Input = prompt().into();
    let found = every_route(engine, &Plan::default(), &tokens, Lanes::Small);
    let table = found.table.unwrap();
    assert_eq!(found.coins.len(), 9);
    assert!((found.coins[8] - table.all_big.mean).abs() < 1e-5);
    assert!((found.coins[0] - table.all_first.mean).abs() < 1e-5);
    // Those over big and small only.
    let two =
        engine.model.spec.routers.iter().filter(|router| !router.lanes.contains(&Lane::SkipFfn)).count();
    assert!(two > 0 && found.routers.len() == two);
    assert!(found.routers.iter().all(|router| router.loss.is_finite() && router.big <= 8.0));
    assert!(
        table
            .choice
            .iter()
            .enumerate()
            .all(|(big, shares)| { (shares.iter().sum::<f64>() - big as f64).abs() < 1e-9 })
    );
}

/// Over two sequences: the pooled table of the oracles of each.
#[test]
fn the_routes_of_a_text_are_those_of_its_sequences() {
    let engine = &mut open(&folder("bundled"));
    let samples: Vec<Input> = vec![prompt().into(), vec![7u32, 8, 300, 12, 44, 61].into()];
    let ask = RoutesAsk { lanes: Some(Lanes::Small), ..RoutesAsk::default() };
    let mut run = RoutesRun::new(Case::new(engine, Vec::new().into()), &ask, samples.clone()).unwrap();
    method::finish(&mut run, engine, &never).unwrap();
    let found = run.findings();
    let table = found.table.unwrap();
    assert_eq!(found.tokens, 8 + 5);
    let each: Vec<EveryFound> =
        samples.iter().map(|sample| every_route(engine, &Plan::default(), sample, Lanes::Small)).collect();
    let pooled = |of: &dyn Fn(&EveryFound) -> f64| (8.0 * of(&each[0]) + 5.0 * of(&each[1])) / 13.0;
    let of_table = |one: &EveryFound| one.table.clone().unwrap();
    assert!((table.oracle.mean - pooled(&|one| of_table(one).oracle.mean)).abs() < 1e-6);
    assert!((table.all_big.mean - pooled(&|one| of_table(one).all_big.mean)).abs() < 1e-6);
    let third = pooled(&|one| of_table(one).by_budget[3].oracle.mean);
    assert!((table.by_budget[3].oracle.mean - third).abs() < 1e-6);
    assert!((found.coins[4] - pooled(&|one| one.coins[4])).abs() < 1e-6);
    assert!((found.routers[0].0.loss - pooled(&|one| one.routers[0].loss)).abs() < 1e-6);
    assert_eq!((found.choice_along.len(), found.choice_along[0].len()), (8, 8));
    // Half of the layers are big for every token, wherever it stands.
    for part in 0..8 {
        let shares: f64 = found.choice_along.iter().map(|layer| layer[part]).sum();
        assert!(shares.is_nan() || (shares - 4.0).abs() < 1e-9, "{part}: {shares}");
    }
    let details: Vec<&str> = found.figures.iter().map(|figure| figure.detail.as_str()).collect();
    let all = [
        "choice",
        "choice-worth",
        "budgets",
        "controls",
        "controls-deviations",
        "best-of",
        "along-half-budget",
    ];
    assert_eq!(details[..7], all);
}
