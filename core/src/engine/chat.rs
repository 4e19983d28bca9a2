//! A message in a checkpoint's chat template, as a prompt.

use super::Words;
use crate::checkpoint::{ChatTemplate, Checkpoint, Content, Message, Part};
use crate::error::{Error, Result};
use crate::model::family;

/// Behind a message it makes another one.
const OTHER: &str = " and something else";

/// A user's message in the checkpoint's chat template, up to where the answer begins. With a picture the template's own place
/// for one is used, or the message begins with the image token.
///
/// As in transformers a tokenizer's template writes BOS itself, or there is none; a processor's (of models that read images)
/// gets one in front where it writes none.
///
/// # Errors
/// [`Error::Chat`] where there is no template or it refuses the messages.
pub fn chat_words(checkpoint: &Checkpoint, system: Option<&str>, text: &str, image: bool) -> Result<Words> {
    let Some(template) = ChatTemplate::of(checkpoint)? else {
        return Err(Error::Chat("this checkpoint has no chat template".into()));
    };
    let images = checkpoint.config().get("vision_config").is_some();
    // Also where the template changes it: another message is written in another way then.
    let has_message = |written: &str| {
        let other = || template.render(&as_text(system, &format!("{text}{OTHER}")));
        written.contains(text.trim()) || other().is_ok_and(|other| other != written)
    };
    let mut written = match template.render(&as_text(system, text)) {
        Ok(written) if has_message(&written) => match image {
            true => template.render(&as_text(system, &behind_image(checkpoint, text)?))?,
            false => written,
        },
        // Templates for pictures read a message as a list, and see nothing in a text.
        other => match template.render(&as_parts(system, text, image)) {
            Ok(written) if written.contains(text.trim()) => written,
            _ => {
                other?;
                return Err(Error::Chat("the chat template leaves out the message".into()));
            }
        },
    };
    if let Some(bos) = template.bos().filter(|bos| images && !written.starts_with(bos)) {
        written.insert_str(0, bos);
    }
    Ok(Words::Written(written))
}

fn as_text(system: Option<&str>, text: &str) -> Vec<Message> {
    let message =
        |role: &str, text: &str| Message { role: role.into(), content: Content::Text(text.to_owned()) };
    system.map(|system| message("system", system)).into_iter().chain([message("user", text)]).collect()
}

fn as_parts(system: Option<&str>, text: &str, image: bool) -> Vec<Message> {
    let words = |text: &str| Part::Text { text: text.to_owned() };
    let message = |role: &str, parts| Message { role: role.into(), content: Content::Parts(parts) };
    let picture = image.then_some(Part::Image);
    let user = message("user", picture.into_iter().chain([words(text)]).collect());
    system.map(|system| message("system", vec![words(system)])).into_iter().chain([user]).collect()
}

/// A text with the image token in front, where it has none.
fn behind_image(checkpoint: &Checkpoint, text: &str) -> Result<String> {
    let (Some(vision), Some(tokenizer)) =
        (family::read(checkpoint.config())?.spec.vision, checkpoint.tokenizer()?)
    else {
        return Ok(text.to_owned());
    };
    let image = tokenizer.exact(vision.image_token);
    Ok(if text.contains(&image) { text.to_owned() } else { format!("{image}\n{text}") })
}
