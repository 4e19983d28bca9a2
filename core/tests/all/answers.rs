//! Answers as texts and ids: which tokens they are, and what several tokens are worth after a prompt.

use std::path::Path;

use serde_json::{Value, json};
use sluice_core::checkpoint::Tokenizer;
use sluice_core::engine::{Answer, Decoder, Sampler, bundled, encode_after, never, open};
use sluice_core::metric;
use sluice_core::model::{Ask, Input, Logits};
use sluice_core::plan::Plan;

use crate::support::{self, data, golden};

fn llama2() -> Option<Tokenizer> {
    let path = data("tokenizers/llama2/tokenizer.json")?;
    let text = std::fs::read_to_string(&path).unwrap();
    Some(Tokenizer::from_json(&path, &text).unwrap())
}

/// What ids spell; special tokens nothing.
fn spelled(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let bytes = ids.iter().flat_map(|&id| tokenizer.piece(id).bytes).collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn answers_are_written_as_null_an_id_or_a_text() {
    for (written, answer) in [
        (Value::Null, Answer::Top),
        (json!("id:262"), Answer::Id(262)),
        (json!(" Paris"), Answer::Text(" Paris".into())),
        (json!("262"), Answer::Text("262".into())),
    ] {
        assert_eq!(serde_json::from_value::<Answer>(written.clone()).unwrap(), answer);
        assert_eq!(json!(answer), written);
    }
    // As it was written before answers were texts.
    assert_eq!(serde_json::from_value::<Answer>(json!(262)).unwrap(), Answer::Id(262));
    for wrong in [json!(-1), json!(1.5), json!([1]), json!(1u64 << 40), json!("id:x"), json!("id:")] {
        assert!(serde_json::from_value::<Answer>(wrong).is_err());
    }
}

#[test]
fn a_bare_number_is_an_id_where_there_is_no_tokenizer() {
    let ids_only = support::open(&golden().join("llama"));
    assert_eq!(ids_only.answer_ids(&Answer::Text("26".into())).unwrap(), [26]);
    let error = ids_only.answer_ids(&Answer::Text(" Paris".into())).unwrap_err().to_string();
    assert!(error.contains("no tokenizer") && error.contains(" Paris"), "{error}");
    let error = ids_only.answer_ids(&Answer::Id(96)).unwrap_err().to_string();
    assert!(error.contains("past the vocabulary of 96"), "{error}");
    let engine = open(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap().engine;
    let ids = engine.answer_ids(&Answer::Text("26".into())).unwrap();
    assert_eq!(spelled(engine.tokenizer.as_ref().unwrap(), &ids), "26");
    assert!(engine.answer_id(&Answer::Text(String::new()), &[]).is_err());
}

#[test]
fn texts_that_go_on_keep_their_spaces() {
    let engine = open(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap().engine;
    let tokenizer = engine.tokenizer.as_ref().unwrap();
    // This tokenizer puts a space in front of every text that has none.
    for text in
        [" Dunmere", "Dunmere", " lived in Dunmere.", "\n", " ", "ing", ".", "  two", "Ünmere", "\n\nx"]
    {
        assert_eq!(spelled(tokenizer, &encode_after(tokenizer, text).unwrap()), text, "{text:?}");
    }
    assert_eq!(encode_after(tokenizer, " Dunmere").unwrap(), tokenizer.encode("Dunmere", false).unwrap());
    assert_ne!(encode_after(tokenizer, "Dunmere").unwrap(), tokenizer.encode("Dunmere", false).unwrap());
    assert!(encode_after(tokenizer, "").unwrap().is_empty());
    assert_eq!(encode_after(tokenizer, "<image>").unwrap(), [1]);
    let Some(llama) = llama2() else { return };
    // As the tokens of a whole text go on behind its beginning.
    for (before, text) in
        [("The capital of France is", " Paris"), ("un", "believable"), ("It costs", " 42 €."), ("a", "\nb")]
    {
        let whole = llama.encode(&format!("{before}{text}"), true).unwrap();
        let start = llama.encode(before, true).unwrap().len();
        let ids = encode_after(&llama, text).unwrap();
        assert_eq!(spelled(&llama, &ids), text);
        if before != "un" {
            assert_eq!(ids, whole[start..], "{text:?}");
        }
    }
    // 3681 is "▁Paris" there.
    assert_eq!(encode_after(&llama, " Paris").unwrap(), [3681]);
}

#[test]
fn every_listed_token_is_its_own_answer() {
    let tokenizers = [
        open(&bundled().unwrap(), &mut |_, _| {}, &never).unwrap().engine.tokenizer.unwrap(),
        std::sync::Arc::new(match data("checkpoints/stories260K/tokenizer.json") {
            Some(path) => {
                Tokenizer::from_json(Path::new("t"), &std::fs::read_to_string(path).unwrap()).unwrap()
            }
            None => return,
        }),
    ];
    for tokenizer in tokenizers {
        let (mut same, mut all) = (0, 0);
        for id in 0..tokenizer.vocab() as u32 {
            let piece = tokenizer.piece(id);
            let Ok(text) = String::from_utf8(piece.bytes) else { continue };
            // A letter may also have a token as a byte.
            if text.len() < 2 {
                continue;
            }
            let ids = encode_after(&tokenizer, &text).unwrap();
            all += 1;
            same += usize::from(ids == [id]);
            assert_eq!(spelled(&tokenizer, &ids), text, "{id}");
        }
        // Tokens that merges pass by on the way to longer ones spell the same text in other pieces.
        assert!(same * 100 >= all * 90, "{same} of {all}");
    }
}

#[test]
fn the_tokens_of_an_answer_are_forced_one_after_the_other() {
    let mut engine = support::open(&golden().join("llama"));
    let plan = Plan::from_json(r#"{"version":1,"items":[{"kind":"skip","layer":1,"part":"ffn"}]}"#).unwrap();
    let (prompt, answer) = ([3u32, 14, 15, 9], [26u32, 5, 35]);
    for plan in [Plan::default(), plan] {
        // One pass over prompt and answer together: every row predicts the next token.
        let all: Vec<u32> = prompt.iter().chain(&answer).copied().collect();
        let schedule = engine.schedule(&plan, &all.as_slice().into(), &never).unwrap();
        let ask = Ask { logits: Logits::All, ..Ask::default() };
        let rows: Vec<Vec<f32>> =
            support::run(&engine, &all, &schedule, ask).logits.unwrap().to_vec2().unwrap();
        let log_p = |row: usize| f64::from(metric::log_softmax(&rows[row])[all[row + 1] as usize]);
        let expected: f64 = (3..6).map(log_p).sum();
        let prompt: Input = prompt.as_slice().into();
        let schedule = engine.schedule(&plan, &prompt, &never).unwrap();
        let found = engine.log_p_after(&schedule, &prompt, &answer, &never).unwrap();
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    // The context ends in the middle of the answer.
    let context = engine.model.spec.context;
    let prompt: Input = vec![3u32; context].into();
    let schedule = engine.schedule(&Plan::default(), &prompt, &never).unwrap();
    assert!(engine.log_p_after(&schedule, &prompt, &answer[..1], &never).is_ok());
    let error = engine.log_p_after(&schedule, &prompt, &answer, &never).unwrap_err().to_string();
    assert!(error.contains("does not fit"), "{error}");
}

#[test]
fn a_decoder_goes_back_to_its_prompt() {
    for case in ["llama", "llama-dynamic"] {
        let mut engine = support::open(&golden().join(case));
        let prompt: Input = vec![3u32, 14, 15, 9].into();
        let schedule = engine.schedule(&Plan::default(), &prompt, &never).unwrap();
        let room = engine.model.spec.context - prompt.len();
        let begin = || Decoder::new(engine.model.clone(), schedule.clone(), &prompt, room).unwrap();
        let sampler = Sampler { temperature: 1.0, seed: 3, ..Sampler::default() };
        let go_on = |decoder: &mut Decoder, sampler: Sampler| {
            let mut logits = Vec::new();
            for step in 0..room {
                let row = decoder.logits(&never).unwrap();
                decoder.push(sampler.pick(&row, step));
                logits.push(support::bits(&row));
            }
            logits
        };
        let mut decoder = begin();
        go_on(&mut decoder, Sampler { seed: 9, ..sampler });
        decoder.rewind(prompt.len());
        assert_eq!(go_on(&mut decoder, sampler), go_on(&mut begin(), sampler), "{case}");
    }
}
