//! Greedy pruning: racing finds what whole passes find.

use std::collections::BTreeSet;

use sluice_core::engine::{Engine, never};
use sluice_core::error::Result;
use sluice_core::method::prune::{Distance, PruneAsk, PruneFound, PruneRun};
use sluice_core::method::{self, Case, Found as _, Stepper as _};
use sluice_core::metric;
use sluice_core::model::Input;
use sluice_core::plan::{Change, Item, Part, Plan, Positions, Skip, Sublayer};
use sluice_core::rng;

use crate::support::{golden, logits, open};

const MODELS: &[&str] = &["gpt2", "llama", "gpt_neox", "gemma2", "opt-post-norm", "qwen2-window"];

fn samples(vocab: usize) -> Vec<Input> {
    let id = |i: u64| (rng::bits(3, 0, i) % vocab as u64) as u32;
    (0..6).map(|sample| (0..20).map(|i| id(100 * sample + i)).collect::<Vec<_>>().into()).collect()
}

fn prune(engine: &mut Engine, ask: PruneAsk, samples: &[Input]) -> Result<PruneFound> {
    let case = Case::new(engine, Vec::new().into());
    let mut run = PruneRun::new(case, ask, samples.to_vec())?;
    method::finish(&mut run, engine, &never)?;
    Ok(run.findings())
}

/// So many removals.
fn removing(removals: usize) -> PruneAsk {
    PruneAsk { removals: Some(removals), ..PruneAsk::default() }
}

fn pruned(family: &str, distance: Distance, whole: bool) -> PruneFound {
    let engine = &mut open(&golden().join(family));
    let samples = samples(engine.model.spec.vocab);
    let ask = PruneAsk { distance, whole, ..removing(2 * engine.model.spec.n_layers()) };
    prune(engine, ask, &samples).unwrap()
}

#[test]
fn racing_changes_neither_order_nor_distance() {
    for family in MODELS {
        for distance in [Distance::Jsd, Distance::Kl, Distance::JsRepo] {
            let raced = pruned(family, distance, false);
            let whole = pruned(family, distance, true);
            assert_eq!(raced.evaluations, whole.evaluations);
            for (raced, whole) in raced.steps.iter().zip(&whole.steps) {
                assert_eq!(raced.removed, whole.removed, "{family} {distance:?}");
                assert_eq!(raced.distance.to_bits(), whole.distance.to_bits(), "{family} {distance:?}");
                for one in &raced.candidates {
                    let all = whole.candidates.iter().find(|all| all.sublayer == one.sublayer).unwrap();
                    let agrees = if one.at_least {
                        one.distance <= all.distance * (1.0 + 1e-12)
                    } else {
                        one.distance.to_bits() == all.distance.to_bits()
                    };
                    assert!(agrees, "{family}: {one:?} {all:?}");
                }
            }
            assert!(raced.flops_layers < whole.flops_layers, "{family}");
        }
    }
}

#[test]
fn every_sublayer_goes_once_and_evaluations_are_counted() {
    for family in MODELS {
        let found = pruned(family, Distance::Jsd, false);
        let all = found.steps.len();
        let gone: BTreeSet<Sublayer> = found.steps.iter().map(|step| step.removed).collect();
        assert_eq!(gone.len(), all, "no sublayer twice");
        assert_eq!(found.evaluations, all * (all + 1) / 2);
        assert!(
            found.steps.iter().all(|step| (0.0..=std::f64::consts::LN_2 + 1e-6).contains(&step.distance))
        );
        assert!(found.steps[0].candidates.iter().all(|one| !one.at_least), "the first step is not raced");
    }
}

#[test]
fn a_distance_is_what_plain_passes_say() {
    let engine = &mut open(&golden().join("llama"));
    let samples = samples(engine.model.spec.vocab);
    let found = prune(engine, removing(1), &samples).unwrap();
    let vocab = engine.model.spec.vocab;
    for one in &found.steps[0].candidates {
        let skip = Skip { sublayer: one.sublayer, positions: Positions::All };
        let plan = Plan { items: vec![Item::from(Change::Skip(skip))], ..Plan::default() };
        let (mut sum, mut tokens) = (0.0, 0.0);
        for sample in &samples {
            let (base, changed) = (logits(engine, sample, &Plan::default()), logits(engine, sample, &plan));
            for (p, q) in base.chunks(vocab).zip(changed.chunks(vocab)) {
                let (p, q) = (metric::log_softmax(p), metric::log_softmax(q));
                let half = |(&p, &q): (&f32, &f32)| {
                    let (p, q) = (f64::from(p).exp(), f64::from(q).exp());
                    let m = 0.5 * (p + q);
                    0.5 * (p * (p / m).ln() + q * (q / m).ln())
                };
                sum += p.iter().zip(&q).map(half).sum::<f64>();
                tokens += 1.0;
            }
        }
        let exact = sum / tokens;
        assert!((one.distance - exact).abs() < 1e-4 * exact + 1e-9, "{one:?} {exact}");
    }
}

