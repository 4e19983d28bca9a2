//! One test over the list: what holds of every method, on every checkpoint that has what it needs.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sluice_core::checkpoint::Checkpoint;
use sluice_core::engine::{self, Cancelled, Card, Opened, never};
use sluice_core::error::{Error, Result};
use sluice_core::figure::{Figure, Format, Ground, Plot, export};
use sluice_core::method::view::VIEWS;
use sluice_core::method::{
    Asked, Existing, Findings, METHODS, Ready, Record, Running, Subject, document, find, prepare,
};
use sluice_core::rng;
use sluice_core::worker::Request;

use crate::support::{golden, poisoned};
use crate::worker::{Client, whole};

/// The bundled checkpoint, and tiny ones with other norms, positions and experts.
const CHECKPOINTS: [&str; 4] = ["../../../assets/bundled", "llama", "gpt2", "mixtral"];

/// Asked beside every method's own sample: other ways through its steps and its state.
const VARIANTS: [(&str, &str); 8] = [
    ("trace", r#"{"restore":"attn","window":2}"#),
    ("trace", r#"{"restore":"ffn","estimate":true}"#),
    ("oracle", r#"{"search":"greedy"}"#),
    ("oracle", r#"{"search":"beam","beam":2,"most":24}"#),
    ("oracle", r#"{"big":1}"#),
    ("experts", r#"{"knock_out":false}"#),
    ("prune", r#"{"share":0.5,"distance":"kl","length":16,"samples":3}"#),
    ("leave-one-out", r#"{"positions":"all"}"#),
];

/// Keys of findings.json, sorted (docs/findings.md).
const KEYS: [&str; 14] = [
    "ask",
    "checkpoint",
    "cost",
    "data",
    "done",
    "facts",
    "figures",
    "files",
    "method",
    "picks",
    "plan",
    "sluice",
    "subject",
    "version",
];

/// A checkpoint with a text of its own.
pub struct Bench {
    path: PathBuf,
    pub opened: Opened,
    folder: tempfile::TempDir,
}

impl Bench {
    pub fn new(name: &str) -> Self {
        let path = golden().join(name);
        let opened = engine::open(&Checkpoint::open(&path).unwrap(), &mut |_, _| {}, &never).unwrap();
        let bench = Self { path, opened, folder: tempfile::tempdir().unwrap() };
        // For checkpoints without a tokenizer: ids.
        let vocab = bench.opened.card.spec.vocab as u64;
        let ids: Vec<String> = (0..256).map(|i| (rng::bits(4, 0, i) % vocab).to_string()).collect();
        std::fs::write(bench.text(), ids.join(" ")).unwrap();
        bench
    }

    pub fn text(&self) -> PathBuf {
        self.folder.path().join("ids")
    }

    /// A method's first sample on this checkpoint, or why there is none.
    pub fn sample(&mut self, id: &str, other: &str) -> Result<Asked, String> {
        let method = find(id).unwrap();
        // There is a text for checkpoints that read none of their own.
        let card = Card { tokenizer: "ids".into(), ..self.opened.card.clone() };
        if let Some(cause) = method.unavailable(&card.spec) {
            return Err(cause.into());
        }
        let sample = (method.samples)(&card).into_iter().next().ok_or("it has no sample here")?;
        let context = card.spec.context;
        let subject = match sample.subject {
            Subject::Text(None) if self.opened.engine.tokenizer.is_none() => Subject::Text(Some(self.text())),
            subject => subject,
        };
        let mut asked = Asked::new(method, subject, &sample.plan);
        asked.ask = sample.ask;
        let other: Value = serde_json::from_str(other).unwrap();
        asked.ask.extend(other.as_object().unwrap().clone());
        if let Some(length) = asked.ask.get_mut("length").filter(|n| n.as_u64() > Some(context as u64)) {
            *length = context.into();
        }
        if let Subject::Prompt(prompt) = &asked.subject {
            let input = self.opened.engine.input(prompt).unwrap();
            asked.picks = (sample.picks)(&self.opened.engine.tokens(&input));
        }
        asked.folder = self.folder.path().join("files");
        Ok(asked)
    }

    fn start(&mut self, asked: &Asked, cancelled: Cancelled) -> Result<Running> {
        let Opened { engine, card } = &mut self.opened;
        Running::start(asked.clone(), engine, card, cancelled)
    }

    /// Driven as the command line does.
    fn finish(&mut self, asked: &Asked, cancelled: Cancelled) -> Result<Findings> {
        let mut running = self.start(asked, cancelled)?;
        while !running.is_done() {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            running.step(&mut self.opened.engine, cancelled)?;
        }
        Ok(running.findings(&self.opened.engine))
    }

    pub fn record(&mut self, asked: &Asked, folder: &Path, existing: Existing) -> Result<Record> {
        prepare(folder, existing)?;
        let Opened { engine, card } = &mut self.opened;
        Record::start(Ready::new(asked.clone(), engine)?, engine, card, (folder, existing), &never)
    }

    /// Step until something more was done. Whether it ended.
    pub fn advance(&mut self, record: &mut Record) -> bool {
        let before = record.running().progress();
        loop {
            let ended = record.step(&mut self.opened.engine, &never).unwrap();
            if ended || record.running().progress() != before {
                return ended;
            }
        }
    }
}

/// Every method, and some in other ways, on every checkpoint that has what they need; none is left out everywhere.
pub fn each(mut check: impl FnMut(&str, &mut Bench, Asked)) {
    let mut ran = BTreeSet::new();
    let own = METHODS.iter().map(|method| (method.id, "{}"));
    let all: Vec<(&str, &str)> = own.chain(VARIANTS).collect();
    for name in CHECKPOINTS {
        let bench = &mut Bench::new(name);
        for (id, other) in &all {
            match bench.sample(id, other) {
                Ok(asked) => {
                    check(&format!("{id} {other} on {name}"), bench, asked);
                    ran.insert(*id);
                }
                Err(cause) => println!("skipped: {id} on {name}, {cause}"),
            }
        }
    }
    assert_eq!(ran, METHODS.iter().map(|method| method.id).collect());
}

/// findings.json less what it cost, and the names of files.
fn json(findings: &Findings) -> Value {
    let mut json: Value = serde_json::from_str(&findings.json(&|_| Vec::new()).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("cost").unwrap();
    json
}

/// Records of a CSV file, after the comments that say where they come from.
fn records(csv: &str) -> Vec<Vec<String>> {
    let said = csv.split_inclusive('\n').take_while(|line| line.starts_with("# ")).map(str::len).sum();
    let (comments, csv) = csv.split_at(said);
    for name in
        ["# sluice: ", "# figure: ", "# checkpoint: ", "# prompt: ", "# plan: ", "# method: ", "# ask: "]
    {
        assert!(comments.contains(name), "{name} in {comments}");
    }
    let (mut all, mut record, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut characters = csv.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                all.push(std::mem::take(&mut record));
            }
            character => field.push(character),
        }
    }
    assert!(record.is_empty() && field.is_empty() && !quoted, "a record is torn");
    all
}

fn check_figure(figure: &Figure, what: &str) {
    let what = format!("{what}: {}", figure.stem());
    let bytes = |format| export::bytes(figure, format, Ground::Light).unwrap();
    let svg = String::from_utf8(bytes(Format::Svg)).unwrap();
    let tree = resvg::usvg::Tree::from_str(&svg, &resvg::usvg::Options::default());
    assert!(tree.is_ok_and(|tree| tree.size().width() > 0.0), "{what}");
    let picture = image::load_from_memory(&bytes(Format::Png)).unwrap();
    assert!(picture.width() > 0 && picture.height() > 0, "{what}");
    let csv = records(&String::from_utf8(bytes(Format::Csv)).unwrap());
    let (rows, columns) = match &figure.plot {
        Plot::Map(map) => {
            let (rows, cols) = (map.rows.labels.len(), map.cols.labels.len());
            assert_eq!(map.values.len(), rows * cols, "{what}");
            (rows, 1 + cols * (1 + usize::from(map.text.is_some())))
        }
        Plot::Lines(lines) => {
            assert!(lines.series.iter().all(|series| series.y.len() == lines.x_labels.len()), "{what}");
            (lines.x_labels.len(), 1 + lines.series.len())
        }
        Plot::Bars(bars) => {
            let texts = bars.series.iter().filter(|series| series.text.is_some()).count();
            (bars.rows.labels.len(), 1 + bars.series.len() + texts)
        }
        Plot::Table(table) => (table.rows.len(), table.columns.len()),
    };
    assert_eq!(csv.len(), 1 + rows, "{what}");
    assert!(rows > 0 && csv.iter().all(|record| record.len() == columns), "{what}");
    assert!(!figure.title.is_empty() && !figure.provenance.checkpoint.is_empty(), "{what}");
}

#[test]
fn every_method_ends_with_facts_figures_and_findings() {
    each(|what, bench, asked| {
        let findings = bench.finish(&asked, &never).unwrap();
        assert!(findings.done, "{what}");
        let facts = findings.found.facts();
        assert!(!facts.is_empty() && facts.iter().all(|fact| fact.value.is_finite()), "{what}: {facts:?}");
        let figures = findings.found.figures();
        let stems: BTreeSet<String> = figures.iter().map(|figure| figure.stem()).collect();
        assert!(!figures.is_empty() && stems.len() == figures.len(), "{what}: files of one name");
        figures.iter().for_each(|figure| check_figure(figure, what));
        let text = findings.json(&|figure| vec![figure.stem()]).unwrap();
        let json: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(json.keys().map(String::as_str).collect::<Vec<_>>(), KEYS, "{what}");
        assert_eq!((&json["version"], &json["done"]), (&json!(1), &json!(true)), "{what}");
        assert_eq!(json["method"], asked.method.id);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&json["checkpoint"]), ["fingerprint", "name"]);
        assert_eq!(keys(&json["cost"]), ["operations", "rows", "seconds"]);
        let subject = match asked.subject {
            Subject::Prompt(_) => &["prompt", "texts", "tokens"][..],
            _ => &["file", "sha256"],
        };
        assert_eq!(keys(&json["subject"]), subject, "{what}");
        let mut fields: Vec<&str> = asked.method.fields.iter().map(|field| field.name).collect();
        fields.sort_unstable();
        assert_eq!(keys(&json["ask"]), fields, "{what}: every parameter, defaults filled in");
        for fact in json["facts"].as_array().unwrap() {
            assert_eq!(keys(fact), ["high", "low", "name", "unit", "value"], "{what}");
        }
        for (shown, figure) in json["figures"].as_array().unwrap().iter().zip(&figures) {
            assert_eq!(keys(shown), ["files", "id", "title"], "{what}");
            assert_eq!((&shown["id"], &shown["files"]), (&json!(figure.stem()), &json!([figure.stem()])));
        }
        assert!(!json["data"].as_object().unwrap().is_empty(), "{what}");
        // A view may find its runs kept.
        let is_view = VIEWS.contains(&asked.method);
        assert!(is_view || json["cost"]["operations"].as_u64() > Some(0), "{what}");
    });
}

/// Written again by `SLUICE_WRITE_DOCS=1 cargo nextest run -p sluice-core document`.
#[test]
fn the_document_of_methods_is_written_from_the_list() {
    let path = golden().join("../../../docs/methods.md");
    let text = document();
    if std::env::var_os("SLUICE_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == text, "docs/methods.md is not what the list says");
    for method in METHODS {
        assert!(text.contains(&format!("### `{}`", method.id)), "{}", method.id);
    }
}

#[test]
fn the_document_of_findings_names_every_key() {
    let text = std::fs::read_to_string(golden().join("../../../docs/findings.md")).unwrap();
    let rows = |id: &str| -> String {
        text.lines().filter(|line| line.starts_with(&format!("| `{id}`"))).collect::<Vec<_>>().concat()
    };
    each(|what, bench, asked| {
        let findings = bench.finish(&asked, &never).unwrap();
        let json = json(&findings);
        let mut described = rows(asked.method.id);
        assert!(!described.is_empty(), "{what}: no row");
        if described.contains("as `oracle`") {
            described += &rows("oracle");
        }
        for key in json["data"].as_object().unwrap().keys() {
            assert!(described.contains(&format!("`{key}`")), "{what}: {key} is not described");
        }
    });
}

#[test]
fn equal_questions_have_equal_findings_in_script_and_window() {
    let mut client: Option<(PathBuf, Client)> = None;
    each(|what, bench, asked| {
        let first = json(&bench.finish(&asked, &never).unwrap());
        assert_eq!(json(&bench.finish(&asked, &never).unwrap()), first, "{what}");
        if client.as_ref().is_none_or(|(open, _)| *open != bench.path) {
            let new = Client::new();
            new.open(&bench.path.to_string_lossy());
            client = Some((bench.path.clone(), new));
        }
        let (_, client) = client.as_ref().unwrap();
        client.worker.send(Request::Study(Box::new(asked.into())));
        assert_eq!(json(&client.until(whole)), first, "{what}");
    });
}

#[test]
fn a_cancelled_run_stops_and_leaves_nothing_behind() {
    let mut case = 0;
    each(|what, bench, asked| {
        let asks = Cell::new(0);
        let count = || {
            asks.set(asks.get() + 1);
            false
        };
        let first = json(&bench.finish(&asked, &never).unwrap());
        // What the engine keeps by now is not asked about again.
        bench.finish(&asked, &count).unwrap();
        case += 1;
        let last = rng::bits(6, 0, case) % asks.take();
        let cancelled = || asks.replace(asks.get() + 1) >= last;
        let stopped = bench.finish(&asked, &cancelled);
        assert!(matches!(stopped, Err(Error::Cancelled)), "{what}: {stopped:?}");
        assert_eq!(json(&bench.finish(&asked, &never).unwrap()), first, "{what}");
    });
}

/// What `sluice methods` prints of them is whole, and no name stands for two.
#[test]
fn methods_say_what_they_are() {
    let mut names = BTreeSet::new();
    for method in METHODS {
        let kebab = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(kebab(method.id), "{}", method.id);
        for name in [method.id].into_iter().chain(method.aliases.iter().copied()) {
            assert!(names.insert(name), "{name} stands for two methods");
            assert_eq!(find(name), Some(*method));
        }
        assert!(method.title.ends_with('?') && !method.line.is_empty(), "{}", method.id);
        for field in method.fields {
            assert!(!field.help.is_empty(), "{} {}", method.id, field.name);
            let default = (field.default)();
            let (Some(number), what) = (default.as_f64(), format!("{} {}", method.id, field.name)) else {
                continue;
            };
            assert!(field.min.is_none_or(|min| number >= min), "{what}");
            assert!(field.max.is_none_or(|max| number <= max), "{what}");
        }
    }
}

/// Every method that runs the model ends with the site of the first NaN.
#[test]
fn weights_that_are_no_numbers_end_every_method() {
    for (family, tensor) in [
        ("llama", "model.layers.0.mlp.down_proj.weight"),
        ("mixtral", "model.layers.1.self_attn.o_proj.weight"),
    ] {
        let folder = poisoned(family, tensor);
        let mut bench = Bench::new(folder.path().to_str().unwrap());
        let mut ended = 0;
        for method in METHODS {
            let Ok(asked) = bench.sample(method.id, "{}") else { continue };
            match bench.finish(&asked, &never) {
                Err(Error::NotFinite { what: "NaN", items, .. }) => {
                    assert!(items.is_empty(), "{}", method.id);
                }
                Err(error) => panic!("{} on {family}: {error}", method.id),
                Ok(_) => panic!("{} on {family} has findings", method.id),
            }
            ended += 1;
        }
        assert!(ended > 8, "{family}: {ended}");
    }
}
