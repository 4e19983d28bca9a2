//! Folders that people have and that hold no checkpoint, or one that lies elsewhere: opened where it is plain, else refused
//! with the cause and a next step that fits it.

use std::fs;
use std::path::Path;

use sluice_core::Error;
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, never};
use sluice_core::error::Fault;

use crate::support::golden;

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 1\n";

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Files of the Llama case under names.
fn copy(folder: &Path, names: &[&str]) {
    fs::create_dir_all(folder).unwrap();
    for name in names {
        fs::copy(golden().join("llama").join(name), folder.join(name)).unwrap();
    }
}

const BOTH: [&str; 2] = ["config.json", "model.safetensors"];

fn name(path: &Path) -> Result<String, Error> {
    let opened = engine::open(&Checkpoint::open(path)?, &mut |_, _| {}, &never)?;
    Ok(opened.card.name)
}

fn refusal(path: &Path) -> (String, Fault, String) {
    match name(path) {
        Err(error) => {
            let (cause, step) = (error.to_string(), error.next_step());
            assert!(!cause.contains('\n') && !step.contains('\n'));
            match error {
                Error::Checkpoint { fault, .. } => (cause, fault, step),
                error => panic!("{error:?}"),
            }
        }
        Ok(name) => panic!("{name} opened"),
    }
}

#[test]
fn git_lfs_pointers_are_told_wherever_they_stand() {
    for file in ["config.json", "model.safetensors", "tokenizer.json", "merges.txt", "generation_config.json"]
    {
        let folder = tempfile::tempdir().unwrap();
        copy(folder.path(), &BOTH);
        write(folder.path(), &[(file, POINTER)]);
        let (cause, fault, step) = refusal(folder.path());
        assert!(cause.contains(file) && cause.contains("Git LFS"), "{cause}");
        assert!(fault == Fault::Pointer && step.contains("git lfs pull"), "{step}");
    }
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path(), &["config.json"]);
    write(folder.path(), &[("model.safetensors.index.json", POINTER)]);
    assert_eq!(refusal(folder.path()).1, Fault::Pointer);
    let index = r#"{"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}"#;
    write(
        folder.path(),
        &[("model.safetensors.index.json", index), ("model-00001-of-00001.safetensors", POINTER)],
    );
    let (cause, fault, _) = refusal(folder.path());
    assert!(cause.contains("model-00001-of-00001.safetensors") && fault == Fault::Pointer, "{cause}");
}

#[test]
#[cfg(unix)]
fn a_folder_of_the_cache_opens_at_its_snapshot() {
    use std::os::unix::fs::symlink;

    let cache = tempfile::tempdir().unwrap();
    let repository = cache.path().join("models--meta--tiny-llama");
    let snapshots = repository.join("snapshots");
    // As the hub's client lays it out: links into blobs.
    fs::create_dir_all(repository.join("blobs")).unwrap();
    fs::create_dir_all(snapshots.join("aaaa")).unwrap();
    for file in BOTH {
        fs::copy(golden().join("llama").join(file), repository.join("blobs").join(file)).unwrap();
        symlink(Path::new("../../blobs").join(file), snapshots.join("aaaa").join(file)).unwrap();
    }
    let opens = |path: &Path| assert_eq!(name(path).unwrap(), "tiny-llama", "{}", path.display());
    opens(&repository);
    opens(&snapshots);
    opens(&snapshots.join("aaaa"));
    opens(&snapshots.join("aaaa/config.json"));
    // More than one: refs/main says which, and without it nobody does.
    fs::create_dir_all(snapshots.join("bbbb")).unwrap();
    write(&snapshots, &[("bbbb/config.json", "{}")]);
    let (cause, fault, _) = refusal(&repository);
    assert!(cause.contains("no refs/main") && cause.ends_with("aaaa, bbbb"), "{cause}");
    assert_eq!(fault, Fault::Several);
    write(&repository, &[("refs/v1.0", "bbbb"), ("refs/pr/1", "aaaa")]);
    let (cause, _, _) = refusal(&repository);
    assert!(cause.contains("no refs/main") && cause.ends_with("aaaa (pr/1), bbbb (v1.0)"), "{cause}");
    fs::remove_dir_all(repository.join("refs")).unwrap();
    write(&repository, &[("refs/main", "aaaa\n")]);
    opens(&repository);
    for gone in ["../../elsewhere", "cccc"] {
        write(&repository, &[("refs/main", gone)]);
        let (cause, fault, _) = refusal(&repository);
        assert!(cause.contains(&format!("refs/main names {gone}, which is not there")), "{cause}");
        assert!(cause.ends_with("aaaa, bbbb") && fault == Fault::Several, "{cause}");
    }
    // The cache itself.
    let (cause, fault, _) = refusal(cache.path());
    assert!(cause.contains("models--meta--tiny-llama") && fault == Fault::Several, "{cause}");
    // A download that is not finished.
    fs::remove_dir_all(snapshots.join("bbbb")).unwrap();
    // The only one is meant, whatever refs/main names.
    opens(&repository);
    fs::remove_file(snapshots.join("aaaa/model.safetensors")).unwrap();
    assert_eq!(refusal(&repository).1, Fault::NoWeights);
    fs::rename(repository.join("blobs/model.safetensors"), repository.join("blobs/model.incomplete"))
        .unwrap();
    let (cause, fault, step) = refusal(&repository);
    assert!(cause.contains("model.incomplete") && fault == Fault::Incomplete, "{cause}");
    assert!(step.contains("check that the download is complete"), "{step}");
    symlink("../../blobs/model.safetensors", snapshots.join("aaaa/model.safetensors")).unwrap();
    let (cause, fault, _) = refusal(&repository);
    assert!(cause.contains("link") && fault == Fault::Incomplete, "{cause}");
    fs::remove_dir_all(snapshots.join("aaaa")).unwrap();
    let (cause, fault, _) = refusal(&repository);
    assert!(cause.contains("no snapshot") && cause.contains("refs/main names cccc"), "{cause}");
    assert_eq!(fault, Fault::Incomplete);
}

