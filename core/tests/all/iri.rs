//! IRI against plain arithmetic over captured sites, on random checkpoints of five layers.

use std::collections::BTreeSet;

use candle_core::Tensor;
use serde_json::{Value, json};
use sluice_core::checkpoint::{NumberFormat, save};
use sluice_core::engine::{Decoder, Engine, never};
use sluice_core::figure::Provenance;
use sluice_core::method::view::{AnswerPair, AnswerPairAsk, Runs, ViewKind as _};
use sluice_core::model::{Ask, Captures, Input, random_tensors};
use sluice_core::plan::{
    Change, Injected, InjectedVector, Iri, Item, Patch, Plan, Positions, Source, Target,
};
use sluice_core::site::{Hook, Site};

use crate::support::{bits, golden, open};

const LAYERS: usize = 5;
/// Attention before FFN, as in the pass.
const HOOKS: [Hook; 2] = [Hook::AttnOut, Hook::MlpOut];

/// A family's tiny shape at [`LAYERS`] layers, random.
pub fn random(family: &str, layers_field: &str) -> Engine {
    with_tokenizer(family, layers_field, None)
}

fn with_tokenizer(family: &str, layers_field: &str, tokenizer: Option<&str>) -> Engine {
    let text = std::fs::read_to_string(golden().join(family).join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config[layers_field] = json!(LAYERS);
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &config, &random_tensors(&config, 7).unwrap(), NumberFormat::F32, tokenizer).unwrap();
    open(folder.path())
}

fn each(mut check: impl FnMut(&mut Engine)) {
    for (family, layers) in
        [("llama", "num_hidden_layers"), ("gpt2", "n_layer"), ("gpt_neox", "num_hidden_layers")]
    {
        check(&mut random(family, layers));
    }
}

fn prompt() -> Input {
    vec![3, 14, 15, 92, 65, 35].into()
}

fn plan(items: Vec<Change>) -> Plan {
    Plan { items: items.into_iter().map(Item::from).collect(), ..Plan::default() }
}

/// Every attention and FFN output under a plan.
fn outputs(engine: &mut Engine, plan: &Plan) -> Captures {
    let schedule = engine.schedule(plan, &prompt(), &never).unwrap();
    let capture: BTreeSet<Site> =
        (0..LAYERS).flat_map(|layer| HOOKS.map(|hook| Site::block(layer, hook))).collect();
    engine.pass(&prompt(), &schedule, Ask { capture, ..Ask::default() }, &never).unwrap().0.captures
}

fn rows(x: &Tensor) -> Vec<Vec<f32>> {
    x.to_vec2().unwrap()
}

fn last(captures: &Captures, site: Site) -> Vec<f32> {
    rows(&captures[&site]).pop().unwrap()
}

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// Into one layer only, from every layer before it.
fn one_target(target: usize, lambda: f32) -> Injected {
    let rate = |layer: usize| if layer == target { 0.9 } else { 0.2 + 0.1 * layer as f32 };
    Injected { recovery: (0..LAYERS).map(rate).collect(), sources: Some(LAYERS), targets: Some(1), lambda }
}

/// Equation 3 and its rescaling, in f64: `sources` with their rates.
fn reference(x: &[f32], sources: &[(Vec<f32>, f32)], lambda: f32) -> Vec<f32> {
    let sum: Vec<f64> = (0..x.len())
        .map(|i| {
            let added: f64 = sources.iter().map(|(a, rate)| f64::from(*rate) * f64::from(a[i])).sum();
            f64::from(x[i]) + f64::from(lambda) * added
        })
        .collect();
    let after = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
    sum.iter().map(|y| (y * norm(x) / after) as f32).collect()
}

