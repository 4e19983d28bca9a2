//! README.md of a saved model.

use std::fmt::Write as _;

use super::Saved;
use crate::checkpoint::NumberFormat;
use crate::spec::Spec;

/// What it is, what became of the plan, and how to open it.
pub(super) fn page(saved: &Saved, spec: &Spec, dtype: Option<NumberFormat>) -> String {
    let (model_type, pictures) = (&spec.model_type, spec.vision.is_some());
    let class = if pictures { "AutoModelForImageTextToText" } else { "AutoModelForCausalLM" };
    let Saved { source, fingerprint, written, blocks: [blocks, left], parameters: [before, now], .. } = saved;
    let weights = match dtype {
        None => "Weights that were not changed are as they were, to the bit.".to_owned(),
        Some(dtype) => format!("All weights are in {}.", dtype.in_config()),
    };
    let mut page = format!(
        "# {source}, changed\n\nA {model_type} model that Sluice {} made of the checkpoint `{source}` (fingerprint \
         {fingerprint}).\n\n",
        env!("CARGO_PKG_VERSION")
    );
    match written.is_empty() {
        true => page.push_str("Nothing is changed but, where one was asked for, the number format.\n"),
        false => page.push_str("What was changed:\n\n"),
    }
    for item in written {
        let _ = writeln!(page, "- {}", item.replace(['\n', '\r'], " "));
    }
    let _ = write!(
        page,
        "\n| | before | now |\n|---|---|---|\n| blocks | {blocks} | {left} |\n| parameters | {before} | {now} |\n\n\
         {weights} `sluice.json` has the plan.\n\n\
         ```python\nfrom transformers import {class}\n\nmodel = {class}.from_pretrained(\".\")\n```\n"
    );
    page
}
