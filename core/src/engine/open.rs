//! From a folder to an engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::memory::check;
use super::{Cancelled, Engine};
use crate::checkpoint::{Checkpoint, Embedded, Preprocessor};
use crate::error::{Error, Result};
use crate::model::fused::{PANEL, Packed};
use crate::model::layout::{Decl, Layout, Role, declare, parameters};
use crate::model::weights::{self, Matrix};
use crate::model::{Model, family};
use crate::plan::Surrogate;
use crate::protocol::{Card, Words};
use crate::spec::Spec;

/// An engine and its model card.
pub struct Opened {
    /// Ready to run.
    pub engine: Engine,
    /// What to say about it.
    pub card: Card,
}

/// Open a checkpoint: read config, check every tensor against it, then widen the weights to f32 in ordinary memory.
/// `progress` gets bytes done and bytes in all.
pub fn open(
    checkpoint: &Checkpoint,
    progress: &mut dyn FnMut(u64, u64),
    cancelled: Cancelled,
) -> Result<Opened> {
    let read = family::read(checkpoint.config())?;
    let (mut spec, layout) = (read.spec, read.layout);
    let mut warnings = Vec::new();
    match checkpoint.generation_config() {
        // Where it names ends of a text, they count instead of the config's (transformers' generate).
        Ok(Some(generation)) if generation.get("eos_token_id").is_some_and(|eos| !eos.is_null()) => {
            spec.eos = family::ids(&generation["eos_token_id"]);
        }
        Ok(_) => {}
        Err(error) => warnings.push(format!("{error}; texts end as config.json says")),
    }
    if spec.unembed.tied && tables_differ(checkpoint, &spec, &layout) {
        spec.unembed.tied = false;
        warnings.push(
            "config.json ties embedding and unembedding, the checkpoint holds two different ones".into(),
        );
    }
    let mut decls = declare(&spec, &layout);
    if spec.unembed.tied {
        // Some writers keep only the unembedding of a tied pair.
        let only = decls.iter_mut().find(|decl| decl.slot.role == Role::Embed);
        if let Some(embed) = only.filter(|embed| find(checkpoint, embed, &layout).is_err())
            && checkpoint.info(&unembed_name(&layout)).is_some()
        {
            (embed.name, embed.prefixed) = (unembed_name(&layout), false);
        }
    }
    let named: Vec<(String, &Decl)> =
        decls.iter().map(|decl| Ok((find(checkpoint, decl, &layout)?, decl))).collect::<Result<_>>()?;
    let bytes_resident = parameters(&spec, &layout).saturating_mul(4);
    check("this checkpoint", bytes_resident.saturating_add(4 * widest_stack(&decls)))?;

    let mut broken = Vec::new();
    let mut parts = std::collections::HashMap::new();
    let mut done = 0;
    for (name, decl) in named {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        let (matrix, finite) = match decl.shape.as_slice() {
            &[outputs, inputs] if weights::goes_packed(&spec, &layout, decl.slot) => {
                let (panels, finite) = checkpoint.load_interleaved::<PANEL>(&name, &decl.shape)?;
                (Matrix::Packed(Arc::new(Packed::from_panels(panels, outputs, inputs)?)), finite)
            }
            _ => {
                let (tensor, finite) = checkpoint.load_f32(&name, &decl.shape)?;
                (Matrix::Plain(tensor), finite)
            }
        };
        if !finite {
            broken.push(name);
        }
        parts.insert(decl.slot, matrix);
        done += 4 * decl.len();
        progress(done, bytes_resident);
    }
    let model = Arc::new(Model::new(spec, &layout, parts)?.packed()?);

    if let Some(first) = broken.first() {
        warnings.push(format!("{} tensors hold NaN or infinite values, first {first}", broken.len()));
    }
    if !read.ignored.is_empty() {
        warnings.push(format!("config fields that nothing reads: {}", read.ignored.join(", ")));
    }
    let tokenizer = match checkpoint.tokenizer() {
        Ok(tokenizer) => tokenizer.map(Arc::new),
        Err(error) => {
            warnings.push(format!("{error}; prompts are token ids"));
            None
        }
    };
    if let Some(tokenizer) = &tokenizer
        && tokenizer.vocab() > model.spec.vocab
    {
        let (tokens, rows) = (tokenizer.vocab(), model.spec.vocab);
        warnings.push(format!("the tokenizer knows {tokens} tokens, the model {rows}"));
    }
    let mut engine = Engine::new(Arc::clone(&model), tokenizer);
    if let Some(vision) = &model.spec.vision {
        let config = checkpoint.preprocessor_config();
        match config.and_then(|config| Preprocessor::read(config.as_ref(), vision)) {
            Ok(preprocessor) => engine.preprocessor = Some(preprocessor),
            Err(error) => warnings.push(format!("{error}; pictures cannot be read")),
        }
    }
    let card = Card {
        name: checkpoint.name().into(),
        folder: checkpoint.folder().map(Path::to_owned),
        fingerprint: checkpoint.fingerprint(),
        parameters: bytes_resident / 4,
        bytes_file: checkpoint.bytes_file(),
        bytes_resident,
        dtype: "f32",
        tokenizer: engine.tokenizer.as_ref().map_or("none", |tokenizer| tokenizer.kind()).into(),
        warnings,
        small_ffn: super::surrogate::label(&engine, &Surrogate::default()),
        sample_prompt: sample_prompt(&engine, checkpoint),
        preprocessor: engine.preprocessor.clone(),
        spec: Arc::clone(&model.spec),
    };
    Ok(Opened { engine, card })
}

