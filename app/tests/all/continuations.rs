//! `sluice generate`: what ends a continuation, how it is drawn, and several of them.

use std::path::Path;

use serde_json::{Value, json as value};

use crate::prompts::bundled;
use crate::support::{golden, json, sluice, text};

const PROMPT: &str = "Once upon a time there was a fisher named Taren who lived in";

fn generate(more: &[&str]) -> Value {
    json(&sluice(Path::new("."), &[&["generate", "--prompt", PROMPT, "--json"], more].concat()))
}

fn printed(more: &[&str]) -> String {
    let output = sluice(Path::new("."), &[&["generate", "--prompt", PROMPT], more].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn texts(found: &Value) -> Vec<&str> {
    found["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn a_stop_text_ends_before_it_also_across_tokens() {
    let whole = generate(&["--max-new-tokens", "24"]);
    let all = whole["text"].as_str().unwrap();
    assert_eq!((texts(&whole).concat().as_str(), &whole["ended_by"]), (all, &value!("length")));
    let pieces = texts(&whole);
    // From the middle of the third token to the middle of the fifth.
    let start = pieces[..2].concat().len() + pieces[2].len() / 2;
    let end = pieces[..4].concat().len() + pieces[4].len().div_ceil(2);
    let stop = &all[start..end];
    let cut = all.find(stop).unwrap();
    let stopped = generate(&["--max-new-tokens", "24", "--stop", stop]);
    assert_eq!((&stopped["text"], &stopped["ended_by"]), (&value!(all[..cut]), &value!("stop")));
    // The tokens are those that the text is of.
    let kept = stopped["tokens"].as_array().unwrap();
    assert!(kept.len() <= 3 && kept[..] == whole["tokens"].as_array().unwrap()[..kept.len()]);
    assert_eq!(printed(&["--max-new-tokens", "24", "--stop", stop]), format!("{}\n", &all[..cut]));
    // The first of several counts; one that does not come changes nothing.
    let several = ["--max-new-tokens", "24", "--stop", "zzz", "--stop", stop, "--stop", &all[end..]];
    assert_eq!(generate(&several)["text"], stopped["text"]);
    assert_eq!(generate(&["--max-new-tokens", "24", "--stop", "-zzz"])["text"], whole["text"]);
    assert_eq!(printed(&["--max-new-tokens", "24", "--stop", "zzz"]), format!("{all}\n"));
}

#[test]
fn a_stop_may_be_a_special_token() {
    // The end of a text under another name: <image> is a token that texts leave out.
    let eos = generate(&["--max-new-tokens", "64"])["tokens"].clone();
    assert_eq!(generate(&["--max-new-tokens", "64", "--stop", "<image>"])["tokens"], eos);
    for (arguments, cause) in [
        (vec!["generate", "--prompt", "x", "--stop", ""], "--stop: \"\" is empty"),
        (vec!["generate", "--tokens", "1", "--stop", "x"], "no tokenizer"),
    ] {
        let llama = golden("llama");
        let llama = llama.to_str().unwrap();
        let arguments = if cause.starts_with("no") { [arguments, vec![llama]].concat() } else { arguments };
        let output = sluice(Path::new("."), &arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(cause), "{}", text(&output.stderr));
    }
}

#[test]
fn samples_are_those_of_their_seeds() {
    let warm = ["--max-new-tokens", "12", "--temperature", "1.2"];
    let several = generate(&[&warm[..], &["--seed", "5", "--samples", "3"]].concat());
    let several = several.as_array().unwrap();
    assert_eq!(several.len(), 3);
    for (sample, seed) in several.iter().zip(["5", "6", "7"]) {
        assert_eq!(*sample, generate(&[&warm[..], &["--seed", seed]].concat()));
        assert_eq!(sample["seed"].to_string(), seed);
    }
    assert_ne!(several[0]["tokens"], several[1]["tokens"]);
    let one = generate(&[&warm[..], &["--samples", "1"]].concat());
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    let shown = printed(&[&warm[..], &["--seed", "5", "--samples", "2"]].concat());
    for sample in &several[..2] {
        let expected = format!("--- seed {}\n{}\n", sample["seed"], sample["text"].as_str().unwrap());
        assert!(shown.contains(&expected), "{shown}");
    }
}

#[test]
fn the_likeliest_tokens_alone_are_the_greedy_ones() {
    let greedy = generate(&["--max-new-tokens", "12"]);
    for limit in [["--top-k", "1"], ["--top-p", "0.0001"]] {
        let warm = generate(&[&["--max-new-tokens", "12", "--temperature", "3"], &limit[..]].concat());
        assert_eq!(warm["tokens"], greedy["tokens"], "{limit:?}");
    }
    let warm = ["--max-new-tokens", "12", "--temperature", "2", "--seed", "1"];
    assert_eq!(generate(&[&warm[..], &["--top-p", "1"]].concat()), generate(&warm));
    assert_ne!(generate(&[&warm[..], &["--top-p", "0.5"]].concat())["tokens"], generate(&warm)["tokens"]);
}

#[test]
fn numbers_out_of_range_name_their_flag() {
    for (flag, value, range) in [
        ("--temperature", "-1", "0 (greedy) or above"),
        ("--temperature", "NaN", "0 (greedy) or above"),
        ("--temperature", "inf", "0 (greedy) or above"),
        ("--top-p", "0", "above 0"),
        ("--top-p", "-0.5", "at most 1"),
        ("--top-p", "1.01", "at most 1"),
        ("--top-p", "nan", "at most 1"),
        ("--samples", "0", "1 to 10000"),
        ("--samples", "10001", "1 to 10000"),
    ] {
        let output = sluice(Path::new("."), &["generate", "--prompt", "x", flag, value]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("{flag}: ")) && said.contains(range), "{said}");
        assert!(said.contains(&format!("give {flag} another value")), "{said}");
        assert!(!said.contains("change the prompt"), "{said}");
    }
}

#[test]
fn a_full_context_is_said() {
    let llama = golden("llama");
    let ids = vec!["3"; 62].join(",");
    let arguments =
        ["generate", llama.to_str().unwrap(), "--tokens", &ids, "--max-new-tokens", "9", "--json"];
    let output = sluice(Path::new("."), &arguments);
    let found = json(&output);
    assert_eq!((found["tokens"].as_array().unwrap().len(), &found["ended_by"]), (3, &value!("context")));
    assert_eq!(found["text"], Value::Null);
    assert!(text(&output.stderr).contains("the context of 64 tokens is full"), "{}", text(&output.stderr));
}

#[test]
fn bytes_that_are_no_character_are_escaped() {
    let folder = bundled(&[]);
    // Many warm samples of a tokenizer of bytes: some end within a character.
    let arguments = [
        "generate",
        ".",
        "--prompt",
        "x",
        "--temperature",
        "9",
        "--samples",
        "40",
        "--max-new-tokens",
        "6",
        "--json",
    ];
    let found = json(&sluice(folder.path(), &arguments));
    let mut escaped = 0;
    for sample in found.as_array().unwrap() {
        let shown = sample["text"].as_str().unwrap();
        assert!(!shown.contains('\u{FFFD}') && !shown.contains('·'), "{shown:?}");
        escaped += usize::from(shown.contains("\\x"));
    }
    assert!(escaped > 0, "{found}");
}