#[test]
fn an_injection_turns_one_token_of_its_layer_and_keeps_its_norm() {
    each(|engine| {
        let base = outputs(engine, &Plan::default());
        for target in 1..LAYERS {
            for (index, hook) in HOOKS.into_iter().enumerate() {
                let lambda = |of: usize| if of == index { 0.8 } else { 0.0 };
                let none = Iri::new(Vec::new(), Vec::new());
                let iri =
                    Iri { attn: one_target(target, lambda(0)), ffn: one_target(target, lambda(1)), ..none };
                let changed = outputs(engine, &plan(vec![Change::Iri(iri)]));
                let site = Site::block(target, hook);
                let (before, after) = (rows(&base[&site]), rows(&changed[&site]));
                let (x, y) = (before.last().unwrap(), after.last().unwrap());
                assert_ne!(bits(x), bits(y), "{site}");
                assert!((norm(y) / norm(x) - 1.0).abs() < 1e-6, "{site}: {} to {}", norm(x), norm(y));
                for (x, y) in before.iter().zip(&after).take(before.len() - 1) {
                    assert_eq!(bits(x), bits(y), "{site}: another token");
                }
                let sources: Vec<(Vec<f32>, f32)> = (0..target)
                    .map(|layer| (last(&base, Site::block(layer, hook)), 0.2 + 0.1 * layer as f32))
                    .collect();
                let expected = reference(x, &sources, 0.8);
                let off = y.iter().zip(&expected).fold(0f64, |m, (a, b)| m.max(f64::from((a - b).abs())));
                assert!(off <= 1e-6 * norm(x), "{site}: {off:e}");
            }
        }
    });
}

/// Layer by layer, each injection computed plainly from what was captured before it and put in as values.
#[test]
fn a_whole_injection_is_the_plain_reference() {
    let recovery = vec![0.6, 0.9, -0.2, 0.5, 0.8];
    let part = |targets, lambda| Injected {
        recovery: recovery.clone(),
        sources: Some(3),
        targets: Some(targets),
        lambda,
    };
    // The paper's rule, which knows no sign.
    let none = Iri { all: true, ..Iri::new(Vec::new(), Vec::new()) };
    let iri = Iri { attn: part(4, 0.5), ffn: part(LAYERS, 0.3), ..none };
    // The three best are 1, 4, 0; the fourth is 3.
    let (sources, attn_targets) = ([0, 1, 4], [0, 1, 3, 4]);
    each(|engine| {
        let base = outputs(engine, &Plan::default());
        let changed = outputs(engine, &plan(vec![Change::Iri(iri.clone())]));
        let mut done: Vec<Change> = Vec::new();
        for layer in 0..LAYERS {
            for (hook, lambda) in [(Hook::AttnOut, 0.5), (Hook::MlpOut, 0.3)] {
                let site = Site::block(layer, hook);
                let before = last(&outputs(engine, &plan(done.clone())), site);
                let earlier: Vec<(Vec<f32>, f32)> = sources
                    .into_iter()
                    .filter(|&source| source < layer)
                    .map(|source| (last(&base, Site::block(source, hook)), recovery[source]))
                    .collect();
                let is_target = hook == Hook::MlpOut || attn_targets.contains(&layer);
                let expected = if is_target { reference(&before, &earlier, lambda) } else { before.clone() };
                let got = last(&changed, site);
                let off = got.iter().zip(&expected).fold(0f64, |m, (a, b)| m.max(f64::from((a - b).abs())));
                assert!(off <= 1e-5 * norm(&before), "{site}: {off:e} of {}", norm(&before));
                done.push(Change::Patch(Patch {
                    target: Target::site(site),
                    positions: Positions::Last,
                    source: Source::Values(expected),
                    from_position: None,
                }));
            }
        }
    });
}

/// Attention and FFN outputs of some tokens under a plan for the first `len` of them, each `[T, d]`.
fn outputs_past(engine: &mut Engine, plan: &Plan, tokens: &Input, len: usize) -> Captures {
    let schedule = engine.schedule(plan, &tokens[..len].into(), &never).unwrap();
    let capture: BTreeSet<Site> =
        (0..LAYERS).flat_map(|layer| HOOKS.map(|hook| Site::block(layer, hook))).collect();
    engine.pass(tokens, &schedule, Ask { capture, ..Ask::default() }, &never).unwrap().0.captures
}

