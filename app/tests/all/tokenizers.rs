//! Checkpoints whose tokenizer files are broken or foreign, on the command line.

use std::fs;
use std::process::{Command, Output};

use crate::support::golden;

/// Runs a command on a small checkpoint with another file in its folder.
fn with(file: &str, content: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(golden("llama").join(name), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join(file), content).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    let command = command.args(arguments).current_dir(folder.path()).env_remove("DISPLAY");
    command.env_remove("WAYLAND_DISPLAY").env_remove("WAYLAND_SOCKET").output().unwrap()
}

#[test]
fn settings_that_cannot_be_read_end_with_code_1_and_their_name() {
    for file in ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"] {
        for arguments in [&["run", ".", "--tokens", "1,2"] as &[&str], &["inspect", "."]] {
            let output = with(file, "{\"add_bos_token\": true,}", arguments);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
            assert!(said.contains(file) && said.contains("JSON"), "{said}");
        }
    }
}

#[test]
fn a_foreign_tokenizer_is_named_and_ids_still_work() {
    let output = with("tokenizer.model", "\n\u{e}\n\u{5}<unk>", &["run", ".", "--tokens", "1,2"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("tokenizer.model alone, a SentencePiece file"), "{said}");
    let output = with("tokenizer.model", "\n\u{e}\n\u{5}<unk>", &["run", ".", "--prompt", "Hello"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("SentencePiece") && said.contains("save_pretrained"), "{said}");
}
