//! Causal traces and leave-one-out against plain hooks on transformers (golden/make_studies.py).

use candle_core::{Device, Tensor};
use serde::Deserialize;
use sluice_core::engine::{Answer, Engine, never};
use sluice_core::error::{Error, Result};
use sluice_core::method::leave_one_out::{LeaveOneOutAsk, LeaveOneOutFound, LeaveOneOutRun, Where};
use sluice_core::method::trace::{Component, TraceAsk, TraceFound, TraceRun};
use sluice_core::method::{self, Picks};
use sluice_core::model::Input;
use sluice_core::plan::Plan;
use sluice_core::rng;

use crate::support::{golden, open};

const BOUND: f64 = 1e-4;

#[derive(Deserialize)]
struct Case {
    family: String,
    tokens: Vec<u32>,
    noise: Vec<Vec<Vec<f32>>>,
    answer: u32,
    clean: [f64; 2],
    corrupted: [f64; 2],
    grids: Vec<Golden>,
    left_out: Vec<LeftOut>,
}

#[derive(Deserialize)]
struct Golden {
    part: String,
    window: usize,
    /// `[L][T]` of logit and probability.
    cells: Vec<Vec<[f64; 2]>>,
}

#[derive(Deserialize)]
struct LeftOut {
    kl: f64,
    kl_mean: f64,
    logit: f64,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(golden().join("studies.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A trace to its end; no noise = drawn as it is asked.
fn trace(
    engine: &mut Engine,
    (plan, tokens): (&Plan, &Input),
    corrupt: &[usize],
    ask: TraceAsk,
    noise: Option<&Tensor>,
) -> Result<TraceFound> {
    let picks = Picks::from([("corrupt".to_owned(), corrupt.to_vec())]);
    let mut case = method::Case::new(engine, tokens.clone());
    (case.plan, case.picks) = (plan.clone(), picks);
    let mut run = match noise {
        Some(noise) => TraceRun::with_values(case, ask, noise)?,
        None => TraceRun::new(case, ask)?,
    };
    method::finish(&mut run, engine, &never)?;
    Ok(run.findings())
}

/// Every sublayer left out.
fn leave_one_out(
    engine: &mut Engine,
    plan: &Plan,
    answer: &Answer,
    tokens: &Input,
    positions: Where,
) -> LeaveOneOutFound {
    let mut case = method::Case::new(engine, tokens.clone());
    case.plan = plan.clone();
    let ask = LeaveOneOutAsk { answer: answer.clone(), positions };
    let mut run = LeaveOneOutRun::new(case, ask).unwrap();
    method::finish(&mut run, engine, &never).unwrap();
    run.findings()
}

fn near(got: impl Into<f64>, expected: f64, what: &str) {
    let got = got.into();
    assert!((got - expected).abs() < BOUND, "{what}: {got} against {expected}");
}

#[test]
fn grids_are_what_plain_hooks_compute() {
    for case in cases() {
        let engine = &mut open(&golden().join(&case.family));
        let (samples, width) = (case.noise.len(), case.noise[0][0].len());
        let noise: Vec<f32> = case.noise.iter().flatten().flatten().copied().collect();
        let noise = Tensor::from_vec(noise, (samples, case.tokens.len(), width), &Device::Cpu).unwrap();
        let tokens: Input = case.tokens.clone().into();
        for golden in &case.grids {
            let ask = TraceAsk {
                answer: Answer::Id(case.answer),
                restore: match golden.part.as_str() {
                    "resid" => Component::Residual,
                    "attn" => Component::Attention,
                    _ => Component::Ffn,
                },
                window: golden.window,
                estimate: Some(false),
                ..TraceAsk::default()
            };
            let prompt = (&Plan::default(), &tokens);
            let found = trace(engine, prompt, &[2, 3, 4], ask, Some(&noise)).unwrap();
            let what = format!("{}, {} {}", case.family, golden.part, golden.window);
            near(found.clean.logit, case.clean[0], &what);
            near(found.corrupted.prob, case.corrupted[1], &what);
            for (layer, row) in golden.cells.iter().enumerate() {
                for (position, [logit, prob]) in row.iter().enumerate() {
                    let what = format!("{what}, layer {layer}, position {position}");
                    near(found.grid.logit[layer][position], *logit, &what);
                    near(found.grid.prob[layer][position], *prob, &what);
                }
            }
            assert!(found.rows_computed < found.rows_full / 2, "{what}");
        }
    }
}

#[test]
fn leaving_out_each_sublayer_is_what_plain_hooks_compute() {
    for case in cases() {
        let engine = &mut open(&golden().join(&case.family));
        let tokens: Input = case.tokens.clone().into();
        for positions in [Where::Last, Where::All] {
            let answer = Answer::Id(case.answer);
            let found = leave_one_out(engine, &Plan::default(), &answer, &tokens, positions);
            assert_eq!(found.sublayers.len(), case.left_out.len());
            for (left_out, expected) in found.sublayers.iter().zip(&case.left_out) {
                let what = format!("{}, layer {} {:?}", case.family, left_out.layer, left_out.kind);
                near(left_out.kl, expected.kl, &what);
                near(left_out.logit, expected.logit, &what);
                assert_eq!(left_out.kl_mean.is_some(), positions == Where::All);
                if let Some(mean) = left_out.kl_mean {
                    near(mean, expected.kl_mean, &what);
                }
            }
        }
    }
}

#[test]
fn under_a_plan_the_base_is_the_plan() {
    let engine = &mut open(&golden().join("gpt2"));
    let tokens: Input = vec![3, 14, 15, 92, 65].into();
    let plan = |json: &str| Plan::from_json(json).unwrap();
    let skip = r#"{"kind":"skip","layer":0,"part":"attn"}"#;
    let scale = r#"{"kind":"scale","site":"blocks.1.hook_mlp_out","factor":0.5}"#;
    let under = plan(&format!(r#"{{"version":1,"items":[{scale}]}}"#));
    let both = plan(&format!(r#"{{"version":1,"items":[{scale},{skip}]}}"#));
    let found = leave_one_out(engine, &under, &Answer::Id(7), &tokens, Where::Last);
    let schedule = engine.schedule(&both, &tokens, &never).unwrap();
    let whole = engine.run_schedule(&tokens, schedule, &never).unwrap();
    assert_eq!(found.sublayers[0].logit.to_bits(), whole.last[7].to_bits());
}

#[test]
fn what_is_left_out_stays_out_whatever_the_plan_puts_there() {
    let engine = &mut open(&golden().join("gpt2"));
    let tokens: Input = vec![3, 14, 15, 92, 65].into();
    let zeroed = |engine: &mut Engine, items: &str| {
        let plan = Plan::from_json(&format!(r#"{{"version":1,"items":[{items}]}}"#)).unwrap();
        let found = leave_one_out(engine, &plan, &Answer::Id(7), &tokens, Where::Last);
        found.sublayers[1].logit.to_bits()
    };
    let mean = r#"{"kind":"ablate","site":"blocks.0.hook_mlp_out","to":"mean"}"#;
    assert_eq!(zeroed(engine, mean), zeroed(engine, ""));
    // The followed token is the unmodified model's, as in a trace.
    let top = |engine: &mut Engine, items: &str| {
        let plan = Plan::from_json(&format!(r#"{{"version":1,"items":[{items}]}}"#)).unwrap();
        leave_one_out(engine, &plan, &Answer::Top, &tokens, Where::Last).answer
    };
    let flipped = r#"{"kind":"scale","site":"blocks.1.hook_resid_post","factor":-3.0}"#;
    assert_eq!(top(engine, flipped), top(engine, ""));
}

#[test]
fn noise_that_does_not_fit_is_refused() {
    let engine = &mut open(&golden().join("gpt2"));
    let tokens: Input = vec![3, 14, 15, 92].into();
    let mut refused = |noise: Tensor, corrupt: Vec<usize>| {
        let ask = TraceAsk { estimate: Some(false), ..TraceAsk::default() };
        trace(engine, (&Plan::default(), &tokens), &corrupt, ask, Some(&noise)).unwrap_err()
    };
    let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    for (shape, needle) in [
        (&[4, 8][..], "not [n, T, d]"),
        (&[1, 3, 8], "for embeddings of shape"),
        (&[0, 4, 8], "no sample of noise"),
    ] {
        let error = refused(zeros(shape), vec![1]);
        assert!(matches!(&error, Error::Study(text) if text.contains(needle)), "{error}");
    }
    let error = refused(zeros(&[1, 4, 8]), vec![9]).to_string();
    assert!(error.contains("no position 9"), "{error}");
}

/// Where little is changed, the first order is nearly all.
#[test]
fn an_estimate_is_the_slope_of_the_exact_grid() {
    for family in ["gpt2", "llama", "gpt_neox", "gemma2", "opt-post-norm", "qwen2-window", "qwen3"] {
        let engine = &mut open(&golden().join(family));
        let tokens: Input = vec![3, 14, 15, 92, 65, 35, 8].into();
        let width = engine.model.spec.d_model;
        // Where embeddings come before a projection, noise is as wide as they are.
        let base = engine.base(&tokens, &never).unwrap();
        assert_eq!(engine.boundary(&base, 0).unwrap().dim(1).unwrap(), width);
        for component in [Component::Residual, Component::Attention, Component::Ffn] {
            let noise: Vec<f32> = (0..7 * width as u64).map(|i| 2e-3 * rng::normal(5, 0, i)).collect();
            let noise = Tensor::from_vec(noise, (1, 7, width), &Device::Cpu).unwrap();
            let ask = TraceAsk { restore: component, estimate: Some(true), ..TraceAsk::default() };
            let prompt = (&Plan::default(), &tokens);
            let found = trace(engine, prompt, &[1, 2, 5], ask, Some(&noise)).unwrap();
            let start = found.corrupted.prob.ln();
            let estimate = found.estimate.unwrap();
            let pairs = estimate.log_prob.concat().into_iter().zip(found.grid.prob.concat());
            let moves: Vec<(f32, f32)> = pairs.map(|(log_p, p)| (log_p - start, p.ln() - start)).collect();
            let most = moves.iter().fold(0f32, |most, (_, exact)| most.max(exact.abs()));
            assert!(most > 1e-5, "{family} {component:?}: nothing moved ({most})");
            for (estimate, exact) in &moves {
                let error = (estimate - exact).abs();
                assert!(error < 0.05 * most + 2e-6, "{family} {component:?}: {estimate} {exact} of {most}");
            }
        }
    }
}

/// A plan that replaces the whole stream cuts earlier layers off: restoring there does nothing, and its estimate says so.
#[test]
fn an_estimate_of_what_reaches_nothing_is_the_corrupted_answer() {
    let engine = &mut open(&golden().join("llama"));
    let item = r#"{"kind":"ablate","site":"blocks.1.hook_resid_pre","to":"mean"}"#;
    let plan = Plan { items: vec![serde_json::from_str(item).unwrap()], ..Plan::default() };
    let ask = TraceAsk { sigma: 1.0, estimate: Some(true), ..TraceAsk::default() };
    let found = trace(engine, (&plan, &vec![3, 14, 15, 92].into()), &[1], ask, None).unwrap();
    let estimate = found.estimate.unwrap();
    assert!(estimate.log_prob[0].iter().all(|x| (x - found.corrupted.prob.ln()).abs() < 1e-6));
}
