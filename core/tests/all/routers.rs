//! Learned routers: run, refused, trained.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use sluice_core::checkpoint::{NumberFormat, safetensors_bytes};
use sluice_core::engine::{self, Decoder, Engine, never};
use sluice_core::files::write_atomic;
use sluice_core::method::router::{RouterAsk, RouterRun, lanes};
use sluice_core::method::{self, Case};
use sluice_core::model::{Ask, Input, Logits, Mixture, Schedule};
use sluice_core::plan::{Change, Lane, LayerRoute, Plan, Route, Router, Surrogate};
use sluice_core::rng;

use crate::support::{bits, golden, logits, open, run};

fn bundled() -> Engine {
    engine::open(&engine::bundled().unwrap(), &mut |_, _| {}, &never).unwrap().engine
}

fn plan(change: Change) -> Plan {
    Plan { items: vec![change.into()], ..Plan::default() }
}

fn stored(name: &str) -> Change {
    Change::Router(Router { name: name.into(), file: None })
}

fn tokens(engine: &Engine) -> Vec<u32> {
    engine.encode("Tom went to the park with a red ball and his dog").unwrap()
}

/// Every stored router, as a painted map: the same bits.
#[test]
fn a_router_is_the_map_that_it_chooses() {
    let engine = &mut bundled();
    let tokens = tokens(engine);
    let names: Vec<String> = engine.model.spec.routers.iter().map(|router| router.name.clone()).collect();
    assert!(names.len() > 1);
    for name in names {
        let plan_of = plan(stored(&name));
        let routed = logits(engine, &tokens, &plan_of);
        let schedule = engine.schedule(&plan_of, &tokens.as_slice().into(), &never).unwrap();
        let lanes = run(engine, &tokens, &schedule, Ask { logits: Logits::All, ..Ask::default() }).lanes;
        assert_eq!(lanes.len(), engine.model.spec.n_layers(), "{name}");
        let mut route = Route::default();
        for (layer, lanes) in lanes {
            assert_eq!(lanes.len(), tokens.len());
            route.set_layer(LayerRoute { layer, tokens: lanes, next: Lane::Big });
        }
        let painted = logits(engine, &tokens, &plan(Change::Route(route)));
        assert_eq!(bits(&routed), bits(&painted), "{name}");
        // From the base run on, and beside another branch.
        let base = engine.base(&tokens.as_slice().into(), &never).unwrap();
        let last = bits(&routed[(tokens.len() - 1) * engine.model.spec.vocab..]);
        assert_eq!(bits(&engine.run_after(&base, schedule.clone(), &never).unwrap().last), last, "{name}");
        let branches = [schedule.clone(), schedule].map(|one| engine.branch(&base, one).unwrap().unwrap());
        let pass = engine.branches(&base, branches.into(), Logits::Last).unwrap().run(&never).unwrap();
        for row in pass.logits.unwrap().to_vec2::<f32>().unwrap() {
            assert_eq!(bits(&row), last, "{name}");
        }
    }
}

#[test]
fn decoding_under_a_router_is_prefill_under_it() {
    let engine = &mut bundled();
    let tokens = tokens(engine);
    let plan = plan(stored("big50_small50"));
    let whole = logits(engine, &tokens, &plan);
    let vocab = engine.model.spec.vocab;
    let input: Input = tokens[..3].into();
    let schedule = engine.schedule(&plan, &input, &never).unwrap();
    let mut decoder = Decoder::new(engine.model.clone(), schedule, &input, tokens.len()).unwrap();
    for position in 2..tokens.len() {
        let last = decoder.logits(&never).unwrap();
        assert_eq!(bits(&last), bits(&whole[position * vocab..(position + 1) * vocab]), "{position}");
        if let Some(&next) = tokens.get(position + 1) {
            decoder.push(next);
        }
    }
}

/// A mixture whose shares are all but one-hot is hard routing.
#[test]
fn a_hard_mixture_is_hard_routing() {
    let engine = &mut bundled();
    let tokens = tokens(engine);
    let hard = logits(engine, &tokens, &plan(stored("big50_small50")));
    let spec = &engine.model.spec;
    let index = spec.routers.iter().position(|router| router.name == "big50_small50").unwrap();
    let routers = engine.model.weights.layers.iter().map(|layer| layer.routers[index].clone()).collect();
    let small = engine.small(&Surrogate::default(), &never).unwrap();
    let lanes = vec![Lane::Big, Lane::Small];
    let mixture = Mixture { lanes, routers, small, tau: 1e6 };
    let ask = Ask { logits: Logits::All, mixture: Some(mixture), ..Ask::default() };
    let output = engine.pass(&tokens.as_slice().into(), &Schedule::none(), ask, &never).unwrap().0;
    let mixed: Vec<f32> = output.logits.unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let worst = hard.iter().zip(&mixed).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(worst < 1e-4, "{worst}");
    let shares: Vec<f32> = output.shares.unwrap().to_vec1().unwrap();
    assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-5);
}