#[test]
fn an_adapter_is_refused_as_one() {
    let adapter = r#"{"peft_type": "LORA", "base_model_name_or_path": "meta-llama/Llama-2-7b-hf"}"#;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("adapter_config.json", adapter), ("adapter_model.safetensors", "")]);
    let (cause, fault, step) = refusal(folder.path());
    assert!(cause.contains("LoRA") && cause.contains("meta-llama/Llama-2-7b-hf"), "{cause}");
    assert!(fault == Fault::Adapter && step.contains("merge"), "{step}");
    // With the base's config beside it, and as PyTorch's own file.
    copy(folder.path(), &["config.json"]);
    assert_eq!(refusal(folder.path()).1, Fault::Adapter);
    fs::rename(folder.path().join("adapter_model.safetensors"), folder.path().join("adapter_model.bin"))
        .unwrap();
    assert_eq!(refusal(folder.path()).1, Fault::Adapter);
    // Beside whole weights it is not applied, which is said.
    copy(folder.path(), &BOTH);
    let opened = engine::open(&Checkpoint::open(folder.path()).unwrap(), &mut |_, _| {}, &never).unwrap();
    assert!(
        opened.card.warnings.iter().any(|warning| warning.contains("adapter")),
        "{:?}",
        opened.card.warnings
    );
}

#[test]
fn folders_of_other_programs_are_named() {
    let config = &fs::read_to_string(golden().join("llama/config.json")).unwrap();
    let with_config: [(&[&str], Fault, &str); 6] = [
        (&["pytorch_model.bin", "training_args.bin"], Fault::PyTorch, "pytorch_model.bin"),
        (&["model.pt"], Fault::PyTorch, "model.pt"),
        (&["flax_model.msgpack"], Fault::OtherFormat, "flax_model.msgpack"),
        (&["weights.npz"], Fault::OtherFormat, "weights.npz"),
        (&["model-q4.gguf"], Fault::Gguf, "model-q4.gguf"),
        (&["training_args.bin", "optimizer.pt"], Fault::NoWeights, "no *.safetensors"),
    ];
    for (files, fault, told) in with_config {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[("config.json", config)]);
        files.iter().for_each(|file| write(folder.path(), &[(file, "x")]));
        let (cause, is, step) = refusal(folder.path());
        assert!(is == fault && cause.contains(told), "{files:?}: {cause}");
        assert!(!step.contains("check that the download"), "{step}");
        // What config.json says is there to see.
        let inspected = engine::inspect(&Checkpoint::open_config(folder.path()).unwrap()).unwrap();
        assert!(inspected.warnings.iter().any(|warning| warning.contains(told)), "{:?}", inspected.warnings);
    }
    let without_config: [(&[&str], Fault, &str); 9] = [
        (&["consolidated.00.pth", "params.json"], Fault::Consolidated, "consolidated.00.pth"),
        (&["consolidated.safetensors", "params.json"], Fault::Consolidated, "consolidated.safetensors"),
        (&["model.gguf"], Fault::Gguf, "model.gguf"),
        (&["pytorch_model.bin"], Fault::PyTorch, "pytorch_model.bin"),
        (
            &["model_index.json", "unet/config.json", "text_encoder/config.json"],
            Fault::Several,
            "text_encoder, unet",
        ),
        (&["modules.json", "0_Transformer/config.json"], Fault::Several, "0_Transformer"),
        (
            &["checkpoint-10/config.json", "checkpoint-20/config.json"],
            Fault::Several,
            "checkpoint-10, checkpoint-20",
        ),
        (&["model.safetensors"], Fault::NoConfig, "no config.json"),
        (&["model.safetensors.part"], Fault::Incomplete, "model.safetensors.part"),
    ];
    for (files, fault, told) in without_config {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|file| write(folder.path(), &[(file, "x")]));
        let (cause, is, _) = refusal(folder.path());
        assert!(is == fault && cause.contains(told), "{files:?}: {cause}");
    }
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path(), &BOTH);
    write(folder.path(), &[("model.gguf", "GGUF")]);
    assert_eq!(refusal(&folder.path().join("model.gguf")).1, Fault::Gguf);
}

