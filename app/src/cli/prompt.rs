//! PROMPT, the same flags in every subcommand that reads one: a text, a file or ids, with a picture, in a chat template.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use sluice_core::checkpoint::{Checkpoint, Picture};
use sluice_core::engine::{Prompt, Words, chat_words};
use sluice_core::files::{read_within, utf8};
use sluice_core::{Error, Result};

/// Bytes of a prompt's file at most: more than any context holds.
const MOST: u64 = 16 << 20;

/// The flags that give a prompt's words, of which one is given.
pub const WORDS: [&str; 3] = ["prompt", "prompt_file", "tokens"];

/// A prompt.
#[derive(Args, Clone, Debug)]
pub struct PromptArgs {
    /// Prompt text as it is, a leading hyphen too; BOS is added as the tokenizer does
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Prompt from a UTF-8 file, - for standard input: as it is, but without a byte order mark and without one line end at
    /// its end, which editors and shells put there
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Prompt as comma-separated ids; nothing is added
    #[arg(long, value_name = "IDS", value_delimiter = ',', value_parser = token_id, allow_hyphen_values = true)]
    tokens: Option<Vec<u32>>,
    /// Picture for a checkpoint that reads images: stands where the prompt has its image token, else in front
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The prompt is a user's message: the checkpoint's chat template is written around it, up to where the answer begins
    #[arg(long, requires = "subject", conflicts_with = "tokens")]
    chat: bool,
    /// System message in front of it
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, requires = "chat")]
    system: Option<String>,
}

/// One of the flags that give words, or of `more`, and no second one.
pub fn one_of(more: &[&'static str]) -> ArgGroup {
    ArgGroup::new("subject").args(WORDS).args(more).required(true)
}

/// None of the flags that give words, or one.
pub fn at_most_one() -> ArgGroup {
    ArgGroup::new("subject").args(WORDS)
}

impl PromptArgs {
    /// The prompt, where words were given. The chat template is the checkpoint's.
    pub fn read(&self, checkpoint: &Checkpoint) -> Result<Option<Prompt>> {
        let Some(words) = self.words(checkpoint)? else { return Ok(None) };
        Ok(Some(Prompt { words, image: self.image()? }))
    }

    /// The picture.
    pub fn image(&self) -> Result<Option<Picture>> {
        self.image.as_deref().map(Picture::read).transpose()
    }

    fn words(&self, checkpoint: &Checkpoint) -> Result<Option<Words>> {
        let text = match (&self.prompt, &self.prompt_file, &self.tokens) {
            (Some(text), ..) => text.clone(),
            (_, Some(path), _) => text_of(path)?,
            (_, _, Some(ids)) => return Ok(Some(Words::Tokens(ids.clone()))),
            (None, None, None) => return Ok(None),
        };
        Ok(Some(match self.chat {
            true => chat_words(checkpoint, self.system.as_deref(), &text, self.image.is_some())?,
            false => Words::Text(text),
        }))
    }
}

/// An id of a comma-separated list; blanks around it do not matter.
fn token_id(text: &str) -> std::result::Result<u32, String> {
    text.trim().parse().map_err(|_| "token ids are whole numbers, separated by commas".into())
}

/// The text of a prompt's file. One line end at its end is not of the prompt, as in llama.cpp.
fn text_of(path: &Path) -> Result<String> {
    let fail = |error: std::io::Error| Error::read(path, &error);
    let (bytes, more) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(MOST + 1).read_to_end(&mut bytes).map_err(fail)?;
        let more = bytes.len() as u64 > MOST;
        (bytes, more)
    } else {
        read_within(path, MOST).map_err(fail)?
    };
    let not_text = |cause: String| fail(std::io::Error::new(std::io::ErrorKind::InvalidData, cause));
    if more {
        let cause = format!("is over {} MiB, which no context holds", MOST >> 20);
        return Err(fail(std::io::Error::new(std::io::ErrorKind::FileTooLarge, cause)));
    }
    let text = utf8(&bytes).map_err(not_text)?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(text.to_owned())
}
