//! Rows and vectors that plans put in.

use super::*;

#[test]
fn positions_past_the_sources_end_are_refused_with_both_lengths() {
    let engine = &mut llama();
    for (items, needles) in [
        (
            r#"{"kind":"patch","site":"blocks.0.hook_resid_post","positions":{"at":[5]},"source":{"tokens":[9,8,7]}}"#,
            &["position 5 is past the source's end", "the source has 3 tokens", "the prompt 6"][..],
        ),
        (
            r#"{"kind":"patch","site":"blocks.0.attn.hook_z","unit":1,"source":{"tokens":[9,8,7]}}"#,
            &["position 3 is past", "3 tokens", "the prompt 6"],
        ),
        (
            r#"{"kind":"patch","site":"blocks.0.hook_resid_post","positions":"prompt","source":{"tokens":[9]}}"#,
            &["position 1 is past", "1 tokens", "the prompt 6"],
        ),
        (
            r#"{"kind":"patch","site":"blocks.0.hook_resid_post","positions":{"at":[7]},"source":"base"}"#,
            &["position 7 is past the prompt's end", "6 tokens"],
        ),
        (
            r#"{"kind":"patch","site":"blocks.0.hook_resid_post","positions":{"at":[5]},"from_position":3,"source":{"tokens":[9,8,7]}}"#,
            &["from_position 3 is past", "3 tokens", "the prompt 6"],
        ),
        (
            r#"{"kind":"add","site":"blocks.0.hook_resid_post","from_position":3,"source":{"tokens":[9,8,7]}}"#,
            &["from_position 3 is past", "3 tokens", "the prompt 6"],
        ),
        (
            r#"{"kind":"corrupt","replace":{"tokens":[9,8,7]},"positions":{"at":[1,4]}}"#,
            &["position 4 is past", "3 tokens", "the prompt 6"],
        ),
        (r#"{"kind":"corrupt","add":{"tokens":[9,8,7]}}"#, &["position 3 is past", "3 tokens"]),
        (
            r#"{"kind":"patch","site":"blocks.0.hook_resid_post","positions":{"at":[1,2]},"from_position":[0],"source":"base"}"#,
            &["from_position lists 1, positions 2"],
        ),
        (
            r#"{"kind":"patch","site":"blocks.0.hook_resid_post","from_position":[0,1],"source":"base"}"#,
            &["needs a list of positions"],
        ),
        (
            r#"{"kind":"patch","site":"blocks.0.attn.hook_pattern","positions":{"at":[1]},"source":{"tokens":[9,8,7]}}"#,
            &["the source has 3", "the prompt 6"],
        ),
    ] {
        let cause = refused(engine, items);
        assert!(needles.iter().all(|needle| cause.contains(needle)), "{items}: {cause}");
    }
}

#[test]
fn the_row_that_is_named_goes_in() {
    let engine = &mut llama();
    for site in ["blocks.0.hook_resid_post", "blocks.1.attn.hook_z", "hook_embed"] {
        let source = rows(engine, &OTHER, site);
        let patch = |positions: &str, rest: &str| {
            format!(r#"{{"kind":"patch","site":"{site}","positions":{positions}{rest}}}"#)
        };
        let run = r#","source":{"tokens":[9,8,7]}"#;
        let put =
            |position: &str, row: usize| patch(position, &format!(r#","source":{}"#, values(&source[row])));
        let at = |position: usize| format!(r#"{{"at":[{position}]}}"#);
        // The last position has the source's last row, however long the source is.
        assert_eq!(changed(engine, &patch(r#""last""#, run)), changed(engine, &put(&at(5), 2)), "{site}");
        let last = format!(r#","from_position":"last"{run}"#);
        assert_eq!(changed(engine, &patch(&at(4), &last)), changed(engine, &put(&at(4), 2)));
        let one = format!(r#","from_position":1{run}"#);
        assert_eq!(changed(engine, &patch(&at(5), &one)), changed(engine, &put(&at(5), 1)));
        assert_eq!(changed(engine, &patch(r#""all""#, &one)), changed(engine, &put(r#""all""#, 1)));
        let each = patch(r#"{"at":[5,1]}"#, &format!(r#","from_position":[0,"last"]{run}"#));
        let both = format!("{},{}", put(&at(5), 0), put(&at(1), 2));
        assert_eq!(changed(engine, &each), changed(engine, &both), "{site}");
        // A longer source: its own last row, not the one of the same number.
        let longer: Vec<u32> = (20..28).collect();
        let own = rows(engine, &longer, site);
        let long = format!(r#","source":{{"tokens":{longer:?}}}"#);
        let want = changed(engine, &patch(&at(5), &format!(r#","source":{}"#, values(&own[7]))));
        assert_eq!(changed(engine, &patch(r#""last""#, &long)), want);
    }
    // Of other sites too.
    let add = |rest: &str| {
        format!(r#"{{"kind":"add","site":"blocks.1.hook_resid_pre","source":{{"tokens":[9,8,7]}}{rest}}}"#)
    };
    assert_eq!(changed(engine, &add("")), changed(engine, &add(r#","from_position":"last""#)));
    assert_ne!(changed(engine, &add("")), changed(engine, &add(r#","from_position":0"#)));
    let summary = |items: &str| plan(items).summary();
    let text = r#"{"kind":"patch","site":"hook_embed","positions":"last","source":{"tokens":[9,8,7]}"#;
    assert!(summary(&format!("{text}}}")).ends_with("from the last position of a run of 3 ids"));
    assert!(
        summary(&format!(r#"{text},"from_position":1}}"#)).ends_with("from position 1 of a run of 3 ids")
    );
}

#[test]
fn what_is_generated_past_the_source_stays_as_it_is() {
    let engine = &mut llama();
    let prompt: Input = PROMPT[..3].into();
    let all = |engine: &mut Engine, items: &str| {
        let schedule = engine.schedule(&plan(items), &prompt, &never).unwrap();
        let ask = Ask { capture: [Site::Embed].into(), ..Ask::default() };
        run(engine, &PROMPT, &schedule, ask).captures[&Site::Embed].to_vec2::<f32>().unwrap()
    };
    let (own, other) = (rows(engine, &PROMPT, "hook_embed"), rows(engine, &OTHER, "hook_embed"));
    let patch = |rest: &str| format!(r#"{{"kind":"patch","site":"hook_embed"{rest}}}"#);
    let got = all(engine, &patch(r#","positions":"last","source":{"tokens":[4,9,8,7]}"#));
    assert_eq!((&got[1], &got[2], &got[3]), (&own[1], &other[2], &own[3]), "the prompt's last alone");
    let got = all(engine, &patch(r#","source":{"tokens":[9,8,7]}"#));
    assert_eq!((&got[..3], &got[3..]), (&other[..], &own[3..]));
    let got = all(engine, &patch(r#","positions":"last","from_position":0,"source":{"tokens":[9,8,7]}"#));
    assert_eq!((&got[1], &got[2], &got[5]), (&own[1], &other[0], &other[0]), "a row that is named, at each");
}

#[test]
fn corruption_says_whether_it_adds_or_replaces() {
    let engine = &mut llama();
    let (own, other) = (rows(engine, &PROMPT, "hook_embed"), rows(engine, &OTHER, "hook_embed"));
    let corrupt = |what: &str| {
        format!(r#"{{"kind":"corrupt","{what}":{{"tokens":[9,8,7]}},"positions":{{"at":[2]}}}}"#)
    };
    let sum: Vec<f32> = own[2].iter().zip(&other[2]).map(|(x, y)| x + y).collect();
    let put = |row: &[f32]| {
        format!(r#"{{"kind":"patch","site":"hook_embed","positions":{{"at":[2]}},"source":{}}}"#, values(row))
    };
    assert_eq!(changed(engine, &corrupt("add")), changed(engine, &put(&sum)));
    assert_eq!(changed(engine, &corrupt("replace")), changed(engine, &put(&other[2])));
    // The name that it had.
    assert_eq!(plan(&corrupt("tensor")), plan(&corrupt("replace")));
    assert!(plan(&corrupt("tensor")).to_json().unwrap().contains("\"replace\""));
    assert!(plan(&corrupt("add")).summary().starts_with("add a run of 3 ids to hook_embed"));
    assert!(plan(&corrupt("tensor")).summary().starts_with("replace hook_embed at 2 by a run of 3 ids"));
    for items in [
        r#"{"kind":"corrupt","noise":{"sigma":1.0},"replace":"base"}"#,
        r#"{"kind":"corrupt","add":"base","replace":"base"}"#,
        r#"{"kind":"corrupt"}"#,
        r#"{"kind":"corrupt","noise":{"sigma":1.0},"from_position":1}"#,
    ] {
        let cause = read(items).unwrap_err();
        assert!(cause.contains("corrupt") && cause.contains("noise"), "{items}: {cause}");
    }
}

// ---- vectors of files

#[test]
fn vectors_of_a_file_are_read_in_every_shape_and_width_of_number() {
    let engine = &mut llama();
    let folder = tempfile::tempdir().unwrap();
    let vector = noise(1, &[D]);
    let row: Vec<f32> = vector.to_vec1().unwrap();
    let table = noise(2, &[6, D]);
    let heads = noise(3, &[4, 8]);
    let to = |dtype| vector.to_dtype(dtype).unwrap();
    let path = file(
        folder.path(),
        &[
            ("one", vector.clone()),
            ("row", vector.reshape((1, D)).unwrap()),
            ("batch", vector.reshape((1, 1, D)).unwrap()),
            ("bf16", to(candle_core::DType::BF16)),
            ("f16", to(candle_core::DType::F16)),
            ("f64", to(candle_core::DType::F64)),
            ("table", table.clone()),
            ("tables", table.reshape((1, 6, D)).unwrap()),
            ("heads", heads.clone()),
            ("flat", heads.reshape(D).unwrap()),
            ("narrow", noise(4, &[D - 1])),
            ("column", noise(4, &[D, 1])),
            ("wide", noise(4, &[6, D + 1])),
            ("short", table.narrow(0, 0, 3).unwrap().contiguous().unwrap()),
            ("scalar", Tensor::new(1f32, &Device::Cpu).unwrap()),
        ],
    );
    let item = |kind: &str, site: &str, tensor: &str, rest: &str| {
        let source = json!({"file": {"path": path, "tensor": tensor}});
        format!(r#"{{"kind":"{kind}","site":"{site}","source":{source}{rest}}}"#)
    };
    let stream = "blocks.0.hook_resid_post";
    for kind in ["add", "patch"] {
        for positions in [r#""all""#, r#""last""#, r#"{"at":[1,4]}"#] {
            let rest = format!(r#","positions":{positions}"#);
            let want = format!(r#"{{"kind":"{kind}","site":"{stream}","source":{}{rest}}}"#, values(&row));
            let want = changed(engine, &want);
            for tensor in ["one", "row", "batch", "bf16", "f16", "f64"] {
                let got = changed(engine, &item(kind, stream, tensor, &rest));
                assert_eq!(got, want, "{kind} {tensor} at {positions}");
            }
        }
    }
    let each: Vec<Vec<f32>> = table.to_vec2().unwrap();
    let by_row: Vec<String> = (0..6)
        .map(|p| {
            format!(
                r#"{{"kind":"patch","site":"{stream}","positions":{{"at":[{p}]}},"source":{}}}"#,
                values(&each[p])
            )
        })
        .collect();
    let want = changed(engine, &by_row.join(","));
    for tensor in ["table", "tables"] {
        assert_eq!(changed(engine, &item("patch", stream, tensor, "")), want, "row by row");
    }
    let z = "blocks.0.attn.hook_z";
    assert_eq!(
        changed(engine, &item("patch", z, "heads", "")),
        changed(engine, &item("patch", z, "flat", ""))
    );
    let cause = refused(engine, &item("patch", stream, "short", ""));
    assert!(cause.contains("the source has 3 rows") && cause.contains("the prompt 6"), "{cause}");
    for (tensor, got) in [("narrow", "31"), ("column", "1"), ("wide", "33"), ("scalar", "1")] {
        for kind in ["add", "patch"] {
            let cause = refused(engine, &item(kind, stream, tensor, ""));
            assert!(
                cause.contains(&format!("{stream} is {D} wide")) && cause.ends_with(got),
                "{tensor}: {cause}"
            );
        }
    }
    let cause = refused(engine, &item("add", "blocks.1.mlp.hook_post", "one", ""));
    assert!(cause.contains("blocks.1.mlp.hook_post is 48 wide") && cause.contains("32"), "{cause}");
}

// ---- what is left out, empty, or null

/// Of every kind that acts at positions, in the order of the list.
#[test]
fn positions_past_the_prompts_end_are_refused() {
    let (llama, mixtral) = (&mut llama(), &mut open(&golden().join("mixtral")));
    let mut tried = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.fields.iter().any(|field| field.name == "positions")) {
        let engine = if kind.name == "experts" { &mut *mixtral } else { &mut *llama };
        let mut item = serde_json::to_value((kind.examples)().remove(0)).unwrap();
        item.as_object_mut().unwrap().remove("from_position");
        if item.get("source").is_some() {
            item["source"] = json!("base");
        }
        for (positions, past) in
            [(json!([5]), None), (json!([0, 6]), Some("6")), (json!([1, 99]), Some("99"))]
        {
            item["positions"] = json!({ "at": positions });
            let scheduled = engine.schedule(&plan(&item.to_string()), &PROMPT.as_slice().into(), &never);
            match (scheduled.err(), past) {
                (None, None) => {}
                (Some(error), Some(past)) => {
                    let error = error.to_string();
                    assert!(error.contains(&format!("position {past} is past the prompt's end")), "{error}");
                    assert!(error.contains("6 tokens"), "{error}");
                }
                (error, past) => panic!("{item}: {error:?}, not {past:?}"),
            }
        }
        // What is generated has positions too.
        for (new_tokens, fits) in [(94, true), (93, false)] {
            let (prompt, plan) = (PROMPT.as_slice().into(), plan(&item.to_string()));
            let scheduled = engine.schedule_ahead(&plan, &prompt, new_tokens, &never).map(drop);
            // A patch ends with its source.
            let fits = fits && kind.name != "patch";
            assert_eq!(scheduled.is_ok(), fits, "{item}: {scheduled:?}");
        }
        tried.push(kind.name);
    }
    assert!(tried.len() >= 7, "{tried:?}");
}
