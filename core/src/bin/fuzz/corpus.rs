//! What inputs are changed from: the committed fixtures, and small files of every other format, in folders of one worker.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sluice_core::checkpoint::{Checkpoint, Picture, read_image};
use sluice_core::engine::{self, Card, Engine, Words, never};
use sluice_core::files::There;
use sluice_core::method::{Asked, Existing, FINDINGS, Reached, Ready, Record, STATE, Subject, find, prepare};
use sluice_core::plan::{KINDS, Plan};
use sluice_core::records::RECORDS;
use sluice_core::session::{Answered, Document, History, Inquiry, Reference, Session, Work};
use sluice_core::{Error, Result};

use super::lists;

/// A file that inputs are changed from, in a folder with what belongs to it.
pub struct Seed {
    /// The folder.
    pub folder: PathBuf,
    /// The file's name in it.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl Seed {
    /// Where it lies.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Make it what it was.
    pub fn restore(&self) -> io::Result<()> {
        fs::write(self.path(), &self.bytes)
    }
}

/// Seeds of every kind, and an open model for what is read against one.
pub struct Corpus {
    pub configs: Vec<Seed>,
    pub tokenizers: Vec<Seed>,
    pub weights: Vec<Seed>,
    pub indices: Vec<Seed>,
    pub settings: Vec<Seed>,
    pub chats: Vec<Seed>,
    pub images: Vec<Seed>,
    pub plans: Vec<Seed>,
    pub routers: Vec<Seed>,
    pub findings: Vec<Seed>,
    pub states: Vec<Seed>,
    pub lists: Vec<Seed>,
    pub records: Vec<Seed>,
    pub sessions: Vec<Seed>,
    /// Names of fields of all of them.
    pub words: Vec<String>,
    pub engine: Engine,
    pub card: Arc<Card>,
    /// What the findings answer.
    pub asked: Asked,
}

/// Weights past this are too slow to read so often.
const MOST: u64 = 400 << 10;

