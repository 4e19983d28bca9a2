//! Files say where their numbers come from, and equal runs write equal ones.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn sluice(folder: &Path, arguments: &[&str]) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sluice")).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Metadata of a safetensors file.
fn metadata(bytes: &[u8]) -> Value {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let header: Value = serde_json::from_slice(&rest[..u64::from_le_bytes(*length) as usize]).unwrap();
    header["__metadata__"].clone()
}

#[test]
fn a_capture_names_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let plan = r#"{"version":1,"items":[{"kind":"scale","site":"blocks.1.hook_mlp_out","factor":0.5}]}"#;
    fs::write(folder.path().join("plan.json"), plan).unwrap();
    let run = |out: &str| {
        let glob = "blocks.0.hook_resid_post";
        let prompt = ["run", "--prompt", "Once upon a time", "--plan", "plan.json"];
        sluice(folder.path(), &[&prompt[..], &["--capture", glob, "--out", out]].concat());
        fs::read(folder.path().join(out)).unwrap()
    };
    let first = run("first.safetensors");
    assert!(first == run("second.safetensors"), "equal runs write equal bytes");
    let about = metadata(&first);
    assert_eq!((&about["kind"], &about["checkpoint"]), (&"capture".into(), &"bundled".into()));
    assert_eq!(about["sluice"], env!("CARGO_PKG_VERSION"));
    assert!(about["prompt"].as_str().unwrap().contains("Once upon a time"));
    let inside = |name: &str| -> Value { serde_json::from_str(about[name].as_str().unwrap()).unwrap() };
    assert!(inside("tokens").as_array().is_some_and(|tokens| !tokens.is_empty()));
    assert_eq!(inside("plan")["items"][0]["factor"], 0.5);
    assert_eq!(inside("capture")[0], "blocks.0.hook_resid_post");
    assert!(about["fingerprint"].as_str().is_some_and(|text| !text.is_empty()));
}

/// Two runs of one study differ in what they cost alone, figures and their CSV included.
#[test]
fn equal_studies_write_equal_files() {
    let folder = tempfile::tempdir().unwrap();
    let study = |out: &str| {
        let arguments = ["study", "trace", "--prompt", "People call Taren the sailor. Taren comes from"];
        sluice(
            folder.path(),
            &[&arguments[..], &["--corrupt", "Taren#2", "--seeds", "2", "--out", out]].concat(),
        );
    };
    study("a");
    study("b");
    let findings = |out: &str| -> Value {
        let text = fs::read_to_string(folder.path().join(out).join("findings.json")).unwrap();
        let mut findings: Value = serde_json::from_str(&text).unwrap();
        assert!(findings.as_object_mut().unwrap().remove("cost").is_some());
        findings
    };
    assert_eq!(findings("a"), findings("b"));
    assert_eq!((&findings("a")["ask"]["seeds"], &findings("a")["data"]["seeds"]), (&2.into(), &2.into()));
    for name in ["trace-residual.csv", "trace-residual.svg", "trace-residual.png"] {
        let read = |out: &str| fs::read(folder.path().join(out).join(name)).unwrap();
        assert!(read("a") == read("b"), "{name}");
    }
    let csv = fs::read_to_string(folder.path().join("a/trace-residual.csv")).unwrap();
    let fingerprint = findings("a")["checkpoint"]["fingerprint"].as_str().unwrap().to_owned();
    assert!(csv.contains(&format!("# checkpoint: \"bundled\" {fingerprint}")), "{csv}");
    assert!(
        csv.contains("# method: trace") && csv.contains("\"seeds\":2") && csv.contains("\"seed\":0"),
        "{csv}"
    );
}
