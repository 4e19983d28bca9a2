//! Rendering as transformers renders: Jinja with trimmed blocks, loop controls, Python's string methods, and a few functions.
//! A template is a program from outside: its steps and its output are bounded.

use std::collections::BTreeMap;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::{Message, clock, python};

/// Steps of a template at most, and pieces of 64 bytes that it makes; a conversation takes some thousands.
const FUEL: u64 = 4_000_000;
/// Bytes of a rendered conversation at most.
const MOST: usize = 64 << 20;

/// Render a conversation, up to where the answer begins; else the cause with its line, as it goes on from the file's name.
pub(super) fn render(
    source: &str,
    special: &BTreeMap<String, String>,
    messages: &[Message],
) -> Result<String, String> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| said(&error))?);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.set_formatter(python::format);
    environment.add_filter("tojson", python::tojson);
    environment.add_function("strftime_now", |format: &str| clock::now(format));
    environment.add_function("raise_exception", raise);
    let source = without_generation(source);
    let template = environment.template_from_str(&source).map_err(|error| said(&error))?;
    let named = Value::from_pairs(special.iter().map(|(name, token)| (name.as_str(), token.as_str())));
    let all = context! {
        messages => Value::from(Serde(messages)),
        add_generation_prompt => true,
        tools => (),
        documents => (),
        ..named
    };
    let mut text = Bounded(Vec::new());
    template.render_captured_to(all, &mut text).map_err(|error| said(&error))?;
    String::from_utf8(text.0).map_err(|_| " gives bytes that are no text".to_owned())
}

/// `raise_exception(message)`: the template's own refusal.
fn raise(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Refusal))
}

/// Marks the errors that a template makes itself.
#[derive(Debug, thiserror::Error)]
#[error("refused by the template")]
struct Refusal;

/// `, line 3: cause`
fn said(error: &Error) -> String {
    // Of errors inside of macros the innermost says most.
    let line = error.line().map_or_else(String::new, |line| format!(", line {line}"));
    let refused = std::error::Error::source(error).is_some_and(|source| source.is::<Refusal>());
    let cause = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("it does not end within {FUEL} steps"),
        (ErrorKind::WriteFailure, _) => format!("it writes more than {} MiB", MOST >> 20),
        (_, Some(detail)) if refused => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    format!("{line}: {}", cause.lines().collect::<Vec<_>>().join(" "))
}

/// Marks of what the model wrote, which transformers reads for training: `{% generation %}`, `{% endgeneration %}`. They
/// change no text.
fn without_generation(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        text.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end + 2);
        let name = tag.trim_matches(|c: char| matches!(c, '{' | '}' | '%' | '-' | '+') || c.is_whitespace());
        text.push_str(&match name {
            "generation" => tag.replace("generation", "if true"),
            "endgeneration" => tag.replace("endgeneration", "endif"),
            _ => tag.to_owned(),
        });
        rest = after;
    }
    text + rest
}

/// Takes so many bytes and no more.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
