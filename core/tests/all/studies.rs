//! Causal traces and leave-one-out against plain hooks on transformers (golden/make_studies.py).

use candle_core::{Device, Tensor};
use serde::Deserialize;
use sluice_core::engine::{Answer, Engine, Opened, bundled, never, open as open_bundled};
use sluice_core::error::{Error, Result};
use sluice_core::method::leave_one_out::{LeaveOneOutAsk, LeaveOneOutFound, LeaveOneOutRun, Where};
use sluice_core::method::trace::{Component, TraceAsk, TraceFound, TraceRun};
use sluice_core::method::{self, Found as _, Picks, Stepper as _};
use sluice_core::metric;
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
    let ask = TraceAsk { sigma: 1.0, seeds: 1, estimate: Some(true), ..TraceAsk::default() };
    let found = trace(engine, (&plan, &vec![3, 14, 15, 92].into()), &[1], ask, None).unwrap();
    let estimate = found.estimate.unwrap();
    assert!(estimate.log_prob[0].iter().all(|x| (x - found.corrupted.prob.ln()).abs() < 1e-6));
}

#[test]
fn a_grid_is_a_mean_over_draws_with_their_spread() {
    let engine = &mut open(&golden().join("llama"));
    let tokens: Input = vec![3, 14, 15, 92, 65, 35, 8].into();
    let prompt = (&Plan::default(), &tokens);
    let mut of = |seed, seeds| {
        let ask = TraceAsk { seed, seeds, ..TraceAsk::default() };
        trace(engine, prompt, &[1, 2], ask, None).unwrap()
    };
    let all = of(5, 4);
    let alone = [of(5, 1), of(6, 1), of(7, 1), of(8, 1)];
    assert_eq!((all.seeds, alone[0].seeds), (4, 1));
    let check = |mean: f32, spread: f32, each: [f32; 4]| {
        let each = each.map(f64::from);
        let expected = each.iter().sum::<f64>() / 4.0;
        let apart = (each.iter().map(|x| (x - expected).powi(2)).sum::<f64>() / 3.0).sqrt();
        assert!((f64::from(mean) - expected).abs() < 1e-7 * (1.0 + expected.abs()), "{mean} {expected}");
        assert!((f64::from(spread) - apart).abs() < 1e-6 * (1.0 + apart), "{spread} {apart}");
    };
    check(all.corrupted.prob, all.corrupted_spread.prob, alone.each_ref().map(|one| one.corrupted.prob));
    check(all.corrupted.logit, all.corrupted_spread.logit, alone.each_ref().map(|one| one.corrupted.logit));
    for (layer, row) in all.grid.prob.iter().enumerate() {
        for (position, p) in row.iter().enumerate() {
            let of_cell = |one: &TraceFound| one.grid.prob[layer][position];
            check(*p, all.spread.prob[layer][position], alone.each_ref().map(of_cell));
        }
    }
    assert!(alone[0].spread.prob.iter().flatten().all(|spread| spread.is_nan()));
    let notes = &all.figure.notes;
    assert!(notes[0].contains("mean over 4 draws, seeds 5 to 8"), "{notes:?}");
    assert!(notes.iter().any(|note| note.starts_with("standard deviation over the draws")), "{notes:?}");
    assert!(alone[0].figure.notes[0].contains("one draw alone, seed 5"));
    let corrupted = all.facts().into_iter().find(|fact| fact.name.ends_with("corrupted")).unwrap();
    assert!(corrupted.low.unwrap() < corrupted.value && corrupted.value < corrupted.high.unwrap());
    assert_eq!(TraceAsk::default().seeds, 10, "one draw alone decides nothing unless it is asked for");
}

