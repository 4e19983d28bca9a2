//! From a folder to an engine.

use std::path::Path;
use std::sync::Arc;

use super::card::NO_TOKENIZER;
use super::memory::check;
use super::names::{self, Named};
use super::resident::{self, Resident};
use super::{Cancelled, Card, Engine, Words};
use crate::checkpoint::{Checkpoint, Embedded, Preprocessor, Tokenizer};
use crate::error::{Error, Load, Result};
use crate::model::Model;
use crate::model::fused::{PANEL, Packed};
use crate::model::layout::parameters;
use crate::model::weights::{self, Goes, Matrix, Parts};
use crate::plan::Surrogate;
use crate::world::World;

/// An engine and its model card.
pub struct Opened {
    /// Ready to run.
    pub engine: Engine,
    /// What to say about it.
    pub card: Card,
}

/// Open a checkpoint: read the config, check every tensor's header against it, then read the weights into ordinary
/// memory. `progress` gets bytes done and bytes in all.
///
/// # Errors
/// A config, tokenizer settings or tensors that do not fit together, too little memory, or [`Error::Cancelled`].
pub fn open(
    checkpoint: &Checkpoint,
    progress: &mut dyn FnMut(u64, u64),
    cancelled: Cancelled,
) -> Result<Opened> {
    let mut named = names::resolve(checkpoint)?;
    let resident = Resident::of(&named, checkpoint);
    let parameters = parameters(&named.spec, &named.layout);
    check(Load::Checkpoint, resident.bytes.saturating_add(resident.stack))?;
    let mut warnings = std::mem::take(&mut named.warnings);
    // Before the weights: settings that cannot be read are told at once.
    let (tokenizer, no_tokenizer) = match checkpoint.tokenizer() {
        Ok(tokenizer) => (tokenizer, None),
        Err(error @ Error::Tokenizer { .. }) => (None, Some(error)),
        Err(error) => return Err(error),
    };
    warnings.extend(tokenizer.iter().flat_map(|tokenizer| tokenizer.warnings().to_vec()));
    let model = load(checkpoint, (named, resident.bytes), &mut warnings, progress, cancelled)?;
    let mut engine = engine(checkpoint, model, tokenizer, &mut warnings);
    if let Some(error) = no_tokenizer {
        warnings.push(format!("{error}; prompts are token ids until then: {}", error.next_step()));
        engine.no_tokenizer = Some(error);
    }
    checkpoint.check_unchanged()?;
    let card = card(checkpoint, &engine, (parameters, &resident), warnings)?;
    Ok(Opened { engine, card })
}

/// The weights, packed where they are multiplied with.
fn load(
    checkpoint: &Checkpoint,
    (named, total): (Named, u64),
    warnings: &mut Vec<String>,
    progress: &mut dyn FnMut(u64, u64),
    cancelled: Cancelled,
) -> Result<Arc<Model>> {
    let Named { spec, layout, tensors, .. } = named;
    let mut broken = Vec::new();
    let mut parts = Parts::new();
    let mut done = 0;
    for (name, decl) in tensors {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        let bytes = resident::bytes(&decl, &layout, checkpoint.held(&name));
        let (matrix, finite) = match (weights::goes(&layout, decl.slot), decl.shape.as_slice()) {
            (Goes::Panels, &[outputs, inputs]) => {
                let (words, finite) = checkpoint.load_interleaved::<PANEL>(&name, &decl.shape)?;
                let packed = Packed::from_words(words, checkpoint.held(&name), outputs, inputs)?;
                (Matrix::Packed(Arc::new(packed)), finite)
            }
            (Goes::Wide, _) => {
                let (tensor, finite) = checkpoint.load_f32(&name, &decl.shape)?;
                (Matrix::Plain(tensor), finite)
            }
            _ => {
                let (tensor, finite) = checkpoint.load(&name, &decl.shape)?;
                (Matrix::Plain(tensor), finite)
            }
        };
        if !finite {
            broken.push(name);
        }
        parts.insert(decl.slot, matrix);
        done += bytes;
        progress(done, total);
    }
    if let Some(first) = broken.first() {
        warnings.push(format!("{} tensors hold NaN or infinite values, first {first}", broken.len()));
    }
    Ok(Arc::new(Model::new(spec, &layout, parts)?.packed()?))
}

/// The engine over a model: tokenizer, pictures and world, the latter two where the checkpoint has one that can be used.
fn engine(
    checkpoint: &Checkpoint,
    model: Arc<Model>,
    tokenizer: Option<Tokenizer>,
    warnings: &mut Vec<String>,
) -> Engine {
    if let Some(tokenizer) = &tokenizer
        && tokenizer.vocab() > model.spec.vocab
    {
        let (tokens, rows) = (tokenizer.vocab(), model.spec.vocab);
        warnings.push(format!("the tokenizer knows {tokens} tokens, the model {rows}"));
    }
    let mut engine = Engine::new(model, tokenizer.map(Arc::new));
    engine.world = World::of(checkpoint.config());
    if let Some(vision) = &engine.model.spec.vision {
        let config = checkpoint.preprocessor_config();
        match config.and_then(|config| Preprocessor::read(config.as_ref(), vision)) {
            Ok(preprocessor) => engine.preprocessor = Some(preprocessor),
            Err(error) => warnings.push(format!("{error}; pictures cannot be read")),
        }
    }
    engine
}

fn card(
    checkpoint: &Checkpoint,
    engine: &Engine,
    (parameters, resident): (u64, &Resident),
    warnings: Vec<String>,
) -> Result<Card> {
    Ok(Card {
        name: checkpoint.name().into(),
        folder: checkpoint.folder().map(Path::to_owned),
        fingerprint: checkpoint.fingerprint()?,
        parameters,
        bytes_file: checkpoint.bytes_file(),
        bytes_resident: resident.bytes,
        held: resident.formats(),
        dtype: "f32",
        tokenizer: engine.tokenizer.as_ref().map_or(NO_TOKENIZER, |tokenizer| tokenizer.kind()).into(),
        front: engine.tokenizer.as_ref().map(|tokenizer| tokenizer.front().to_vec()).unwrap_or_default(),
        warnings,
        small_ffn: super::surrogate::label(engine, &Surrogate::default()),
        sample_prompt: sample_prompt(engine, checkpoint),
        preprocessor: engine.preprocessor.clone(),
        spec: Arc::clone(&engine.model.spec),
    })
}

/// The checkpoint that ships with Sluice, compiled in; `sluice train` makes it.
///
/// # Errors
/// None but of a broken build.
pub fn bundled() -> Result<Checkpoint> {
    let files = Embedded {
        config: include_str!("../../../assets/bundled/config.json"),
        preprocessor: include_str!("../../../assets/bundled/preprocessor_config.json"),
        tokenizer: include_str!("../../../assets/bundled/tokenizer.json"),
        weights: include_bytes!("../../../assets/bundled/model.safetensors"),
    };
    Checkpoint::embedded("bundled", files)
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
