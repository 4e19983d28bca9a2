//! The order of core's rooms, and no circle between its files: read from the sources' own imports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A room imports from those before it. Also in the docs of core/src/lib.rs.
const ORDER: [&str; 24] = [
    "error",
    "files",
    "records",
    "rng",
    "statistics",
    "metric",
    "spec",
    "checkpoint",
    "site",
    "figure",
    "model",
    "plan",
    "world",
    "engine",
    "learn",
    "score",
    "batch",
    "save",
    "method",
    "session",
    "protocol",
    "worker",
    "train",
    "evaluate",
];

/// A path as written, and the name that it is imported under; `*` for all names.
struct Import {
    path: Vec<String>,
    name: String,
}

/// A file of the sources.
struct Module {
    file: String,
    /// Without comments, texts, tests and imports.
    code: String,
    imports: Vec<Import>,
    children: BTreeMap<String, usize>,
    parent: Option<usize>,
}

struct Crate(Vec<Module>);

impl Crate {
    /// The modules that core/src/lib.rs declares, and theirs, but for tests.
    fn read() -> Self {
        let mut all = Self(Vec::new());
        all.add(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "lib.rs", None);
        all
    }

    fn add(&mut self, folder: PathBuf, name: &str, parent: Option<usize>) -> usize {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let path = folder.join(name);
        let file = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        let mut code = without_tests(&bare(&std::fs::read_to_string(&path).unwrap()));
        let imports = take_imports(&mut code);
        let number = self.0.len();
        self.0.push(Module { file, code: code.clone(), imports, children: BTreeMap::new(), parent });
        let inside = match name {
            "lib.rs" | "mod.rs" => folder,
            name => folder.join(name.trim_end_matches(".rs")),
        };
        for child in declared(&code) {
            let flat = inside.join(format!("{child}.rs"));
            let own = match flat.exists() {
                true => self.add(inside.clone(), &format!("{child}.rs"), Some(number)),
                false => self.add(inside.join(&child), "mod.rs", Some(number)),
            };
            self.0[number].children.insert(child, own);
        }
        number
    }

    /// The file that a path leads to from a module, through what is exported again; none for other crates and local names.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        if depth > 16 {
            return None;
        }
        let parent = |module: usize| self.0[module].parent;
        match first.as_str() {
            "crate" => self.walk(0, rest, depth),
            "self" => self.walk(from, rest, depth),
            "super" => match rest.first().is_some_and(|next| next == "super") {
                true => self.resolve(parent(from)?, rest, depth + 1),
                false => self.walk(parent(from)?, rest, depth),
            },
            _ => self.step(from, first, depth).and_then(|at| self.walk(at, rest, depth)),
        }
    }

    fn walk(&self, module: usize, path: &[String], depth: usize) -> Option<usize> {
        match path.split_first() {
            None => Some(module),
            Some((name, rest)) => match self.step(module, name, depth) {
                Some(next) => self.walk(next, rest, depth),
                // Defined here; what follows is inside of it.
                None => Some(module),
            },
        }
    }

    /// Where a name of a module is, if that is not the module.
    fn step(&self, module: usize, name: &str, depth: usize) -> Option<usize> {
        let here = &self.0[module];
        if let Some(child) = here.children.get(name) {
            return Some(*child);
        }
        if let Some(import) = here.imports.iter().find(|import| import.name == name) {
            return self.resolve(module, &import.path, depth + 1);
        }
        let all = here.imports.iter().filter(|import| import.name == "*");
        let mut all = all.filter_map(|import| self.resolve(module, &import.path, depth + 1));
        all.find_map(|of| match self.step(of, name, depth + 1) {
            Some(found) => Some(found),
            None => self.0[of].defines(name).then_some(of),
        })
    }

    /// Files that a module imports from, with the names.
    fn edges(&self, module: usize) -> BTreeMap<usize, BTreeSet<String>> {
        let here = &self.0[module];
        let mut paths: Vec<Vec<String>> = inline_paths(&here.code);
        for import in &here.imports {
            let leads = self.resolve(module, &import.path, 0);
            let names: Vec<String> = match leads {
                // All names that are exported again there, as far as they are used here.
                Some(at) if import.name == "*" => {
                    paths.push(import.path.clone());
                    let names = self.0[at].imports.iter().map(|import| &import.name);
                    names.filter(|name| here.words().any(|word| word == name.as_str())).cloned().collect()
                }
                // A module: what is used of it.
                Some(at) if self.0[at].is_named(&import.path) => used(&here.code, &import.name),
                _ => Vec::new(),
            };
            if names.is_empty() {
                paths.push(import.path.clone());
            }
            paths.extend(names.into_iter().map(|name| [import.path.clone(), vec![name]].concat()));
        }
        let mut edges: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for path in paths {
            if let Some(to) = self.resolve(module, &path, 0).filter(|to| *to != module) {
                edges.entry(to).or_default().insert(path.join("::"));
            }
        }
        edges
    }

    /// Whether one is the other's folder, however deep.
    fn is_within(&self, a: usize, b: usize) -> bool {
        let under = |mut module: usize, of: usize| {
            while let Some(parent) = self.0[module].parent {
                if parent == of {
                    return true;
                }
                module = parent;
            }
            false
        };
        under(a, b) || under(b, a)
    }
}