#[test]
fn spared_blocks_come_in_later() {
    // 4 sublayers, 0.25: (0.25 * 4 / 2) + 1 = 1 block until 2 are removed.
    let engine = &mut open(&golden().join("llama"));
    let samples = samples(engine.model.spec.vocab);
    let ask = |spare_front, removals| PruneAsk { spare_front, ..removing(removals) };
    let found = prune(engine, ask(0.25, 3), &samples).unwrap();
    let layers: Vec<usize> = found.steps.iter().map(|step| step.removed.layer).collect();
    assert_eq!((layers, found.came_back), (vec![1, 1, 0], None));
    assert!(prune(engine, ask(0.0, 5), &samples).is_err(), "there are only 4");
}

/// Sparing more than there is to remove: what is spared comes back when nothing else is left, and that is said once.
#[test]
fn spared_blocks_come_back_when_candidates_run_out() {
    let engine = &mut open(&golden().join("llama"));
    let samples = samples(engine.model.spec.vocab);
    let ask = |spare_front, removals, whole| PruneAsk { spare_front, whole, ..removing(removals) };
    // Both blocks are spared: as if none were.
    let none = prune(engine, ask(0.0, 4, false), &samples).unwrap();
    let both = prune(engine, ask(0.5, 4, false), &samples).unwrap();
    let order =
        |found: &PruneFound| -> Vec<Sublayer> { found.steps.iter().map(|step| step.removed).collect() };
    assert_eq!((order(&both), both.came_back, none.came_back), (order(&none), Some(0), None));
    for whole in [false, true] {
        // 7 of 8 blocks of the bundled model until 13 are removed: two steps, then all of them.
        let engine = &mut open(&golden().join("../../../assets/bundled"));
        let text: Vec<Input> = vec![vec![3, 14, 15, 92].into()];
        let ask = PruneAsk { distance: Distance::Kl, ..ask(0.8, 16, whole) };
        let found = prune(engine, ask, &text).unwrap();
        assert!(found.steps[..2].iter().all(|step| step.removed.layer == 7), "{:?}", order(&found));
        assert_eq!((found.steps.len(), found.came_back), (16, Some(2)));
        assert_eq!(order(&found).into_iter().collect::<BTreeSet<_>>().len(), 16, "no sublayer twice");
        let said = |texts: Vec<String>| texts.iter().filter(|text| text.contains("came back")).count();
        assert_eq!(said(found.facts().into_iter().map(|fact| fact.name).collect()), 1);
        assert!(found.figures.iter().all(|figure| said(figure.notes.clone()) == 1));
    }
}

/// Five blocks, 0.4 spared, everything removed: 3 blocks come back after the 4 sublayers of the others, not after 5.
#[test]
fn everything_can_go_from_five_blocks() {
    let engine = &mut crate::iri::random("llama", "num_hidden_layers");
    let samples = samples(engine.model.spec.vocab);
    let ask = PruneAsk { share: 1.0, spare_front: 0.4, ..PruneAsk::default() };
    let found = prune(engine, ask, &samples).unwrap();
    let layers: Vec<usize> = found.steps.iter().map(|step| step.removed.layer).collect();
    assert!(layers[..4].iter().all(|layer| *layer >= 3), "{layers:?}");
    assert_eq!((found.steps.len(), found.came_back), (10, Some(4)));
}

/// A step of many candidates is not lost with the run that is killed within it.
#[test]
fn a_step_goes_on_where_it_was_killed() {
    let engine = &mut open(&golden().join("llama"));
    let samples = samples(engine.model.spec.vocab);
    let whole = prune(engine, removing(3), &samples).unwrap();
    let mut run = PruneRun::new(Case::new(engine, Vec::new().into()), removing(3), samples.clone()).unwrap();
    let mut state = run.state().unwrap();
    let mut computed = 0;
    while !run.is_done() {
        let mut case = Case::new(engine, Vec::new().into());
        case.kept = Some(state);
        run = PruneRun::new(case, removing(3), samples.clone()).unwrap();
        // The samples are read again, then something more is computed.
        let read = run.progress().done + samples.len();
        while run.progress().done <= read && !run.is_done() {
            run.step(engine, &never).unwrap();
        }
        computed += 1;
        state = run.state().unwrap();
    }
    assert!(computed > 3, "more pieces than removals");
    assert_eq!(serde_json::to_value(run.findings()).unwrap(), serde_json::to_value(&whole).unwrap());
}

#[test]
fn samples_of_unlike_length_are_refused() {
    let engine = &mut open(&golden().join("llama"));
    let samples: Vec<Input> = vec![vec![1, 2, 3].into(), vec![1, 2].into()];
    assert!(prune(engine, removing(1), &samples).is_err());
    assert!(prune(engine, removing(1), &[]).is_err());
}

#[test]
fn parts_print_as_the_plan_has_them() {
    let found = pruned("llama", Distance::Jsd, false);
    let json = serde_json::to_value(&found).unwrap();
    let step = &json["steps"][0];
    assert!(step["layer"].is_u64() && (step["part"] == "attn" || step["part"] == "ffn"));
    assert!(matches!(found.steps[0].removed.part, Part::Attn | Part::Ffn));
}