impl Corpus {
    /// Prepare everything in an empty folder.
    pub fn new(root: &Path) -> Result<Self> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/bundled");
        let read = |path: &Path| fs::read(path).map_err(|error| Error::read(path, &error));
        let families = folders(&golden)?;
        let llama = golden.join("llama");
        let place = |name: &str, from: &Path, more: &[(&str, &[u8])]| -> Result<PathBuf> {
            let folder = root.join(name);
            copy(from, &folder).map_err(|error| Error::write(&folder, error))?;
            for (name, bytes) in more {
                fs::write(folder.join(name), bytes)
                    .map_err(|error| Error::write(folder.join(name), error))?;
            }
            Ok(folder)
        };
        let seed = |folder: &Path, name: &str| -> Result<Seed> {
            Ok(Seed { folder: folder.to_owned(), name: name.into(), bytes: read(&folder.join(name))? })
        };
        let (mut configs, mut weights) = (Vec::new(), Vec::new());
        for family in &families {
            let name = family.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let folder = place(&name, family, &[])?;
            configs.push(seed(&folder, "config.json")?);
            weights.push(seed(&folder, "model.safetensors")?);
        }
        let mut tokenizers = Vec::new();
        for (number, text) in tokenizer_files().iter().enumerate() {
            let folder = root.join(format!("tokenizer-{number}"));
            write(&folder, "tokenizer.json", text.to_string().as_bytes())?;
            tokenizers.push(seed(&folder, "tokenizer.json")?);
        }
        let bpe = root.join("vocabulary");
        write(&bpe, "merges.txt", b"#version: 0.2\nO n\nc e\n\xc4\xa0 u\nOn ce\n")?;
        let vocab: Value =
            ["<|endoftext|>", "O", "n", "c", "e", "u", "On", "ce", "Once", "\u{120}", "\u{120}u", "a"]
                .into_iter()
                .enumerate()
                .map(|(id, token)| (token.to_owned(), json!(id)))
                .collect();
        write(&bpe, "vocab.json", vocab.to_string().as_bytes())?;
        let config = json!({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true, "bos_token": {"content": "<|endoftext|>"},
            "added_tokens_decoder": {"12": {"content": "<pad>", "special": true, "lstrip": true}}, "extra_special_tokens": ["<x>"]});
        write(&bpe, "tokenizer_config.json", config.to_string().as_bytes())?;
        write(&bpe, "added_tokens.json", br#"{"<more>": 13}"#)?;
        write(
            &bpe,
            "special_tokens_map.json",
            br#"{"eos_token": "<|endoftext|>", "additional_special_tokens": ["<y>"]}"#,
        )?;
        for name in [
            "vocab.json",
            "merges.txt",
            "tokenizer_config.json",
            "added_tokens.json",
            "special_tokens_map.json",
        ] {
            tokenizers.push(seed(&bpe, name)?);
        }
        let index = index(&llama, root)?;
        let generation =
            json!({"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": 0, "temperature": 0.6});
        let with_settings =
            place("settings", &llama, &[("generation_config.json", generation.to_string().as_bytes())])?;
        let pictures = place(
            "pictures",
            &golden.join("llava"),
            &[("preprocessor_config.json", &read(&assets.join("preprocessor_config.json"))?)],
        )?;
        let template =
            "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}{% endfor %}{{ bos_token }}";
        let config =
            json!({"chat_template": template, "bos_token": "<s>", "tokenizer_class": "LlamaTokenizerFast"});
        let chat = place("chat", &llama, &[("tokenizer_config.json", config.to_string().as_bytes())])?;
        let opened = engine::open(&Checkpoint::open(&llama)?, &mut |_, _| {}, &never)?;
        let (mut engine, card) = (opened.engine, Arc::new(opened.card));
        let mut images = Vec::new();
        for entry in names(&golden.join("pictures"))?.iter().filter(|name| name.ends_with(".png")) {
            let folder = root.join("images");
            write(&folder, entry, &read(&golden.join("pictures").join(entry))?)?;
            images.push(seed(&folder, entry)?);
            let (mut jpeg, name) = (io::Cursor::new(Vec::new()), format!("{entry}.jpg"));
            let picture = read_image(&folder.join(entry))?;
            picture
                .write_to(&mut jpeg, image::ImageFormat::Jpeg)
                .map_err(|error| Error::Internal(error.to_string()))?;
            write(&folder, &name, jpeg.get_ref())?;
            images.push(seed(&folder, &name)?);
        }
        let mut plans = Vec::new();
        for (number, change) in KINDS.iter().flat_map(|kind| (kind.examples)()).enumerate() {
            let plan = Plan { items: vec![change.into()], ..Plan::default() };
            let folder = root.join("plans");
            write(&folder, &format!("{number}.json"), plan.to_json()?.as_bytes())?;
            plans.push(seed(&folder, &format!("{number}.json"))?);
        }
        let routers = vec![router(root, card.spec.d_model, card.spec.n_layers())?];
        let trace = find("trace").ok_or_else(|| Error::Internal("no trace".into()))?;
        let mut asked =
            Asked::new(trace, Subject::Prompt(Words::Tokens(vec![3, 14, 15, 92]).into()), &Plan::default());
        asked.picks.insert("corrupt".into(), vec![1]);
        asked.ask.insert("seeds".into(), json!(2));
        let folder = root.join("study");
        prepare(&folder, Existing::Refuse)?;
        let mut record = Record::start(
            Ready::new(asked.clone(), &mut engine)?,
            &mut engine,
            &card,
            (&folder, Existing::Refuse),
            &never,
        )?;
        while record.running().progress().done == 0 {
            record.step(&mut engine, &never)?;
        }
        record.save(&engine)?;
        let (findings, states) = (vec![seed(&folder, FINDINGS)?], vec![seed(&folder, STATE)?]);
        let reached = Reached::of(record.running(), &card)?;
        let path = root.join("sessions").join("work.json");
        let picture = Picture::read(&golden.join("pictures/wide.png"))?;
        session(&asked, reached, picture, &card).write(&path, There::Keep)?;
        let sessions = vec![seed(&root.join("sessions"), "work.json")?];
        weights.retain(|seed| seed.bytes.len() as u64 <= MOST);
        let settings = vec![
            seed(&with_settings, "generation_config.json")?,
            seed(&pictures, "preprocessor_config.json")?,
        ];
        let mut listed = Vec::new();
        for (name, text) in lists::LISTS {
            write(&root.join("lists"), name, text.as_bytes())?;
            listed.push(seed(&root.join("lists"), name)?);
        }
        let mut records = Vec::new();
        for (folder, text) in [("records", lists::RECORDS), ("study-records", lists::RECORDS_OF_A_STUDY)] {
            write(&root.join(folder), RECORDS, text.as_bytes())?;
            records.push(seed(&root.join(folder), RECORDS)?);
        }
        let all = [&configs, &tokenizers, &settings, &plans, &sessions];
        let words = words(&all.into_iter().flatten().collect::<Vec<_>>());
        let (indices, chats) = (vec![index], vec![seed(&chat, "tokenizer_config.json")?]);
        Ok(Self {
            configs,
            tokenizers,
            weights,
            indices,
            settings,
            chats,
            images,
            plans,
            routers,
            findings,
            states,
            lists: listed,
            records,
            sessions,
            words,
            engine,
            card,
            asked,
        })
    }
}

