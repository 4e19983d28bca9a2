//! A byte-level BPE tokenizer learned from what the world says.

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use crate::error::{Error, Result};
use crate::world::talk::conversation;
use crate::world::{Dice, Split, World};

/// Entries: BOS, the image token, 256 bytes, the rest merges.
pub const ENTRIES: usize = 1024;
/// Begins every text.
const BOS: &str = "<s>";
/// Its id.
pub const BOS_ID: u32 = 0;
/// Stands for a patch of a picture.
const IMAGE: &str = "<image>";
/// Its id.
pub const IMAGE_ID: u32 = 1;

/// Documents of each sort that merges are learned from.
const DOCUMENTS: u64 = 1500;

/// The text of a tokenizer.json. Every text begins with BOS.
pub fn learn(world: &World) -> Result<String> {
    let broken = |error: tokenizers::Error| Error::Internal(format!("tokenizer: {error}"));
    let mut tokenizer = Tokenizer::new(BPE::default());
    // A space before the first word too: a name is the same token wherever it stands.
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(true, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let mut trainer = TrainerWrapper::from(
        BpeTrainer::builder()
            .vocab_size(ENTRIES)
            .show_progress(false)
            .special_tokens(vec![AddedToken::from(BOS, true), AddedToken::from(IMAGE, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build(),
    );
    tokenizer.train(&mut trainer, (0..DOCUMENTS).flat_map(|index| said(world, index))).map_err(broken)?;
    let template = TemplateProcessing::builder()
        .try_single(format!("{BOS} $A"))
        .map_err(Error::Internal)?
        .special_tokens(vec![(BOS, BOS_ID)])
        .build()
        .map_err(|error| Error::Internal(error.to_string()))?;
    tokenizer.with_post_processor(Some(template));
    if [BOS, IMAGE].map(|token| tokenizer.token_to_id(token)) != [Some(BOS_ID), Some(IMAGE_ID)] {
        return Err(Error::Internal("the tokenizer moved its special tokens".into()));
    }
    tokenizer.to_string(false).map_err(broken)
}

/// Documents `index` of every sort, from the training split.
fn said(world: &World, index: u64) -> [String; 3] {
    let scene = world.scene(Split::Train, index);
    let turns = conversation(&scene, &mut Dice::new(0, 70, index));
    let talk: String = turns.into_iter().map(|turn| format!(" {}{}", turn.question, turn.answer)).collect();
    [world.story(Split::Train, index), world.told(Split::Train, index), talk]
}
