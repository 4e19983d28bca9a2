//! A byte-level BPE tokenizer learned from the generated text.

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::text::{Stream, World};
use crate::error::{Error, Result};

/// Entries: BOS, 256 bytes, the rest merges.
pub const ENTRIES: usize = 512;
/// Name of the first token; its id is 0.
pub const BOS: &str = "<s>";

/// Documents that merges are learned from.
const DOCUMENTS: u64 = 2000;

/// The text of a tokenizer.json. Every text begins with BOS.
pub fn learn(world: &World) -> Result<String> {
    let broken = |error: tokenizers::Error| Error::Internal(format!("tokenizer: {error}"));
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let mut trainer = TrainerWrapper::from(
        BpeTrainer::builder()
            .vocab_size(ENTRIES)
            .show_progress(false)
            .special_tokens(vec![AddedToken::from(BOS, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build(),
    );
    let documents = (0..DOCUMENTS).map(|index| world.document(Stream::Vocabulary, index));
    tokenizer.train(&mut trainer, documents).map_err(broken)?;
    let id = tokenizer.token_to_id(BOS).ok_or_else(|| Error::Internal("tokenizer: no BOS".into()))?;
    let template = TemplateProcessing::builder()
        .try_single(format!("{BOS} $A"))
        .map_err(Error::Internal)?
        .special_tokens(vec![(BOS, id)])
        .build()
        .map_err(|error| Error::Internal(error.to_string()))?;
    tokenizer.with_post_processor(Some(template));
    tokenizer.to_string(false).map_err(broken)
}