/// The checkpoint that ships with Sluice, compiled in; `sluice train` makes it.
pub fn bundled() -> Result<Checkpoint> {
    let files = Embedded {
        config: include_str!("../../../assets/bundled/config.json"),
        preprocessor: include_str!("../../../assets/bundled/preprocessor_config.json"),
        tokenizer: include_str!("../../../assets/bundled/tokenizer.json"),
        weights: include_bytes!("../../../assets/bundled/model.safetensors"),
    };
    Checkpoint::embedded("bundled", files)
}

/// Parameters of the largest tensor that holds many experts: it stands beside what it is taken apart into.
fn widest_stack(decls: &[Decl]) -> u64 {
    decls.iter().filter(|decl| decl.shape.len() == 3).map(Decl::len).max().unwrap_or(0)
}

fn unembed_name(layout: &Layout) -> String {
    format!("{}.weight", layout.unembed)
}

/// Whether the checkpoint holds an unembedding that is not the embedding; transformers then ties nothing.
fn tables_differ(checkpoint: &Checkpoint, spec: &Spec, layout: &Layout) -> bool {
    let decls = declare(spec, layout);
    let Some(embed) = decls.iter().find(|decl| decl.slot.role == Role::Embed) else { return false };
    let unembed = unembed_name(layout);
    match find(checkpoint, embed, layout) {
        Ok(name) => checkpoint.info(&unembed).is_some() && !checkpoint.same(&name, &unembed),
        Err(_) => false,
    }
}

/// Name of a declared tensor in the checkpoint. Checkpoints of the bare model leave out some or all of the prefix.
fn find(checkpoint: &Checkpoint, decl: &Decl, layout: &Layout) -> Result<String> {
    let prefix = if decl.prefixed { layout.prefix } else { "" };
    let mut rest = prefix;
    loop {
        let mut name = format!("{rest}{}", decl.name);
        if checkpoint.info(&name).is_none() {
            name = name.replacen(layout.respelt[0], layout.respelt[1], 1);
        }
        if let Some(info) = checkpoint.info(&name) {
            if info.shape == decl.shape {
                return Ok(name);
            }
            let cause =
                format!("tensor \"{name}\" has shape {:?}, the config asks for {:?}", info.shape, decl.shape);
            return Err(Error::checkpoint(place(checkpoint), cause));
        }
        let Some((_, shorter)) = rest.split_once('.') else { break };
        rest = shorter;
    }
    Err(Error::checkpoint(place(checkpoint), format!("has no tensor \"{prefix}{}\"", decl.name)))
}

fn place(checkpoint: &Checkpoint) -> PathBuf {
    checkpoint.folder().unwrap_or(Path::new("bundled")).to_owned()
}

/// A prompt that suits what is known of the checkpoint.
fn sample_prompt(engine: &Engine, checkpoint: &Checkpoint) -> Words {
    if engine.tokenizer.is_none() {
        let vocab = engine.model.spec.vocab as u64;
        let id = |i| (crate::rng::bits(0, 1, i) % vocab) as u32;
        let len = engine.model.spec.context.min(8) as u64;
        return Words::Tokens((0..len).map(id).collect());
    }
    let ours = checkpoint.config().get("sluice").and_then(|ours| ours.get("sample_prompt"));
    match ours.and_then(serde_json::Value::as_str) {
        Some(text) => Words::Text(text.into()),
        None => Words::Text("Once upon a time".into()),
    }
}
