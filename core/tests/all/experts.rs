//! Invariants of plans that change which experts tokens go through.

use candle_core::Tensor;
use sluice_core::engine::{Engine, never};
use sluice_core::error::Result;
use sluice_core::method::experts::{ExpertsAsk, ExpertsFound, ExpertsRun};
use sluice_core::method::{self, Case};
use sluice_core::metric;
use sluice_core::model::{Ask, Input, Logits, Schedule};
use sluice_core::plan::{Experts, Item, Plan, Positions};
use sluice_core::site::{Hook, Site};

use crate::support::{bits, golden, logits, open, run};

const FAMILIES: &[&str] =
    &["mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "dots1", "dots1-one-group", "gpt_oss"];

fn tokens() -> Vec<u32> {
    vec![1, 17, 60, 33, 5, 90, 42, 8]
}

fn plan(experts: Experts) -> Plan {
    Plan { items: vec![Item::from(sluice_core::plan::Change::Experts(experts))], ..Plan::default() }
}

/// A site of the untouched run, row by row.
fn site(engine: &Engine, layer: usize, hook: Hook) -> Vec<Vec<f32>> {
    let site = Site::block(layer, hook);
    let ask = Ask { capture: [site].into(), logits: Logits::None, ..Ask::default() };
    run(engine, &tokens(), &Schedule::none(), ask).captures[&site].to_vec2().unwrap()
}

/// The experts of each token.
fn chosen(engine: &Engine, layer: usize) -> Vec<Vec<usize>> {
    let ids = |gates: &Vec<f32>| (0..gates.len()).filter(|&expert| gates[expert] != 0.0).collect();
    site(engine, layer, Hook::ExpertGates).iter().map(ids).collect()
}

/// Blocks of experts, with how many they have and how many a token goes through.
fn blocks(engine: &Engine) -> Vec<(usize, usize, usize)> {
    let layers = engine.model.spec.layers.iter().enumerate();
    layers.filter_map(|(layer, spec)| spec.experts.map(|e| (layer, e.count, e.top_k))).collect()
}

fn each(mut check: impl FnMut(&str, &mut Engine)) {
    for family in FAMILIES {
        check(family, &mut open(&golden().join(family)));
    }
}

#[test]
fn forcing_the_own_choice_changes_nothing() {
    each(|family, engine| {
        let untouched = logits(engine, &tokens(), &Plan::default());
        let mut items = Vec::new();
        for (layer, _, k) in blocks(engine) {
            for (position, force) in chosen(engine, layer).into_iter().enumerate() {
                assert_eq!(force.len(), k, "{family}");
                let positions = Positions::At(vec![position]);
                let experts = Experts { layer: Some(layer), force, positions, ..Experts::default() };
                items.extend(plan(experts).items);
            }
            let experts = Experts { layer: Some(layer), k: Some(k), ..Experts::default() };
            items.extend(plan(experts).items);
        }
        let forced = logits(engine, &tokens(), &Plan { items, ..Plan::default() });
        assert_eq!(bits(&untouched), bits(&forced), "{family}");
    });
}

#[test]
fn knocking_out_who_is_not_chosen_changes_nothing() {
    each(|family, engine| {
        let untouched = logits(engine, &tokens(), &Plan::default());
        for (layer, count, _) in blocks(engine) {
            for (position, chosen) in chosen(engine, layer).into_iter().enumerate() {
                let others: Vec<usize> = (0..count).filter(|expert| !chosen.contains(expert)).collect();
                let positions = Positions::At(vec![position]);
                let experts =
                    Experts { layer: Some(layer), knock_out: others, positions, ..Experts::default() };
                let after = logits(engine, &tokens(), &plan(experts));
                assert_eq!(bits(&untouched), bits(&after), "{family} {layer} {position}");
            }
        }
    });
}

#[test]
fn knocking_out_who_is_chosen_takes_the_next_best_and_earlier_tokens_stay() {
    each(|family, engine| {
        let vocab = engine.model.spec.vocab;
        let untouched = logits(engine, &tokens(), &Plan::default());
        let (layer, _, k) = blocks(engine)[0];
        let scores = site(engine, layer, Hook::ExpertWeights);
        let out = chosen(engine, layer)[5][0];
        let positions = Positions::At(vec![5]);
        let experts = Experts { layer: Some(layer), knock_out: vec![out], positions, ..Experts::default() };
        let plan = plan(experts);
        let after = logits(engine, &tokens(), &plan);
        assert_eq!(bits(&untouched[..5 * vocab]), bits(&after[..5 * vocab]), "{family}");
        assert_ne!(bits(&untouched[5 * vocab..]), bits(&after[5 * vocab..]), "{family}");
        // What is chosen then: still k, without the one.
        let schedule = engine.schedule(&plan, &tokens().as_slice().into(), &never).unwrap();
        let gates = Site::block(layer, Hook::ExpertGates);
        let ask = Ask { capture: [gates].into(), ..Ask::default() };
        let gates: Vec<Vec<f32>> = run(engine, &tokens(), &schedule, ask).captures[&gates].to_vec2().unwrap();
        assert_eq!(gates[5].iter().filter(|gate| **gate != 0.0).count(), k, "{family}");
        assert_eq!(gates[5][out], 0.0, "{family}");
        assert!(scores[5][out] > 0.0);
    });
}

/// The sum of the chosen experts' outputs with gate weights, and the shared expert, is what the block adds.
#[test]
fn one_expert_more_adds_its_share() {
    let engine = &mut open(&golden().join("qwen2_moe"));
    let (layer, count, k) = blocks(engine)[0];
    let norms = site(engine, layer, Hook::ExpertNorms);
    assert!(norms.iter().all(|row| row.iter().filter(|norm| **norm > 0.0).count() == k));
    let experts = Experts { layer: Some(layer), k: Some(count), ..Experts::default() };
    let schedule = engine.schedule(&plan(experts), &tokens().as_slice().into(), &never).unwrap();
    let sites = [Hook::ExpertGates, Hook::ExpertWeights].map(|hook| Site::block(layer, hook));
    let ask = Ask { capture: sites.into(), ..Ask::default() };
    let captures = run(engine, &tokens(), &schedule, ask).captures;
    // Qwen2-MoE does not renormalise: with every expert the gates are the scores.
    let [gates, scores] = sites.map(|site| captures[&site].flatten_all().unwrap().to_vec1::<f32>().unwrap());
    assert_eq!(bits(&gates), bits(&scores));
}

/// Half the strength is half way between the gate weights.
#[test]
fn half_strength_is_half_way() {
    each(|family, engine| {
        let (layer, _, k) = blocks(engine)[0];
        let gates = |engine: &mut Engine, strength: f32| -> Vec<f32> {
            let mut plan = plan(Experts { layer: Some(layer), k: Some(k + 1), ..Experts::default() });
            plan.items[0].strength = strength;
            let schedule = engine.schedule(&plan, &tokens().as_slice().into(), &never).unwrap();
            let site = Site::block(layer, Hook::ExpertGates);
            let ask = Ask { capture: [site].into(), ..Ask::default() };
            run(engine, &tokens(), &schedule, ask).captures[&site].flatten_all().unwrap().to_vec1().unwrap()
        };
        let [none, half, whole] = [0.0, 0.5, 1.0].map(|strength| gates(engine, strength));
        for ((none, half), whole) in none.iter().zip(&half).zip(&whole) {
            assert!((half - 0.5 * (none + whole)).abs() < 1e-6, "{family}");
        }
    });
}

/// Changed logits of the router change the choice.
#[test]
fn the_choice_follows_the_routers_logits() {
    each(|family, engine| {
        let (layer, count, _) = blocks(engine)[0];
        let text = format!(
            r#"{{"version":1,"items":[{{"kind":"patch","site":"blocks.{layer}.mlp.hook_router_logits",
                "positions":"all","source":{{"values":{:?}}}}}]}}"#,
            (0..count).map(|expert| expert as f32).collect::<Vec<_>>()
        );
        let plan = Plan::from_json(&text).unwrap();
        let schedule = engine.schedule(&plan, &tokens().as_slice().into(), &never).unwrap();
        let gates = Site::block(layer, Hook::ExpertGates);
        let ask = Ask { capture: [gates].into(), ..Ask::default() };
        let gates: Tensor = run(engine, &tokens(), &schedule, ask).captures[&gates].clone();
        let rows: Vec<Vec<f32>> = gates.to_vec2().unwrap();
        assert!(rows.iter().all(|row| row == &rows[0]), "{family}");
        if !family.starts_with("dots1") {
            // Whose corrections and groups count too.
            assert!(rows[0][count - 1] > 0.0 && rows[0][0] == 0.0, "{family}: {:?}", rows[0]);
        }
    });
}

