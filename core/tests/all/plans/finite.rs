//! Values that are no finite numbers, and next steps that fit.

use super::*;

fn not_finite(result: Result<impl std::fmt::Debug, Error>) -> (&'static str, String, usize, Vec<String>) {
    match result {
        Err(Error::NotFinite { what, site, position, items, .. }) => (what, site, position, items),
        other => panic!("{other:?}"),
    }
}

/// Runs of the plan in every way: whole, after the base run, as a branch, token by token.
#[test]
fn a_plan_that_leaves_no_finite_numbers_is_told_by_site_position_and_item() {
    for (family, items, what, site, position) in [
        (
            "llama",
            r#"{"kind":"ablate","site":"ln_final.hook_scale"}"#,
            "infinite",
            "ln_final.hook_normalized",
            5,
        ),
        (
            "llama",
            r#"{"kind":"scale","site":"blocks.0.hook_resid_post","factor":1e30}"#,
            "infinite",
            "blocks.1.ln1.hook_scale",
            0,
        ),
        (
            "llama",
            r#"{"kind":"ablate","site":"blocks.1.ln1.hook_scale","positions":{"at":[2]}}"#,
            "infinite",
            "blocks.1.ln1.hook_normalized",
            2,
        ),
        (
            "llama",
            r#"{"kind":"add","site":"blocks.1.attn.hook_q","source":"base","scale":3e38,"positions":{"at":[1]}}"#,
            "infinite",
            "blocks.1.attn.hook_q",
            1,
        ),
        (
            "gpt_neox",
            r#"{"kind":"ablate","site":"blocks.1.ln1.hook_scale","positions":{"at":[3]}}"#,
            "infinite",
            "blocks.1.ln1.hook_normalized",
            3,
        ),
        (
            "gpt2",
            r#"{"kind":"ablate","site":"blocks.0.ln2.hook_scale","positions":{"at":[4]}}"#,
            "infinite",
            "blocks.0.ln2.hook_normalized",
            4,
        ),
    ] {
        let engine = &mut open(&golden().join(family));
        let tokens: Input = PROMPT.as_slice().into();
        let items =
            format!(r#"{{"kind":"scale","site":"blocks.0.hook_attn_out","factor":0.9,"on":false}},{items}"#);
        let schedule = engine.schedule(&plan(&items), &tokens, &never).unwrap();
        let base = engine.base(&tokens, &never).unwrap();
        let whole = not_finite(engine.run_schedule(&tokens, schedule.clone(), &never));
        let told = (whole.0, whole.1.as_str());
        assert_eq!(told, (what, site), "{items}");
        assert!(whole.3[0].starts_with("plan.items[1] ("), "{:?}", whole.3);
        let last = whole.1.starts_with("ln_final");
        assert!(last || whole.2 == position, "{items}: {whole:?}");
        assert_eq!(not_finite(engine.run_after(&base, schedule.clone(), &never)).1, whole.1, "{items}");
        let all = Ask { logits: Logits::All, ..Ask::default() };
        assert_eq!(not_finite(engine.pass(&tokens, &schedule, all, &never).map(|_| ())).1, whole.1);
        let branch = engine.branch(&base, schedule.clone()).unwrap().unwrap();
        let branch = engine.branches(&base, vec![branch], Logits::Last).unwrap().run(&never);
        let branch = not_finite(branch);
        assert_eq!((branch.1, branch.3), (whole.1.clone(), whole.3.clone()), "{items}");
        let mut decoder =
            sluice_core::engine::Decoder::new(engine.model.clone(), schedule, &tokens, 4).unwrap();
        let error = decoder.logits(&never).unwrap_err();
        assert!(error.to_string().contains(&format!("{what} first at {}, position", whole.1)), "{error}");
        assert!(error.next_step().starts_with("change or remove plan.items[1]"), "{}", error.next_step());
    }
}

#[test]
fn what_is_large_but_comes_out_finite_is_no_failure() {
    let engine = &mut llama();
    for items in [
        r#"{"kind":"scale","site":"blocks.0.hook_resid_post","factor":1e17}"#,
        r#"{"kind":"scale","site":"blocks.1.attn.hook_attn_scores","factor":1e6}"#,
        r#"{"kind":"ablate","site":"blocks.1.attn.hook_attn_scores"}"#,
        r#"{"kind":"scale","site":"blocks.1.attn.hook_attn_scores","factor":-1}"#,
        r#"{"kind":"ablate","site":"blocks.*.hook_mlp_out"}"#,
    ] {
        let values = logits(engine, &PROMPT, &plan(items));
        assert!(values.iter().all(|x| x.is_finite()), "{items}");
    }
}

/// What nobody reads may be infinite; that another plan is looked at there does not change it.
#[test]
fn a_run_is_looked_at_as_closely_as_alone_whatever_runs_beside_it() {
    let engine = &mut llama();
    let tokens: Input = PROMPT.as_slice().into();
    let base = engine.base(&tokens, &never).unwrap();
    let unread = r#"{"kind":"ablate","site":"blocks.1.ln2.hook_scale","positions":"last"},
        {"kind":"route","layers":[{"layer":1,"tokens":["big","big","big","big","big","skip_ffn"]}]}"#;
    let beside = [
        r#"{"kind":"scale","site":"blocks.1.ln2.hook_normalized","factor":0.9}"#,
        r#"{"kind":"scale","site":"blocks.0.hook_resid_post","factor":1e17}"#,
    ];
    let branch = |engine: &mut Engine, items: &str| {
        let schedule = engine.schedule(&plan(items), &tokens, &never).unwrap();
        engine.branch(&base, schedule).unwrap().unwrap()
    };
    let last = |engine: &Engine, branches| {
        let out = engine.branches(&base, branches, Logits::Last).unwrap().run(&never).unwrap();
        out.logits.unwrap().to_vec2::<f32>().unwrap()
    };
    let unread = branch(engine, unread);
    let alone = last(engine, vec![unread.clone()]).swap_remove(0);
    assert!(alone.iter().all(|x| x.is_finite()));
    for items in beside {
        let other = branch(engine, items);
        let expected = [alone.clone(), last(engine, vec![other.clone()]).swap_remove(0)];
        assert_eq!(last(engine, vec![unread.clone(), other]), expected, "{items}");
    }
}

#[test]
fn weights_that_are_no_numbers_are_told_by_their_site() {
    for (family, tensor, site) in [
        ("llama", "model.layers.1.mlp.down_proj.weight", "blocks.1.hook_mlp_out"),
        ("llama", "model.layers.0.self_attn.q_proj.weight", "blocks.0.attn.hook_q"),
        ("llama", "model.layers.1.post_attention_layernorm.weight", "blocks.1.mlp.hook_pre"),
        ("llama", "lm_head.weight", "logits"),
        ("gpt_neox", "gpt_neox.layers.1.attention.dense.weight", "blocks.1.hook_attn_out"),
        ("mixtral", "model.layers.0.block_sparse_moe.gate.weight", "blocks.0.mlp.hook_router_logits"),
    ] {
        let folder = crate::support::poisoned(family, tensor);
        let engine = &mut open(folder.path());
        let tokens: Input = PROMPT.as_slice().into();
        let error = engine.base(&tokens, &never).map(drop).unwrap_err();
        let step = error.next_step();
        assert!(step.contains("weights") && step.contains("precision"), "{step}");
        assert!(!step.contains("routed") && !step.contains("change"), "no plan is in force: {step}");
        let (what, at, _, items) = not_finite(Err::<(), _>(error));
        assert_eq!((what, at.as_str(), items.len()), ("NaN", site, 0), "{family} {tensor}");
        if tensor.contains("q_proj") {
            // What is routed may do it, and has no site.
            let route = plan(r#"{"kind":"route","layers":[{"layer":1,"tokens":["skip_ffn"],"next":"big"}]}"#);
            let schedule = engine.schedule(&route, &tokens, &never).unwrap();
            let error = engine.run_schedule(&tokens, schedule, &never).map(drop).unwrap_err();
            assert!(error.next_step().starts_with("what is routed or left out"), "{}", error.next_step());
        }
    }
}

// ---- next steps

#[test]
fn next_steps_fit_the_cause() {
    use sluice_core::error::Load;
    let memory = |load| Error::Memory { load, need_mib: 2, have_mib: 1 }.next_step();
    assert!(
        memory(Load::Checkpoint).contains("smaller checkpoint")
            && !memory(Load::Checkpoint).contains("prompt")
    );
    assert!(memory(Load::Run(9)).contains("shorten the prompt"));
    assert!(!memory(Load::Study("routes".into())).contains("capture"));
    let no_memory = std::io::Error::from_raw_os_error(12);
    let error = Error::read("weights", &no_memory).next_step();
    assert!(error.contains("close other programs") && !error.contains("path"), "{error}");
    let beam = |beam| Error::Routes { lanes: 3, layers: 40, most: 6561, beam };
    assert!(beam(true).next_step().contains("beam") && !beam(false).next_step().contains("beam"));
    assert!(!beam(true).to_string().contains("beam"));
    let error = Error::Flag { flag: "--temperature", cause: "-1 is none".into() };
    assert!(error.to_string().contains("--temperature") && error.next_step().contains("--temperature"));
    let long: Vec<u32> = vec![5; 65];
    let error = llama().base(&long.into(), &never).unwrap_err();
    assert_eq!(error.next_step(), "shorten the prompt to at most 64 tokens");
}

#[test]
fn a_norm_is_kept_however_far_the_sum_goes() {
    let engine = &mut llama();
    let with = |engine: &mut Engine, scale: &str| {
        let item = format!(
            r#"{{"kind":"add","site":"blocks.0.hook_resid_post","source":"base","scale":{scale},"keep_norm":true}}"#
        );
        logits(engine, &PROMPT, &plan(&item))
    };
    // Along the value itself: its direction and its norm stay, and so do the logits.
    let base = logits(engine, &PROMPT, &Plan::default());
    for scale in ["1e10", "1e18", "1e19", "1e25", "1e37"] {
        let changed = with(engine, scale);
        let off = base.iter().zip(&changed).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(off < 1e-4, "{scale}: {off}");
    }
}
