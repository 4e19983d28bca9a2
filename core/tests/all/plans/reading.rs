//! Plan files as people write them: what is left out, empty or wrong, and where files lie.

use super::*;

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
        (
            r#"{"kind":"skip","layer":1,"prt":"ffn"}"#,
            "line 5: plan.items[1].prt is not a field here: did you mean part",
        ),
        (
            r#"{"kind":"skip","layer":1,"part":"ffn","positons":"all"}"#,
            "line 5: plan.items[1].positons is not a field here: did you mean positions",
        ),
        (
            r#"{"kind":"scale","site":"hook_embed","factor":1e39}"#,
            "line 5: plan.items[1].factor is too large a number",
        ),
        (r#"{"kind":"ablat"}"#, "line 5: plan.items[1]: there is no kind \"ablat\": did you mean ablate"),
        (r#"{"kind":"ablate","site":"blocks.0.hook_resid_pst"}"#, "did you mean blocks.0.hook_resid_post"),
        (
            r#"{"kind":"skip","layer":-1,"part":"ffn"}"#,
            "line 5: plan.items[1].layer: a whole number from 0 on is needed, not -1",
        ),
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
            "dtype is not a field here",
        ),
        (r#"{"kind":"route","layers":[{"layer":0,"token":["small"]}]}"#, "token is not a field here"),
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
