//! Plans as people write them: what is left out, what is empty, where files lie, which rows of a source go where, sites by
//! glob and range, and causes that say what is wrong.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use sluice_core::engine::{Engine, never};
use sluice_core::error::Error;
use sluice_core::model::{Ask, Input, Logits};
use sluice_core::plan::{Change, KINDS, Plan, Source};
use sluice_core::rng;
use sluice_core::site::{Hook, Site};

use crate::support::{bits, golden, logits, open, run};

/// Widths of the tiny llama.
const D: usize = 32;
const PROMPT: [u32; 6] = [3, 14, 15, 92, 65, 35];
const OTHER: [u32; 3] = [9, 8, 7];

fn llama() -> Engine {
    open(&golden().join("llama"))
}

fn read(items: &str) -> Result<Plan, String> {
    Plan::from_json(&format!(r#"{{"version":1,"items":[{items}]}}"#)).map_err(|error| error.to_string())
}

fn plan(items: &str) -> Plan {
    read(items).unwrap_or_else(|error| panic!("{items}: {error}"))
}

/// Why a plan is refused for the prompt.
fn refused(engine: &mut Engine, items: &str) -> String {
    match engine.schedule(&plan(items), &PROMPT.as_slice().into(), &never) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{items} is accepted"),
    }
}

fn changed(engine: &mut Engine, items: &str) -> Vec<u32> {
    bits(&logits(engine, &PROMPT, &plan(items)))
}

/// A site's rows in the unmodified run of some tokens.
fn rows(engine: &mut Engine, tokens: &[u32], site: &str) -> Vec<Vec<f32>> {
    let site: Site = site.parse().unwrap();
    let ask = Ask { capture: [site].into(), ..Ask::default() };
    let value = run(engine, tokens, &Default::default(), ask).captures.remove(&site).unwrap();
    value.flatten_from(1).unwrap().to_vec2().unwrap()
}

fn values(row: &[f32]) -> String {
    json!({ "values": row }).to_string()
}

fn noise(seed: u64, shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> =
        (0..count as u64).map(|i| half::bf16::from_f32(rng::normal(seed, 0, i)).to_f32()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

// ---- which rows of a source go where

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
            &["position 7 is past", "6 tokens"],
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

fn file(folder: &Path, tensors: &[(&str, Tensor)]) -> PathBuf {
    let path = folder.join("vectors.safetensors");
    let tensors: std::collections::HashMap<String, Tensor> =
        tensors.iter().map(|(name, tensor)| ((*name).into(), tensor.clone())).collect();
    candle_core::safetensors::save(&tensors, &path).unwrap();
    path
}

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

/// Every field that has a default or may be left out: left out, `null` and the default written out are one plan.
#[test]
fn what_may_be_left_out_may_be_null_or_written_out() {
    for kind in KINDS {
        for change in (kind.examples)() {
            let whole = change.to_value().unwrap();
            for field in kind.fields {
                let pointer = field.pointer();
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                let Some(Value::Object(_)) = whole.pointer(parent) else { continue };
                let with = |value: Option<Value>| {
                    let mut written = whole.clone();
                    let object = written.pointer_mut(parent).unwrap().as_object_mut().unwrap();
                    match value {
                        Some(value) => drop(object.insert(name.into(), value)),
                        None => drop(object.remove(name)),
                    }
                    read(&written.to_string())
                };
                let Ok(left_out) = with(None) else {
                    // Required, then in every way.
                    assert!(
                        (field.default)().is_null() && with(Some(Value::Null)).is_err(),
                        "{} {name}",
                        kind.name
                    );
                    continue;
                };
                assert_eq!(with(Some(Value::Null)).as_ref(), Ok(&left_out), "{} {name}", kind.name);
                let default = (field.default)();
                if !default.is_null() {
                    assert_eq!(with(Some(default)).as_ref(), Ok(&left_out), "{} {name}", kind.name);
                }
            }
            // And beside the kind's own fields.
            let mut item = whole.clone();
            (item["on"], item["strength"]) = (Value::Null, Value::Null);
            assert_eq!(read(&item.to_string()), read(&whole.to_string()), "{}", kind.name);
        }
    }
}

#[test]
fn empty_lists_change_nothing() {
    for (family, items) in [
        ("mixtral", r#"{"kind":"experts","knock_out":[]}"#),
        ("mixtral", r#"{"kind":"experts","force":[],"layer":1}"#),
        ("mixtral", r#"{"kind":"experts","knock_out":[],"force":[],"k":null}"#),
        ("llama", r#"{"kind":"route","layers":[]}"#),
        ("llama", r#"{"kind":"route","layers":[{"layer":1,"tokens":[]}]}"#),
        ("llama", r#"{"kind":"ablate","site":"blocks.0.hook_mlp_out","positions":{"at":[]}}"#),
        ("llama", r#"{"kind":"skip","layer":0,"part":"attn","positions":{"at":[]}}"#),
        ("llama", r#"{"kind":"threshold","value":9,"positions":{"at":[]}}"#),
        ("llama", r#"{"kind":"corrupt","noise":{"sigma":3},"positions":{"at":[]}}"#),
        ("llama", r#"{"kind":"add","site":"hook_embed","source":"base","positions":{"at":[]}}"#),
        ("llama", r#"{"kind":"scale","site":[],"factor":3}"#),
        ("llama", r#"{"kind":"ablate","site":[]}"#),
        (
            "llama",
            r#"{"kind":"patch","site":"hook_embed","source":{"tokens":[9]},"positions":{"at":[]},"from_position":[]}"#,
        ),
        ("llama", r#"{"kind":"iri","attn":{"recovery":[]},"ffn":{"recovery":[]}}"#),
        ("llama", ""),
    ] {
        let engine = &mut open(&golden().join(family));
        let base = bits(&logits(engine, &PROMPT, &Plan::default()));
        assert!(!plan(items).summary().is_empty());
        assert_eq!(changed(engine, items), base, "{items}");
    }
    for text in [r#"{"version":1}"#, r#"{"version":1,"items":null}"#, r#"{"version":1,"items":[]}"#] {
        assert_eq!(Plan::from_json(text).unwrap(), Plan::default(), "{text}");
    }
}

// ---- texts and files

#[test]
fn texts_are_read_with_a_mark_and_refused_with_a_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.json");
    let text = r#"{"version":1,"items":[{"kind":"skip","layer":0,"part":"attn"}]}"#;
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Plan::read(&path)
    };
    let want = Plan::from_json(text).unwrap();
    assert_eq!(open(text.as_bytes()).unwrap(), want);
    assert_eq!(open(format!("\u{feff}{text}").as_bytes()).unwrap(), want);
    assert_eq!(open(format!("\u{feff}\r\n{text}\r\n").as_bytes()).unwrap(), want);
    assert_eq!(Plan::from_json(&format!("\u{feff}{text}")).unwrap(), want);
    let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let marked = format!("\u{feff}{text}");
    let utf32: Vec<u8> = marked.chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
    for (bytes, needle) in [
        (little(&marked), "UTF-16"),
        (big(&marked), "UTF-16"),
        (little(text), "UTF-16"),
        (big(text), "UTF-16"),
        (utf32, "UTF-32"),
        (b"{\"version\": 1, \"items\": [\"caf\xe9\"]}".to_vec(), "no text in UTF-8 from byte 29 on"),
    ] {
        let error = open(&bytes).unwrap_err();
        assert!(error.to_string().contains(needle), "{error}");
        assert!(
            error.to_string().contains("plan.json") && error.next_step().contains("UTF-8"),
            "{}",
            error.next_step()
        );
    }
    for bytes in [&b""[..], b"\n \n", "\u{feff}".as_bytes()] {
        let error = open(bytes).unwrap_err().to_string();
        assert!(error.contains("plan.json") && error.contains("nothing in it"), "{error}");
    }
    let error = Plan::read(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
    assert_eq!(Plan::read(&folder.path().join("none.json")).unwrap_err().next_step(), "check the path");
}

#[test]
fn causes_name_line_and_item() {
    let text = |item: &str| {
        format!(
            "{{\n  \"version\": 1,\n  \"items\": [\n    {{\"kind\": \"skip\", \"layer\": 0, \"part\": \"attn\"}},\n    {item}\n  ]\n}}"
        )
    };
    for (item, needle) in [
        (r#"{"kind":"skip","layer":1,"prt":"ffn"}"#, "line 5: plan.items[1]: missing field `part`"),
        (
            r#"{"kind":"skip","layer":1,"part":"ffn","positons":"all"}"#,
            "line 5: plan.items[1].positons is not a field here: did you mean positions",
        ),
        (
            r#"{"kind":"scale","site":"hook_embed","factor":1e39}"#,
            "line 5: plan.items[1].factor is too large a number",
        ),
        (r#"{"kind":"ablat"}"#, "line 5: plan.items[1]: unknown variant `ablat`"),
        (r#"{"kind":"ablate","site":"blocks.0.hook_resid_pst"}"#, "did you mean blocks.0.hook_resid_post"),
        (r#"{"kind":"skip","layer":-1,"part":"ffn"}"#, "line 5: plan.items[1]"),
        (
            r#"{"kind":"patch","site":"hook_embed","source":"base","from_position":"first"}"#,
            "from_position is a position, \"last\", or a list",
        ),
        (r#"{"kind":"skip",, "layer":1}"#, "line 5"),
        (
            r#"{"kind":"iri","attn":{"recovery":[1e39]}}"#,
            "line 5: plan.items[1].attn.recovery[0] is too large",
        ),
        (
            r#"{"kind":"patch","site":"hook_embed","source":{"file":{"path":"a","tensor":"b","dtype":"c"}}}"#,
            "unknown field `dtype`",
        ),
        (r#"{"kind":"route","layers":[{"layer":0,"token":["small"]}]}"#, "unknown field `token`"),
    ] {
        let error = Plan::from_json(&text(item)).unwrap_err().to_string();
        assert!(error.contains(needle), "{item}: {error}");
    }
    assert!(Plan::from_json(r#"{"version":1,"itmes":[]}"#).unwrap_err().to_string().contains("itmes"));
}

#[test]
fn paths_of_a_plan_file_are_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let sub = folder.path().join("sub");
    std::fs::create_dir(&sub).unwrap();
    file(&sub, &[("v", noise(1, &[D]))]);
    let at = sub.join("plan.json");
    let items = json!([
        {"kind": "add", "site": "hook_embed", "source": {"file": {"path": "vectors.safetensors", "tensor": "v"}}},
        {"kind": "patch", "site": "hook_embed", "source": {"file": {"path": "./vectors.safetensors", "tensor": "v"}}},
        {"kind": "corrupt", "replace": {"file": {"path": "vectors.safetensors", "tensor": "v"}}},
        {"kind": "corrupt", "add": {"file": {"path": "/elsewhere/v.safetensors", "tensor": "v"}}},
        {"kind": "router", "name": "big50_small50", "file": "routers.safetensors"},
        {"kind": "route", "layers": [], "sample": "texts/sample.txt"},
    ]);
    std::fs::write(&at, json!({"version": 1, "items": items}).to_string()).unwrap();
    let mut read = Plan::read(&at).unwrap();
    let files: Vec<PathBuf> =
        read.items.iter_mut().flat_map(|item| item.change.files()).map(|file| file.clone()).collect();
    let beside = |name: &str| sub.join(name);
    assert_eq!(
        files,
        [
            beside("vectors.safetensors"),
            beside("./vectors.safetensors"),
            beside("vectors.safetensors"),
            "/elsewhere/v.safetensors".into(),
            beside("routers.safetensors"),
            beside("texts/sample.txt"),
        ]
    );
    let engine = &mut llama();
    let one = Plan { items: vec![read.items[0].clone()], ..Plan::default() };
    engine.schedule(&one, &PROMPT.as_slice().into(), &never).unwrap();
    // Written beside, they are relative again; elsewhere they name the same file.
    read.write(&sub.join("again.json")).unwrap();
    let text = std::fs::read_to_string(sub.join("again.json")).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written["items"][0]["source"]["file"]["path"], "vectors.safetensors");
    assert_eq!(written["items"][3]["add"]["file"]["path"], "/elsewhere/v.safetensors");
    assert_eq!(Plan::read(&sub.join("again.json")).unwrap().items[4], read.items[4]);
    read.write(&folder.path().join("up.json")).unwrap();
    let up = Plan::read(&folder.path().join("up.json")).unwrap();
    assert_eq!(up.items[0], read.items[0]);
    // What was pasted is relative to where the program was started, and stays the same file when it is saved.
    let pasted = Plan::from_json(&json!({"version": 1, "items": items}).to_string()).unwrap();
    let source = |plan: &Plan| match &plan.items[0].change {
        Change::Add(add) => match &add.source {
            Source::File { path, .. } => path.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(source(&pasted), Path::new("vectors.safetensors"));
    pasted.write(&at).unwrap();
    assert_eq!(source(&Plan::read(&at).unwrap()), std::path::absolute("vectors.safetensors").unwrap());
}

// ---- sites

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

fn not_finite(result: Result<impl std::fmt::Debug, Error>) -> (&'static str, String, usize, Vec<String>) {
    match result {
        Err(Error::NotFinite { what, site, position, items }) => (what, site, position, items),
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
        let (what, at, _, items) = not_finite(engine.base(&PROMPT.as_slice().into(), &never));
        assert_eq!((what, at.as_str(), items.len()), ("NaN", site, 0), "{family} {tensor}");
    }
    let error = Error::NotFinite { what: "NaN", site: "hook_embed".into(), position: 0, items: Vec::new() };
    assert!(error.next_step().contains("weights"));
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