/// A session with a plan of every kind, a picture, and a study that has begun.
fn session(asked: &Asked, reached: Reached, picture: Picture, card: &Card) -> Session {
    let mut history = History::new(Document { words: "3, 14, 15, 92".into(), ..Document::default() });
    history.replace("picture", None, Document { picture: Some(picture), ..history.document().clone() });
    for kind in KINDS {
        history
            .change(kind.name, None, |plan| plan.items.extend((kind.examples)().into_iter().map(Into::into)));
    }
    let found = Answered { asked: Arc::new(asked.clone()), reached: Arc::new(reached), findings: None };
    let inquiry = Inquiry {
        ask: asked.ask.clone(),
        picks: asked.picks.clone(),
        taken: history.plan().items.clone(),
        found: Some(found),
        ..Inquiry::default()
    };
    let checkpoint = Reference {
        path: card.folder.clone(),
        name: card.name.clone(),
        fingerprint: card.fingerprint.clone(),
    };
    let methods = BTreeMap::from([(asked.method.id, inquiry)]);
    let work = Work { checkpoint, history, methods, ..Work::default() };
    Session { works: vec![work], notes: "a line".into(), ..Session::default() }
}

/// Fixtures with a config and weights.
fn folders(golden: &Path) -> Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = names(golden)?
        .into_iter()
        .map(|name| golden.join(name))
        .filter(|path| path.join("config.json").is_file() && path.join("model.safetensors").is_file())
        .collect();
    folders.sort();
    Ok(folders)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    sluice_core::files::names(folder).map_err(|error| Error::read(folder, &error))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for name in ["config.json", "model.safetensors"] {
        fs::copy(from.join(name), to.join(name))?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(folder.join(name), bytes))
        .map_err(|error| Error::write(folder.join(name), error))
}

/// A checkpoint in two shards.
fn index(llama: &Path, root: &Path) -> Result<Seed> {
    let folder = root.join("shards");
    let path = llama.join("model.safetensors");
    let bytes = fs::read(&path).map_err(|error| Error::read(&path, &error))?;
    let broken = |error: safetensors::SafeTensorError| Error::Internal(error.to_string());
    let file = safetensors::SafeTensors::deserialize(&bytes).map_err(broken)?;
    let mut map = serde_json::Map::new();
    for shard in 0..2 {
        let name = format!("model-0000{}-of-00002.safetensors", shard + 1);
        let part: Vec<_> = file.tensors().into_iter().filter(|(name, _)| name.len() % 2 == shard).collect();
        for (tensor, _) in &part {
            map.insert(tensor.clone(), json!(name));
        }
        write(&folder, &name, &safetensors::serialize(part, None).map_err(broken)?)?;
    }
    let config = fs::read(llama.join("config.json")).map_err(|error| Error::read(llama, &error))?;
    write(&folder, "config.json", &config)?;
    let name = "model.safetensors.index.json";
    let bytes = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string().into_bytes();
    write(&folder, name, &bytes)?;
    Ok(Seed { folder, name: name.into(), bytes })
}