#[test]
fn what_stands_in_the_place_of_weights_is_told() {
    let good = fs::read(golden().join("llama/model.safetensors")).unwrap();
    let mut longer = good.clone();
    longer.push(0);
    let cases: [(&[u8], Fault, &str); 7] = [
        (b"<!DOCTYPE html><html>", Fault::Broken, "web page"),
        (b"PK\x03\x04 archive", Fault::PyTorch, "zip"),
        (b"GGUF\x03\0\0\0", Fault::Gguf, "GGUF"),
        (b"", Fault::Incomplete, "empty"),
        (&good[..good.len() - 7], Fault::Incomplete, "last 7 bytes"),
        (&good[..100], Fault::Incomplete, "cut short"),
        (&longer, Fault::Broken, "after its last tensor"),
    ];
    for (bytes, fault, told) in cases {
        let folder = tempfile::tempdir().unwrap();
        copy(folder.path(), &BOTH);
        fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        let (cause, is, step) = refusal(folder.path());
        assert!(is == fault && cause.contains(told), "{told}: {cause}");
        assert_eq!(
            step.contains("check that the download is complete"),
            fault == Fault::Incomplete,
            "{step}"
        );
    }
}

#[test]
fn shards_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path(), &["config.json"]);
    fs::copy(
        golden().join("llama/model.safetensors"),
        folder.path().join("model-00002-of-00003.safetensors"),
    )
    .unwrap();
    // Without an index, by the shards' own names; with one, by what it names.
    let (cause, fault, _) = refusal(folder.path());
    assert!(cause.contains("model-00001-of-00003.safetensors") && fault == Fault::Incomplete, "{cause}");
    let index = r#"{"weight_map": {"a": "model-00002-of-00003.safetensors", "b": "model-00003-of-00003.safetensors"}}"#;
    write(folder.path(), &[("model.safetensors.index.json", index)]);
    let (cause, fault, step) = refusal(folder.path());
    assert!(fault == Fault::Broken && cause.contains("does not hold \"a\""), "{cause}");
    let index = index.replace("\"a\"", "\"lm_head.weight\"");
    write(folder.path(), &[("model.safetensors.index.json", &index)]);
    assert!(!step.contains("check that the download"), "{step}");
    let (cause, fault, step) = refusal(folder.path());
    assert!(cause.contains("model-00003-of-00003.safetensors") && fault == Fault::Incomplete, "{cause}");
    assert!(step.contains("check that the download is complete"), "{step}");
}

#[test]
fn quantised_checkpoints_are_told_by_method() {
    let method = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        copy(folder.path(), &BOTH);
        let path = folder.path().join("config.json");
        let mut config: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let more: serde_json::Value = serde_json::from_str(text).unwrap();
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fs::write(path, config.to_string()).unwrap();
        refusal(folder.path())
    };
    for (config, told) in [
        (
            r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}"#,
            "by gptq in 4 bits",
        ),
        (
            r#"{"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true}}"#,
            "bitsandbytes in 8 bits",
        ),
        (r#"{"quantization_config": {"quant_method": "fp8"}}"#, "by fp8"),
        (r#"{"quantization": {"group_size": 64, "bits": 4}}"#, "in 4 bits"),
    ] {
        let (cause, fault, step) = method(config);
        assert!(cause.contains(told) && fault == Fault::Quantised, "{cause}");
        assert!(step.contains("dequantised"), "{step}");
    }
}

#[test]
fn config_json_alone_can_be_inspected() {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path(), &["config.json"]);
    let whole = engine::inspect(&Checkpoint::open(&golden().join("llama")).unwrap()).unwrap();
    let other = folder.path().join("my-llama.json");
    fs::copy(folder.path().join("config.json"), &other).unwrap();
    for path in [folder.path().to_owned(), folder.path().join("config.json")] {
        let checkpoint = Checkpoint::open_config(&path).unwrap();
        let alone = engine::inspect(&checkpoint).unwrap();
        assert_eq!((alone.spec, alone.parameters), (whole.spec.clone(), whole.parameters));
        assert!(!checkpoint.has_weights() && checkpoint.bytes_file() == 0);
        assert_eq!(alone.warnings.len(), 1, "{:?}", alone.warnings);
    }
    fs::remove_file(folder.path().join("config.json")).unwrap();
    let checkpoint = Checkpoint::open_config(&other).unwrap();
    assert_eq!(
        (checkpoint.name(), engine::inspect(&checkpoint).unwrap().parameters),
        ("my-llama", whole.parameters)
    );
    assert!(Checkpoint::open(&other).is_err());
}
