//! `sluice tokens`: ids, texts and positions of a prompt or a text, from config and tokenizer alone.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use sluice_core::engine::{Patch, Reader, Token};
use sluice_core::{Error, Result, files};

use super::prompt::{PromptArgs, one_of};
use super::{headers, note, out};

#[derive(Args)]
#[command(group(one_of(&["text"])))]
pub struct Tokens {
    /// Checkpoint folder; left out = the bundled one
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Text file, as studies of a text read it: its first 4 MiB
    #[arg(long, value_name = "FILE", conflicts_with_all = ["chat", "image"])]
    text: Option<PathBuf>,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl Tokens {
    pub fn run(&self) -> Result<()> {
        let checkpoint = headers(self.checkpoint.as_deref())?;
        let reader = Reader::open(&checkpoint)?;
        let (mut of, tokens) = match &self.text {
            Some(path) => {
                let (text, tokens) = reader.text(path)?;
                if text.cut {
                    note(&format!("read {}", text.source));
                }
                let sha256 = files::sha256(path).map_err(|error| Error::read(path, &error))?;
                let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
                (json!({"file": file, "sha256": sha256}), tokens)
            }
            None => {
                let prompt = self.prompt.read(&checkpoint)?;
                let prompt = prompt.ok_or_else(|| Error::Input("there is no prompt".into()))?;
                let mut of = json!({"prompt": prompt.words.text()});
                if let Some(picture) = &prompt.image {
                    of["image"] = json!({
                        "file": picture.name(),
                        "fingerprint": format!("{:016x}", picture.fingerprint()),
                    });
                }
                (of, reader.tokens(&prompt)?)
            }
        };
        if !self.json {
            let line = |(at, token): (usize, &Token)| format!("{at:>6}  {:>7}  {}\n", token.id, token.text);
            let lines: String = tokens.iter().enumerate().map(line).collect();
            out(&format!("{:>6}  {:>7}  text\n{lines}", "at", "id"));
            return Ok(());
        }
        of["tokens"] = tokens.iter().map(|token| token.id).collect();
        of["texts"] = tokens.iter().map(|token| token.exact.as_str()).collect();
        if tokens.iter().any(|token| token.patch.is_some()) {
            of["patches"] = tokens.iter().map(patch).collect();
        }
        out(&format!("{of}\n"));
        Ok(())
    }
}

/// Row and column of a part of the picture, `"class"` for its class token, null for a word.
fn patch(token: &Token) -> Value {
    match token.patch {
        Some(Patch::At { row, col }) => json!([row, col]),
        Some(Patch::Class) => json!("class"),
        None => Value::Null,
    }
}
