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
        let help = flags(help);
        for flag in flags(line) {
            assert!(help.contains(&flag), "{flag} is no flag in: {line}");
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
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::create_dir(folder.path().join("full")).unwrap();
    file("full/findings.json", b"{}");
    let llama = golden("llama").canonicalize().unwrap();
    let llama = llama.to_str().unwrap();
    let trace: &[&str] = &["study", "trace", "--prompt", "A fox and a fox.", "--out", "o", "--corrupt"];
    let with = |more: &'static str| [trace, &[more]].concat();
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
        (&["bench", "nonsense", "more"], 1, &["more", "engine, frames"]),
        // Numbers.
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
        (&["run", "--prompt-file", "latin.txt"], 1, &["latin.txt", "byte 3 is not UTF-8", "UTF-8"]),
        (&["run", "--prompt", "x", "--chat"], 1, &["no chat template", "leave out --chat"]),
        (&["report", "--chat", "--out", "o"], 2, &["--prompt <TEXT>|--prompt-file <FILE>|"]),
        (&["run", "--prompt", "x", "--image", "missing.png"], 1, &["missing.png", "check the path"]),
        (&["run", llama, "--tokens", "1", "--image", "latin.txt"], 1, &["latin.txt", "PNG"]),
        // Folders, plans, sites and files.
        (&["run", "/nowhere", "--prompt", "x"], 1, &["/nowhere", "check the path"]),
        (&["inspect", "empty"], 1, &["empty", "config.json"]),
        (&["run", "--prompt", "x", "--plan", "cut.json"], 1, &["plan"]),
        (&["run", "--prompt", "x", "--plan", "kind.json"], 1, &["skpi", "docs/plan.md"]),
        (&["run", "--prompt", "x", "--plan", "deep.json"], 1, &["plan", "99"]),
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
