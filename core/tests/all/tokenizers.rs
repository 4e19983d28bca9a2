//! Tokenizers by their folders' files, against transformers (`tests/golden/tokenizers`, made by `make_tokenizers.py`), and
//! folders whose tokenizer cannot be read.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use sluice_core::Error;
use sluice_core::checkpoint::{Checkpoint, Picture, Tokenizer};
use sluice_core::engine::{self, Prompt, Words, never};
use tempfile::TempDir;

use crate::support::{copy_of, data, golden};

/// Python's way to spell a token by its name.
fn by_name(content: &str) -> Value {
    json!({"content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": true})
}

/// A folder with real vocabulary files and others as given. None without the shared test data.
fn folder(vocabulary: &str, take: &[&str], files: &[(&str, &str)]) -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    for name in take {
        fs::copy(data(&format!("tokenizers/{vocabulary}/{name}"))?, folder.path().join(name)).unwrap();
    }
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    Some(folder)
}

const PARTS: [&str; 2] = ["vocab.json", "merges.txt"];

/// Ids of a text in a folder with GPT-2's vocab.json and merges.txt.
fn of_parts(files: &[(&str, &str)], text: &str) -> Option<Vec<u32>> {
    let folder = folder("gpt2", &PARTS, files)?;
    Some(ids(folder.path(), text))
}

fn ids(folder: &Path, text: &str) -> Vec<u32> {
    Tokenizer::open(folder).unwrap().unwrap().encode(text, true).unwrap()
}

fn change_json(folder: &Path, changed: &Value) {
    let path = folder.join("tokenizer.json");
    let mut whole: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for (part, value) in changed.as_object().unwrap() {
        whole[part] = value.clone();
    }
    fs::write(path, whole.to_string()).unwrap();
}

