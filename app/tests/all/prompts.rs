//! Prompts on the command line: texts, files, ids, pictures and chat templates, and the tokens that they become.

use std::fs;
use std::path::{Path, PathBuf};

use egui_kittest::kittest::Queryable as _;
use serde_json::{Value, json as value};

use crate::support::{Window, golden, json, sluice, sluice_reading, text};

/// Tokens of the bundled checkpoint for some arguments.
fn tokens(arguments: &[&str]) -> Value {
    json(&sluice(Path::new("."), &[&["tokens", "--json"], arguments].concat()))
}

/// The bundled checkpoint as a folder, with more files beside it.
pub fn bundled(more: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/bundled");
    for name in ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(assets.join(name), folder.path().join(name)).unwrap();
    }
    for (name, text) in more {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn joined(tokens: &Value) -> String {
    tokens["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn tokens_have_true_texts_in_json_and_visible_ones_in_print() {
    let prompt = "Taren  lives\nin Dun\u{E4}mere.\t\u{1F6F5}";
    let found = tokens(&["--prompt", prompt]);
    assert_eq!(found["prompt"], prompt);
    let ids = found["tokens"].as_array().unwrap();
    assert_eq!(ids.len(), found["texts"].as_array().unwrap().len());
    assert_eq!((&found["tokens"][0], &found["texts"][0]), (&value!(0), &value!("<s>")));
    // The tokenizer puts a space in front; a character of several tokens is escaped byte by byte.
    let all = joined(&found);
    assert!(all.starts_with("<s> Taren  lives\nin"), "{all:?}");
    assert!(!all.contains('·') && !all.contains('↵'), "{all:?}");
    assert!(all.ends_with("\\xF0\\x9F\\x9B\\xB5") || all.ends_with("\u{1F6F5}"), "{all:?}");
    let printed = text(&sluice(Path::new("."), &["tokens", "--prompt", prompt]).stdout);
    assert_eq!(printed.lines().count(), 1 + ids.len());
    assert!(printed.contains('·') && printed.contains('↵'), "{printed}");
    // What was read is what `run` and studies read.
    let run = json(&sluice(Path::new("."), &["run", "--prompt", prompt, "--json"]));
    assert_eq!((&run["tokens"], &run["texts"]), (&found["tokens"], &found["texts"]));
}

#[test]
fn tokens_and_methods_need_no_weights() {
    let folder = bundled(&[]);
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(tokens(&[path, "--prompt", "Taren"]), tokens(&["--prompt", "Taren"]));
    let methods = |path: &[&str]| json(&sluice(Path::new("."), &[&["methods", "--json"], path].concat()));
    assert_eq!(methods(&[path])["methods"], methods(&[])["methods"]);
}

#[test]
fn positions_are_those_that_picks_use() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = "The sailor lives in Dunmere. The sailor";
    let found = tokens(&["--prompt", prompt]);
    let texts: Vec<&str> =
        found["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let study = |corrupt: &str, more: &[&str]| {
        let arguments = ["study", "trace", "--prompt", prompt, "--corrupt", corrupt, "--out", "found"];
        let output = sluice(folder.path(), &[&arguments[..], &["--overwrite", "--json"], more].concat());
        if output.status.success() { Ok(json(&output)) } else { Err(text(&output.stderr)) }
    };
    let second = study("sailor#2", &[]).unwrap();
    let picked: Vec<usize> = serde_json::from_value(second["picks"]["corrupt"].clone()).unwrap();
    let spelled: String = picked.iter().map(|&at| texts[at]).collect();
    assert_eq!(spelled.trim(), "sailor");
    assert!(picked[0] > texts.len() / 2);
    assert_eq!(second["subject"]["texts"], found["texts"]);
    let across = study("lives in", &[]).unwrap();
    let picked: Vec<usize> = serde_json::from_value(across["picks"]["corrupt"].clone()).unwrap();
    assert_eq!(picked.iter().map(|&at| texts[at]).collect::<String>().trim(), "lives in");
    let said = study("sailor", &[]).unwrap_err();
    assert!(said.contains("occurs 2 times") && said.contains("sailor#2"), "{said}");
    let said = study("99", &[]).unwrap_err();
    assert!(said.contains("no position 99; its tokens are 0 <s>, 1 ·The"), "{said}");
    let said = study("-pirate", &[]).unwrap_err();
    assert!(said.contains("\"-pirate\" does not occur in the prompt; its tokens are"), "{said}");
}

#[test]
fn pictures_and_texts_become_tokens_without_weights() {
    let (llava, picture) = (golden("llava"), golden("pictures/tall.png"));
    let arguments = ["--tokens", "1,9,3,11", "--image", picture.to_str().unwrap(), llava.to_str().unwrap()];
    let found = tokens(&arguments);
    assert_eq!(found["tokens"].as_array().unwrap().len(), 12);
    assert_eq!(found["patches"][2], value!([0, 0]));
    assert_eq!((&found["patches"][10], &found["patches"][1]), (&value!([2, 2]), &Value::Null));
    assert_eq!(found["image"]["file"], "tall.png");
    assert_eq!(found["prompt"], Value::Null);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("story.txt"), "\u{FEFF}Once upon a time").unwrap();
    let file = json(&sluice(folder.path(), &["tokens", "--text", "story.txt", "--json"]));
    assert_eq!(file["tokens"], tokens(&["--prompt", "Once upon a time"])["tokens"]);
    assert_eq!((file["file"].as_str(), file["sha256"].as_str().map(str::len)), (Some("story.txt"), Some(64)));
    // A vocabulary of 96.
    for (arguments, cause) in [
        (["--tokens", "96"], "past the vocabulary of 96"),
        (["--prompt", "text"], "token ids"),
        (["--text", "story.txt"], "\"Once\" is not a token id"),
    ] {
        let llama = golden("llama").canonicalize().unwrap();
        let output = sluice(folder.path(), &[&["tokens", llama.to_str().unwrap()], &arguments[..]].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.lines().count() == 1 && said.contains(cause), "{said}");
    }
}

