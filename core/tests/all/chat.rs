//! Chat templates: rendered as transformers renders them (golden/make_chat.py), found where it finds them, and bounded.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_core::checkpoint::{ChatTemplate, Checkpoint, Message, Tokenizer};
use sluice_core::engine::{Reader, Words, chat_words};

use crate::support::golden;

/// A folder with these files.
fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn said(text: &str) -> Vec<Message> {
    serde_json::from_value(json!([{"role": "user", "content": text}])).unwrap()
}

/// What a template makes of one message, or the error.
fn rendered(template: &str) -> String {
    let folder = folder(&[("chat_template.jinja", template.to_owned())]);
    let template = ChatTemplate::open(folder.path(), false).unwrap().unwrap();
    template.render(&said("hi")).unwrap_or_else(|error| error.to_string())
}

#[test]
fn conversations_are_those_of_transformers() {
    let chat = golden().join("chat");
    let read = |name: &str| fs::read_to_string(chat.join(name)).unwrap();
    let tokenizer = Tokenizer::from_json(Path::new("tokenizer.json"), &read("tokenizer.json")).unwrap();
    let made: Value = serde_json::from_str(&read("cases.json")).unwrap();
    let cases = made["cases"].as_array().unwrap();
    assert!(cases.len() >= 26, "{}", cases.len());
    let config = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}}).to_string();
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let folder =
            folder(&[("chat_template.jinja", read(name)), ("tokenizer_config.json", config.clone())]);
        let template = ChatTemplate::open(folder.path(), false).unwrap().unwrap();
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        match (template.render(&messages), case["text"].as_str()) {
            (Ok(text), Some(expected)) => {
                assert_eq!(text, expected, "{name}");
                // Special tokens are read where the template writes them, and none is added.
                assert_eq!(json!(tokenizer.encode(&text, false).unwrap()), case["ids"], "{name}");
            }
            (Err(error), None) => {
                let (error, cause) = (error.to_string(), case["error"].as_str().unwrap());
                assert!(error.contains(cause) && error.contains(", line "), "{name}: {error}");
            }
            (ours, theirs) => panic!("{name}: {ours:?}, in transformers {theirs:?}, {}", case["error"]),
        }
    }
}

#[test]
fn a_template_is_found_where_transformers_finds_it() {
    let config = |template: Value| ("tokenizer_config.json", json!({"chat_template": template}).to_string());
    let named = json!([{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "list"}]);
    let file = |text: &str| ("chat_template.jinja", text.to_owned());
    let processor = ("chat_template.json", json!({"chat_template": "processor"}).to_string());
    let joint = ("processor_config.json", json!({"chat_template": "joint"}).to_string());
    for (files, images, found) in [
        (vec![config(json!("text"))], false, Some("text")),
        (vec![config(named)], false, Some("list")),
        (vec![config(json!({"default": "named"}))], false, Some("named")),
        (vec![file("file"), config(json!("text")), processor.clone()], true, Some("file")),
        (vec![file("\u{FEFF}file")], false, Some("file")),
        (vec![config(json!("text")), processor.clone()], false, Some("text")),
        (vec![config(json!("text")), processor.clone()], true, Some("processor")),
        (vec![config(Value::Null), processor], false, Some("processor")),
        (vec![config(json!("text")), joint], true, Some("joint")),
        (vec![config(Value::Null)], false, None),
        (vec![], true, None),
    ] {
        let folder = folder(&files);
        let template = ChatTemplate::open(folder.path(), images).unwrap();
        let text = template.map(|template| template.render(&said("hi")).unwrap());
        assert_eq!(text.as_deref(), found, "{files:?}");
    }
    for (template, cause) in [
        (json!([{"name": "rag", "template": "x"}]), "named default (named: rag)"),
        (json!(7), "neither a text nor a list"),
    ] {
        let error = ChatTemplate::open(folder(&[config(template)]).path(), false).unwrap_err().to_string();
        assert!(error.contains(cause), "{error}");
    }
}

#[test]
fn special_tokens_are_those_that_files_name() {
    let template = "{{ bos_token }}|{{ eos_token }}|{{ unk_token }}";
    let text = |files: &[(&str, Value)]| {
        let mut all: Vec<(&str, String)> =
            files.iter().map(|(name, file)| (*name, file.to_string())).collect();
        all.push(("chat_template.jinja", template.to_owned()));
        let folder = folder(&all);
        ChatTemplate::open(folder.path(), false).unwrap().unwrap().render(&said("hi")).unwrap()
    };
    let config = |value| ("tokenizer_config.json", value);
    assert_eq!(text(&[]), "||");
    assert_eq!(text(&[config(json!({"bos_token": "<b>", "eos_token": {"content": "<e>"}}))]), "<b>|<e>|");
    assert_eq!(text(&[config(json!({"tokenizer_class": "LlamaTokenizerFast"}))]), "<s>|</s>|<unk>");
    let qwen = json!({"tokenizer_class": "Qwen2Tokenizer", "bos_token": null, "eos_token": "<|im_end|>"});
    assert_eq!(text(&[config(qwen)]), "|<|im_end|>|<|endoftext|>");
    let map = ("special_tokens_map.json", json!({"bos_token": "<map>", "eos_token": "<map>"}));
    assert_eq!(text(&[map, config(json!({"eos_token": "<config>"}))]), "<map>|<config>|");
}