impl Module {
    fn room(&self) -> &str {
        self.file.split(['/', '.']).next().unwrap_or_default()
    }

    fn defines(&self, name: &str) -> bool {
        const KINDS: [&str; 9] = ["struct", "enum", "fn", "trait", "type", "const", "static", "union", "mod"];
        let words: Vec<&str> = self.words().collect();
        words.windows(2).any(|pair| KINDS.contains(&pair[0]) && pair[1] == name)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.code.split(|c: char| !is_word(c)).filter(|word| !word.is_empty())
    }

    /// Whether a path ends at this module itself.
    fn is_named(&self, path: &[String]) -> bool {
        let stem = self.file.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        path.last().is_some_and(|last| stem.rsplit('/').next() == Some(last))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Source without comments and texts.
fn bare(text: &str) -> String {
    let all: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    let is = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| all.get(at + i) == Some(&c));
    while at < all.len() {
        let begins = at == 0 || !is_word(all[at - 1]);
        if is(at, "//") {
            while at < all.len() && all[at] != '\n' {
                at += 1;
            }
        } else if is(at, "/*") {
            while at < all.len() && !is(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if begins && all[at] == 'r' && matches!(all.get(at + 1), Some('"' | '#')) {
            let hashes = all[at + 1..].iter().take_while(|c| **c == '#').count();
            if all.get(at + 1 + hashes) == Some(&'"') {
                let end = format!("\"{}", "#".repeat(hashes));
                at += 2 + hashes;
                while at < all.len() && !is(at, &end) {
                    at += 1;
                }
                at += end.len();
            } else {
                out.push(all[at]);
                at += 1;
            }
        } else if all[at] == '"' {
            at += 1;
            while at < all.len() && all[at] != '"' {
                at += 1 + usize::from(all[at] == '\\');
            }
            at += 1;
            out.push_str("\"\"");
        } else if all[at] == '\'' && (all.get(at + 1) == Some(&'\\') || all.get(at + 2) == Some(&'\'')) {
            at += 1 + usize::from(all[at + 1] == '\\') + 1;
            while at < all.len() && all[at] != '\'' {
                at += 1;
            }
            at += 1;
        } else {
            out.push(all[at]);
            at += 1;
        }
    }
    out
}

/// Less the items that are there for tests only.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::new();
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        out.push_str(&rest[..start]);
        let item = &rest[start + MARK.len()..];
        let mut depth = 0;
        let end = item.char_indices().find(|&(_, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0 && (c == ';' || c == '}')
        });
        rest = end.map_or("", |(end, _)| &item[end + 1..]);
    }
    out + rest
}

/// Names of `mod name;`.
fn declared(code: &str) -> Vec<String> {
    let statements = code.split(';');
    let name = |statement: &str| {
        let (before, name) = statement.rsplit_once("mod ")?;
        let own = before.chars().next_back().is_none_or(|c| !is_word(c));
        (own && name.trim().chars().all(is_word)).then(|| name.trim().to_owned())
    };
    statements.filter_map(name).collect()
}

/// Take the `use` statements out.
fn take_imports(code: &mut String) -> Vec<Import> {
    let mut imports = Vec::new();
    let mut out = String::new();
    let mut rest = code.as_str();
    while let Some(start) = rest.find("use ") {
        let (before, after) = (&rest[..start], &rest[start + 4..]);
        let own = before.chars().next_back().is_none_or(|c| !is_word(c));
        out.push_str(before);
        match (own, after.split_once(';')) {
            (true, Some((tree, after))) => {
                let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
                leaves(&tree, &[], &mut imports);
                rest = after;
            }
            _ => rest = after,
        }
    }
    out.push_str(rest);
    *code = out;
    imports
}

/// The paths of an import tree.
fn leaves(tree: &str, before: &[String], imports: &mut Vec<Import>) {
    let tree = tree.trim();
    if let Some((head, inner)) = tree.split_once('{') {
        let head: Vec<String> =
            head.split("::").map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect();
        let before = [before, &head].concat();
        let (mut depth, mut start) = (0, 0);
        let inner = inner.strip_suffix('}').unwrap_or(inner);
        for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if c == ',' && depth == 0 {
                leaves(&inner[start..at], &before, imports);
                start = at + 1;
            }
        }
        return;
    }
    if tree.is_empty() {
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
    let mut path: Vec<String> =
        before.iter().cloned().chain(path.split("::").map(|s| s.trim().to_owned())).collect();
    let last = path.last().cloned().unwrap_or_default();
    if last == "self" || last == "*" {
        path.pop();
    }
    let name = match (alias, last.as_str()) {
        (Some(alias), _) => alias.trim().to_owned(),
        (None, "self") => path.last().cloned().unwrap_or_default(),
        _ => last,
    };
    imports.push(Import { path, name });
}

/// `crate::a::b` and `super::a` in code.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for root in ["crate::", "super::"] {
        for (start, _) in code.match_indices(root) {
            let before = code[..start].chars().next_back();
            // Not of a macro's expansion, nor a visibility.
            if before.is_some_and(|c| is_word(c) || c == '$' || c == ':') || code[..start].ends_with("in ") {
                continue;
            }
            let end =
                code[start..].find(|c: char| !is_word(c) && c != ':').map_or(code.len(), |len| start + len);
            let path = code[start..end].trim_end_matches(':').split("::").map(str::to_owned);
            paths.push(path.collect());
        }
    }
    paths
}