#[test]
fn a_prompt_may_begin_with_a_hyphen() {
    let folder = tempfile::tempdir().unwrap();
    for prompt in ["- a list", "--json", "-h", "-1", "--", "-"] {
        let found = tokens(&["--prompt", prompt]);
        assert_eq!(found["prompt"], prompt);
        assert_eq!(joined(&found).trim_start_matches("<s>").trim_start(), prompt);
        let run = json(&sluice(folder.path(), &["run", "--json", "--top", "1", "--prompt", prompt]));
        assert_eq!(run["tokens"], found["tokens"]);
        let one = ["generate", "--json", "--max-new-tokens", "1", "--prompt", prompt];
        assert!(sluice(folder.path(), &one).status.success(), "{prompt}");
        let study = ["study", "next-tokens", "--json", "--overwrite", "--out", "found", "--prompt", prompt];
        assert_eq!(json(&sluice(folder.path(), &study))["subject"]["tokens"], found["tokens"]);
    }
}

#[test]
fn a_prompt_is_read_from_a_file_or_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let expected = |prompt: &str| tokens(&["--prompt", prompt])["tokens"].clone();
    for (bytes, prompt) in [
        (b"Once upon".to_vec(), "Once upon"),
        // One line end is the editor's; what stands before it is the prompt's.
        (b"Once upon\n".to_vec(), "Once upon"),
        (b"Once upon\r\n".to_vec(), "Once upon"),
        (b"Once upon\n\n".to_vec(), "Once upon\n"),
        (b"Once\r\nupon ".to_vec(), "Once\r\nupon "),
        ([b"\xEF\xBB\xBF".as_slice(), b"- Once"].concat(), "- Once"),
        ("Stra\u{DF}e \u{6F22}".as_bytes().to_vec(), "Stra\u{DF}e \u{6F22}"),
    ] {
        fs::write(folder.path().join("prompt.txt"), &bytes).unwrap();
        let file = json(&sluice(folder.path(), &["tokens", "--json", "--prompt-file", "prompt.txt"]));
        assert_eq!((&file["tokens"], &file["prompt"]), (&expected(prompt), &value!(prompt)));
        let piped = json(&sluice_reading(folder.path(), &["tokens", "--json", "--prompt-file", "-"], &bytes));
        assert_eq!(piped["tokens"], file["tokens"]);
        let run = json(&sluice_reading(folder.path(), &["run", "--json", "--prompt-file", "-"], &bytes));
        assert_eq!(run["tokens"], file["tokens"]);
    }
    let utf16: Vec<u8> = "Once".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, cause) in [
        (b"Once \xE4pon".to_vec(), "it is no text in UTF-8 from byte 5 on; save it as text in UTF-8"),
        ([b"\xFF\xFE".as_slice(), &utf16].concat(), "its text is in UTF-16, not in UTF-8; "),
        (utf16, "its text is in UTF-16, not in UTF-8; "),
        (vec![b'a'; (16 << 20) + 1], "is over 16 MiB, which no context holds; choose a smaller file"),
    ] {
        let output = sluice_reading(folder.path(), &["tokens", "--prompt-file", "-"], &bytes);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.lines().count() == 1 && said.contains(cause), "{said}");
    }
}