#[test]
fn a_failing_template_says_where() {
    for (template, cause) in [
        ("one\n{% for %}", "chat_template.jinja, line 2: syntax error"),
        ("{% if true %}\n\n", "syntax error"),
        ("a\nb\n{{ raise_exception('no\nsuch role') }}", "chat_template.jinja, line 3: no such role"),
        ("{{ messages[0].content.nothing() }}", "line 1: "),
        ("\n{{ missing.attribute }}", "line 2: undefined value"),
        ("{{ [1, 2] | tojson(colour=3) }}", "line 1: "),
        ("{% include 'other' %}", "line 1: "),
    ] {
        let said = rendered(template);
        assert!(said.contains(cause) && said.lines().count() == 1, "{template}: {said}");
    }
}

#[test]
fn a_hostile_template_ends() {
    let begin = Instant::now();
    for (template, cause) in [
        ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "does not end"),
        ("{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}", "line 1: "),
        ("{{ range(1000000000) | list | length }}", "line 1: "),
        ("{{ 'x' * 100000000000 }}", "line 1: "),
        ("{{ ('x' * 9999999) * 9 }}{{ ('x' * 9999999) * 9 }}", "it writes more than 64 MiB"),
        (&"(".repeat(100_000), "("),
        (&format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)), "line 1: "),
    ] {
        let said = rendered(template);
        assert!(
            said.contains(cause),
            "{}: {}",
            &template[..60.min(template.len())],
            &said[..90.min(said.len())]
        );
    }
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

#[test]
fn the_date_is_there() {
    let year: u32 = rendered("{{ strftime_now('%Y') }}").parse().unwrap();
    assert!(year >= 2026, "{year}");
}

/// A LLaVA checkpoint whose tokenizer is that of the conversations, with a template.
fn llava(template: &str) -> tempfile::TempDir {
    let source = golden().join("llava");
    let mut config: Value =
        serde_json::from_str(&fs::read_to_string(source.join("config.json")).unwrap()).unwrap();
    // The ids of <image> and the vocabulary that the tokenizer has; no weight is read here.
    config["image_token_index"] = json!(258);
    config["image_token_id"] = json!(258);
    config["text_config"]["vocab_size"] = json!(264);
    let made = folder(&[
        ("config.json", config.to_string()),
        ("chat_template.jinja", template.to_owned()),
        ("tokenizer_config.json", json!({"bos_token": "<s>"}).to_string()),
    ]);
    fs::copy(golden().join("chat/tokenizer.json"), made.path().join("tokenizer.json")).unwrap();
    fs::copy(source.join("model.safetensors"), made.path().join("model.safetensors")).unwrap();
    made
}

#[test]
fn a_picture_has_its_place_in_a_conversation() {
    let parts = fs::read_to_string(golden().join("chat/parts.jinja")).unwrap();
    let plain = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]";
    for (template, image, system, text, written) in [
        // Templates of processors leave BOS to the tokenizer, which adds it once.
        (parts.as_str(), true, None, "Why?", "<s>USER: <image>\nWhy? ASSISTANT:"),
        (&parts, false, Some("Be brief."), "Why?", "<s>SYSTEM: Be brief. USER: Why? ASSISTANT:"),
        (plain, true, None, "Why?", "<s>[user]<image>\nWhy?[assistant]"),
        (plain, true, None, "Why <image>?", "<s>[user]Why <image>?[assistant]"),
        (plain, false, Some("Be brief."), "- why?", "<s>[system]Be brief.[user]- why?[assistant]"),
    ] {
        let folder = llava(template);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let words = chat_words(&checkpoint, system, text, image).unwrap();
        assert_eq!(words, Words::Written(written.into()));
        let reader = Reader::open(&checkpoint).unwrap();
        let tokens = reader.tokens(&words.into()).unwrap();
        // <s> is 256: once, and nowhere else.
        assert_eq!(tokens.iter().filter(|token| token.id == 256).count(), 1, "{written}");
        assert_eq!(tokens[0].id, 256);
        assert_eq!(tokens.iter().map(|token| token.exact.as_str()).collect::<String>(), written);
    }
    let folder = llava("{{ messages[0].role }}");
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let error = chat_words(&checkpoint, None, "Why?", false).unwrap_err().to_string();
    assert!(error.contains("leaves out the message"), "{error}");
}

#[test]
fn a_template_may_change_the_message() {
    for (template, written) in [
        ("U: {{ messages[0].content | capitalize }}", "U: Why not?"),
        ("U: {{ messages[0].content | upper }}", "U: WHY NOT?"),
        ("U: {{ messages[0].content.split('</think>')[-1] }}", "U: why NOT?"),
    ] {
        let folder = llava(template);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let words = chat_words(&checkpoint, None, "why NOT?", false).unwrap();
        assert!(words.text().is_some_and(|text| text.ends_with(written)), "{words:?}");
    }
}
