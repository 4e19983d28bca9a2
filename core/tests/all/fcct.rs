//! The identities of causal tracing (FCCT, equation 2), on small checkpoints.

use sluice_core::checkpoint::read_image;
use sluice_core::engine::{Answer, Engine, never};
use sluice_core::error::Result;
use sluice_core::figure::Plot;
use sluice_core::method::fcct::{FcctAsk, FcctFound, FcctRun};
use sluice_core::method::trace::{Component, Corruption, Patcher, Setup};
use sluice_core::method::{self, Case, Picks, Stepper as _};
use sluice_core::metric;
use sluice_core::model::{Ask, Input};
use sluice_core::plan::{Change, Corrupt, Item, Patch, Plan, Positions, Source, Target};
use sluice_core::rng;
use sluice_core::site::{Hook, Site};

use crate::iri::random;
use crate::support::{golden, open};

const COMPONENTS: [Component; 3] = [Component::Residual, Component::Attention, Component::Ffn];

fn each(mut check: impl FnMut(&mut Engine)) {
    check(&mut random("llama", "num_hidden_layers"));
    for family in ["gpt2", "gpt_neox", "gemma2"] {
        check(&mut open(&golden().join(family)));
    }
}

fn prompt() -> Input {
    vec![1, 14, 15, 92, 65, 35, 8, 9].into()
}

/// Marked context, object and words.
type Marks<'a> = [&'a [usize]; 3];

/// Context 1 to 3 with the object at 2, its word at 5; 4 and 6 are early and late text.
const MARKS: Marks = [&[1, 2, 3], &[2], &[5]];

fn begin(engine: &mut Engine, marks: Marks, (sigma, seeds): (f32, usize), tokens: &Input) -> Result<FcctRun> {
    let mut case = Case::new(engine, tokens.clone());
    let named = ["context", "object", "words"].into_iter().zip(marks);
    case.picks = named.map(|(name, at)| (name.to_owned(), at.to_vec())).collect::<Picks>();
    FcctRun::new(case, FcctAsk { sigma, seed: 4, seeds, ..FcctAsk::default() })
}

fn run(engine: &mut Engine, marks: Marks, sigma: f32, tokens: &Input) -> FcctFound {
    drawn(engine, marks, (sigma, 1), tokens)
}

/// Means over so many draws.
fn drawn(engine: &mut Engine, marks: Marks, noise: (f32, usize), tokens: &Input) -> FcctFound {
    let mut run = begin(engine, marks, noise, tokens).unwrap();
    method::finish(&mut run, engine, &never).unwrap();
    assert_eq!(run.progress().done, run.progress().all);
    run.findings()
}

/// Per component, layer x category.
fn values(findings: &FcctFound) -> [Vec<f32>; 3] {
    let values = findings.figures.iter().map(|figure| match &figure.plot {
        Plot::Map(map) => map.values.to_vec(),
        _ => panic!("not a map"),
    });
    values.collect::<Vec<_>>().try_into().unwrap()
}

/// Restore to the end.
fn restored(
    engine: &Engine,
    patcher: &mut Patcher,
    component: Component,
    layer: usize,
    positions: &[usize],
) -> f32 {
    let mut batch = patcher.batch(engine);
    batch.add(patcher, engine, 0, (component, layer..layer + 1, positions)).unwrap();
    loop {
        if let Some(cells) = batch.step(patcher, engine).unwrap() {
            return cells[0].1.prob;
        }
    }
}

fn patcher(engine: &mut Engine) -> Patcher {
    let noise = Corruption::Noise { sigma: 3.0, seed: 4 };
    let setup = Setup { plan: &Plan::default(), answer: &Answer::Top, corrupt: &[1, 2, 3], noise };
    Patcher::new(engine, &setup, &COMPONENTS, &prompt(), &never).unwrap()
}

#[test]
fn no_noise_leaves_every_rate_undefined() {
    each(|engine| {
        let findings = run(engine, MARKS, 0.0, &prompt());
        assert_eq!(findings.clean.prob.to_bits(), findings.corrupted.prob.to_bits());
        assert!(values(&findings).iter().flatten().all(|rate| rate.is_nan()));
        let last = [Component::Attention, Component::Ffn].map(|component| findings.last(component));
        assert!(last.iter().flatten().all(|rate| rate.is_nan()));
        assert!(findings.figures[0].notes.iter().any(|note| note.starts_with("n/a: the corruption did not")));
    });
}