/// Past a prompt of three tokens: each position by what the unmodified run of the whole has at that position (or at the
/// prompt's last), layer by layer in plain arithmetic.
#[test]
fn generated_tokens_get_the_vector_of_the_reading_that_is_chosen() {
    let recovery = vec![0.6, 0.9, -0.2, 0.5, 0.8];
    let part = |lambda| Injected { recovery: recovery.clone(), sources: Some(3), targets: Some(4), lambda };
    let (sources, targets, len) = ([0, 1, 4], [0, 1, 3, 4], 3);
    let tokens = prompt();
    let none = Iri::new(Vec::new(), Vec::new());
    for vector in [InjectedVector::Prompt, InjectedVector::Current] {
        for keep_norm in [true, false] {
            let iri = Iri { attn: part(0.5), ffn: part(0.3), vector, keep_norm, ..none.clone() };
            each(|engine| {
                let base = outputs(engine, &Plan::default());
                let changed = outputs_past(engine, &plan(vec![Change::Iri(iri.clone())]), &tokens, len);
                let mut done: Vec<Change> = Vec::new();
                for layer in 0..LAYERS {
                    for (hook, lambda) in [(Hook::AttnOut, 0.5), (Hook::MlpOut, 0.3)] {
                        let site = Site::block(layer, hook);
                        let before =
                            rows(&outputs_past(engine, &plan(done.clone()), &tokens, tokens.len())[&site]);
                        let got = rows(&changed[&site]);
                        for position in 0..tokens.len() {
                            let of = match vector {
                                InjectedVector::Prompt => len - 1,
                                InjectedVector::Current => position,
                            };
                            let earlier: Vec<(Vec<f32>, f32)> = sources
                                .into_iter()
                                .filter(|&source| source < layer)
                                .map(|source| {
                                    (rows(&base[&Site::block(source, hook)])[of].clone(), recovery[source])
                                })
                                .collect();
                            let injected =
                                position + 1 >= len && targets.contains(&layer) && !earlier.is_empty();
                            let x = &before[position];
                            let mut want = if injected { reference(x, &earlier, lambda) } else { x.clone() };
                            if injected && !keep_norm {
                                let added =
                                    |i: usize| earlier.iter().map(|(a, rate)| rate * a[i]).sum::<f32>();
                                want = (0..x.len()).map(|i| x[i] + lambda * added(i)).collect();
                            }
                            let pairs = got[position].iter().zip(&want);
                            let off = pairs.fold(0f64, |m, (a, b)| m.max(f64::from((a - b).abs())));
                            assert!(
                                off <= 2e-5 * norm(x),
                                "{vector:?} {site} at {position}: {off:e} of {}",
                                norm(x)
                            );
                            done.push(Change::Patch(Patch {
                                target: Target::site(site),
                                positions: Positions::At(vec![position]),
                                source: Source::Values(want),
                                from_position: None,
                            }));
                        }
                    }
                }
            });
        }
    }
}

#[test]
fn both_readings_agree_at_the_prompt_differ_after_it_and_decode_as_they_prefill() {
    let tokens = prompt();
    let (attn, ffn) = (vec![0.6, 0.9, 0.2, 0.5, 0.8], vec![0.5, 0.4, 0.9, 0.3, 0.2]);
    let with = |vector| {
        let mut iri = Iri { vector, ..Iri::new(attn.clone(), ffn.clone()) };
        (iri.attn.lambda, iri.ffn.lambda) = (0.9, 0.8);
        plan(vec![Change::Iri(iri)])
    };
    for (family, layers) in
        [("llama", "num_hidden_layers"), ("gpt2", "n_layer"), ("llama-dynamic", "num_hidden_layers")]
    {
        let engine = &mut random(family, layers);
        let mut decoded = |vector| {
            let schedule = engine.schedule(&with(vector), &tokens[..2].into(), &never).unwrap();
            let mut decoder =
                Decoder::new(engine.model.clone(), schedule.clone(), &tokens[..2].into(), 9).unwrap();
            let mut each = vec![decoder.logits(&never).unwrap()];
            for (index, &token) in tokens.iter().enumerate().skip(2) {
                decoder.push(token);
                each.push(decoder.logits(&never).unwrap());
                let so_far: Input = tokens[..=index].into();
                let whole =
                    engine.pass(&so_far, &schedule, Ask::default(), &never).unwrap().0.logits.unwrap();
                let whole: Vec<f32> = whole.flatten_all().unwrap().to_vec1().unwrap();
                assert_eq!(bits(&whole), bits(each.last().unwrap()), "{family}: token {index}");
            }
            // Another continuation, then the first one again.
            decoder.rewind(2);
            decoder.logits(&never).unwrap();
            decoder.push(tokens[4]);
            decoder.logits(&never).unwrap();
            decoder.rewind(2);
            for (index, logits) in each.iter().enumerate() {
                assert_eq!(
                    bits(&decoder.logits(&never).unwrap()),
                    bits(logits),
                    "{family}: rewound, {index}"
                );
                tokens.get(2 + index).into_iter().for_each(|&token| decoder.push(token));
            }
            each
        };
        let (prompts, own) = (decoded(InjectedVector::Prompt), decoded(InjectedVector::Current));
        assert_eq!(bits(&prompts[0]), bits(&own[0]), "{family}");
        for (a, b) in prompts.iter().zip(&own).skip(1) {
            assert_ne!(bits(a), bits(b), "{family}");
        }
    }
}