/// The method over pieces of text.
fn experts(engine: &mut Engine, samples: &[Input], knock_out: bool) -> Result<ExpertsFound> {
    let ask = ExpertsAsk { knock_out, ..ExpertsAsk::default() };
    let mut run = ExpertsRun::new(Case::new(engine, Vec::new().into()), &ask, samples.to_vec())?;
    method::finish(&mut run, engine, &never)?;
    Ok(run.findings())
}

/// The study against plain passes and plain arithmetic.
#[test]
fn the_study_counts_and_knocks_out_as_plain_passes_do() {
    for family in ["mixtral", "qwen2_moe", "gpt_oss"] {
        let engine = &mut open(&golden().join(family));
        let tokens = tokens();
        let samples: [Input; 2] =
            [tokens.as_slice().into(), [7u32, 7, 80, 2, 51, 12, 9, 33].as_slice().into()];
        let found = experts(engine, &samples, true).unwrap();
        assert_eq!(found.tokens, 16);
        assert!(found.flops_layers < found.flops_layers_full);
        for block in &found.blocks {
            let k = blocks(engine).iter().find(|(layer, ..)| *layer == block.layer).unwrap().2;
            assert_eq!(block.experts.iter().map(|e| e.tokens).sum::<u64>(), 16 * k as u64, "{family}");
            assert!(block.balance <= 1.0 + 1e-9 && block.entropy >= 0.0);
            for expert in &block.experts {
                // Over its own tokens, by hand.
                let (mut own, mut product, mut kl) = (0, 0.0, 0.0);
                let out = Experts {
                    layer: Some(block.layer),
                    knock_out: vec![expert.expert],
                    ..Experts::default()
                };
                for sample in &samples {
                    let [gates, norms] = [Hook::ExpertGates, Hook::ExpertNorms].map(|hook| {
                        let site = Site::block(block.layer, hook);
                        let ask = Ask { capture: [site].into(), ..Ask::default() };
                        let captures = run(engine, sample, &Schedule::none(), ask).captures;
                        captures[&site].to_vec2::<f32>().unwrap()
                    });
                    for (gates, norms) in gates.iter().zip(&norms) {
                        if gates[expert.expert] != 0.0 {
                            own += 1;
                            product += f64::from(gates[expert.expert]) * f64::from(norms[expert.expert]);
                        }
                    }
                    let vocab = engine.model.spec.vocab;
                    let base = logits(engine, sample, &Plan::default());
                    let after = logits(engine, sample, &plan(out.clone()));
                    kl += base
                        .chunks(vocab)
                        .zip(after.chunks(vocab))
                        .map(|(a, b)| metric::kl(&metric::log_softmax(a), &metric::log_softmax(b)))
                        .sum::<f64>();
                }
                assert_eq!(expert.tokens, own);
                if own > 0 {
                    assert!((expert.saliency - product / own as f64).abs() < 1e-9, "{family}");
                    let itself = block.coactivation[expert.expert][expert.expert];
                    assert!((itself - 1.0).abs() < 1e-12);
                }
                assert!((expert.kl.unwrap() - kl / 16.0).abs() < 1e-12, "{family}: {:?} {kl}", expert.kl);
            }
        }
    }
    let dense = experts(&mut open(&golden().join("llama")), &[tokens().as_slice().into()], false);
    assert!(dense.unwrap_err().to_string().contains("no experts"));
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let cause = |engine: &mut Engine, json: &str| {
        let plan = Plan::from_json(&format!(r#"{{"version":1,"items":[{json}]}}"#)).unwrap();
        engine.schedule(&plan, &tokens().as_slice().into(), &never).unwrap_err().to_string()
    };
    // Four experts, two of them chosen.
    let engine = &mut open(&golden().join("mixtral"));
    for (json, reason) in [
        (r#"{"kind":"experts","k":5}"#, "k is 5, block 0 has 4 experts"),
        (r#"{"kind":"experts","k":0}"#, "k is 0"),
        (r#"{"kind":"experts","layer":7,"k":1}"#, "layers 0 to 1, not 7"),
        (r#"{"kind":"experts","knock_out":[4]}"#, "experts 0 to 3, not 4"),
        (r#"{"kind":"experts","knock_out":[0,1,2]}"#, "3 of 4 experts knocked out leave fewer than the 2"),
        (
            r#"{"kind":"experts","force":[0,1,2]}"#,
            "3 experts of block 0 are forced where a token goes through 2",
        ),
        (
            r#"{"kind":"experts","knock_out":[0,1]},{"kind":"experts","layer":1,"knock_out":[2],"positions":{"at":[3]}}"#,
            "3 of 4 experts knocked out leave fewer than the 2 of a token in block 1",
        ),
        (
            r#"{"kind":"experts","knock_out":[0],"strength":0.5},{"kind":"experts","k":1}"#,
            "goes with no other rule",
        ),
        (r#"{"kind":"experts","force":[1],"knock_out":[1]}"#, "expert 1 cannot be both"),
        (r#"{"kind":"ablate","site":"blocks.0.mlp.hook_expert_norms"}"#, "is measured, nothing reads it"),
        (r#"{"kind":"threshold","value":0.1}"#, "none to threshold"),
        (r#"{"kind":"ablate","site":"blocks.0.mlp.hook_post"}"#, "no blocks.0.mlp.hook_post"),
        (
            r#"{"kind":"route","layers":[{"layer":0,"tokens":["small"]}]}"#,
            "has experts, and no small FFN beside them",
        ),
    ] {
        let cause = cause(engine, json);
        assert!(cause.contains(reason), "{json}: {cause}");
    }
    let dense = cause(&mut open(&golden().join("llama")), r#"{"kind":"experts","k":1}"#);
    assert!(dense.contains("this model has no experts"), "{dense}");
    let mixed = cause(&mut open(&golden().join("qwen2_moe")), r#"{"kind":"experts","layer":1,"k":1}"#);
    assert!(mixed.contains("block 1 has no experts"), "{mixed}");
}
