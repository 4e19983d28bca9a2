//! Invariants of plans: off is off, skip is zero, every kind changes something.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use sluice_core::engine::{self, Decoder, Engine, Run, never};
use sluice_core::model::{Ask, ImageRows, Input, Logits, Schedule};
use sluice_core::plan::{self, Change, Item, KINDS, KindInfo, Plan};
use sluice_core::rng;
use sluice_core::site::Site;

use crate::support::{bits, golden, logits, open, run};

const FAMILIES: &[&str] = &["gpt2", "llama"];

/// Every form of residual, mask and rotary turn.
const FORMS: &[&str] = &[
    "gpt2",
    "llama",
    "gpt_neox",
    "phi",
    "gemma2",
    "gpt_neo",
    "mistral",
    "olmo2",
    "opt-post-norm",
    "qwen2-window",
    "stablelm-parallel",
];

/// The examples of every kind that a model takes. IRI's rates are for two layers.
pub fn kinds_for(engine: &Engine) -> Vec<Item> {
    let spec = &engine.model.spec;
    let takes = |kind: &&KindInfo| match kind.name {
        "experts" => spec.has_experts(),
        "router" => !spec.routers.is_empty(),
        "iri" => spec.n_layers() == 2,
        _ => true,
    };
    KINDS.iter().filter(takes).flat_map(|kind| (kind.examples)()).map(Item::from).collect()
}

fn item(json: &str) -> Item {
    serde_json::from_str(json).unwrap()
}

pub fn plan(items: Vec<Item>) -> Plan {
    Plan { items, ..Plan::default() }
}

fn prompt() -> Vec<u32> {
    vec![3, 14, 15, 92, 65, 35]
}

fn each(mut check: impl FnMut(&mut Engine)) {
    for family in FAMILIES {
        check(&mut open(&golden().join(family)));
    }
}

#[test]
fn switched_off_is_the_untouched_model() {
    each(|engine| {
        let base = logits(engine, &prompt(), &Plan::default());
        let off = kinds_for(engine).into_iter().map(|item| Item { on: false, ..item }).collect();
        let zero = kinds_for(engine).into_iter().map(|item| Item { strength: 0.0, ..item }).collect();
        assert_eq!(bits(&logits(engine, &prompt(), &plan(off))), bits(&base));
        assert_eq!(bits(&logits(engine, &prompt(), &plan(zero))), bits(&base));
    });
}

#[test]
fn every_kind_changes_the_logits_alone_and_stacked() {
    each(|engine| {
        let base = logits(engine, &prompt(), &Plan::default());
        for item in kinds_for(engine) {
            let changed = logits(engine, &prompt(), &plan(vec![item.clone()]));
            assert!(changed.iter().all(|x| x.is_finite()), "{item:?}");
            assert_ne!(bits(&changed), bits(&base), "{item:?}");
        }
        let all = logits(engine, &prompt(), &plan(kinds_for(engine)));
        assert_ne!(bits(&all), bits(&base));
    });
}

