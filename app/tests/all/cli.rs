//! The command line as scripts use it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sluice_core::checkpoint::TensorFile;

use crate::support::{golden, json, sluice, text};

#[test]
fn without_a_display_plain_sluice_writes_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let output = sluice(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("no window") && said.contains("sluice-report"), "{said}");
    let report = folder.path().join("sluice-report");
    for name in [
        "next-tokens",
        "tokens",
        "activations-layer-0-mlp-hook-post-plan",
        "neuron-layer-0-0",
        "attention-layer-0-mean-plan",
        "lens-plan",
        "routing-map",
        "sublayers",
        "trace-residual",
        "trace-attention",
        "trace-ffn",
        "fcct-residual",
        "fcct-attention",
        "fcct-ffn",
        "iri",
        "verdict",
        "text",
    ] {
        for extension in ["png", "svg", "csv"] {
            let path = report.join(format!("{name}.{extension}"));
            assert!(fs::metadata(&path).is_ok_and(|file| file.len() > 50), "{}", path.display());
        }
    }
}

#[test]
fn a_display_that_is_not_there_is_no_display() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .current_dir(folder.path())
        .env_remove("WAYLAND_DISPLAY")
        .env("DISPLAY", ":987")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(folder.path().join("sluice-report/lens-plan.svg").is_file());
}

#[test]
fn inspect_reads_headers_only() {
    let facts = json(&sluice(Path::new("."), &["inspect", golden("llama").to_str().unwrap(), "--json"]));
    for field in [
        "model_type",
        "parameters",
        "layers",
        "d_model",
        "d_ff",
        "heads",
        "kv_heads",
        "vocab",
        "context",
        "bytes_file",
        "bytes_resident",
        "held",
        "tokenizer",
    ] {
        assert!(!facts[field].is_null(), "{field}");
    }
    assert_eq!(facts["model_type"], "llama");
    assert_eq!(facts["bytes_resident"].as_u64(), facts["parameters"].as_u64().map(|n| 4 * n));
}

#[test]
fn run_writes_logits_and_captured_sites() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = golden("llama");
    let output = sluice(
        folder.path(),
        &[
            "run",
            checkpoint.to_str().unwrap(),
            "--tokens",
            "3,14,15",
            "--capture",
            "*.hook_resid_post",
            "--out",
            "sites.safetensors",
            "--json",
        ],
    );
    assert_eq!(json(&output)["tokens"], serde_json::json!([3, 14, 15]));
    let file = TensorFile::open(&folder.path().join("sites.safetensors")).unwrap();
    let names: Vec<&str> = file.tensors().keys().map(String::as_str).collect();
    assert_eq!(names, ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "logits"]);
    assert_eq!(file.tensors()["logits"].shape, [3, 96]);
}

#[test]
fn generate_prints_the_continuation_only() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = "Once upon a time there was a fisher named Taren who lived in";
    let output = sluice(folder.path(), &["generate", "--prompt", prompt, "--max-new-tokens", "8"]);
    assert!(output.status.success() && !text(&output.stdout).contains("Once upon"));
    let told = text(&output.stdout);
    let data =
        json(&sluice(folder.path(), &["generate", "--prompt", prompt, "--max-new-tokens", "8", "--json"]));
    assert_eq!(data["text"].as_str().unwrap(), told.trim_end_matches('\n'));
    assert_eq!(data["tokens"].as_array().unwrap().len(), 8);
    let seeded = |seed: &str| {
        let arguments = ["generate", "--prompt", prompt, "--temperature", "1.5", "--seed", seed, "--json"];
        json(&sluice(folder.path(), &arguments))["tokens"].clone()
    };
    assert_eq!(seeded("3"), seeded("3"));
    assert_ne!(seeded("3"), seeded("4"));
}

#[test]
fn plans_apply_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let plan = r#"{"version":1,"items":[{"kind":"skip","layer":3,"part":"ffn"}]}"#;
    fs::write(folder.path().join("plan.json"), plan).unwrap();
    let next = |extra: &[&str]| {
        let arguments = [&["run", "--prompt", "Once upon", "--json"], extra].concat();
        json(&sluice(folder.path(), &arguments))
    };
    let (base, changed) = (next(&[]), next(&["--plan", "plan.json"]));
    assert_ne!(base["next"], changed["next"]);
    assert_eq!(changed["plan"], "take out FFN 3");
}