#[test]
fn everything_restored_is_the_clean_run_and_nothing_restored_the_corrupted_one() {
    each(|engine| {
        let (mut patcher, layers) = (patcher(engine), engine.model.spec.n_layers());
        assert_ne!(patcher.clean.prob, patcher.corrupted.prob);
        let all: Vec<usize> = (0..prompt().len()).collect();
        for layer in 0..layers {
            let p = restored(engine, &mut patcher, Component::Residual, layer, &all);
            assert_eq!(p.to_bits(), patcher.clean.prob.to_bits(), "layer {layer}");
            assert_eq!(patcher.recovery(p), 1.0);
            for component in COMPONENTS {
                // Position 0 lies before the corruption.
                for positions in [&[][..], &[0]] {
                    let p = restored(engine, &mut patcher, component, layer, positions);
                    assert_eq!(patcher.recovery(p), 0.0, "layer {layer}, {component:?}, {positions:?}");
                }
            }
        }
        let p = restored(engine, &mut patcher, Component::Residual, layers - 1, &[prompt().len() - 1]);
        assert_eq!(p.to_bits(), patcher.clean.prob.to_bits(), "the last token's last stream is the answer");
    });
}

/// Each cell against a plan that corrupts and patches, run from the start.
#[test]
fn cells_are_what_the_plan_says() {
    let categories: [&[usize]; 7] = [&[1], &[2], &[3], &[4], &[5], &[6], &[7]];
    each(|engine| {
        let findings = run(engine, MARKS, 3.0, &prompt());
        assert_eq!(findings.categories, [1; 7]);
        let answer = findings.answer.id;
        let corrupt = Change::Corrupt(Corrupt::embeddings(Positions::At(vec![1, 2, 3]), 3.0, 4));
        for (hook, values) in
            [Hook::ResidPost, Hook::AttnOut, Hook::MlpOut].into_iter().zip(values(&findings))
        {
            for (cell, rate) in values.into_iter().enumerate() {
                let patch = Change::Patch(Patch {
                    target: Target::site(Site::block(cell / 7, hook)),
                    positions: Positions::At(categories[cell % 7].to_vec()),
                    source: Source::Base,
                    from_position: None,
                });
                let items: Vec<Item> = vec![corrupt.clone().into(), patch.into()];
                let plan = Plan { items, ..Plan::default() };
                let schedule = engine.schedule(&plan, &prompt(), &never).unwrap();
                let output = engine.pass(&prompt(), &schedule, Ask::default(), &never).unwrap().0;
                let logits: Vec<f32> = output.logits.unwrap().flatten_all().unwrap().to_vec1().unwrap();
                let p = metric::probability(&logits, answer);
                let expected = metric::recovery(p, findings.corrupted.prob, findings.clean.prob);
                assert_eq!(rate.to_bits(), expected.to_bits(), "{hook:?}, cell {cell}");
            }
        }
        let residual = &values(&findings)[0];
        assert_eq!(residual.last(), Some(&1.0));
        let attention: Vec<f32> = values(&findings)[1].iter().skip(6).step_by(7).copied().collect();
        assert_eq!(findings.last(Component::Attention), attention);
    });
}

#[test]
fn a_category_without_a_token_is_not_a_number() {
    each(|engine| {
        let findings = run(engine, [&[1, 2, 3], &[], &[]], 3.0, &prompt());
        assert_eq!(findings.categories, [3, 0, 0, 3, 0, 0, 1]);
        for values in values(&findings) {
            for (cell, rate) in values.into_iter().enumerate() {
                assert_eq!(rate.is_nan(), findings.categories[cell % 7] == 0, "cell {cell}");
            }
        }
    });
}

#[test]
fn a_picture_is_corrupted_whole() {
    let engine = &mut open(&golden().join("llava"));
    let picture = read_image(&golden().join("pictures/wide.png")).unwrap();
    let image = engine.look(&picture).unwrap();
    let tokens = engine.about(image, &[1, 7, 11, 12]).unwrap();
    let places: Vec<usize> =
        (0..tokens.len()).filter(|&at| tokens[at] == tokens.image().unwrap().token).collect();
    let object = places[3..5].to_vec();
    let words = [tokens.len() - 2];
    let findings = run(engine, [&[], &object, &words], 3.0, &tokens);
    assert_eq!(findings.categories, [3, 2, 4, tokens.len() - places.last().unwrap() - 3, 1, 0, 1]);
    assert_ne!(findings.clean.prob, findings.corrupted.prob);
    assert!(!findings.figures[0].notes.iter().any(|note| note.contains("surrogate")));
    let error = begin(engine, [&[1], &object, &words], (3.0, 1), &tokens).err().unwrap();
    assert!(error.to_string().contains("picture"), "{error}");
}

