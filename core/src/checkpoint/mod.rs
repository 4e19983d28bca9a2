//! Bytes on disk -> config, named tensors, tokenizer and pictures; and back.
//!
//! Everything here is untrusted: no allocation is sized by a field of a file before that field is checked against the
//! file's real length.

mod bytes;
mod chat;
mod fingerprint;
mod folder;
mod hf;
mod image;
mod json;
mod number;
mod picture;
mod save;
mod shards;
mod stray;
mod tensors;
mod tokenizer;
mod widen;

pub use chat::{ChatTemplate, Content, Message, Part};
pub(crate) use folder::SIDE_FILES;
pub use hf::{Checkpoint, Embedded};
pub use image::{Preprocessor, decode_image, decoding_bytes, read_image};
pub(crate) use json::{MAX_TEXT, check_weight};
pub use json::{non_finite, written};
pub use number::{NumberFormat, widen_all};
pub use picture::Picture;
pub(crate) use save::encoded;
pub use save::{safetensors_bytes, safetensors_with, save};
pub use tensors::{TensorFile, TensorInfo};
pub(crate) use tokenizer::escaped;
pub use tokenizer::{Piece, Tokenizer};