#[test]
fn failures_are_one_line_with_exit_code_one_and_usage_is_two() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "kept").unwrap();
    let llama = golden("llama");
    let llama = llama.to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["run", "/nowhere", "--tokens", "1"], "/nowhere"),
        (&["run", llama, "--tokens", "5000"], "5000"),
        (&["run", llama, "--prompt", "text"], "token ids"),
        (&["run", llama, "--tokens", "1", "--capture", "nothing.*", "--out", "x.safetensors"], "nothing.*"),
        (&["run", llama, "--tokens", "1", "--plan", "missing.json"], "missing.json"),
        (&["run", llama, "--tokens", "1", "--out", "file/inside.safetensors"], "inside"),
        (&["report", "--out", "file/inside"], "inside"),
        (&["report", "/nowhere", "--out", "here"], "/nowhere"),
        (&["inspect", "file"], "config.json"),
        (&["screenshots", "--out", "shots"], "no window"),
        (&["bench", "nonsense", "more"], "more"),
    ];
    for (arguments, needle) in cases {
        let output = sluice(folder.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        let causes = said.lines().filter(|line| line.contains(needle)).count();
        assert_eq!(causes, 1, "{arguments:?}: {said}");
    }
    for arguments in [
        &["run", llama][..],
        &["run", llama, "--tokens", "1", "--capture", "*"],
        &["nonsense-flag", "--x"],
        &["generate", "--temperature"],
    ] {
        assert_eq!(sluice(folder.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "kept");
}

#[test]
fn a_run_without_finite_numbers_ends_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let plan = r#"{"version":1,"items":[{"kind":"ablate","site":"ln_final.hook_scale"}]}"#;
    fs::write(folder.path().join("plan.json"), plan).unwrap();
    let study = |id| ["study", id, "--out", id].to_vec();
    for command in [vec!["run"], vec!["generate"], study("leave-one-out"), study("lens")] {
        let tail = ["--prompt", "Once upon a time", "--plan", "plan.json"];
        let arguments = [command, tail.to_vec()].concat();
        let output = sluice(folder.path(), &arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("first at ln_final.hook_normalized, position"), "{arguments:?}: {said}");
        assert!(said.contains("plan.items[0]"), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", text(&output.stdout));
    }
}

#[test]
fn a_plan_names_files_beside_it_and_a_flag_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let sub = folder.path().join("sub");
    fs::create_dir(&sub).unwrap();
    fs::copy(golden("llama/model.safetensors"), sub.join("v.safetensors")).unwrap();
    let item = r#"{"kind":"patch","site":"hook_embed","source":{"file":{"path":"v.safetensors","tensor":"model.norm.weight"}}}"#;
    let plan = format!("\u{feff}{{\"version\":1,\"items\":[{item}]}}");
    fs::write(sub.join("plan.json"), plan).unwrap();
    let llama = golden("llama").display().to_string();
    let run = |tail: &[&str]| {
        let arguments: Vec<&str> =
            ["run", &llama, "--tokens", "3,14,15"].into_iter().chain(tail.iter().copied()).collect();
        sluice(folder.path(), &arguments)
    };
    let output = run(&["--plan", "sub/plan.json", "--json"]);
    assert!(json(&output)["plan"].as_str().unwrap().starts_with("patch hook_embed"));
    // Nothing of that name where the program was started; and a file there is not the plan's.
    fs::rename(sub.join("v.safetensors"), folder.path().join("v.safetensors")).unwrap();
    let output = run(&["--plan", "sub/plan.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("sub/v.safetensors"), "{}", text(&output.stderr));
    let output = run(&["--capture", "blocks.0..2.hook_resid_post", "--out", "kept.safetensors"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let kept = TensorFile::open(&folder.path().join("kept.safetensors")).unwrap();
    assert!(kept.load_f32("blocks.1.hook_resid_post").is_ok());
    let output = sluice(folder.path(), &["generate", &llama, "--tokens", "3", "--temperature", "-1"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--temperature") && !said.contains("token ids"), "{said}");
}

#[test]
fn a_picture_is_read_and_what_is_none_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (llava, llama) = (golden("llava"), golden("llama"));
    let picture = golden("pictures/tall.png");
    let run = |checkpoint: &Path, picture: &Path, ids: &str| {
        let [checkpoint, picture] = [checkpoint, picture].map(|path| path.to_str().unwrap());
        sluice(folder.path(), &["run", checkpoint, "--tokens", ids, "--image", picture, "--json"])
    };
    let seen = json(&run(&llava, &picture, "1,9,3,11"));
    assert_eq!(seen["tokens"].as_array().unwrap().len(), 12, "nine rows stand for the picture");
    let (empty, words) = (folder.path().join("empty.png"), folder.path().join("words.png"));
    fs::write(&empty, b"").unwrap();
    fs::write(&words, b"no picture").unwrap();
    for (checkpoint, picture, cause) in [
        (&llava, &empty, "empty"),
        (&llava, &words, "neither PNG nor JPEG"),
        (&llava, &folder.path().join("missing.png"), "o such file"),
        (&llama, &picture, "reads text only"),
    ] {
        let output = run(checkpoint, picture, "1,9");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.lines().count() == 1 && said.contains(cause), "{said}");
    }
    let [llava, picture] = [&llava, &picture].map(|path| path.to_str().unwrap());
    let report =
        |image: &str| sluice(folder.path(), &["report", llava, "--image", image, "--out", "figures"]);
    assert!(report(picture).status.success());
    let strip = fs::read_to_string(folder.path().join("figures/tokens.csv")).unwrap();
    assert!(strip.contains("img 2,2"), "{strip}");
    for arguments in
        [&["report", llava, "--out", "x", "--image", "missing.png"][..], &[llava, "--image", "missing.png"]]
    {
        let output = sluice(folder.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.lines().count() == 1 && said.contains("o such file"), "{said}");
    }
}

#[test]
fn experts_are_studied_over_ids_and_text() {
    let folder = tempfile::tempdir().unwrap();
    let ids: Vec<String> = (0..32).map(|i| (3 + i * 7 % 90).to_string()).collect();
    fs::write(folder.path().join("ids.txt"), ids.join(", ")).unwrap();
    let checkpoint = golden("mixtral").canonicalize().unwrap();
    let checkpoint = checkpoint.to_str().unwrap();
    let study = |more: &[&str]| {
        let mut arguments = vec!["study", "experts", checkpoint, "--out", "found"];
        arguments.extend(more);
        sluice(folder.path(), &arguments)
    };
    let read = ["--text", "ids.txt", "--samples", "2", "--length", "16", "--knock-out", "--overwrite"];
    let output = study(&read);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("rank correlation"));
    let found: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("found/findings.json")).unwrap())
            .unwrap();
    let blocks = &found["data"]["blocks"];
    assert_eq!(blocks.as_array().unwrap().len(), 2);
    assert_eq!(blocks[0]["experts"].as_array().unwrap().len(), 4);
    assert!(blocks[0]["experts"][0]["kl"].as_f64().unwrap() >= 0.0);
    // The report has the panel, and inspect says which blocks have experts.
    let report = sluice(folder.path(), &["report", checkpoint, "--out", "report"]);
    assert!(report.status.success(), "{}", text(&report.stderr));
    assert!(
        folder.path().join("report/experts-gates-layer-0-plan.svg").is_file(),
        "{}",
        text(&report.stdout)
    );
    let mixed = golden("qwen2_moe").canonicalize().unwrap();
    let inspected = text(&sluice(folder.path(), &["inspect", mixed.to_str().unwrap()]).stdout);
    assert!(inspected.contains("mlp.hook_expert_gates") && inspected.contains("N = 0, 2"), "{inspected}");
    assert!(inspected.contains("mlp.hook_post") && inspected.contains("N = 1"), "{inspected}");
    for (bytes, cause) in [
        (&b"3, 4, 5 \xE4"[..], "words.txt: it is no text in UTF-8 from byte 8 on"),
        (b"3\0,\0 \0", "words.txt: its text is in UTF-16, not in UTF-8"),
    ] {
        fs::write(folder.path().join("words.txt"), bytes).unwrap();
        let refused = study(&["--text", "words.txt", "--overwrite"]);
        assert_eq!(refused.status.code(), Some(1));
        let said = text(&refused.stderr);
        assert!(said.contains(cause) && said.contains("save it as text in UTF-8"), "{said}");
    }
    fs::write(folder.path().join("words.txt"), "once upon").unwrap();
    let refused = study(&["--text", "words.txt", "--overwrite"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("\"once\" is not a token id"), "{}", text(&refused.stderr));
    let dense =
        sluice(folder.path(), &["study", "experts", "--samples", "1", "--out", "found", "--overwrite"]);
    assert!(text(&dense.stderr).contains("no experts"), "{}", text(&dense.stderr));
}

#[test]
fn a_study_of_the_unmodified_model_takes_no_plan() {
    let folder = tempfile::tempdir().unwrap();
    let plan = r#"{"version":1,"items":[{"kind":"skip","layer":0,"part":"ffn"}]}"#;
    fs::write(folder.path().join("p.json"), plan).unwrap();
    for id in ["prune", "routes", "experts"] {
        let output = sluice(folder.path(), &["study", id, "--plan", "p.json", "--out", id]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("unmodified model") && said.contains("leave --plan out"), "{said}");
    }
}

#[test]
fn whole_findings_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let study = |more: &[&str]| {
        sluice(folder.path(), &[&["study", "activations", "--prompt", "a", "--out", "o"], more].concat())
    };
    let whole = json(&study(&["--layer", "1", "--json"]));
    let path = folder.path().join("o/findings.json");
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    let again = study(&["--layer", "1", "--json", "--resume"]);
    assert!(text(&again.stderr).contains("whole findings"), "{}", text(&again.stderr));
    assert_eq!((json(&again), fs::metadata(&path).unwrap().modified().unwrap()), (whole, written));
}
