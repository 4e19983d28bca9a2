//! Random plans on every kind of model: what is recomputed from the change on, as a branch, or as a branch among others, is
//! what a whole run computes, bit for bit.

use std::sync::Arc;

use proptest::prelude::*;
use sluice_core::engine::{Engine, never};
use sluice_core::error::Error;
use sluice_core::model::{Ask, Input, Logits, Schedule};
use sluice_core::plan::{Item, Plan};
use sluice_core::rng;
use sluice_core::site::{Shape, Site};

use crate::support::{bits, golden, open, run};

/// Experts, sinks, grouped queries, windows, parallel residuals, norms before and after, caps, rotary turns of all sorts, biases.
const MODELS: &[&str] = &[
    "gpt2",
    "gpt2-inverse-layer",
    "gpt_neo",
    "gpt_neox",
    "gpt_neox-sequential",
    "gemma2",
    "gemma3_text",
    "llama",
    "llama-bias",
    "llama-yarn",
    "mistral",
    "olmo2",
    "opt",
    "opt-post-norm",
    "phi",
    "phi3",
    "qwen2-window",
    "qwen3",
    "stablelm-parallel",
    "starcoder2",
    "llava",
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
    "olmoe",
    "dots1",
    "gpt_oss",
];

/// Numbers of one seed.
struct Draw {
    seed: u64,
    count: u64,
}

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.count += 1;
        (rng::bits(self.seed, 7, self.count) % bound.max(1) as u64) as usize
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn tokens(&mut self, engine: &Engine, len: usize) -> Vec<u32> {
        // Not the image token, which is the last one.
        (0..len).map(|_| self.below(engine.model.spec.vocab - 2) as u32).collect()
    }

    fn positions(&mut self, len: usize) -> String {
        match self.below(4) {
            0 => r#""all""#.into(),
            1 => r#""last""#.into(),
            _ => {
                let count = 1 + self.below(3);
                let at: Vec<usize> = (0..count).map(|_| self.below(len)).collect();
                format!(r#"{{"at":{at:?}}}"#)
            }
        }
    }

    fn site(&mut self, engine: &Engine) -> Site {
        let all = Site::all(&engine.model.spec);
        all[self.below(all.len())]
    }

    fn part(&mut self, layers: usize) -> String {
        let rates: Vec<f32> = (0..layers).map(|_| self.below(100) as f32 / 100.0).collect();
        let (sources, targets) = (self.below(layers + 1), self.below(layers + 1));
        format!(r#"{{"recovery":{rates:?},"sources":{sources},"targets":{targets},"lambda":0.4}}"#)
    }

    /// A plan item for a prompt of `len` tokens.
    fn item(&mut self, engine: &Engine, len: usize) -> String {
        let layers = engine.model.spec.n_layers();
        let (layer, at) = (self.below(layers), self.positions(len));
        let site = self.site(engine);
        let other: Vec<u32> = self.tokens(engine, len);
        match self.below(11) {
            0 => {
                let part = self.pick(&["attn", "ffn"]);
                format!(r#"{{"kind":"skip","layer":{layer},"part":"{part}","positions":{at}}}"#)
            }
            1 | 2 => {
                let lanes = ["big", "small", "skip_ffn", "skip_layer"];
                let lanes: Vec<&str> = (0..self.below(len + 1)).map(|_| self.pick(&lanes)).collect();
                format!(r#"{{"kind":"route","layers":[{{"layer":{layer},"tokens":{lanes:?}}}]}}"#)
            }
            3 => format!(r#"{{"kind":"threshold","layer":{layer},"value":0.15,"positions":{at}}}"#),
            4 => {
                let seed = self.below(99);
                format!(
                    r#"{{"kind":"corrupt","site":"{site}","noise":{{"sigma":1.5,"seed":{seed}}},"positions":{at}}}"#
                )
            }
            5 => {
                format!(
                    r#"{{"kind":"patch","site":"{site}","positions":{at},"source":{{"tokens":{other:?}}}}}"#
                )
            }
            6 => {
                let to = self.pick(&["zero", "mean"]);
                let unit = if self.below(2) == 0 { ",\"unit\":1" } else { "" };
                format!(r#"{{"kind":"ablate","site":"{site}"{unit},"to":"{to}","positions":{at}}}"#)
            }
            7 => {
                let factor = self.pick(&[0.0, 0.5, -1.0, 1.7]);
                format!(r#"{{"kind":"scale","site":"{site}","factor":{factor},"positions":{at}}}"#)
            }
            8 => {
                let keep = self.pick(&[true, false]);
                let from = self.below(len);
                format!(
                    r#"{{"kind":"add","site":"{site}","source":"base","from_position":{from},"scale":0.8,"keep_norm":{keep},"positions":{at}}}"#
                )
            }
            9 => {
                let experts = self.below(6);
                let change = match self.below(3) {
                    0 => format!(r#""knock_out":[{experts}]"#),
                    1 => format!(r#""force":[{experts}]"#),
                    _ => format!(r#""k":{}"#, 1 + experts),
                };
                let layer = if self.below(2) == 0 { format!(r#""layer":{layer},"#) } else { String::new() };
                format!(r#"{{"kind":"experts",{layer}{change},"positions":{at}}}"#)
            }
            _ => {
                let (attn, ffn) = (self.part(layers), self.part(layers));
                format!(r#"{{"kind":"iri","attn":{attn},"ffn":{ffn}}}"#)
            }
        }
    }

    /// Some items that fit the model; a strength now and then.
    fn schedule(&mut self, engine: &mut Engine, tokens: &Input) -> (Vec<String>, Arc<Schedule>) {
        let wanted = 1 + self.below(3);
        let (mut names, mut items) = (Vec::new(), Vec::new());
        for _ in 0..40 {
            let json = self.item(engine, tokens.len());
            let mut item: Item = serde_json::from_str(&json).unwrap();
            item.strength = self.pick(&[1.0, 1.0, 0.5]);
            let so_far = Plan { items: items.iter().chain([&item]).cloned().collect(), ..Plan::default() };
            // Sites that have no mean or take no noise are refused, rules that go with no others too: another one then.
            if engine.schedule(&so_far, tokens, &never).is_ok() {
                names.push(json);
                items.push(item);
            }
            if items.len() == wanted {
                break;
            }
        }
        let plan = Plan { items, ..Plan::default() };
        (names, engine.schedule(&plan, tokens, &never).unwrap())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_branch_is_a_whole_run_whatever_the_plan(model in 0..MODELS.len(), len in 1usize..=64, seed: u64) {
        let engine = &mut open(&golden().join(MODELS[model]));
        let mut draw = Draw { seed, count: 0 };
        let tokens: Input = draw.tokens(engine, len).into();
        let base = engine.base(&tokens, &never).unwrap();
        let (mut branches, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let (names, schedule) = draw.schedule(engine, &tokens);
            let whole = engine.run_schedule(&tokens, schedule.clone(), &never);
            let after = engine.run_after(&base, schedule.clone(), &never);
            // A scale of 0 leaves no finite numbers: said in every way.
            if let Err(error) = &whole {
                prop_assert!(matches!(error, Error::NotFinite { .. }), "{error}: {names:?}");
                prop_assert!(after.is_err(), "{names:?}");
                let branch = engine.branch(&base, schedule).unwrap().unwrap();
                // For the last logits alone, rows that nobody reads are not computed.
                let run = engine.branches(&base, vec![branch], Logits::All).unwrap().run(&never);
                prop_assert!(matches!(run, Err(Error::NotFinite { .. })), "{names:?}");
                continue;
            }
            let (whole, after) = (whole.unwrap(), after.unwrap());
            prop_assert!(bits(&whole.last) == bits(&after.last), "after the change: {names:?}");
            let Some(branch) = engine.branch(&base, schedule).unwrap() else {
                prop_assert!(bits(&whole.last) == bits(&base.last), "no change: {names:?}");
                continue;
            };
            let alone = engine.branches(&base, vec![branch.clone()], Logits::Last).unwrap().run(&never).unwrap();
            let alone = alone.logits.unwrap().to_vec2::<f32>().unwrap().swap_remove(0);
            prop_assert!(bits(&whole.last) == bits(&alone), "alone: {names:?}");
            branches.push(branch);
            expected.push((names, whole.last));
        }
        if branches.is_empty() {
            return Ok(());
        }
        let together = engine.branches(&base, branches, Logits::Last).unwrap().run(&never).unwrap();
        for ((names, expected), row) in expected.iter().zip(together.logits.unwrap().to_vec2::<f32>().unwrap()) {
            prop_assert!(bits(expected) == bits(&row), "beside others: {names:?}");
        }
    }

    #[test]
    fn looking_changes_nothing_whatever_the_plan(model in 0..MODELS.len(), len in 1usize..=64, seed: u64) {
        let engine = &mut open(&golden().join(MODELS[model]));
        let mut draw = Draw { seed, count: 0 };
        let tokens: Input = draw.tokens(engine, len).into();
        let (names, schedule) = draw.schedule(engine, &tokens);
        let seen = |capture| {
            let ask = Ask { capture, logits: Logits::All, lenient: true, ..Ask::default() };
            let logits = run(engine, &tokens, &schedule, ask).logits.unwrap();
            bits(&logits.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        let all = Site::all(&engine.model.spec);
        let some = all.iter().copied().filter(|site| site.shape() == Shape::Square).collect();
        let plain = seen([].into());
        // A scale of 0 makes a row NaN, and 0 times NaN is NaN: then what a row does not see may still reach it.
        prop_assume!(plain.iter().all(|&bits| f32::from_bits(bits).is_finite()));
        prop_assert!(plain == seen(some), "scores and patterns: {names:?}");
        prop_assert!(plain == seen(all.into_iter().collect()), "everything: {names:?}");
    }
}