/// A file of routers for a model of that width and depth.
fn router(root: &Path, d: usize, layers: usize) -> Result<Seed> {
    let broken = |error: safetensors::SafeTensorError| Error::Internal(error.to_string());
    let data = vec![0u8; 4 * 2 * d];
    let mut tensors = Vec::new();
    for layer in 0..layers {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2, d], &data)
            .map_err(broken)?;
        tensors.push((sluice_core::plan::Router::tensor("big50_skip50", layer), view));
    }
    let (folder, name) = (root.join("routers"), "routers.safetensors");
    let bytes = safetensors::serialize(tensors, None).map_err(broken)?;
    write(&folder, name, &bytes)?;
    Ok(Seed { folder, name: name.into(), bytes })
}

/// Names of fields of JSON files.
fn words(seeds: &[&Seed]) -> Vec<String> {
    fn collect(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| {
                into.insert(name.clone());
                collect(value, into);
            }),
            Value::Array(list) => list.iter().for_each(|value| collect(value, into)),
            _ => {}
        }
    }
    let mut words = BTreeSet::new();
    for value in seeds.iter().filter_map(|seed| serde_json::from_slice(&seed.bytes).ok()) {
        collect(&value, &mut words);
    }
    words.into_iter().collect()
}

/// One small tokenizer.json of each model of the library, with the stages that real ones have.
fn tokenizer_files() -> Vec<Value> {
    let special = json!([{"id": 0, "content": "<s>", "special": true, "lstrip": false, "rstrip": false, "normalized": false, "single_word": false}]);
    let vocab = json!({"<s>": 0, "\u{2581}": 1, "O": 2, "n": 3, "c": 4, "e": 5, "On": 6, "ce": 7, "\u{2581}a": 8, "a": 9, "<0x0A>": 10, "\u{120}": 11});
    let template = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}});
    let bpe = json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": false, "byte_fallback": true, "ignore_merges": false, "vocab": vocab, "merges": [["O", "n"], ["c", "e"], ["\u{2581}", "a"]]});
    let of = |normalizer: Value, pre: Value, model: Value, post: Value, decoder: Value| {
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": special, "normalizer": normalizer,
            "pre_tokenizer": pre, "post_processor": post, "decoder": decoder, "model": model})
    };
    let llama = of(
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u{2581}"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]}),
        Value::Null,
        bpe.clone(),
        template.clone(),
        json!({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}),
    );
    let gpt2 = of(
        json!({"type": "NFC"}),
        json!({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\p{L}+|\\p{N}{1,3}|\\s+"}, "behavior": "Isolated", "invert": false}, {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]}),
        bpe,
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}),
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
    );
    let bert = of(
        json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}),
        json!({"type": "BertPreTokenizer"}),
        json!({"type": "WordPiece", "unk_token": "<s>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {"<s>": 0, "a": 1, "##a": 2, "once": 3}}),
        json!({"type": "BertProcessing", "sep": ["<s>", 0], "cls": ["<s>", 0]}),
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
    );
    let unigram = of(
        json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Strip", "strip_left": true, "strip_right": true}, {"type": "Lowercase"}]}),
        json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true}),
        json!({"type": "Unigram", "unk_id": 0, "vocab": [["<s>", 0.0], ["\u{2581}", -1.0], ["a", -2.0], ["\u{2581}a", -1.5], ["once", -3.0]], "byte_fallback": false}),
        template,
        json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true}),
    );
    let words = of(
        json!({"type": "Replace", "pattern": {"Regex": "[aeiou]+"}, "content": "aa"}),
        json!({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": true}]}),
        json!({"type": "WordLevel", "vocab": {"<s>": 0, "a": 1, "Once": 2}, "unk_token": "<s>"}),
        Value::Null,
        json!({"type": "BPEDecoder", "suffix": "</w>"}),
    );
    vec![llama, gpt2, bert, unigram, words]
}
