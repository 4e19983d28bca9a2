//! What the command line says: help that the README agrees with, manual pages, and messages that a newcomer can act on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::support::{golden, sluice, text};

fn help(command: &[&str]) -> String {
    let output = sluice(Path::new("."), &[command, &["--help"]].concat());
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The names that a help text lists under "Commands:".
fn commands(help: &str) -> BTreeSet<String> {
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .filter(|name| name != "help")
        .collect()
}

/// The names that a help text lists under "Arguments:", in lower case.
fn arguments(help: &str) -> BTreeSet<String> {
    let lines = help.lines().skip_while(|line| *line != "Arguments:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    names.map(|name| name.trim_matches(['[', ']', '<', '>', '.']).to_lowercase()).collect()
}

/// Words of a line of usage that stand for an argument, not for a flag's value: in capitals, behind no flag.
fn positional(line: &str) -> Vec<&str> {
    let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| !pair[0].trim_start_matches('[').starts_with("--"));
    let words = pairs.filter_map(|pair| pair[1].trim_matches(['[', ']']).split('|').next());
    words.filter(|word| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase())).collect()
}

/// The long flags in a text.
fn flags(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let flags = words.filter(|word| word.len() > 2 && word.starts_with("--") && !word.starts_with("---"));
    flags.map(str::to_owned).collect()
}

#[test]
fn the_readme_and_the_help_agree() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let usage = readme.split("The same from scripts").nth(1).unwrap().split("## ").next().unwrap();
    let known = commands(&help(&[]));
    assert!(known.len() >= 13 && known.contains("tokens"), "{known:?}");
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for line in usage.lines().filter(|line| line.starts_with("sluice ")) {
        let mut words = line.split_whitespace().skip(1);
        let first = words.next().filter(|word| !word.starts_with('[')).unwrap_or_default();
        let command = match first {
            "" => vec![],
            "study" => vec!["study", words.next().unwrap()],
            other => vec![other],
        };
        assert!(first.is_empty() || known.contains(first), "{line}");
        let help = seen.entry(command.join(" ")).or_insert_with(|| help(&command));
        let flagged = flags(help);
        for flag in flags(line) {
            assert!(flagged.contains(&flag), "{flag} is no flag in: {line}");
        }
        for word in positional(line) {
            assert!(arguments(help).contains(&word.to_lowercase()), "{word} is no argument in: {line}");
        }
    }
    let named: BTreeSet<String> =
        seen.keys().filter_map(|name| name.split(' ').next().map(str::to_owned)).collect();
    let missing: Vec<&String> = known.iter().filter(|name| !named.contains(*name)).collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
    // What the text around the usage names exists somewhere.
    let all: BTreeSet<String> = seen.values().flat_map(|help| flags(help)).collect();
    let prose: String =
        usage.lines().filter(|line| !line.starts_with("sluice ")).collect::<Vec<_>>().join("\n");
    for flag in flags(&prose) {
        assert!(all.contains(&flag), "{flag}");
    }
}

