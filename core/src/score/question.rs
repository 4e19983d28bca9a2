//! What a score answers, as its records hold it: everything that they depend on, beside the checkpoint and the shard. Texts and
//! files count by content.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Ask, Source, judged};
use crate::error::Result;
use crate::plan::Plan;
use crate::records::content;

/// Of texts; `names` are what the plans are called.
///
/// # Errors
/// A file that cannot be read, or one that another program sends: it cannot be read twice.
pub fn question(ask: &Ask, names: &[String]) -> Result<Value> {
    let Ask { source, items, length, stride, plans, .. } = ask;
    let split = match source {
        Source::Split(_, marker) => Some(marker),
        _ => None,
    };
    let (list, map) = match source {
        Source::List(_, map) => (true, map.as_ref()),
        _ => (false, None),
    };
    Ok(json!({
        "sha256": content(source.path())?,
        "list": list,
        "map": map,
        "split": split,
        "items": items,
        "length": length,
        "stride": stride,
        "plans": named(plans, names),
        "files": files_of(plans)?,
    }))
}

/// Of a list that is judged.
///
/// # Errors
/// As [`question`].
pub fn question_judged(ask: &judged::Ask, names: &[String]) -> Result<Value> {
    let judged::Ask { list, map, taken, plans, .. } = ask;
    Ok(json!({
        "sha256": content(list)?,
        "map": map,
        "items": taken.most,
        "plans": named(plans, names),
        "files": files_of(plans)?,
    }))
}

fn named(plans: &[Plan], names: &[String]) -> Vec<Value> {
    names.iter().zip(plans).map(|(name, plan)| json!({"name": name, "plan": plan})).collect()
}

/// The files that plans name, by content.
fn files_of(plans: &[Plan]) -> Result<BTreeMap<String, String>> {
    let each = plans.iter().map(Plan::contents).collect::<Result<Vec<_>>>()?;
    Ok(each.into_iter().flatten().collect())
}