#[test]
fn layers_that_hinder_are_left_out_unless_all_are_asked_for() {
    let engine = &mut random("llama", "num_hidden_layers");
    let rates = vec![-0.3, -0.1, 0.0, 0.4, -0.2];
    let of = |all| plan(vec![Change::Iri(Iri { all, ..Iri::new(rates.clone(), vec![-1.0; LAYERS]) })]);
    let base = outputs(engine, &Plan::default());
    let last_site = Site::block(LAYERS - 1, Hook::MlpOut);
    // One layer with a rate above 0: a source without a later target.
    let same = outputs(engine, &of(false));
    assert_eq!(bits(&last(&same, last_site)), bits(&last(&base, last_site)));
    let all = plan(vec![Change::Iri(Iri {
        all: true,
        attn: Injected { recovery: rates.clone(), sources: Some(5), targets: Some(5), lambda: 0.5 },
        ..Iri::new(Vec::new(), Vec::new())
    })]);
    assert_ne!(bits(&last(&outputs(engine, &all), last_site)), bits(&last(&base, last_site)));
}

#[test]
fn rates_that_are_no_numbers_are_refused_by_name() {
    let engine = &mut random("llama", "num_hidden_layers");
    for (attn, ffn, needle) in [
        (vec![0.1; LAYERS], vec![0.1; LAYERS + 1], "iri.ffn.recovery has 6 rates, this model 5 layers"),
        (vec![f32::NAN; LAYERS], vec![0.1; LAYERS], "iri.attn.recovery[0] is NaN"),
    ] {
        let plan = plan(vec![Change::Iri(Iri::new(attn, ffn))]);
        let error = engine.schedule(&plan, &prompt(), &never).unwrap_err().to_string();
        assert!(error.contains(needle), "{error}");
    }
}

fn verdict(engine: &mut Engine, prompt: &str, plan: &Plan) -> AnswerPair {
    let tokens: Input = engine.encode(prompt).unwrap().into();
    let base = engine.base(&tokens, &never).unwrap();
    let schedule = engine.schedule(plan, &tokens, &never).unwrap();
    let runs = Runs {
        plan: engine.run_after(&base, schedule, &never).unwrap().into(),
        base,
        source: plan.clone(),
        tokens: tokens.iter().map(|&id| engine.token(id)).collect(),
        provenance: Provenance { prompt: prompt.into(), ..Provenance::default() },
    };
    AnswerPairAsk::default().compute(engine, &runs, &never).unwrap()
}

#[test]
fn a_yes_no_question_shows_yes_and_no_and_how_well_norms_are_kept() {
    let words = "? ( ) Is it so or Yes No yes What colour no";
    let vocab: serde_json::Map<String, Value> =
        words.split(' ').zip(4..).map(|(word, id)| (word.to_owned(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "?"},
    });
    let engine = &mut with_tokenizer("llama", "num_hidden_layers", Some(&tokenizer.to_string()));
    let asked = verdict(engine, "Is it so ? ( Yes or No )", &Plan::default());
    assert!(asked.yes_no && asked.drift.is_none());
    let texts = asked.rows.each_ref().map(|row| row.token.text.to_lowercase());
    assert!(texts[0].contains("yes") && texts[1].contains("no"), "{texts:?}");
    assert_eq!(asked.rows[0].base.to_bits(), asked.rows[0].plan.to_bits());

    let mut plan = plan(vec![Change::Iri(Iri::new(vec![0.5; LAYERS], vec![0.4; LAYERS]))]);
    let other = verdict(engine, "What colour ?", &plan);
    assert!(!other.yes_no);
    assert_ne!(other.rows[0].token, other.rows[1].token);
    assert_ne!(other.rows[0].base.to_bits(), other.rows[0].plan.to_bits());
    assert!(other.drift.unwrap() < 1e-6, "{:?}", other.drift);
    // Half-way between two vectors of one norm lies a shorter one.
    plan.items[0].strength = 0.5;
    assert!(verdict(engine, "What colour ?", &plan).drift.unwrap() > 1e-6);
}