/// The same where the FFN's output is normed: each lane by itself.
#[test]
fn a_hard_mixture_is_hard_routing_behind_a_norm() {
    let folder = tempfile::tempdir().unwrap();
    for case in ["gemma2", "olmo2", "gpt2"] {
        let engine = &mut open(&golden().join(case));
        let (layers, d) = (engine.model.spec.n_layers(), engine.model.spec.d_model);
        let name = "big40_small30_skip30";
        let matrix = |layer: usize| {
            let values: Vec<f32> = (0..3 * d as u64).map(|i| rng::normal(3, layer as u64, i)).collect();
            Tensor::from_vec(values, (3, d), &Device::Cpu).unwrap()
        };
        let tensors: BTreeMap<String, Tensor> =
            (0..layers).map(|layer| (Router::tensor(name, layer), matrix(layer))).collect();
        let path = folder.path().join(case);
        write_atomic(&path, &safetensors_bytes(&tensors, NumberFormat::F32).unwrap()).unwrap();
        let tokens: Vec<u32> = (0..9).map(|i| 3 + (rng::bits(8, 0, i) % 90) as u32).collect();
        let hard =
            logits(engine, &tokens, &plan(Change::Router(Router { name: name.into(), file: Some(path) })));
        let mixture = Mixture {
            lanes: vec![Lane::Big, Lane::Small, Lane::SkipFfn],
            routers: (0..layers).map(matrix).collect(),
            small: engine.small(&Surrogate::default(), &never).unwrap(),
            tau: 1e6,
        };
        let ask = Ask { logits: Logits::All, mixture: Some(mixture), ..Ask::default() };
        let output = engine.pass(&tokens.as_slice().into(), &Schedule::none(), ask, &never).unwrap().0;
        let mixed: Vec<f32> = output.logits.unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let worst = hard.iter().zip(&mixed).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst < 1e-4, "{case}: {worst}");
    }
}

/// Train on a text to the end, and save as asked.
fn train(
    engine: &mut Engine,
    [big, small, skip]: [u8; 3],
    (steps, length): (u64, usize),
    save: &std::path::Path,
    ids: &[u32],
) -> RouterRun {
    let ask = RouterAsk {
        big,
        small: Some(small),
        skip: Some(skip),
        steps,
        file: Some(save.file_name().unwrap().to_string_lossy().into_owned()),
        ..RouterAsk::default()
    };
    let pieces = engine::pieces_at_most(ids, ask.samples, length).unwrap();
    let mut case = Case::new(engine, Vec::new().into());
    case.folder = save.parent().unwrap().into();
    let mut run = RouterRun::new(case, ask, pieces).unwrap();
    method::finish(&mut run, engine, &never).unwrap();
    run
}

#[test]
fn a_trained_router_keeps_its_budget_and_is_read_back() {
    let engine = &mut bundled();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.safetensors");
    let ids = engine.encode(include_str!("../../../assets/sample.txt")).unwrap();
    let found = train(engine, [30, 70, 0], (60, 48), &path, &ids).findings();
    assert!(path.is_file());
    assert_eq!(found.router.name, "big30_small70");
    let held = found.held_out.unwrap();
    assert!((held.shares[0] - 0.3).abs() < 0.2, "{:?}", held.shares);
    assert!(held.routed.is_finite() && held.all_big.is_finite());
    let tokens = tokens(engine);
    let after = logits(engine, &tokens, &plan(Change::Router(found.router)));
    assert_ne!(bits(&after), bits(&logits(engine, &tokens, &Plan::default())));
}

/// On a checkpoint without small FFNs the surrogates are mixed; with experts, what the block has.
#[test]
fn routers_train_on_other_checkpoints_too() {
    let folder = tempfile::tempdir().unwrap();
    let ids: Vec<u32> = (0..64).map(|i| 3 + (rng::bits(5, 0, i) % 90) as u32).collect();
    for (case, percent) in [("gpt2", [60, 40, 0]), ("gemma2", [50, 0, 50]), ("mixtral", [50, 0, 50])] {
        let engine = &mut open(&golden().join(case));
        let save = folder.path().join(case);
        let found = train(engine, percent, (3, 16), &save, &ids).findings();
        assert!(found.held_out.unwrap().routed.is_finite(), "{case}");
    }
}

