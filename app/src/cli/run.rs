//! `sluice run`: one forward pass under a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use sluice_core::checkpoint::{NumberFormat, safetensors_with};
use sluice_core::engine::{RunSize, never};
use sluice_core::files::{claim_file, write};
use sluice_core::model::{Ask, Logits};
use sluice_core::site::Site;
use sluice_core::{Error, Result, metric};

use super::whole::whole;
use super::{Input, Ready, note, out, there};

/// Runs that take more are announced, bytes.
const TOLD: u64 = 100 << 20;

#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    input: Input,
    /// Keep sites: a TransformerLens name or a glob such as '*.hook_resid_post'; may be given more than once
    #[arg(long, value_name = "GLOB", requires = "out")]
    capture: Vec<String>,
    /// Write logits and captured sites to this safetensors file, f32
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write over FILE where it is there
    #[arg(long, requires = "out")]
    overwrite: bool,
    /// Next tokens listed
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = whole::<usize>, allow_negative_numbers = true)]
    top: usize,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl Run {
    pub fn run(&self) -> Result<()> {
        // Before any work.
        if let Some(path) = &self.out {
            claim_file(path, there(self.overwrite))?;
        }
        let Ready { mut engine, tokens, plan, card, prompt } = self.input.open(self.out.as_deref())?;
        let mut capture = BTreeSet::new();
        for glob in &self.capture {
            capture.extend(Site::select(&engine.model.spec, glob)?);
        }
        let schedule = engine.schedule(&plan, &tokens, &never)?;
        let spec = &engine.model.spec;
        let kept: usize = capture.iter().map(|site| site.elements(spec, tokens.len())).sum();
        let size = RunSize::new(spec, tokens.len()).with_elements(kept as u64);
        let logits = tokens.len().min(spec.context) * spec.vocab;
        let size = match self.out {
            Some(_) => size.with_elements(logits as u64).with_written((kept + logits) as u64),
            None => size,
        };
        size.check()?;
        if size.bytes() > TOLD {
            note(&format!("this run takes about {} MiB beside the weights", size.bytes() >> 20));
        }
        let logits = if self.out.is_some() { Logits::All } else { Logits::Last };
        let (output, _) =
            engine.pass(&tokens, &schedule, Ask { capture, logits, ..Ask::default() }, &never)?;
        let logits = output.logits.ok_or_else(|| Error::Internal("a pass without logits".into()))?;
        let last: Vec<f32> = logits.get(logits.dim(0)?.saturating_sub(1))?.to_vec1()?;
        if let Some(path) = &self.out {
            let mut tensors: BTreeMap<String, _> =
                output.captures.into_iter().map(|(site, value)| (site.to_string(), value)).collect();
            tensors.insert("logits".into(), logits);
            // Where the values come from.
            let about = [
                ("kind", "capture".to_owned()),
                ("sluice", env!("CARGO_PKG_VERSION").into()),
                ("checkpoint", card.name.clone()),
                ("fingerprint", card.fingerprint.clone()),
                ("prompt", prompt),
                ("tokens", json!(&*tokens).to_string()),
                ("plan", json!(plan).to_string()),
                ("capture", json!(self.capture).to_string()),
                ("dtype", card.dtype.into()),
            ];
            let about = about.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
            let bytes = safetensors_with(&tensors, NumberFormat::F32, &about)?;
            write(path, &bytes, there(self.overwrite))?;
        }
        let log_p = metric::log_softmax(&last);
        let top: Vec<(u32, f32)> = metric::top_k(&log_p, self.top);
        if self.json {
            let text = |id| engine.tokenizer.as_ref().map(|tokenizer| tokenizer.exact(id));
            let logit = |id: u32| last.get(id as usize).copied();
            let row =
                |&(id, x): &(u32, f32)| json!({"id": id, "text": text(id), "logit": logit(id), "p": x.exp()});
            let texts: Vec<String> = engine.tokens(&tokens).iter().map(|token| token.exact.clone()).collect();
            let next: Vec<_> = top.iter().map(row).collect();
            let all = json!({"tokens": &*tokens, "texts": texts, "plan": plan.summary(), "next": next});
            out(&format!("{all}\n"));
            return Ok(());
        }
        out(&format!("{} tokens, {}\n", tokens.len(), plan.summary()));
        for (id, x) in top {
            let shown = engine.tokenizer.as_ref().map(|tokenizer| tokenizer.piece(id).text);
            out(&format!("{:>7.3} %  {id:>6}  {}\n", 100.0 * x.exp(), shown.unwrap_or_default()));
        }
        Ok(())
    }
}