/// Rates are of mean probabilities; the interval is over the draws.
#[test]
fn draws_of_noise_are_averaged() {
    each(|engine| {
        let all = drawn(engine, MARKS, (3.0, 3), &prompt());
        let alone: Vec<FcctFound> = (4..7)
            .map(|seed| {
                let mut case = Case::new(engine, prompt());
                let named = ["context", "object", "words"].into_iter().zip(MARKS);
                case.picks = named.map(|(name, at)| (name.to_owned(), at.to_vec())).collect::<Picks>();
                let ask = FcctAsk { seed, seeds: 1, ..FcctAsk::default() };
                let mut run = FcctRun::new(case, ask).unwrap();
                method::finish(&mut run, engine, &never).unwrap();
                run.findings()
            })
            .collect();
        assert_eq!((all.seeds, alone[0].seeds), (3, 1));
        let mean = |of: &dyn Fn(&FcctFound) -> f64| alone.iter().map(of).sum::<f64>() / 3.0;
        let clean = f64::from(all.clean.prob);
        let corrupted = mean(&|one| f64::from(one.corrupted.prob));
        assert!((f64::from(all.corrupted.prob) - corrupted).abs() < 1e-7);
        let apart: f64 = alone.iter().map(|one| (f64::from(one.corrupted.prob) - corrupted).powi(2)).sum();
        assert!((f64::from(all.corrupted_spread.prob) - (apart / 2.0).sqrt()).abs() < 1e-7);
        for (component, layers) in all.rates.iter().enumerate() {
            for (layer, rates) in layers.iter().enumerate() {
                for (category, rate) in rates.iter().enumerate() {
                    // Back from each draw's rate to its probability.
                    let restored = mean(&|one| {
                        let own = f64::from(one.corrupted.prob);
                        own + f64::from(one.rates[component][layer][category]) * (clean - own)
                    });
                    let expected = (restored - corrupted) / (clean - corrupted);
                    let error = (f64::from(*rate) - expected).abs();
                    let scale = 1e-6 / (clean - corrupted).abs();
                    assert!(error < 1e-4 * (1.0 + expected.abs()) + scale, "{rate} {expected}");
                    let [low, high] = [&all.low, &all.high].map(|ends| ends[component][layer][category]);
                    assert!(low <= high, "{low} {high}");
                    assert!(alone[0].low[component][layer][category].is_nan(), "one draw has no interval");
                }
            }
        }
        let notes = &all.figures[0].notes;
        assert!(notes.iter().any(|note| note.contains("mean over 3 draws, seeds 4 to 6")), "{notes:?}");
        assert!(notes.iter().any(|note| note.contains("standard deviation")), "{notes:?}");
    });
}

/// Beside a picture, whose rows are of another size, words are disturbed by the spread of words, and rows of the picture by
/// that of the picture: in a plan, a trace and FCCT alike.
#[test]
fn noise_is_measured_in_deviations_of_the_same_sort() {
    let engine = &mut open(&golden().join("llava"));
    let picture = read_image(&golden().join("pictures/wide.png")).unwrap();
    let image = engine.look(&picture).unwrap();
    let tokens = engine.about(image, &[1, 7, 11, 12]).unwrap();
    let embedded = |engine: &mut Engine, plan: &Plan| -> Vec<Vec<f32>> {
        let schedule = engine.schedule(plan, &tokens, &never).unwrap();
        let ask = Ask { capture: [Site::Embed].into(), ..Ask::default() };
        let captures = engine.pass(&tokens, &schedule, ask, &never).unwrap().0.captures;
        captures[&Site::Embed].to_vec2().unwrap()
    };
    let corrupt = |positions| {
        let corrupt = Change::Corrupt(Corrupt::embeddings(positions, 1.5, 9));
        Plan { items: vec![corrupt.into()], ..Plan::default() }
    };
    let clean = embedded(engine, &Plan::default());
    let noisy = embedded(engine, &corrupt(Positions::All));
    let is_patch = |position: usize| tokens[position] == tokens.image().unwrap().token;
    let deviation = |patches: bool| {
        let rows = (0..tokens.len()).filter(|&position| is_patch(position) == patches);
        let values: Vec<f64> = rows.flat_map(|position| &clean[position]).map(|x| f64::from(*x)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    let (words, patches) = (deviation(false), deviation(true));
    assert!((words / patches - 1.0).abs() > 0.1, "the sorts differ here: {words} {patches}");
    let stream = "hook_embed".bytes().fold(0u64, |hash, byte| rng::bits(hash, u64::from(byte), 0));
    let (mut sorts, width) = ([0, 0], clean[0].len());
    for (position, (clean, noisy)) in clean.iter().zip(&noisy).enumerate() {
        let std = 1.5 * if is_patch(position) { patches } else { words };
        sorts[usize::from(is_patch(position))] += 1;
        for (channel, (clean, noisy)) in clean.iter().zip(noisy).enumerate() {
            let unit = rng::normal(9, stream, (position * width + channel) as u64);
            let expected = f64::from(*clean) + std * f64::from(unit);
            assert!((f64::from(*noisy) - expected).abs() < 1e-4 * (1.0 + std), "{position} {channel}");
        }
    }
    assert!(sorts[0] > 0 && sorts[1] > 0);
    // Words alone: nothing of the picture counts.
    let alone = embedded(engine, &corrupt(Positions::At(vec![tokens.len() - 1])));
    assert_eq!(alone.last(), noisy.last());
}