#[test]
fn routers_that_do_not_fit_are_refused_with_the_reason() {
    let engine = &mut bundled();
    let folder = tempfile::tempdir().unwrap();
    let (layers, d) = (engine.model.spec.n_layers(), engine.model.spec.d_model);
    let tokens: Input = tokens(engine).as_slice().into();
    let mut cause = |router: Router| {
        engine.schedule(&plan(Change::Router(router)), &tokens, &never).unwrap_err().to_string()
    };
    let missing = cause(Router { name: "big10_small90".into(), file: None });
    assert!(missing.contains("it has: ") && missing.contains("big50_small50"), "{missing}");
    let write = |name: &str, layers: usize, shape: [usize; 2], value: f32| {
        let matrix = Tensor::full(value, &shape, &Device::Cpu).unwrap();
        let tensors: BTreeMap<String, Tensor> =
            (0..layers).map(|layer| (Router::tensor(name, layer), matrix.clone())).collect();
        let path = folder.path().join(format!("{name}-{layers}-{}-{value}", shape[1]));
        write_atomic(&path, &safetensors_bytes(&tensors, NumberFormat::F32).unwrap()).unwrap();
        Router { name: name.into(), file: Some(path) }
    };
    let wide = cause(write("big50_small50", layers, [2, d + 1], 0.0));
    assert!(wide.contains(&format!("this model needs [2, {d}]")), "{wide}");
    let deep = cause(write("big50_small50", layers + 1, [2, d], 0.0));
    assert!(deep.contains(&format!("{} layers of it, this model has {layers}", layers + 1)), "{deep}");
    let broken = cause(write("big50_small50", layers, [2, d], f32::NAN));
    assert!(broken.contains("NaN"), "{broken}");
    let named = cause(write("half", layers, [2, d], 0.0));
    assert!(named.contains("names say lanes"), "{named}");
    let gone = cause(Router { name: "big50_small50".into(), file: Some(folder.path().join("none")) });
    assert!(gone.contains("none"), "{gone}");
    for percent in [[50, 40, 0], [100, 0, 0], [90, 20, 0]] {
        assert!(lanes(percent).is_err(), "{percent:?}");
    }
}

/// A plan made for another depth is refused.
#[test]
fn a_route_for_a_deeper_model_is_refused() {
    let engine = &mut bundled();
    let layers = engine.model.spec.n_layers();
    let mut route = Route::default();
    route.set(layers, Some(0), Lane::SkipFfn);
    let tokens: Input = tokens(engine).as_slice().into();
    let cause = engine.schedule(&plan(Change::Route(route)), &tokens, &never).unwrap_err().to_string();
    assert!(cause.contains(&format!("layers 0 to {}, not {layers}", layers - 1)), "{cause}");
    // And one for a longer prompt.
    let mut route = Route::default();
    route.set_layer(LayerRoute { layer: 0, tokens: vec![Lane::Small; tokens.len() + 2], next: Lane::Big });
    let long = plan(Change::Route(route));
    let cause = engine.schedule(&long, &tokens, &never).unwrap_err().to_string();
    let (painted, len) = (tokens.len() + 2, tokens.len());
    assert!(
        cause.contains(&format!("lanes for {painted} tokens at layer 0, the prompt has {len}")),
        "{cause}"
    );
    assert!(engine.schedule(&long.fitted(len), &tokens, &never).is_ok());
}

#[test]
fn a_surrogate_of_all_neurons_is_the_big_ffn_and_sizes_differ() {
    let engine = &mut open(&golden().join("llama"));
    let tokens = vec![5u32, 9, 33, 7];
    let small = |share: Option<f32>| {
        let mut route = Route { surrogate: Surrogate { sample: None, share }, ..Route::default() };
        for layer in 0..2 {
            route.set_layer(LayerRoute { layer, tokens: vec![Lane::Small; 4], next: Lane::Small });
        }
        plan(Change::Route(route))
    };
    let [big, all, half, default] = [
        logits(engine, &tokens, &Plan::default()),
        logits(engine, &tokens, &small(Some(1.0))),
        logits(engine, &tokens, &small(Some(0.5))),
        logits(engine, &tokens, &small(None)),
    ];
    let off = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(off(&big, &all) < 1e-5);
    assert!(off(&big, &half) > 1e-3 && off(&half, &default) > 1e-3);
    let tokens: Input = tokens.as_slice().into();
    for share in [0.0, -1.0, 1.5, f32::NAN] {
        let refused = engine.schedule(&small(Some(share)), &tokens, &never);
        assert!(refused.unwrap_err().to_string().contains("share of the neurons"), "{share}");
    }
    let _: Arc<Schedule> = engine.schedule(&small(Some(0.25)), &tokens, &never).unwrap();
}