/// Names that code uses of a module.
fn used(code: &str, module: &str) -> Vec<String> {
    let prefix = format!("{module}::");
    let uses = code.match_indices(&prefix).filter(|(start, _)| {
        let before = code[..*start].chars().next_back();
        before.is_none_or(|c| !is_word(c) && c != ':')
    });
    let name = |(start, _): (usize, &str)| {
        code[start + prefix.len()..].chars().take_while(|c| is_word(*c)).collect::<String>()
    };
    uses.map(name).filter(|name| !name.is_empty()).collect()
}

#[test]
fn rooms_import_from_those_before_them() {
    let all = Crate::read();
    let place = |room: &str| ORDER.iter().position(|known| *known == room);
    let mut against = BTreeSet::new();
    for module in all.0.iter().skip(1) {
        let own = place(module.room());
        assert!(own.is_some(), "{} has no place in the order of rooms", module.file);
        let of_imports = module.imports.iter().map(|import| &import.path);
        let inline = inline_paths(&module.code);
        for path in of_imports.chain(&inline) {
            let [root, room, ..] = path.as_slice() else { continue };
            if root == "crate" && all.0[0].children.contains_key(room) && place(room) > own {
                against.insert((module.file.clone(), room.clone()));
            }
        }
    }
    assert!(against.is_empty(), "imports against the order {}: {against:?}", ORDER.join(" < "));
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let docs: Vec<&str> = docs.lines().filter_map(|line| line.strip_prefix("//! ")).collect();
    assert!(docs.join(" ").contains(&ORDER.join(" < ")), "core/src/lib.rs has another order");
}