#[test]
fn completions_and_manual_know_every_subcommand() {
    let folder = tempfile::tempdir().unwrap();
    let known = commands(&help(&[]));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = sluice(folder.path(), &["completions", shell]);
        let script = text(&output.stdout);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
        for name in known.iter().map(String::as_str).chain(["leave-one-out", "prompt-file", "max-new-tokens"])
        {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
    let page = text(&sluice(folder.path(), &["man"]).stdout);
    assert!(page.starts_with(".ie") && page.contains(".TH sluice 1"), "{}", &page[..200]);
    assert!(sluice(folder.path(), &["man", "--out", "pages"]).status.success());
    for name in known.iter().cloned().chain(["study-trace".into(), "study-head-sweep".into()]) {
        let page = fs::read_to_string(folder.path().join(format!("pages/sluice-{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    assert!(folder.path().join("pages/sluice.1").is_file());
}

#[test]
fn a_report_is_of_a_prompt_a_plan_and_some_methods() {
    let folder = tempfile::tempdir().unwrap();
    let plan = r#"{"version":1,"items":[{"kind":"skip","layer":3,"part":"ffn"}]}"#;
    fs::write(folder.path().join("plan.json"), plan).unwrap();
    let prompt = "- Zavik feeds the otter.";
    let arguments = [
        "report",
        "--prompt",
        prompt,
        "--plan",
        "plan.json",
        "--only",
        "next-tokens,lens,text",
        "--out",
        "r",
    ];
    let output = sluice(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut names: Vec<String> = fs::read_dir(folder.path().join("r"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".svg"))
        .collect();
    names.sort();
    assert_eq!(names, ["lens-plan.svg", "next-tokens.svg", "text.svg"]);
    let svg = fs::read_to_string(folder.path().join("r/next-tokens.svg")).unwrap();
    assert!(svg.contains("Zavik") && svg.contains("take out FFN 3"), "{svg}");
}

#[test]
fn every_method_says_what_it_does() {
    let methods = help(&["study"]);
    for line in methods.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|l| !l.is_empty())
    {
        let (id, about) = line.trim().split_once(' ').unwrap();
        assert!(id == "help" || about.contains("? "), "{line}");
        assert!(id == "help" || help(&["study", id]).starts_with(about.trim()), "{id}");
    }
}

#[test]
fn names_numbers_and_heads_of_what_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = sluice(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let facts = |name: &str| -> Vec<(String, f64)> {
        let found: serde_json::Value = serde_json::from_str(&read(name)).unwrap();
        let fact = |fact: &serde_json::Value| {
            (fact["name"].as_str().unwrap().to_owned(), fact["value"].as_f64().unwrap_or(f64::NAN))
        };
        found["facts"].as_array().unwrap().iter().map(fact).collect()
    };
    // True texts in names, one name whatever comes out, and what was marked in the head of the CSV.
    let prompt = ["--prompt", "Once upon a time", "--out"];
    run(&[&["study", "trace", "--corrupt", "1", "--seeds", "2"], &prompt[..], &["t"]].concat());
    let found = facts("t/findings.json");
    let change = found.iter().find(|(name, _)| name.starts_with("change of P(\"")).unwrap().1;
    let of = |end: &str| found.iter().find(|(name, _)| name.ends_with(end)).unwrap().1;
    assert!((change - (of(") corrupted") - of(") clean"))).abs() < 1e-4, "{found:?}");
    assert!(!read("t/findings.json").contains('·'));
    assert!(read("t/trace-residual.csv").contains("# picks: {\"corrupt\":[1]}"));
    // Ids are whole numbers.
    let (table, _) = run(&[&["study", "next-tokens"], &prompt[..], &["n"]].concat());
    let row = table.lines().skip_while(|line| !line.starts_with("Token")).nth(1).unwrap();
    assert!(row.split_whitespace().nth(1).unwrap().parse::<u32>().is_ok(), "{row}");
    // An FFN that is taken out costs nothing: one of eight.
    let plan = r#"{"version":1,"items":[{"kind":"skip","layer":3,"part":"ffn"},{"kind":"skip","layer":4,"part":"attn"}]}"#;
    fs::write(folder.path().join("plan.json"), plan).unwrap();
    run(&[&["study", "routing-map", "--plan", "plan.json"], &prompt[..], &["m"]].concat());
    let cost =
        facts("m/findings.json").into_iter().find(|(name, _)| name.starts_with("FFN FLOPs")).unwrap().1;
    assert!((cost - 0.875).abs() < 1e-9, "{cost}");
    // Three maps of one corruption warn once.
    let (_, said) = run(&[&["report", "--only", "trace"], &prompt[..], &["r"]].concat());
    assert_eq!(said.matches("warning: ").count(), 1, "{said}");
}

/// Arguments, exit code, and what a newcomer reads: the cause and what to do.
type Wrong<'a> = (&'a [&'a str], i32, &'a [&'a str]);

#[test]
fn wrong_inputs_are_answered_with_a_cause_and_a_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    file("cut.json", br#"{"version":1,"items":[{"kind":"skip""#);
    file("kind.json", br#"{"version":1,"items":[{"kind":"skpi","layer":1,"part":"ffn"}]}"#);
    file("deep.json", br#"{"version":1,"items":[{"kind":"skip","layer":99,"part":"ffn"}]}"#);
    file("latin.txt", b"caf\xE9");
    file("words.txt", b"once upon");
    let item = |name: &str, item: &str| {
        file(&format!("{name}.json"), format!(r#"{{"version":1,"items":[{item}]}}"#).as_bytes());
    };
    file("list.json", b"[]");
    item("part", r#"{"kind":"skip","layer":"x","part":"ffn"}"#);
    item("sitee", r#"{"kind":"ablate","sitee":"hook_embed"}"#);
    item("quiet", r#"{"kind":"corrupt","noise":{"sigma":-3}}"#);
    item("below", r#"{"kind":"threshold","value":-1}"#);
    item("targets", r#"{"kind":"iri","attn":{"recovery":[1,1,1,1,1,1,1,1],"targets":99}}"#);
    let from = |tensor: &str| {
        let source = format!(r#"{{"file":{{"path":"side.safetensors","tensor":"{tensor}"}}}}"#);
        format!(r#"{{"kind":"patch","site":"hook_embed","source":{source}}}"#)
    };
    item("tensor", &from("vectr"));
    item("ints", &from("ints"));
    item(
        "glob",
        r#"{"kind":"add","site":"hook_embed","source":"base","from_site":"blocks.*.hook_resid_post"}"#,
    );
    let header = concat!(
        r#"{"ints":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"#,
        r#""vector":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#
    );
    let side = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 12]].concat();
    file("side.safetensors", &side);
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::create_dir(folder.path().join("full")).unwrap();
    file("full/findings.json", b"{}");
    let llama = golden("llama").canonicalize().unwrap();
    let llama = llama.to_str().unwrap();
    let trace: &[&str] = &["study", "trace", "--prompt", "A fox and a fox.", "--out", "o", "--corrupt"];
    let with = |more: &'static str| [trace, &[more]].concat();
    let view = |id: &'static str, flag: &'static str, value: &'static str| {
        ["study", id, "--prompt", "x", "--out", "o", flag, value]
    };
    let under = |plan: &'static str| ["run", "--prompt", "x", "--plan", plan];
    let (twice, nobody, past, none) = (with(" fox"), with("wolf"), with("99"), with("3..3"));
    let cases: &[Wrong] = &[
        // Names of commands, methods and flags.
        (&["studdy"], 2, &["\"studdy\" is no subcommand and no folder", "did you mean `sluice study`"]),
        (&["genrate", "--prompt", "x"], 2, &["did you mean `sluice generate`"]),
        (&["token", "--prompt", "x"], 2, &["did you mean `sluice tokens`"]),
        (&["trace", "--prompt", "x"], 2, &["did you mean `sluice study trace`"]),
        (&["study", "traec", "--prompt", "x"], 2, &["traec", "'trace'"]),
        (&["study"], 2, &["Usage", "trace"]),
        (&["run", "--promt", "x"], 2, &["--promt", "'--prompt'"]),
        (
            &["generate", "--prompt", "x", "--max-new-token", "5"],
            2,
            &["'--max-new-token'", "'--max-new-tokens'"],
        ),
        (&["run"], 2, &["--prompt <TEXT>|--prompt-file <FILE>|--tokens <IDS>"]),
        (&["run", "--prompt", "x", "--tokens", "1"], 2, &["cannot be used with"]),
        (&["study", "trace", "--prompt", "x", "--out", "o"], 2, &["--corrupt"]),
        (&["study", "trace", "--prompt", "x", "--corrupt", "1"], 2, &["--out"]),
        (
            &["study", "trace", "--prompt", "x", "--corrupt", "1", "--out", "o", "--restore", "atn"],
            2,
            &["atn", "attn"],
        ),
        (&["report", "--only", "trase", "--out", "o"], 1, &["--only trase", "did you mean trace?"]),
        (&["report", "--only", "zzzz", "--out", "o"], 1, &["--only zzzz", "`sluice methods` lists them"]),
        (
            &["report", llama, "--only", "experts", "--out", "o"],
            1,
            &["experts: this checkpoint has no experts", "--only"],
        ),
        (&["completions", "bsh"], 2, &["bsh", "'bash'"]),
        (&["bench", "nonsense", "more"], 1, &["more", "engine, product"]),
        (&["studdy", "lens", "--prompt", "x"], 2, &["did you mean `sluice study`"]),
        // Layers, heads, neurons and positions of a view.
        (
            &view("attention", "--layer", "99"),
            1,
            &["no layer 99: this checkpoint has layers 0 to 7", "(--layer)"],
        ),
        (
            &view("attention", "--head", "99"),
            1,
            &["no head 99: layer 0 has heads 0 to 3", "a head from 0 to 3"],
        ),
        (&view("activations", "--layer", "8"), 1, &["no layer 8", "a layer from 0 to 7"]),
        (&view("neuron", "--layer", "8"), 1, &["no layer 8", "a layer from 0 to 7"]),
        (&view("neuron", "--neuron", "9999"), 1, &["no neuron 9999: layer 0 has neurons 0 to", "(--neuron)"]),
        (
            &view("next-tokens", "--position", "99"),
            1,
            &["no position 99: the prompt has positions 0 to 2", "a position from 0 to 2"],
        ),
        (&view("next-tokens", "--position", "-1"), 1, &["--position -1", "a whole number from 0 on"]),
        // Texts of studies.
        (&["study", "prune", "--text", "nofile", "--out", "o"], 1, &["nofile", "check the path"]),
        (
            &["study", "prune", llama, "--out", "o"],
            1,
            &["no tokenizer to read the sample text", "--text a file of token ids"],
        ),
        (
            &["study", "routes", "--length", "257", "--out", "o"],
            1,
            &["pieces of 257 tokens are past the context of 256", "at most 256 tokens (--length)"],
        ),
        (
            &["study", "prune", "--share", "0", "--out", "o"],
            1,
            &["no sublayer is to go: 0 of 16", "--removals"],
        ),
        // Marks that do not go together.
        (
            &["study", "fcct", "--prompt", "A fox ran.", "--context", "1", "--object", "3", "--out", "o"],
            1,
            &[
                "position 3 is marked as the object but is not among the words",
                "mark the object at 1 (--object)",
            ],
        ),
        (
            &["study", "fcct", "--prompt", "A fox ran.", "--out", "o"],
            1,
            &["no position is marked as context", "mark them (--context), or give the prompt a picture"],
        ),
        (&with("1-2"), 1, &["positions are written 5..9,12"]),
        (
            &[
                "study",
                "trace",
                "--prompt",
                "x",
                "--corrupt",
                "1",
                "--out",
                "o",
                "--noise",
                "words.txt",
                "--seeds",
                "3",
            ],
            1,
            &["sigma, seed and seeds are of noise that is drawn", "leave out"],
        ),
        (
            &["study", "next-tokens", "--prompt", "x", "--answer", "id:x", "--out", "o"],
            1,
            &["id: is followed by"],
        ),
        // Numbers.
        (&["generate", "--prompt", "x", "--max-new-tokens", "-1"], 2, &["-1", "a whole number from 0 on"]),
        (&["generate", "--prompt", "x", "--seed", "-1"], 2, &["'-1'", "a whole number from 0 on"]),
        (&["run", "--prompt", "x", "--top", "x"], 2, &["--top", "a whole number from 0 on"]),
        (&["--memory", "-1", "run", "--prompt", "x"], 2, &["--memory", "a whole number from 1 on"]),
        (&["run", "--tokens", "1,x"], 2, &["x", "token ids are whole numbers, separated by commas"]),
        (&["run", "--tokens", "-5"], 2, &["-5", "token ids are whole numbers"]),
        (&["run", llama, "--tokens", "5000"], 1, &["5000", "vocabulary"]),
        (
            &["generate", "--prompt", "x", "--temperature", "-1"],
            1,
            &["--temperature: -1 is", "0 (greedy) or above"],
        ),
        (&["generate", "--prompt", "x", "--top-p", "2"], 1, &["--top-p: 2 is", "at most 1"]),
        (&["generate", "--prompt", "x", "--max-new-tokens", "many"], 2, &["many", "--max-new-tokens"]),
        (
            &["study", "trace", "--prompt", "x", "--corrupt", "1", "--out", "o", "--sigma", "11"],
            1,
            &["sigma", "from 0 to 10"],
        ),
        (
            &["study", "trace", "--prompt", "x", "--corrupt", "1", "--out", "o", "--window", "two"],
            1,
            &["--window two", "whole number"],
        ),
        (&["--memory", "0", "run", "--prompt", "x"], 2, &["--memory", "0"]),
        // Positions and answers.
        (&twice, 1, &["\" fox\" occurs 2 times", "\" fox#1\" to \" fox#2\""]),
        (&nobody, 1, &["\"wolf\" does not occur in the prompt; its tokens are 0 <s>"]),
        (&past, 1, &["no position 99", "its tokens are"]),
        (&none, 1, &["\"3..3\" has no position"]),
        (
            &["study", "next-tokens", llama, "--tokens", "1", "--answer", " Paris", "--out", "o"],
            1,
            &["no tokenizer", "id:26"],
        ),
        (
            &["study", "next-tokens", llama, "--tokens", "1", "--answer", "id:96", "--out", "o"],
            1,
            &["96", "vocabulary of 96"],
        ),
        // Prompts.
        (&["run", llama, "--prompt", "text"], 1, &["no tokenizer", "token ids"]),
        (&["run", "--prompt-file", "missing.txt"], 1, &["missing.txt", "check the path"]),
        (
            &["run", "--prompt-file", "latin.txt"],
            1,
            &["latin.txt", "it is no text in UTF-8 from byte 3 on", "UTF-8"],
        ),
        (&["run", "--prompt", "x", "--chat"], 1, &["no chat template", "leave out --chat"]),
        (&["report", "--chat", "--out", "o"], 2, &["--prompt <TEXT>|--prompt-file <FILE>|"]),
        (&["run", "--prompt", "x", "--image", "missing.png"], 1, &["missing.png", "check the path"]),
        (&["run", llama, "--tokens", "1", "--image", "latin.txt"], 1, &["latin.txt", "PNG"]),
        // Folders, plans, sites and files.
        (&["run", "/nowhere", "--prompt", "x"], 1, &["/nowhere", "check the path"]),
        (&["run", "words.txt", "--prompt", "x"], 1, &["words.txt: is a file", "--prompt-file"]),
        (&["inspect", "empty"], 1, &["empty", "config.json"]),
        (&["run", "--prompt", "x", "--plan", "cut.json"], 1, &["plan"]),
        (&["run", "--prompt", "x", "--plan", "kind.json"], 1, &["skpi", "docs/plan.md"]),
        (&["run", "--prompt", "x", "--plan", "deep.json"], 1, &["plan", "99"]),
        (
            &["run", "--prompt", "x", "--plan", "side.safetensors"],
            1,
            &["is no text, and a plan is JSON", "plan file"],
        ),
        (&["run", "--prompt", "x", "--plan", "words.txt"], 1, &["is no valid JSON", "plan file"]),
        (&under("list.json"), 1, &["a plan is an object, not a list", "plan file"]),
        (&under("part.json"), 1, &["items[0].layer: a whole number from 0 on is needed, not \"x\""]),
        (&under("sitee.json"), 1, &["items[0].sitee is not a field here: did you mean site"]),
        (&under("quiet.json"), 1, &["sigma of noise is 0 or more"]),
        (&under("below.json"), 1, &["a threshold is 0 or more, not -1"]),
        (&under("targets.json"), 1, &["iri.attn.targets is 99, this model has 8 layers"]),
        (&under("tensor.json"), 1, &["no tensor \"vectr\": did you mean \"vector\"", "\"ints\", \"vector\""]),
        (&under("ints.json"), 1, &["\"ints\" is of dtype I64", "F32, F16, BF16 or F64"]),
        (&under("glob.json"), 1, &["\"blocks.*.hook_resid_post\" stands for several sites"]),
        (&["run", "--prompt", "x", "--plan", "missing.json"], 1, &["missing.json", "check the path"]),
        (
            &["run", "--prompt", "x", "--capture", "*.hook_nothing", "--out", "o.safetensors"],
            1,
            &["*.hook_nothing", "TransformerLens name"],
        ),
        (&["run", "--prompt", "x", "--capture", "*"], 2, &["--out"]),
        (
            &["study", "lens", "--prompt", "x", "--out", "full"],
            1,
            &["holds findings already", "--resume", "--overwrite"],
        ),
        (
            &["study", "experts", llama, "--text", "words.txt", "--out", "o"],
            1,
            &["this checkpoint has no experts"],
        ),
        (&["tokens", llama, "--text", "words.txt"], 1, &["\"once\" is not a token id"]),
    ];
    assert!(cases.len() >= 40);
    for (arguments, code, needles) in cases {
        let output = sluice(folder.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {said}");
        for needle in *needles {
            assert!(said.contains(needle), "{arguments:?}: \"{needle}\" is not in: {said}");
        }
        // A failure is one line with its next step, and nothing is on stdout.
        let causes = said.lines().filter(|line| line.contains("; ")).count();
        assert!(*code == 2 || causes == 1, "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", text(&output.stdout));
    }
}