#[test]
fn a_chat_template_is_written_around_the_prompt() {
    let template =
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]";
    let config = value!({"bos_token": "<s>"}).to_string();
    let chat = bundled(&[("chat_template.jinja", template.into()), ("tokenizer_config.json", config)]);
    let written = "<s>[system] Be brief.\n[user] -Who?\n[assistant]";
    let asked = ["--chat", "--system", "Be brief.", "--prompt", "-Who?"];
    let at = |arguments: &[&str]| json(&sluice(chat.path(), &[arguments, &["."], &asked].concat()));
    let found = at(&["tokens", "--json"]);
    assert_eq!(found["prompt"], written);
    // BOS once: the template writes it.
    let ids: Vec<u32> = serde_json::from_value(found["tokens"].clone()).unwrap();
    assert_eq!((ids[0], ids.iter().filter(|&&id| id == 0).count()), (0, 1));
    assert_eq!(at(&["run", "--json"])["tokens"], found["tokens"]);
    let study = at(&["study", "next-tokens", "--json", "--out", "found"]);
    assert_eq!(
        (&study["subject"]["prompt"], &study["subject"]["tokens"]),
        (&value!(written), &found["tokens"])
    );
    assert!(at(&["generate", "--json", "--max-new-tokens", "2"])["text"].is_string());
    // With a picture the message begins with its token, which makes room for all of its rows.
    let image = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../assets/images/present.png");
    let seen = at(&["tokens", "--json", "--image", image.to_str().unwrap()]);
    assert_eq!(seen["prompt"], "<s>[system] Be brief.\n[user] <image>\n-Who?\n[assistant]");
    let rows = seen["patches"].as_array().unwrap().iter().filter(|patch| !patch.is_null()).count();
    let made = seen["prompt"].as_str().unwrap().replace("<image>", &"<image>".repeat(rows));
    // This tokenizer puts a space behind special tokens.
    let bare = |text: &str| text.replace(' ', "");
    assert!(rows > 1);
    assert_eq!(bare(&joined(&seen)), bare(&made));
    fs::write(chat.path().join("chat_template.jinja"), "one\n{{ raise_exception('no system, please') }}")
        .unwrap();
    for (folder, arguments, code, cause) in [
        (Some("."), &["--chat", "--prompt", "x"][..], 1, "chat_template.jinja, line 2: no system, please"),
        (None, &["--chat", "--prompt", "x"], 1, "no chat template; leave out --chat"),
        (None, &["--chat", "--tokens", "1"], 2, "cannot be used with"),
        (None, &["--system", "x", "--prompt", "x"], 2, "--chat"),
    ] {
        let arguments = [&["run"], folder.as_slice(), arguments].concat();
        let output = sluice(chat.path(), &arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(cause), "{arguments:?}: {said}");
    }
}

#[test]
fn a_prompt_past_the_context_shows_all_tokens_and_is_cut_on_demand() {
    for (label, keeps) in [("Keep first 256", "·gardener"), ("Keep last 256", "·sailor")] {
        let mut window = Window::bundled();
        let panes = |window: &Window| sluice::widgets::area::of(&window.harness.ctx, "pane").unwrap();
        let before = panes(&window);
        window.type_prompt(&format!("The gardener {} the sailor", "comes from Dunford. ".repeat(80)));
        window.until("the tokens", |state| state.results.tokens.len() > 256);
        window.settle();
        let failure = window.state().results.failure.clone().unwrap().1;
        assert!(failure.cause.contains("past the context of 256"), "{failure:?}");
        assert_eq!(window.harness.query_all_by_label(&failure.cause).count(), 1, "said once");
        let count = window.state().results.tokens.len();
        assert!(window.harness.query_by_label(&format!("{count} / 256")).is_some());
        assert!(window.harness.query_by_label_contains("token 0: ").is_some(), "its chips");
        let after = panes(&window);
        assert!(after.height() > before.height() - 30.0, "two rows, the others scroll: {before:?} {after:?}");
        window.click(label);
        window
            .until("the figures", |state| state.results.failure.is_none() && !state.results.views.is_empty());
        window.settle();
        let tokens = &window.state().results.tokens;
        assert!(tokens.len() <= 256 && tokens.iter().any(|token| token.text == keeps), "{}", tokens.len());
        window.click("Undo: prompt shortened");
        window.until("the long prompt", |state| state.results.tokens.len() == count);
    }
}
