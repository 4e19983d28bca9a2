//! Answers on the command line: texts, ids, and what is said of several tokens.

use std::path::Path;

use serde_json::{Value, json as value};
use sluice_core::checkpoint::TensorFile;
use sluice_core::metric;

use crate::support::{golden, json, sluice, text};

const PROMPT: &str = "Once upon a time there was a fisher named Taren who lived in";

fn study(folder: &Path, id: &str, more: &[&str]) -> Value {
    let arguments = ["study", id, "--out", "found", "--overwrite", "--json"];
    json(&sluice(folder, &[&arguments[..], more].concat()))
}

fn fact(found: &Value, name: &str) -> Option<f64> {
    let facts = found["facts"].as_array().unwrap();
    let fact = facts.iter().find(|fact| fact["name"].as_str().unwrap().contains(name));
    fact.map(|fact| fact["value"].as_f64().unwrap())
}

/// The tokens of a text as it goes on from the prompt.
fn ids(folder: &Path, text: &str) -> Vec<u32> {
    let tokens = |prompt: &str| -> Vec<u32> {
        let found = json(&sluice(folder, &["tokens", "--json", "--prompt", prompt]));
        serde_json::from_value(found["tokens"].clone()).unwrap()
    };
    let (before, all) = (tokens(PROMPT), tokens(&format!("{PROMPT}{text}")));
    assert_eq!(all[..before.len()], before);
    all[before.len()..].to_vec()
}

/// ln P of a text after the prompt, from one pass over both.
fn log_p(folder: &Path, text: &str, plan: &[&str]) -> f64 {
    let count = ids(folder, text).len();
    let whole = format!("{PROMPT}{text}");
    let run = ["run", "--json", "--prompt", &whole, "--overwrite", "--out", "run.safetensors"];
    let tokens: Vec<u32> =
        serde_json::from_value(json(&sluice(folder, &[&run[..], plan].concat()))["tokens"].clone()).unwrap();
    let file = TensorFile::open(&folder.join("run.safetensors")).unwrap();
    let rows: Vec<Vec<f32>> = file.load_f32("logits").unwrap().0.to_vec2().unwrap();
    let first = tokens.len() - count;
    (first..tokens.len()).map(|at| f64::from(metric::log_softmax(&rows[at - 1])[tokens[at] as usize])).sum()
}

#[test]
fn an_answer_is_a_text_or_an_id() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = ["--prompt", PROMPT];
    let listed = study(folder.path(), "next-tokens", &prompt);
    for row in listed["data"]["rows"].as_array().unwrap() {
        let (id, shown) = (&row["id"], row["text"].as_str().unwrap());
        assert!(!shown.contains('·'), "{shown}");
        for written in [shown.to_owned(), format!("id:{id}")] {
            let found = study(folder.path(), "next-tokens", &[&prompt[..], &["--answer", &written]].concat());
            assert_eq!(found["data"]["answer"]["id"], *id, "{written}");
            assert_eq!(found["ask"]["answer"], value!(written));
        }
    }
    // A bare number is a text where there is a tokenizer, an id where there is none.
    let found = study(folder.path(), "next-tokens", &[&prompt[..], &["--answer", "26"]].concat());
    assert_eq!(found["data"]["answer"]["id"], ids(folder.path(), "26")[0]);
    assert_ne!(found["data"]["answer"]["id"], 26);
    let llama = golden("llama").canonicalize().unwrap();
    let ids_only = [llama.to_str().unwrap(), "--tokens", "3,14,15", "--answer", "26"];
    let found = study(folder.path(), "next-tokens", &ids_only);
    assert_eq!(found["data"]["answer"]["id"], 26);
    for (id, answer) in
        [("trace", "-x"), ("leave-one-out", " Dunmere"), ("verdict", " red"), ("fcct", "id:7")]
    {
        let marks: &[&str] = match id {
            "trace" => &["--corrupt", "Taren"],
            "fcct" => &["--context", "1..9", "--object", "2..3"],
            _ => &[],
        };
        let found = study(folder.path(), id, &[&prompt[..], &["--answer", answer], marks].concat());
        assert_eq!(found["ask"]["answer"], answer, "{id}");
        let followed = match id {
            "verdict" => &found["data"]["rows"][0]["id"],
            _ => &found["data"]["answer"],
        };
        let expected = answer
            .strip_prefix("id:")
            .map_or_else(|| ids(folder.path(), answer)[0], |id| id.parse().unwrap());
        assert_eq!(*followed, expected, "{id} {answer}");
    }
}

#[test]
fn of_an_answer_of_several_tokens_the_sum_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let plan = r#"{"version":1,"items":[{"kind":"skip","layer":3,"part":"ffn"}]}"#;
    std::fs::write(folder.path().join("plan.json"), plan).unwrap();
    let planned = ["--plan", "plan.json"];
    let answer = " Dunmere. He likes";
    let asked = ["--prompt", PROMPT, "--answer", answer];
    for (id, marks) in [("next-tokens", &[][..]), ("trace", &["--corrupt", "Taren"]), ("leave-one-out", &[])]
    {
        let found = study(folder.path(), id, &[&asked, &planned[..], marks].concat());
        let count = ids(folder.path(), answer).len();
        assert!(count > 2);
        assert_eq!(fact(&found, "the first is followed"), Some(count as f64), "{id}");
        let unmodified = fact(&found, "ln P(\" Dunmere. He likes\"), unmodified").unwrap();
        assert!((unmodified - log_p(folder.path(), answer, &[])).abs() < 1e-4, "{id} {unmodified}");
        let changed = fact(&found, "under the plan").filter(|_| id != "next-tokens");
        let changed =
            changed.or_else(|| fact(&found, "ln P(\" Dunmere. He likes\"), under the plan")).unwrap();
        assert!((changed - log_p(folder.path(), answer, &planned)).abs() < 1e-4, "{id} {changed}");
        // One token needs no sum.
        let found =
            study(folder.path(), id, &[&["--prompt", PROMPT, "--answer", " Dunmere"], marks].concat());
        assert_eq!(fact(&found, "the first is followed"), None, "{id}");
    }
    let output = sluice(folder.path(), &[&["study", "next-tokens", "--out", "printed"], &asked[..]].concat());
    assert!(text(&output.stdout).contains("the first is followed: "), "{}", text(&output.stdout));
    let output =
        sluice(folder.path(), &["study", "next-tokens", "--out", "x", "--prompt", "x", "--answer", ""]);
    assert!(text(&output.stderr).contains("the answer is empty"), "{}", text(&output.stderr));
}