/// A folder's `mod.rs` and the files in it count as one where they import from each other.
#[test]
fn no_files_import_from_each_other_in_a_circle() {
    let all = Crate::read();
    assert!(all.0.len() > 150, "{} files", all.0.len());
    let edges: Vec<BTreeMap<usize, BTreeSet<String>>> = (0..all.0.len())
        .map(|module| {
            let mut edges = all.edges(module);
            edges.retain(|to, _| *to != 0 && module != 0 && !all.is_within(module, *to));
            edges
        })
        .collect();
    // Through names that a folder exports, modules by name, and paths in code.
    let has = |from: &str, to: &str| {
        let file = |name: &str| all.0.iter().position(|module| module.file == name).unwrap();
        edges[file(from)].contains_key(&file(to))
    };
    assert!(has("method/oracle/found.rs", "method/oracle/greedy.rs"));
    assert!(has("method/oracle/found.rs", "method/oracle/table.rs"));
    assert!(has("method/list.rs", "method/view/lens.rs") && has("worker/desk.rs", "method/view/list.rs"));
    assert!(
        has("method/view/routing.rs", "engine/surrogate.rs") && has("engine/card.rs", "engine/prompt.rs")
    );
    // Take away files that import nothing of what is left, again and again.
    let mut left: BTreeSet<usize> = (0..all.0.len()).collect();
    let leads = |from: usize, left: &BTreeSet<usize>| edges[from].keys().any(|to| left.contains(to));
    let is_led_to =
        |to: usize, left: &BTreeSet<usize>| left.iter().any(|from| edges[*from].contains_key(&to));
    loop {
        let before = left.len();
        let ends: Vec<usize> =
            left.iter().copied().filter(|file| !leads(*file, &left) || !is_led_to(*file, &left)).collect();
        left.retain(|file| !ends.contains(file));
        if left.len() == before {
            break;
        }
    }
    let line = |from: usize, to: usize, names: &BTreeSet<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        format!("{} -> {} ({})", all.0[from].file, all.0[to].file, names.join(", "))
    };
    let circles: Vec<String> = left
        .iter()
        .flat_map(|from| edges[*from].iter().map(move |(to, names)| (*from, *to, names)))
        .filter(|(_, to, _)| left.contains(to))
        .map(|(from, to, names)| line(from, to, names))
        .collect();
    assert!(circles.is_empty(), "files in circles:\n{}", circles.join("\n"));
}

#[test]
fn imports_are_read_as_the_compiler_reads_them() {
    let mut code =
        bare("use a::{b, c::{self, d as e}, f::*}; // use x::y;\nfn g() { \"use z;\"; super::h::i() }");
    let imports = take_imports(&mut code);
    let shown: Vec<String> = imports.iter().map(|i| format!("{} {}", i.path.join("::"), i.name)).collect();
    assert_eq!(shown, ["a::b b", "a::c c", "a::c::d e", "a::f *"]);
    assert_eq!(inline_paths(&code), [["super", "h", "i"].map(str::to_owned).to_vec()]);
    assert_eq!(declared("mod a; pub mod b; mod c { }"), ["a", "b"]);
    assert_eq!(without_tests("a; #[cfg(test)] mod t { x { } ; } b;").replace(' ', ""), "a;b;");
}