#[test]
fn skip_equals_zeroed_output_bit_for_bit() {
    each(|engine| {
        for (part, hook) in [("attn", "hook_attn_out"), ("ffn", "hook_mlp_out")] {
            let skip = item(&format!(r#"{{"kind":"skip","layer":1,"part":"{part}"}}"#));
            let zero = item(&format!(r#"{{"kind":"scale","site":"blocks.1.{hook}","factor":0.0}}"#));
            let skipped = logits(engine, &prompt(), &plan(vec![skip]));
            let zeroed = logits(engine, &prompt(), &plan(vec![zero]));
            assert_eq!(skipped, zeroed, "{part}");
        }
    });
}

#[test]
fn neutral_settings_change_nothing() {
    let neutral = [
        r#"{"kind":"route","layers":[{"layer":0,"tokens":["big","big"]}]}"#,
        r#"{"kind":"threshold","value":0.0}"#,
        r#"{"kind":"scale","site":"blocks.0.hook_mlp_out","factor":1.0}"#,
        r#"{"kind":"patch","site":"blocks.0.hook_resid_post","positions":"all","source":"base"}"#,
        r#"{"kind":"add","site":"blocks.0.hook_resid_post","source":"base","scale":0.0}"#,
        r#"{"kind":"iri","attn":{"recovery":[0.9,0.1],"lambda":0},"ffn":{"recovery":[0.9,0.1],"lambda":0}}"#,
        r#"{"kind":"iri","attn":{"recovery":[0.9,0.1],"sources":0},"ffn":{"recovery":[0.9,0.1],"targets":0}}"#,
        r#"{"kind":"iri","attn":{"recovery":[0.1,0.9],"sources":1},"ffn":{"recovery":[0.9,0.1],"targets":1}}"#,
    ];
    each(|engine| {
        let base = logits(engine, &prompt(), &Plan::default());
        for json in neutral {
            assert_eq!(bits(&logits(engine, &prompt(), &plan(vec![item(json)]))), bits(&base), "{json}");
        }
    });
}

#[test]
fn earlier_positions_keep_their_logits() {
    each(|engine| {
        let vocab = engine.model.spec.vocab;
        let base = logits(engine, &prompt(), &Plan::default());
        let late = item(r#"{"kind":"corrupt","noise":{"sigma":3.0,"seed":1},"positions":{"at":[4]}}"#);
        let changed = logits(engine, &prompt(), &plan(vec![late]));
        assert_eq!(bits(&changed[..4 * vocab]), bits(&base[..4 * vocab]));
        assert_ne!(bits(&changed[4 * vocab..]), bits(&base[4 * vocab..]));
    });
}

#[test]
fn capturing_changes_nothing() {
    each(|engine| {
        let ask = |capture| Ask { capture, logits: Logits::All, ..Ask::default() };
        let all = Site::all(&engine.model.spec).into_iter().collect();
        let plain = run(engine, &prompt(), &Schedule::none(), ask([].into())).logits.unwrap();
        let kept = run(engine, &prompt(), &Schedule::none(), ask(all)).logits.unwrap();
        let flat = |x: candle_core::Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(bits(&flat(plain)), bits(&flat(kept)));
    });
}

#[test]
fn half_strength_is_half_way() {
    each(|engine| {
        let site = "blocks.1.hook_mlp_out";
        let half = Item { strength: 0.5, ..item(&format!(r#"{{"kind":"ablate","site":"{site}"}}"#)) };
        let scaled = item(&format!(r#"{{"kind":"scale","site":"{site}","factor":0.5}}"#));
        let a = logits(engine, &prompt(), &plan(vec![half]));
        let b = logits(engine, &prompt(), &plan(vec![scaled]));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
    });
}

#[test]
fn replaying_a_block_gives_the_same_bits() {
    each(|engine| {
        let tokens: Input = prompt().into();
        let plan = plan(vec![item(r#"{"kind":"scale","site":"blocks.0.hook_attn_out","factor":0.5}"#)]);
        let schedule = engine.schedule(&plan, &tokens, &never).unwrap();
        let run = engine.run_schedule(&tokens, schedule.clone(), &never).unwrap();
        for layer in 0..engine.model.spec.n_layers() {
            let site = Site::block(layer, sluice_core::site::Hook::ResidPost);
            let ask = Ask { capture: [site].into(), ..Ask::default() };
            let whole = engine.pass(&tokens, &schedule, ask, &never).unwrap().0.captures;
            let again = engine.replay(&run, layer, [site].into(), &never).unwrap();
            let flat = |x: &candle_core::Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(bits(&flat(&whole[&site])), bits(&flat(&again[&site])));
        }
    });
}

#[test]
fn plans_that_do_not_fit_are_refused() {
    each(|engine| {
        for json in [
            r#"{"kind":"skip","layer":99,"part":"ffn"}"#,
            r#"{"kind":"ablate","site":"blocks.0.attn.hook_z","unit":64}"#,
            r#"{"kind":"add","site":"blocks.0.hook_resid_post","source":{"values":[1.0]},"scale":1.0}"#,
            r#"{"kind":"ablate","site":"blocks.0.attn.hook_pattern","to":"mean"}"#,
            r#"{"kind":"corrupt","site":"blocks.0.attn.hook_pattern","noise":{"sigma":1.0,"seed":1}}"#,
            r#"{"kind":"threshold","layer":18446744073709551615,"value":0.1}"#,
            r#"{"kind":"patch","site":"blocks.0.hook_resid_post","positions":{"at":[18446744073709551615]},"source":{"values":[1.0]}}"#,
            r#"{"kind":"iri","attn":{"recovery":[0.1]},"ffn":{"recovery":[0.1,0.2]}}"#,
        ] {
            let plan = plan(vec![item(json)]);
            assert!(engine.schedule(&plan, &prompt().into(), &never).is_err(), "{json}");
        }
    });
}

#[test]
fn plan_files_round_trip() {
    let examples = KINDS.iter().flat_map(|kind| (kind.examples)());
    let all = plan(examples.map(Item::from).collect());
    assert_eq!(Plan::from_json(&all.to_json().unwrap()).unwrap(), all);
    assert!(Plan::from_json(r#"{"version":2,"items":[]}"#).is_err());
    assert!(Plan::from_json("[").is_err());
}

/// Written again by `SLUICE_WRITE_DOCS=1 cargo nextest run -p sluice-core document`.
#[test]
fn the_document_of_plans_is_written_from_the_kinds() {
    let path = golden().join("../../../docs/plan.md");
    let text = plan::document().unwrap();
    if std::env::var_os("SLUICE_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == text, "docs/plan.md is not what the kinds say");
    let whole = text.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(Plan::from_json(whole).unwrap().items.len(), 2);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("{\"kind\"")).collect();
    let examples: Vec<Item> = KINDS.iter().flat_map(|kind| (kind.examples)()).map(Item::from).collect();
    assert_eq!(lines.into_iter().map(item).collect::<Vec<_>>(), examples);
}

/// Of those that the two plain families do not take.
#[test]
fn examples_of_experts_and_routers_change_the_logits_too() {
    for (folder, kind) in [("mixtral", "experts"), ("../../../assets/bundled", "router")] {
        let engine = &mut open(&golden().join(folder));
        let base = logits(engine, &prompt(), &Plan::default());
        let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
        for change in (kind.examples)() {
            let changed = logits(engine, &prompt(), &plan(vec![change.into()]));
            assert_ne!(bits(&changed), bits(&base), "{}", kind.name);
        }
    }
}

/// Logits after each of the tokens past the first, by cached decoding under a plan made for a prompt of `len` tokens.
fn decoded(engine: &mut Engine, plan: &Plan, len: usize) -> Vec<Vec<f32>> {
    let tokens = prompt();
    let ahead = tokens.len() - len;
    let schedule = engine.schedule_ahead(plan, &tokens[..len].into(), ahead, &never).unwrap();
    let mut decoder =
        Decoder::new(engine.model.clone(), schedule, &tokens[..len].into(), tokens.len()).unwrap();
    let mut rows = vec![decoder.logits(&never).unwrap()];
    for &token in &tokens[len..] {
        decoder.push(token);
        rows.push(decoder.logits(&never).unwrap());
    }
    rows
}

#[test]
fn switched_off_decodes_as_the_untouched_model() {
    each(|engine| {
        let base = decoded(engine, &Plan::default(), 3);
        let off = kinds_for(engine).into_iter().map(|item| Item { on: false, ..item }).collect();
        let same = decoded(engine, &plan(off), 3);
        assert!(base.iter().zip(&same).all(|(a, b)| bits(a) == bits(b)));
    });
}

#[test]
fn decoding_under_every_kind_equals_prefill() {
    each(|engine| {
        // A patch ends with its source.
        for item in kinds_for(engine).into_iter().filter(|item| !matches!(item.change, Change::Patch(_))) {
            let plan = plan(vec![item.clone()]).fitted(3);
            let tokens = prompt();
            let ahead = tokens.len() - 3;
            let schedule = engine.schedule_ahead(&plan, &tokens[..3].into(), ahead, &never).unwrap();
            let ask = Ask { logits: Logits::All, ..Ask::default() };
            let whole: Vec<Vec<f32>> =
                run(engine, &tokens, &schedule, ask).logits.unwrap().to_vec2().unwrap();
            for (row, cached) in whole[2..].iter().zip(decoded(engine, &plan, 3)) {
                assert_eq!(bits(row), bits(&cached), "{item:?}");
            }
        }
    });
}

#[test]
fn later_routes_lie_over_earlier_ones_whole() {
    let route = |lane: &str| {
        item(&format!(r#"{{"kind":"route","layers":[{{"layer":0,"tokens":["big","{lane}"]}}]}}"#))
    };
    each(|engine| {
        let stacked = logits(engine, &prompt(), &plan(vec![route("skip_layer"), route("small")]));
        let alone = logits(engine, &prompt(), &plan(vec![route("small")]));
        assert_eq!(bits(&stacked), bits(&alone), "the token is small, and reads attention again");
    });
}

#[test]
fn sites_of_an_ffn_that_no_token_takes_are_missing_values() {
    each(|engine| {
        let small = vec!["\"small\""; prompt().len()].join(",");
        let json = format!(r#"{{"kind":"route","layers":[{{"layer":0,"tokens":[{small}]}}]}}"#);
        let schedule =
            engine.schedule(&plan(vec![item(&json)]), &prompt().as_slice().into(), &never).unwrap();
        let site: Site = "blocks.0.mlp.hook_post".parse().unwrap();
        let ask = Ask { capture: [site].into(), ..Ask::default() };
        let value = run(engine, &prompt(), &schedule, ask).captures.remove(&site).unwrap();
        assert_eq!(value.dims(), [prompt().len(), engine.model.spec.layers[0].ffn.d_mlp]);
        assert!(value.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|x| x.is_nan()));
    });
}

#[test]
fn changes_at_the_edge_of_arithmetic_stay_finite() {
    each(|engine| {
        for json in [
            r#"{"kind":"add","site":"blocks.0.hook_resid_post","source":"base","scale":-1.0,"keep_norm":true}"#,
            r#"{"kind":"ablate","site":"blocks.0.attn.hook_attn_scores","unit":0,"strength":0.5}"#,
            r#"{"kind":"scale","site":"blocks.0.attn.hook_attn_scores","factor":0.0}"#,
        ] {
            let changed = logits(engine, &prompt(), &plan(vec![item(json)]));
            assert!(changed.iter().all(|x| x.is_finite()), "{json}");
        }
    });
}

#[test]
fn misspelt_fields_and_numbers_past_f32_are_named() {
    for (json, needle) in [
        (r#"{"kind":"skip","layer":1,"part":"ffn","postions":{"at":[1]}}"#, "postions"),
        (r#"{"kind":"route","layers":[{"layer":0,"token":["small"]}]}"#, "token"),
        (r#"{"kind":"ablate","site":"hook_embed","uint":2}"#, "uint"),
        (r#"{"kind":"scale","site":"hook_embed","factor":1e39}"#, "factor"),
        (r#"{"kind":"threshold","value":0.1,"layers":3}"#, "layers"),
        (r#"{"kind":"iri","attn":{"recovery":[0.1],"k1":2},"ffn":{"recovery":[0.1]}}"#, "k1"),
        (r#"{"kind":"iri","attn":{"recovery":[1e39]},"ffn":{"recovery":[0.1]}}"#, "recovery"),
    ] {
        let text = format!(r#"{{"version":1,"items":[{json}]}}"#);
        let error = Plan::from_json(&text).unwrap_err().to_string();
        assert!(error.contains(needle), "{json}: {error}");
    }
}

#[test]
fn recomputing_from_the_first_change_is_the_whole_run_bit_for_bit() {
    let flat = |x: &candle_core::Tensor| bits(&x.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    for family in FORMS {
        let engine = &mut open(&golden().join(family));
        let tokens: Input = prompt().into();
        let base = engine.base(&tokens, &never).unwrap();
        let mut saved = 0;
        for item in kinds_for(engine) {
            let schedule = engine.schedule(&plan(vec![item.clone()]), &tokens, &never).unwrap();
            let whole = engine.run_schedule(&tokens, schedule.clone(), &never).unwrap();
            let part = engine.run_after(&base, schedule, &never).unwrap();
            assert_eq!(bits(&whole.last), bits(&part.last), "{family}: {item:?}");
            for number in 0..=2 * engine.model.spec.n_layers() {
                let stream = |run| flat(&engine.boundary(run, number).unwrap());
                assert_eq!(stream(&whole), stream(&part), "{family}: {item:?}, boundary {number}");
            }
            // Panels replay blocks of the run, also of those that were not computed again.
            let site: Site = "blocks.0.attn.hook_pattern".parse().unwrap();
            let replayed = |run| flat(&engine.replay(run, 0, [site].into(), &never).unwrap()[&site]);
            assert_eq!(replayed(&whole), replayed(&part), "{family}: {item:?}");
            saved += whole.work.rows - part.work.rows;
        }
        assert!(saved > 0, "{family}");
    }
}

#[test]
fn branches_together_are_branches_one_by_one_are_whole_runs_bit_for_bit() {
    for family in FORMS {
        let engine = &mut open(&golden().join(family));
        let tokens: Input = prompt().into();
        let base = engine.base(&tokens, &never).unwrap();
        let (mut branches, mut expected) = (Vec::new(), Vec::new());
        for item in kinds_for(engine) {
            let schedule = engine.schedule(&plan(vec![item.clone()]), &tokens, &never).unwrap();
            let whole = engine.run_schedule(&tokens, schedule.clone(), &never).unwrap();
            let Some(branch) = engine.branch(&base, schedule).unwrap() else {
                assert_eq!(bits(&whole.last), bits(&base.last), "{family}: {item:?}");
                continue;
            };
            let alone =
                engine.branches(&base, vec![branch.clone()], Logits::Last).unwrap().run(&never).unwrap();
            let alone = alone.logits.unwrap().to_vec2().unwrap().swap_remove(0);
            assert_eq!(bits(&whole.last), bits(&alone), "{family}: {item:?}");
            branches.push(branch);
            expected.push((item, whole.last));
        }
        // In turn, so that strands of all ages stand beside each other.
        branches.reverse();
        expected.reverse();
        let rows: Vec<usize> = branches.iter().map(|branch| branch.end - branch.start).collect();
        let everywhere = engine.branches(&base, branches.clone(), Logits::All).unwrap().run(&never).unwrap();
        let everywhere: Vec<Vec<f32>> = everywhere.logits.unwrap().to_vec2().unwrap();
        let together = engine.branches(&base, branches, Logits::Last).unwrap().run(&never).unwrap();
        let together: Vec<Vec<f32>> = together.logits.unwrap().to_vec2().unwrap();
        assert_eq!((together.len(), everywhere.len()), (expected.len(), rows.iter().sum()));
        let mut past = 0;
        for (((item, expected), together), rows) in expected.iter().zip(&together).zip(&rows) {
            past += rows;
            assert_eq!(bits(expected), bits(together), "{family}: {item:?} beside others");
            assert_eq!(bits(expected), bits(&everywhere[past - 1]), "{family}: {item:?}, all rows");
        }
    }
}

/// Bits of everything that a run keeps.
fn kept(engine: &Engine, run: &Run) -> Vec<Vec<u32>> {
    let flat = |x: &candle_core::Tensor| bits(&x.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    let pattern = |layer| {
        let site: Site = format!("blocks.{layer}.attn.hook_pattern").parse().unwrap();
        flat(&engine.replay(run, layer, [site].into(), &never).unwrap()[&site])
    };
    let patterns = (0..engine.model.spec.n_layers()).map(pattern);
    let boundaries =
        (0..=2 * engine.model.spec.n_layers()).map(|at| flat(&engine.boundary(run, at).unwrap()));
    boundaries.chain([bits(&run.last)]).chain(patterns).collect()
}

#[test]
fn a_prompt_that_grows_shrinks_or_is_edited_computes_what_is_new_bit_for_bit() {
    let edits: [&[u32]; 5] = [
        &[3, 14, 15, 92, 65, 35, 8, 9, 7, 9, 3, 2, 3, 8, 46, 26, 4, 33],
        &[3, 14, 15, 92],
        &[3, 14, 16, 92, 65],
        &[4, 14, 16, 92, 65],
        &[4],
    ];
    for family in FORMS.iter().chain(&["llama-dynamic", "phi3-long"]) {
        let (engine, fresh) = (&mut open(&golden().join(family)), &mut open(&golden().join(family)));
        engine.base(&prompt().into(), &never).unwrap();
        let mut rows = 0;
        for edit in edits {
            let tokens: Input = edit.to_vec().into();
            let grown = engine.base(&tokens, &never).unwrap();
            let whole = fresh.run_schedule(&tokens, Schedule::none(), &never).unwrap();
            assert_eq!(kept(engine, &grown), kept(fresh, &whole), "{family}: {edit:?}");
            rows += whole.work.rows - grown.work.rows;
        }
        assert!(rows > 0, "{family}");
    }
}

#[test]
fn a_prompt_about_a_picture_keeps_it_while_it_is_the_same_one() {
    let folder = golden().join("llava");
    let (engine, fresh) = (&mut open(&folder), &mut open(&folder));
    let [one, other] = [1, 2].map(|seed| {
        let value = |i| rng::normal(seed, 0, i);
        let side = engine.model.spec.vision.as_ref().unwrap().image_size;
        let pixels: Vec<f32> = (0..(3 * side * side) as u64).map(value).collect();
        engine.see(&Tensor::from_vec(pixels, (1, 3, side, side), &Device::Cpu).unwrap()).unwrap()
    });
    let about =
        |engine: &Engine, image: &Arc<ImageRows>, ids: &[u32]| engine.about(image.clone(), ids).unwrap();
    for (image, ids) in [(&one, &[5, 6][..]), (&one, &[5, 6, 7, 8]), (&other, &[5, 6, 7, 8]), (&one, &[5, 9])]
    {
        let tokens = about(engine, image, ids);
        let grown = engine.base(&tokens, &never).unwrap();
        let whole = fresh.run_schedule(&tokens, Schedule::none(), &never).unwrap();
        assert_eq!(kept(engine, &grown), kept(fresh, &whole), "{ids:?}");
    }
}

#[test]
fn with_little_memory_a_run_keeps_less_and_says_the_same() {
    for family in FORMS {
        let folder = golden().join(family);
        let (engine, short) = (&mut open(&folder), &mut open(&folder));
        let tokens: Input = prompt().into();
        let edit = item(r#"{"kind":"scale","site":"blocks.1.hook_mlp_out","factor":0.5}"#);
        let plan = plan(vec![edit]);
        let of = |engine: &mut Engine| {
            let base = engine.base(&tokens, &never).unwrap();
            let schedule = engine.schedule(&plan, &tokens, &never).unwrap();
            let changed = engine.run_after(&base, schedule.clone(), &never).unwrap();
            let branch = engine.branch(&base, schedule).unwrap().unwrap();
            let branch = engine.branches(&base, vec![branch], Logits::Last).unwrap().run(&never).unwrap();
            let branch: Vec<f32> = branch.logits.unwrap().flatten_all().unwrap().to_vec1().unwrap();
            (base.boundaries.count(), kept(engine, &base), kept(engine, &changed), bits(&branch))
        };
        engine::set_budget(0);
        let (all, base, changed, branch) = of(engine);
        engine::set_budget(1);
        let (few, base_again, changed_again, branch_again) = of(short);
        engine::set_budget(0);
        assert_eq!(all, 2 * engine.model.spec.n_layers() + 1, "{family}");
        assert!(few < all, "{family}: {few} of {all}");
        assert!(base == base_again && changed == changed_again && branch == branch_again, "{family}");
    }
}
