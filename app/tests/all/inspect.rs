//! `sluice inspect` as scripts read it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::golden;

/// stdout and stderr; the command must succeed.
fn inspect(path: &Path, more: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    let output = command.arg("inspect").arg(path).args(more).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

fn facts(path: &Path) -> Value {
    serde_json::from_str(&inspect(path, &["--json"]).0).unwrap()
}

#[test]
fn json_lists_tensors_sites_and_what_is_unread() {
    let facts = facts(&golden("qwen3_moe"));
    assert_eq!((&facts["unread"], &facts["warnings"]), (&json!([]), &json!([])));
    let tensors = facts["tensors"].as_array().unwrap();
    let norm = json!({"name": "model.norm.weight", "dtype": "F32", "shape": [32]});
    assert!(tensors.contains(&norm), "{tensors:?}");
    let sites = facts["sites"].as_array().unwrap();
    // Experts in every other block.
    for site in [
        json!({"site": "hook_embed", "shape": "[T, d_model]", "layers": []}),
        json!({"site": "blocks.N.hook_resid_post", "shape": "[T, d_model]", "layers": [0, 1, 2, 3]}),
        json!({"site": "blocks.N.mlp.hook_post", "shape": "[T, d_mlp]", "layers": [0, 2]}),
        json!({"site": "blocks.N.mlp.hook_expert_gates", "shape": "[T, n_experts]", "layers": [1, 3]}),
    ] {
        assert!(sites.contains(&site), "{site} in {sites:?}");
    }
    assert!(facts["bytes_run"].as_u64() > Some(0));
}

#[test]
fn weights_are_held_as_they_are_unless_asked_for_as_f32() {
    let folder = golden("llama-bf16");
    let path = folder.to_str().unwrap();
    let json = |arguments: &[&str]| -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_sluice")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let [narrow, wide] = [&[][..], &["--dtype", "f32"]].map(|dtype| {
        let with = |command: &[&str]| json(&[command, dtype].concat());
        (with(&["inspect", path, "--json"]), with(&["run", path, "--tokens", "1,2,3", "--json"]))
    });
    assert_eq!((&narrow.0["held"], &wide.0["held"]), (&json!("bf16"), &json!("f32")));
    assert!(narrow.0["bytes_resident"].as_u64() < wide.0["bytes_resident"].as_u64());
    assert_eq!(narrow.1["next"], wide.1["next"], "the numbers are the same");
    assert!(narrow.1["next"].is_array());
}

#[test]
fn config_json_alone_says_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs::copy(golden("llama").join("config.json"), &path).unwrap();
    let whole = facts(&golden("llama"));
    for place in [folder.path(), &path] {
        let alone = facts(place);
        for same in ["parameters", "layers", "d_model", "bytes_resident", "sites"] {
            assert_eq!(alone[same], whole[same], "{same}");
        }
        assert_eq!((&alone["tensors"], &alone["bytes_file"]), (&json!([]), &json!(0)));
        assert_eq!(alone["warnings"].as_array().unwrap().len(), 1);
        let (text, said) = inspect(place, &[]);
        assert!(text.contains("blocks.N.hook_resid_post") && !text.contains("\ntensors\n"), "{text}");
        assert!(said.contains("no *.safetensors"), "{said}");
    }
}

#[test]
fn what_does_not_fit_is_said_beside_the_tensors() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(golden("llama").join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("config.json");
    let set = |layers: usize| {
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        config["num_hidden_layers"] = layers.into();
        fs::write(&path, config.to_string()).unwrap();
        facts(folder.path())
    };
    let fewer = set(1);
    assert!(fewer["warnings"][0].as_str().unwrap().contains("blocks 0 to 1"), "{}", fewer["warnings"]);
    let unread = fewer["unread"].as_array().unwrap();
    assert!(unread.contains(&json!("model.layers.1.mlp.up_proj.weight")), "{unread:?}");
    let (text, _) = inspect(folder.path(), &[]);
    assert!(
        text.lines()
            .any(|line| line.contains("model.layers.1.mlp.up_proj.weight")
                && line.ends_with("nothing reads it"))
    );
    let more = set(3);
    assert!(more["warnings"][0].as_str().unwrap().contains("has blocks 0 to 1, config.json says 3 layers"));
    assert_eq!(more["tensors"].as_array().unwrap().len(), fewer["tensors"].as_array().unwrap().len());
}

/// A stranger's file writes nothing into the terminal but text, and no line that looks like one of ours.
#[test]
fn names_of_a_file_move_no_cursor_and_make_no_line() {
    let evil = "x\u{1b}[2J\u{7}\nsluice: all is well\u{202E}\u{9b}31m";
    let folder = tempfile::tempdir().unwrap();
    let (config, weights) = (golden("llama").join("config.json"), golden("llama").join("model.safetensors"));
    fs::copy(&config, folder.path().join("config.json")).unwrap();
    // One more tensor behind the others, of one byte.
    let bytes = fs::read(weights).unwrap();
    let len = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    let end = bytes.len() - 8 - len;
    header[evil] = json!({"dtype": "U8", "shape": [1], "data_offsets": [end, end + 1]});
    let header = header.to_string().into_bytes();
    let file = [&(header.len() as u64).to_le_bytes(), header.as_slice(), &bytes[8 + len..], &[0]].concat();
    fs::write(folder.path().join("model.safetensors"), file).unwrap();
    let (text, said) = inspect(folder.path(), &[]);
    for shown in [&text, &said] {
        assert!(shown.contains("all is well"), "the name is listed: {shown}");
        let raw = |c: &char| (c.is_control() && *c != '\n') || "\u{202E}\u{9b}".contains(*c);
        assert_eq!(shown.chars().find(raw), None, "{shown:?}");
        assert!(!shown.lines().any(|line| line.starts_with("sluice: all is well")), "{shown}");
    }
    let mut broken: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    broken["model_type"] = json!(evil);
    fs::write(folder.path().join("config.json"), broken.to_string()).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_sluice")).arg("inspect").arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(!said.trim_end().contains(char::is_control), "{said:?}");
}
