//! A real trained checkpoint: text, cross-entropy, tokenizers. Values from the README of the test data.

use std::fs;

use sluice_core::checkpoint::Tokenizer;
use sluice_core::engine::{Decoder, Sampler, never};
use sluice_core::metric;
use sluice_core::model::{Ask, Logits, Schedule};

use crate::support::{data, open, run};

#[test]
fn the_known_greedy_story() {
    let Some(folder) = data("checkpoints/stories260K") else { return };
    let engine = open(&folder);
    let tokens = engine.encode("Once upon a time").unwrap();
    assert_eq!(tokens.first(), Some(&1));
    let mut decoder =
        Decoder::new(engine.model.clone(), Schedule::none(), &tokens.clone().into(), 100).unwrap();
    let mut new = Vec::new();
    while new.len() < 90 {
        let sampler = Sampler::default();
        new.push(sampler.pick(&decoder.logits(&never).unwrap(), new.len()));
        decoder.push(*new.last().unwrap());
    }
    let text = engine.tokenizer.as_ref().unwrap().continuation(&tokens, &new);
    let known = ", there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, \
                 red ball. She wanted to play with it, but it was too high.\nLily's mom said, ";
    assert!(text.starts_with(known), "{text}");
}

#[test]
fn nats_per_token() {
    let Some(folder) = data("checkpoints/stories260K") else { return };
    let Some(text) = data("text/tinystories_sample.txt") else { return };
    let engine = open(&folder);
    let text = fs::read_to_string(text).unwrap();
    let stories = text.split("<|endoftext|>").map(str::trim).filter(|story| !story.is_empty()).take(100);
    let (mut sum, mut count) = (0.0, 0);
    for story in stories {
        let mut tokens = engine.encode(story).unwrap();
        tokens.truncate(256);
        let ask = Ask { logits: Logits::All, ..Ask::default() };
        let rows: Vec<Vec<f32>> =
            run(&engine, &tokens, &Schedule::none(), ask).logits.unwrap().to_vec2().unwrap();
        for (row, next) in rows.iter().zip(&tokens[1..]) {
            sum += f64::from(metric::surprisal(row, *next));
            count += 1;
        }
    }
    assert_eq!(count, 25_151);
    let mean = sum / f64::from(count);
    assert!((mean - 1.3621).abs() < 0.0005, "{mean}");
}

fn golden_cases(tokenizer: &Tokenizer, name: &str) {
    let Some(input) = data(&format!("tokenizers/llama.cpp-vocab/ggml-vocab-{name}.gguf.inp")) else { return };
    let Some(output) = data(&format!("tokenizers/llama.cpp-vocab/ggml-vocab-{name}.gguf.out")) else {
        return;
    };
    let (input, output) = (fs::read_to_string(input).unwrap(), fs::read_to_string(output).unwrap());
    let cases: Vec<&str> = input.split("\n__ggml_vocab_test__\n").collect();
    let mut right = 0;
    for (text, ids) in cases.iter().zip(output.split('\n')) {
        let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{name}: {text:?}");
        right += 1;
    }
    assert_eq!(right, 47, "{name}");
}

#[test]
fn tokenizers_agree_with_their_golden_cases() {
    for (folder, name) in [("gpt2", "gpt-2"), ("llama2", "llama-spm"), ("llama2", "phi-3")] {
        let Some(folder) = data(&format!("tokenizers/{folder}")) else { return };
        golden_cases(&Tokenizer::open(&folder).unwrap().unwrap(), name);
    }
}

#[test]
fn vocab_and_merges_without_tokenizer_json() {
    let Some(folder) = data("tokenizers/gpt2") else { return };
    let copy = tempfile::tempdir().unwrap();
    for name in ["vocab.json", "merges.txt"] {
        fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    let tokenizer = Tokenizer::open(copy.path()).unwrap().unwrap();
    assert_eq!(tokenizer.encode("Hello world", true).unwrap(), [15496, 995]);
    golden_cases(&tokenizer, "gpt-2");
}

#[test]
fn every_token_shows_as_a_chip() {
    for folder in ["gpt2", "llama2", "gpt-neox-20b"] {
        let Some(folder) = data(&format!("tokenizers/{folder}")) else { return };
        let tokenizer = Tokenizer::open(&folder).unwrap().unwrap();
        for id in 0..tokenizer.vocab() as u32 + 10 {
            let text = tokenizer.piece(id).text;
            assert!(!text.is_empty() && !text.contains(char::REPLACEMENT_CHARACTER), "{id}: {text:?}");
            assert!(!text.chars().any(char::is_control), "{id}: {text:?}");
        }
    }
}