#[test]
fn ids_are_those_of_transformers() {
    let read = |path: &Path| -> Value { serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap() };
    let fixtures = golden().join("tokenizers");
    let texts: Vec<String> = serde_json::from_value(read(&fixtures.join("texts.json"))).unwrap();
    assert!(texts.len() >= 200);
    let mut names: Vec<String> = fs::read_dir(&fixtures)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "texts.json")
        .collect();
    names.sort();
    assert_eq!(names.len(), 47);
    let mut wrong = Vec::new();
    for name in names {
        // As raw text: a value forgets the order of fields, in which new tokens get their ids.
        let text = fs::read_to_string(fixtures.join(&name)).unwrap();
        let raw: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&text).unwrap();
        let files: BTreeMap<String, Box<RawValue>> = serde_json::from_str(raw["files"].get()).unwrap();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.get())).collect();
        let case: Value = serde_json::from_str(&text).unwrap();
        let take: Vec<&str> =
            case["take"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let Some(folder) = folder(case["vocabulary"].as_str().unwrap(), &take, &files) else { return };
        if case["json"].is_object() {
            change_json(folder.path(), &case["json"]);
        }
        let tokenizer = Tokenizer::open(folder.path()).unwrap().unwrap();
        let rows: Vec<Vec<u32>> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert!(rows.len() > 100);
        for row in &rows {
            let text = &texts[row[0] as usize];
            let ours = tokenizer.encode(text, true).unwrap();
            if ours != row[1..] {
                wrong.push(format!("{name}: {text:?}: {ours:?}, not {:?}", &row[1..]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_end_of_text_is_one_token_wherever_it_is_named() {
    let text = "<|endoftext|>start";
    let config = r#"{"tokenizer_class": "GPT2Tokenizer"}"#;
    for files in [
        &[] as &[(&str, &str)],
        &[("tokenizer_config.json", config)],
        &[("tokenizer_config.json", config), ("added_tokens.json", r#"{"<|endoftext|>": 50256}"#)],
        &[("special_tokens_map.json", r#"{"eos_token": "<|endoftext|>"}"#)],
        &[("special_tokens_map.json", r#"{"eos_token": {"content": "<|endoftext|>", "normalized": true}}"#)],
        &[("tokenizer_config.json", r#"{"additional_special_tokens": ["<|endoftext|>"]}"#)],
        &[(
            "tokenizer_config.json",
            r#"{"added_tokens_decoder": {"50256": {"content": "<|endoftext|>", "special": true}}}"#,
        )],
        &[("config.json", r#"{"model_type": "gpt2"}"#)],
    ] {
        let Some(ids) = of_parts(files, text) else { return };
        assert_eq!(ids, [50256, 9688], "{files:?}");
    }
}

#[test]
fn a_special_token_past_the_vocabulary_takes_the_next_id() {
    let map =
        r#"{"pad_token": "<pad>", "additional_special_tokens": ["<a>", {"content": "<b>", "lstrip": true}]}"#;
    let Some(folder) = folder("gpt2", &PARTS, &[("special_tokens_map.json", map)]) else { return };
    assert_eq!(ids(folder.path(), "<pad>x <a>  <b>"), [50257, 87, 220, 50258, 50259]);
    let tokenizer = Tokenizer::open(folder.path()).unwrap().unwrap();
    assert_eq!(tokenizer.vocab(), 50260);
    assert_eq!(tokenizer.piece(50258).bytes, b"");
}

#[test]
fn a_special_token_of_the_models_own_is_no_text() {
    let config = r#"{"tokenizer_class": "GPT2Tokenizer", "model_specific_special_tokens": {"image_token": "<image>"}}"#;
    for take in [&PARTS as &[&str], &["tokenizer.json"]] {
        let Some(folder) = folder("gpt2", take, &[("tokenizer_config.json", config)]) else { return };
        let tokenizer = Tokenizer::open(folder.path()).unwrap().unwrap();
        assert_eq!(tokenizer.encode("a<image>", true).unwrap(), [64, 50257]);
        assert_eq!((tokenizer.decode(&[64, 50257]), tokenizer.piece(50257).bytes), ("a".into(), vec![]));
    }
}

#[test]
fn qwen2_splits_digits_and_composes_accents() {
    let config = json!({
        "tokenizer_class": "Qwen2Tokenizer",
        "added_tokens_decoder": {"50256": by_name("<|endoftext|>"), "50257": by_name("<|im_start|>")},
    })
    .to_string();
    let files = [("tokenizer_config.json", config.as_str())];
    let Some(digits) = of_parts(&files, "In 1998") else { return };
    assert_eq!(digits, [818, 220, 16, 24, 24, 23]);
    assert_eq!(of_parts(&files, "<|im_start|>").unwrap(), [50257]);
    assert_eq!(of_parts(&files, "cafe\u{301}"), of_parts(&files, "caf\u{e9}"));
}

#[test]
fn settings_that_are_no_object_are_refused_by_name() {
    let config = r#"{"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "model_max_length": 1e30}"#;
    let nan = config.replace("1e30", "NaN");
    let infinite = config.replace("1e30", "-Infinity");
    let marked = format!("\u{FEFF}{config}");
    for text in [config, &nan, &infinite, &marked] {
        let Some(folder) = folder("llama2", &["tokenizer.json"], &[("tokenizer_config.json", text)]) else {
            return;
        };
        change_json(folder.path(), &json!({"post_processor": null}));
        assert_eq!(ids(folder.path(), "Hello world"), [1, 15043, 3186], "{text}");
    }
    let comma = config.replace('}', ",}");
    let short = &config[..20];
    for text in [comma.as_str(), short, "", " ", "[]", "null", "\"text\"", "{\"bos_token\": 3}", "\u{FEFF}"] {
        for name in ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"] {
            if name == "added_tokens.json" && text.contains("bos_token\": 3") {
                continue;
            }
            let copy = copy_with("llama", &[(name, text)]);
            let error = try_open(copy.path()).err().unwrap_or_else(|| panic!("{name} opened: {text}"));
            assert!(error.to_string().contains(name), "{error}");
            assert!(!matches!(error, Error::Tokenizer { .. }) && !error.next_step().is_empty());
        }
    }
    for (name, text) in [
        ("tokenizer_config.json", r#"{"added_tokens_decoder": {"x": {"content": "<a>"}}}"#),
        ("tokenizer_config.json", r#"{"added_tokens_decoder": {"7": "<a>"}}"#),
        ("tokenizer_config.json", r#"{"added_tokens_decoder": []}"#),
        ("tokenizer_config.json", r#"{"extra_special_tokens": 7}"#),
        ("tokenizer_config.json", r#"{"model_specific_special_tokens": ["<a>"]}"#),
        ("tokenizer_config.json", r#"{"model_specific_special_tokens": {"a_token": null}}"#),
        ("special_tokens_map.json", r#"{"eos_token": {"lstrip": true}}"#),
        ("added_tokens.json", r#"{"<a>": -1}"#),
        ("added_tokens.json", r#"{"<a>": "7"}"#),
    ] {
        let error = try_open(copy_with("llama", &[(name, text)]).path()).err().unwrap();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_byte_order_mark_is_skipped_in_every_file() {
    let marked = |name: &str, text: &str| (name.to_owned(), format!("\u{FEFF}{text}"));
    let Some(plain) = folder("gpt2", &PARTS, &[]) else { return };
    let mut files = vec![
        marked("tokenizer_config.json", r#"{"add_prefix_space": true}"#),
        marked("special_tokens_map.json", r#"{"pad_token": "<pad>"}"#),
        marked("added_tokens.json", r#"{"<pad>": 50257}"#),
    ];
    for name in PARTS {
        files.push(marked(name, &fs::read_to_string(plain.path().join(name)).unwrap().replace('\n', "\r\n")));
    }
    for (name, text) in files {
        fs::write(plain.path().join(name), text).unwrap();
    }
    assert_eq!(ids(plain.path(), "Hello world<pad>"), [18435, 995, 50257]);
    let Some(json) = folder("gpt2", &["tokenizer.json"], &[]) else { return };
    let path = json.path().join("tokenizer.json");
    fs::write(&path, format!("\u{FEFF}{}", fs::read_to_string(&path).unwrap())).unwrap();
    assert_eq!(ids(json.path(), "Hello world"), [15496, 995]);
}

#[test]
fn a_space_in_front_is_asked_for_by_the_settings() {
    for (take, files, expected) in [
        (
            &["tokenizer.json"] as &[&str],
            r#"{"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true}"#,
            [18435, 995],
        ),
        (&PARTS, r#"{"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true}"#, [18435, 995]),
        (&PARTS, r#"{"add_prefix_space": true}"#, [18435, 995]),
        (&PARTS, r#"{"tokenizer_class": "Qwen2TokenizerFast", "add_prefix_space": true}"#, [18435, 995]),
        (
            &["tokenizer.json"],
            r#"{"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": false}"#,
            [15496, 995],
        ),
        (
            &["tokenizer.json"],
            r#"{"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": true}"#,
            [15496, 995],
        ),
    ] {
        let Some(folder) = folder("gpt2", take, &[("tokenizer_config.json", files)]) else { return };
        assert_eq!(ids(folder.path(), "Hello world"), expected, "{files}");
    }
    let config = r#"{"tokenizer_class": "LlamaTokenizer", "add_prefix_space": false}"#;
    let Some(llama) = folder("llama2", &["tokenizer.json"], &[("tokenizer_config.json", config)]) else {
        return;
    };
    assert_eq!(ids(llama.path(), "Hello world"), [1, 10994, 3186]);
    assert_eq!(ids(llama.path(), " Hello world"), [1, 15043, 3186]);
    let tokenizer = Tokenizer::open(llama.path()).unwrap().unwrap();
    assert_eq!(tokenizer.decode(&[15043, 3186]), " Hello world");
}

#[test]
fn bos_is_what_its_class_reads() {
    let bos = |class: &str| {
        format!(r#"{{"tokenizer_class": "{class}", "add_bos_token": true, "bos_token": "<|endoftext|>"}}"#)
    };
    for class in ["GPT2Tokenizer", "PreTrainedTokenizerFast", "Qwen2Tokenizer", "GPTNeoXTokenizerFast"] {
        let Some(folder) = folder("gpt2", &["tokenizer.json"], &[("tokenizer_config.json", &bos(class))])
        else {
            return;
        };
        assert_eq!(ids(folder.path(), "Hello world"), [15496, 995], "{class}");
        assert_eq!(Tokenizer::open(folder.path()).unwrap().unwrap().front(), [] as [u32; 0]);
    }
    // Without a tokenizer.json there is nothing else that could say it.
    for class in ["GPT2Tokenizer", "CodeGenTokenizer", "GPTNeoXTokenizer"] {
        assert_eq!(
            of_parts(&[("tokenizer_config.json", &bos(class))], "Hello world").unwrap(),
            [50256, 15496, 995]
        );
    }
    let Some(llama) = folder("llama2", &["tokenizer.json"], &[]) else { return };
    change_json(llama.path(), &json!({"post_processor": null}));
    for (fields, expected) in [
        (r#""bos_token": "<s>""#, &[1, 15043][..]),
        (r#""bos_token": "<s>", "add_bos_token": true"#, &[1, 15043]),
        (r#""add_bos_token": true"#, &[1, 15043]),
        (r#""bos_token": "<s>", "add_bos_token": false"#, &[15043]),
        (r#""eos_token": "</s>", "add_eos_token": true"#, &[1, 15043, 2]),
        (r#""bos_token": "<none>", "added_tokens_decoder": {}"#, &[32000, 15043]),
    ] {
        let config = format!(r#"{{"tokenizer_class": "LlamaTokenizer", {fields}}}"#);
        fs::write(llama.path().join("tokenizer_config.json"), config).unwrap();
        assert_eq!(ids(llama.path(), "Hello"), expected, "{fields}");
        let front = usize::from(expected[0] != 15043);
        assert_eq!(Tokenizer::open(llama.path()).unwrap().unwrap().front(), &expected[..front]);
    }
    // Where no class is named, a Llama's settings count as far as they ask for something.
    fs::write(llama.path().join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    for (fields, expected) in [
        (r#""bos_token": "<s>", "add_bos_token": true"#, &[1, 15043][..]),
        (r#""bos_token": "<s>""#, &[15043]),
        (
            r#""bos_token": "<s>", "add_bos_token": true, "tokenizer_class": "PreTrainedTokenizerFast""#,
            &[15043],
        ),
    ] {
        fs::write(llama.path().join("tokenizer_config.json"), format!("{{{fields}}}")).unwrap();
        assert_eq!(ids(llama.path(), "Hello"), expected, "{fields}");
    }
    fs::remove_file(llama.path().join("tokenizer_config.json")).unwrap();
    assert_eq!(ids(llama.path(), "Hello"), [15043], "only the file is left to say it");
}

#[test]
fn true_texts_of_tokens() {
    for (vocabulary, text) in [("gpt2", "naïve 漢 🙂\n\tend"), ("llama2", "naïve 漢 🙂\n\tend ꧁")] {
        let Some(folder) = folder(vocabulary, &["tokenizer.json"], &[]) else { return };
        let tokenizer = Tokenizer::open(folder.path()).unwrap().unwrap();
        let ids = tokenizer.encode(text, false).unwrap();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.piece(*id).bytes).collect();
        assert_eq!(String::from_utf8(bytes).unwrap().trim_start(), text);
        assert_eq!(tokenizer.exact(u32::MAX), format!("<id {}>", u32::MAX));
    }
    let Some(gpt2) = folder("gpt2", &["tokenizer.json"], &[]) else { return };
    let gpt2 = Tokenizer::open(gpt2.path()).unwrap().unwrap();
    assert_eq!((gpt2.exact(995), gpt2.exact(50256)), (" world".into(), "<|endoftext|>".into()));
    let smile = gpt2.encode("🙂", false).unwrap();
    assert_eq!(smile.iter().map(|id| gpt2.exact(*id)).collect::<String>(), "\\xF0\\x9F\\x99\\x82");
    let Some(llama) = folder("llama2", &["tokenizer.json"], &[]) else { return };
    let llama = Tokenizer::open(llama.path()).unwrap().unwrap();
    assert_eq!((llama.exact(3186), llama.exact(1)), (" world".into(), "<s>".into()));
    assert_eq!((llama.exact(3 + 0xE4), llama.exact(3 + 0x0A)), ("\\xE4".into(), "\n".into()));
    let Some(neox) = folder("gpt-neox-20b", &["tokenizer.json"], &[]) else { return };
    assert_eq!(Tokenizer::open(neox.path()).unwrap().unwrap().exact(50276), "  ");
}

/// A small checkpoint with other files.
fn copy_with(case: &str, files: &[(&str, &str)]) -> TempDir {
    let copy = copy_of(case);
    for (name, text) in files {
        fs::write(copy.path().join(name), text).unwrap();
    }
    copy
}

fn try_open(folder: &Path) -> Result<engine::Opened, Error> {
    engine::open(&Checkpoint::open(folder)?, &mut |_, _| {}, &never)
}

#[test]
fn a_tokenizer_in_another_form_is_told_with_what_it_is() {
    const GPT2: (&str, &str) = ("tokenizer_config.json", r#"{"tokenizer_class": "GPT2Tokenizer"}"#);
    for (files, said, next) in [
        (
            &[("tokenizer.model", "\n\x0e\n\x05<unk>")] as &[(&str, &str)],
            "tokenizer.model alone, a SentencePiece file",
            "save_pretrained",
        ),
        (
            &[("tokenizer.model", "IQ== 0\nIg== 1\n")],
            "tokenizer.model alone, a tiktoken file",
            "save_pretrained",
        ),
        (&[("vocab.txt", "[UNK]\n")], "a WordPiece list", "save_pretrained"),
        (&[("tekken.json", "{}")], "Mistral's own form", "save_pretrained"),
        (&[("vocab.json", "{}")], "vocab.json without merges.txt", "merges.txt"),
        (&[("merges.txt", "")], "merges.txt without vocab.json", "vocab.json"),
        (
            &[("qwen.tiktoken", "IQ== 0\n")],
            "qwen.tiktoken alone, a tiktoken file",
            "tokenizer.json beside it",
        ),
        (&[("tiktoken", "IQ== 0\n")], "tiktoken alone, a tiktoken file", "tokenizer.json beside it"),
        (
            &[("vocab.json", "{}"), ("merges.txt", "a b c\n"), GPT2],
            "merges.txt: line 1 is no merge",
            "download",
        ),
        (
            &[("vocab.json", "{\"a\": -1}"), ("merges.txt", ""), GPT2],
            "vocab.json: is not a tokenizer",
            "download",
        ),
        (&[("vocab.json", "[]"), ("merges.txt", ""), GPT2], "vocab.json: must hold", "download"),
        // As transformers, which refuses both: nothing says how text is split.
        (&[("vocab.json", "{}"), ("merges.txt", "")], "how text of a llama is split", "tokenizer_class"),
        (
            &[
                ("vocab.json", "{}"),
                ("merges.txt", ""),
                ("tokenizer_config.json", r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#),
            ],
            "not read for the class PreTrainedTokenizerFast",
            "tokenizer_class",
        ),
        (
            &[
                ("vocab.json", "{}"),
                ("merges.txt", ""),
                ("tokenizer_config.json", r#"{"tokenizer_class": "LlamaTokenizer"}"#),
            ],
            "not read for the class LlamaTokenizer",
            "save_pretrained",
        ),
        (
            &[
                ("vocab.json", "{}"),
                ("merges.txt", ""),
                ("tokenizer_config.json", r#"{"tokenizer_class": "OwnTokenizer"}"#),
            ],
            "not read for the class OwnTokenizer",
            "save_pretrained",
        ),
    ] {
        let mut opened = try_open(copy_with("llama", files).path()).unwrap();
        assert!(opened.engine.tokenizer.is_none());
        let warning = opened.card.warnings.iter().find(|warning| warning.contains(said));
        let warning = warning.unwrap_or_else(|| panic!("{said}: {:?}", opened.card.warnings));
        assert!(warning.contains(next) && warning.contains("token ids"), "{warning}");
        let error = opened.engine.input(&Words::Text("text".into()).into()).unwrap_err();
        assert!(error.to_string().contains(said) && error.next_step().contains(next), "{error}");
        assert!(opened.engine.input(&Words::Tokens(vec![1, 2]).into()).is_ok());
    }
    let opened = try_open(copy_with("llama", &[("tokenizer_config.json", "{}")]).path()).unwrap();
    assert!(opened.card.warnings.is_empty(), "{:?}", opened.card.warnings);
}

#[test]
fn a_picture_stands_behind_what_the_tokenizer_puts_in_front() {
    let special = |id: u32, content: &str| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let piece = |content: &str| json!({"SpecialToken": {"id": content, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let entry = |content: &str, id: u32| json!({"id": content, "ids": [id], "tokens": [content]});
    let template = |single: Value| json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {"<s>": entry("<s>", 7), "</s>": entry("</s>", 2)}});
    for (post, bos, before, behind) in [
        (template(json!([piece("<s>"), text])), json!(null), &[7][..], &[][..]),
        (template(json!([piece("<s>"), text])), json!(9), &[7], &[]),
        (template(json!([piece("<s>"), piece("</s>"), text])), json!(null), &[7, 2], &[]),
        (template(json!([text, piece("</s>")])), json!(9), &[], &[2]),
        (Value::Null, json!(1), &[], &[]),
    ] {
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
            "added_tokens": [special(2, "</s>"), special(3, "<image>"), special(7, "<s>")],
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": post,
            "model": {"type": "WordLevel", "vocab": {"</s>": 2, "<image>": 3, "[UNK]": 5, "<s>": 7, "hello": 11}, "unk_token": "[UNK]"},
        });
        let copy = copy_with("llava", &[("tokenizer.json", &tokenizer.to_string())]);
        let path = copy.path().join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        config["text_config"]["bos_token_id"] = bos;
        fs::write(&path, config.to_string()).unwrap();
        let mut engine = try_open(copy.path()).unwrap().engine;
        let png = fs::read(golden().join("pictures/wide.png")).unwrap();
        let image = Some(Picture::decode("wide", &png).unwrap());
        let mut read = |words: &str| {
            let prompt = Prompt { words: Words::Text(words.into()), image: image.clone() };
            engine.input(&prompt).unwrap().to_vec()
        };
        let rows = [3; 9];
        assert_eq!(read("hello"), [before, &rows[..], &[11], behind].concat(), "{before:?}");
        assert_eq!(
            read("hello <image> hello"),
            [before, &[11], &rows[..], &[11], behind].concat(),
            "{before:?}"
        );
        assert_eq!(read(""), [before, &rows[..], behind].concat(), "{before:?}");
    }
}
