//! Sites by glob, range and list, and names that none has.

use super::*;

#[test]
fn globs_ranges_and_lists_are_their_sites_one_by_one() {
    let engine = &mut open(&golden().join("gpt_neox"));
    let spec = engine.model.spec.clone();
    let layers = spec.n_layers();
    let ablate = |site: &Value| format!(r#"{{"kind":"ablate","site":{site}}}"#);
    let each = |hook: Hook, layers: std::ops::Range<usize>| {
        let items: Vec<String> = layers.map(|layer| ablate(&json!(Site::block(layer, hook)))).collect();
        items.join(",")
    };
    for (site, want) in [
        (json!("blocks.*.hook_mlp_out"), each(Hook::MlpOut, 0..layers)),
        (json!("*.hook_mlp_out"), each(Hook::MlpOut, 0..layers)),
        (json!("blocks.1..2.hook_mlp_out"), each(Hook::MlpOut, 1..2)),
        (json!("blocks.0...attn.hook_z"), each(Hook::Z, 0..layers)),
        (json!("blocks...1.attn.hook_z"), each(Hook::Z, 0..1)),
        (json!("blocks.0,1.hook_attn_out"), each(Hook::AttnOut, 0..2)),
        (json!(["blocks.1.hook_mlp_out", "blocks.0.hook_mlp_out"]), each(Hook::MlpOut, 0..2)),
        (json!("blocks.*.attn.v.hook_out"), each(Hook::V, 0..layers)),
    ] {
        assert_eq!(changed(engine, &ablate(&site)), changed(engine, &want), "{site}");
        assert_eq!(plan(&ablate(&site)).items.len(), 1);
        let again = Plan::from_json(&plan(&ablate(&site)).to_json().unwrap()).unwrap();
        assert_eq!(again, plan(&ablate(&site)), "{site}");
    }
    for kind in [
        r#"{"kind":"scale","factor":0.5,"site":SITE}"#,
        r#"{"kind":"add","source":"base","from_position":0,"site":SITE}"#,
        r#"{"kind":"patch","positions":"last","source":{"tokens":[9,8,7]},"site":SITE}"#,
        r#"{"kind":"ablate","to":"mean","unit":1,"site":SITE}"#,
        r#"{"kind":"corrupt","noise":{"sigma":1.0,"seed":4},"site":SITE}"#,
        r#"{"kind":"corrupt","replace":{"tokens":[9,8,7]},"positions":{"at":[0,2]},"site":SITE}"#,
    ] {
        let of = |site: &str| kind.replace("SITE", &format!("\"{site}\""));
        let one = format!("{},{}", of("blocks.0.hook_mlp_out"), of("blocks.1.hook_mlp_out"));
        assert_eq!(changed(engine, &of("blocks.0..2.hook_mlp_out")), changed(engine, &one), "{kind}");
    }
    // What is only measured is left out of a glob, and refused by name.
    let experts = &mut open(&golden().join("mixtral"));
    changed(experts, r#"{"kind":"scale","site":"blocks.*.mlp.hook_expert*","factor":0.5}"#);
    assert!(
        refused(experts, r#"{"kind":"scale","site":"blocks.0.mlp.hook_expert_norms","factor":2}"#)
            .contains("measured")
    );
}

#[test]
fn captures_take_ranges_too() {
    let engine = llama();
    let spec = &engine.model.spec;
    let select = |pattern: &str| Site::select(spec, pattern);
    assert_eq!(
        select("blocks.0..2.hook_resid_post").unwrap(),
        [0, 1].map(|l| Site::block(l, Hook::ResidPost))
    );
    assert_eq!(
        select("blocks.1..2.attn.hook_?").unwrap(),
        [Hook::Q, Hook::K, Hook::V, Hook::Z].map(|h| Site::block(1, h))
    );
    assert_eq!(select("*.hook_out").unwrap().len(), 4 * 2 + 1, "aliases in a glob");
    assert_eq!(select("*").unwrap(), Site::all(spec));
}

#[test]
fn an_unknown_site_says_what_was_meant() {
    let engine = llama();
    let spec = &engine.model.spec;
    for (pattern, needle) in [
        ("blocks.9.attn.hook_z", "this model has layers 0 to 1"),
        ("blocks.9.attn.hook_Z", "this model has layers 0 to 1"),
        ("blocks.1..3.attn.hook_z", "this model has layers 0 to 1"),
        ("blocks.1.attn.hook_Z", "did you mean blocks.1.attn.hook_z"),
        ("BLOCKS.1.HOOK_RESID_POST", "did you mean blocks.1.hook_resid_post"),
        ("blocks.*.hook_Z", "did you mean blocks.*.attn.hook_z"),
        ("blocks.1.hook_z", "did you mean blocks.1.attn.hook_z"),
        ("hook_pos_embed", "this model has no hook_pos_embed"),
        ("blocks.0.mlp.hook_router_logits", "this model has no blocks.0.mlp.hook_router_logits"),
        ("blocks.1..1.attn.hook_z", "1..1 is no layer"),
    ] {
        let error = Site::select(spec, pattern).unwrap_err();
        assert!(error.to_string().contains(needle), "{pattern}: {error}");
        assert!(error.next_step().contains("TransformerLens"));
    }
    // In a plan, without a model where the name alone says it.
    let cause = read(r#"{"kind":"ablate","site":"blocks.9.attn.hook_Z"}"#).unwrap_err();
    assert!(cause.contains("did you mean blocks.9.attn.hook_z"), "{cause}");
    let engine = &mut llama();
    for (items, needle) in [
        (r#"{"kind":"ablate","site":"blocks.9.attn.hook_z"}"#, "layers 0 to 1"),
        (r#"{"kind":"scale","factor":2,"site":"blocks.0..9.attn.hook_z"}"#, "layers 0 to 1"),
        (r#"{"kind":"ablate","site":"hook_pos_embed"}"#, "this model has no hook_pos_embed"),
        (
            r#"{"kind":"add","site":"hook_embed","from_site":"blocks.4.hook_mlp_out","source":"base"}"#,
            "layers 0 to 1",
        ),
        (r#"{"kind":"ablate","site":["hook_embed","blocks.5.hook_mlp_out"]}"#, "layers 0 to 1"),
    ] {
        let cause = refused(engine, items);
        assert!(cause.contains(needle), "{items}: {cause}");
    }
}

// ---- values that are no finite numbers
