//! The first line of a list's records: all that findings are made of, so that shards are merged without their checkpoint.

use serde_json::{Value, json};

use super::found::shapes;
use crate::engine::Card;
use crate::error::Result;
use crate::method::Asked;
use crate::method::provenance::provenance;
use crate::records::{Head, Shard};
use crate::spec::Spec;

/// Begins the name of such work.
pub(super) const STUDY: &str = "study ";

/// The first line of a list's records. `question` is that of `asked`.
///
/// # Errors
/// A question that JSON cannot hold.
pub fn head(asked: &Asked, question: &Value, card: &Card, spec: &Spec, shard: Shard) -> Result<Head> {
    let ask = json!({
        "asked": question,
        "measures": shapes(asked.method, spec),
        "provenance": provenance(asked, card)?,
    });
    Head::new(&format!("{STUDY}{}", asked.method.id), &card.fingerprint, &ask, shard)
}

/// Whether records of such work are a method's over a list.
pub fn is_work(work: &str) -> bool {
    work.starts_with(STUDY)
}