/// The first draw is shown as it fills; then means over those that are whole.
#[test]
fn a_trace_under_way_says_over_how_many_draws_it_is() {
    let engine = &mut open(&golden().join("gpt2"));
    let tokens: Input = vec![3, 14, 15, 92].into();
    let mut case = method::Case::new(engine, tokens);
    case.picks = Picks::from([("corrupt".to_owned(), vec![1])]);
    let mut run = TraceRun::new(case, TraceAsk { seeds: 3, ..TraceAsk::default() }).unwrap();
    let mut said = Vec::new();
    while !run.is_done() {
        run.step(engine, &never).unwrap();
        let found = run.findings();
        let missing = found.grid.prob.iter().flatten().any(|p| p.is_nan());
        assert!(found.seeds == 0 || !missing, "a mean of whole draws has every cell");
        let note = found.figure.notes[0].rsplit("embeddings, ").next().unwrap().to_owned();
        if said.last() != Some(&note) {
            said.push(note);
        }
    }
    let expected = [
        "one draw so far, seed 0, of 3",
        "mean over 1 of 3 draws so far, seed 0",
        "mean over 2 of 3 draws so far, seeds 0 to 1",
        "mean over 3 draws, seeds 0 to 2",
    ];
    assert_eq!(said, expected);
}

/// Cells that hold the corrupted answer whatever is restored say nothing about an estimate.
#[test]
fn estimates_are_ranked_over_the_cells_that_can_change() {
    for family in ["llama", "gpt2", "gpt_neox"] {
        let engine = &mut open(&golden().join(family));
        let tokens: Input = vec![3, 14, 15, 92, 65, 35, 8].into();
        let layers = engine.model.spec.n_layers();
        for restore in [Component::Residual, Component::Attention, Component::Ffn] {
            let ask = TraceAsk { restore, seeds: 2, estimate: Some(true), ..TraceAsk::default() };
            let found = trace(engine, (&Plan::default(), &tokens), &[3, 4], ask, None).unwrap();
            let estimate = found.estimate.as_ref().unwrap();
            let (mut estimated, mut exact) = (Vec::new(), Vec::new());
            for layer in 0..layers {
                for position in 0..7 {
                    let p = found.grid.prob[layer][position];
                    // In a parallel block the first FFN stands beside the attention that reaches past what is corrupted.
                    let beside =
                        family == "gpt_neox" && restore == Component::Ffn && layer == 0 && position > 4;
                    if position >= 3 && (layer + 1 < layers || position == 6) && !beside {
                        estimated.push(estimate.log_prob[layer][position]);
                        exact.push(p);
                    } else {
                        assert_eq!(p, found.corrupted.prob, "{family} {restore:?} {layer} {position}");
                    }
                }
            }
            let expected = metric::rank_agreement(&estimated, &exact);
            assert!((estimate.rank_agreement - expected).abs() < 1e-12, "{family} {restore:?}");
        }
    }
}

#[test]
fn a_small_drop_is_a_warning_in_the_facts() {
    let engine = &mut open(&golden().join("llama"));
    let tokens: Input = vec![3, 14, 15, 92, 65, 35, 8].into();
    let mut facts = |sigma| {
        let ask = TraceAsk { sigma, seeds: 1, ..TraceAsk::default() };
        trace(engine, (&Plan::default(), &tokens), &[0], ask, None).unwrap().facts()
    };
    for facts in [facts(0.0), facts(0.01)] {
        let warning = facts.iter().find(|fact| fact.name.starts_with("warning")).unwrap();
        assert!(warning.name.contains("less than 10 points") && warning.value.abs() < 10.0, "{warning:?}");
    }
}

/// The first pictures show something: the answer hangs on what is corrupted.
#[test]
fn samples_corrupt_what_the_answer_hangs_on() {
    let Opened { mut engine, card } = open_bundled(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap();
    for id in ["trace", "fcct"] {
        let method = method::find(id).unwrap();
        let sample = (method.samples)(&card).remove(0);
        let method::Subject::Prompt(prompt) = &sample.subject else { panic!("{id} is about a prompt") };
        let input = engine.input(prompt).unwrap();
        let mut asked = method::Asked::new(method, sample.subject.clone(), &Plan::default());
        (asked.ask, asked.picks) = (sample.ask, (sample.picks)(&engine.tokens(&input)));
        let mut run = method::Running::start(asked, &mut engine, &card, &never).unwrap();
        while !run.step(&mut engine, &never).unwrap() {}
        let facts = run.findings(&engine).found.facts();
        let change = facts.iter().find(|fact| fact.unit == "points").unwrap();
        assert!(change.value < -50.0 && change.name.starts_with("change of P("), "{id}: {facts:?}");
        assert!(!facts.iter().any(|fact| fact.name.starts_with("warning")), "{id}: {facts:?}");
    }
}
