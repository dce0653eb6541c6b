//! The plan of the house: imports go down the floors, no circle of files imports itself, and whoever silences a lint says
//! why. What a file imports is read from its text: `use` trees and paths that begin with `crate`, `super` or `self`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// From the ground up. A folder or file of `src` may import from its own floor and from those below; the engines, who share
/// a floor, know nothing of each other.
const FLOORS: [&[&str]; 9] = [
    &["error", "files"],
    &["math"],
    &["memory", "problem"],
    &["method"],
    &["solution"],
    &["cpu", "gpu"],
    &["train"],
    &["device", "self_check"],
    &["lib"],
];

/// A path by its segments, as `crate::cpu::Solver`.
type Segments = Vec<String>;

/// A file of a crate, as far as imports go.
struct Module {
    file: PathBuf,
    /// What it names of its crate, by segments from the crate's root.
    names: Vec<Segments>,
    /// Names that other modules find here, and what they stand for.
    lends: BTreeMap<String, Segments>,
}

/// A crate's modules by their paths, those that are compiled for tests alone left out.
type Modules = BTreeMap<Segments, Module>;

/// Words and marks of a source text, without comments and literals.
fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => string_length(rest),
            '\'' => char_length(rest),
            _ if first.is_alphanumeric() || first == '_' => {
                let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                let raw = ["r#\"", "br#\""].into_iter().any(|start| rest.starts_with(start));
                if raw { rest.find("\"#").map_or(rest.len(), |end| end + 2) } else { length }
            }
            _ if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let token = &rest[..length];
        if !first.is_whitespace()
            && !matches!(first, '"' | '\'')
            && !token.starts_with("//")
            && !token.starts_with("/*")
        {
            all.push(token.to_owned());
        }
        rest = &rest[length..];
    }
    all
}

/// Bytes of the string literal that a text begins with.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

/// Bytes of the character literal or lifetime that a text begins with.
fn char_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    let Some((_, first)) = chars.next() else { return 1 };
    let Some((at, second)) = chars.next() else { return 1 };
    match (first, second) {
        ('\\', _) => text[at + second.len_utf8()..].find('\'').map_or(1, |end| at + second.len_utf8() + end + 1),
        (_, '\'') => at + 1,
        _ => 1,
    }
}

/// Leaves out every item under `#[cfg(test)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let test = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].len() >= test.len() && tokens[at..].iter().zip(test).all(|(a, b)| a == b) {
            at += test.len();
            let mut depth = 0;
            while at < tokens.len() {
                depth += i32::from(matches!(tokens[at].as_str(), "{" | "(" | "["));
                depth -= i32::from(matches!(tokens[at].as_str(), "}" | ")" | "]"));
                at += 1;
                if depth == 0 && matches!(tokens[at - 1].as_str(), ";" | "}") {
                    break;
                }
            }
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The leaves of a path or `use` tree that begins at `at`, behind `before`, and where the tree ends.
fn leaves(tokens: &[String], mut at: usize, before: &[String], all: &mut Vec<Segments>) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = leaves(tokens, at, &path, all);
                    if tokens.get(at).is_some_and(|token| token == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => path.push(word.to_owned()),
            // `use crate::a::*` names `a`.
            _ => {}
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
    }
    if tokens.get(at).is_some_and(|token| token == "as") {
        at += 2;
    }
    all.push(path);
    at
}

/// A path from the crate's root, for one that `module` wrote.
fn from_root(path: &[String], module: &[String]) -> Segments {
    let mut base = match path.first().map(String::as_str) {
        Some("crate") => Vec::new(),
        Some("super") => module[..module.len().saturating_sub(1)].to_vec(),
        _ => module.to_vec(),
    };
    let keyword = path.first().is_some_and(|word| ["crate", "super", "self"].contains(&word.as_str()));
    let mut rest = &path[usize::from(keyword)..];
    while rest.first().is_some_and(|word| word == "super") {
        base.pop();
        rest = &rest[1..];
    }
    base.extend(rest.iter().cloned());
    base
}

/// Reads a module and those below it.
fn read(file: &Path, path: &[String], modules: &mut Modules) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let tokens = without_tests(&words(&text));
    let (mut names, mut lends, mut children) = (Vec::new(), BTreeMap::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let word = tokens[at].as_str();
        let next = |n: usize| tokens.get(at + n).map_or("", String::as_str);
        if word == "mod" && next(2) == ";" {
            children.push(next(1).to_owned());
        }
        let public = at > 0 && matches!(tokens[at - 1].as_str(), "pub" | ")");
        if word == "use" {
            let mut found = Vec::new();
            at = leaves(&tokens, at + 1, &[], &mut found);
            for leaf in found {
                // `use child::Name`, and whatever is not of this crate.
                let absolute = from_root(&leaf, path);
                if let Some(name) = leaf.last() {
                    lends.insert(name.clone(), absolute.clone());
                }
                if !public {
                    names.push(absolute);
                }
            }
            continue;
        }
        if matches!(word, "crate" | "super" | "self") && next(1) == "::" {
            let mut found = Vec::new();
            at = leaves(&tokens, at, &[], &mut found);
            names.extend(found.iter().map(|leaf| from_root(leaf, path)));
            continue;
        }
        at += 1;
    }
    modules.insert(path.to_vec(), Module { file: file.to_owned(), names, lends });
    let folder = file.parent().expect("a folder");
    let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
    let folder = if ["mod", "lib", "main"].contains(&stem.as_str()) { folder.to_owned() } else { folder.join(stem) };
    for child in children {
        let below: Segments = path.iter().cloned().chain([child.clone()]).collect();
        let [flat, deep] = [folder.join(format!("{child}.rs")), folder.join(&child).join("mod.rs")];
        read(if flat.exists() { &flat } else { &deep }, &below, modules);
    }
}

/// The module that defines what a path from the root names.
fn home<'a>(modules: &'a Modules, path: &[String], patience: usize) -> Option<&'a Segments> {
    let mut at: Segments = Vec::new();
    for (i, segment) in path.iter().enumerate() {
        at.push(segment.clone());
        if modules.contains_key(&at) {
            continue;
        }
        at.pop();
        let lent = modules.get(&at)?.lends.get(segment);
        if let Some(lent) = lent.filter(|lent| patience > 0 && lent.as_slice() != &path[..=i]) {
            let whole: Segments = lent.iter().chain(&path[i + 1..]).cloned().collect();
            if let Some(found) = home(modules, &whole, patience - 1) {
                return Some(found);
            }
        }
        break;
    }
    modules.get_key_value(&at).map(|(key, _)| key)
}

/// Who imports whom, by file.
fn imports(modules: &Modules) -> BTreeMap<&Segments, BTreeSet<&Segments>> {
    let of = |(path, module): (&Segments, &Module)| -> BTreeSet<&Segments> {
        let homes = module.names.iter().filter_map(|name| home(modules, name, 8));
        homes.filter(|&found| found != path).collect()
    };
    modules.iter().map(|(path, module)| (path, of((path, module)))).collect()
}

/// The modules that can be reached from one, itself if there is a way back.
fn reached<'a>(imports: &BTreeMap<&'a Segments, BTreeSet<&'a Segments>>, from: &'a Segments) -> BTreeSet<&'a Segments> {
    let (mut all, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(next) = open.pop() {
        open.extend(imports[next].iter().filter(|to| all.insert(**to)));
    }
    all
}

/// The circles, each by its files.
fn circles(modules: &Modules) -> BTreeSet<Vec<&Path>> {
    let imports = imports(modules);
    let reached: BTreeMap<_, _> = modules.keys().map(|path| (path, reached(&imports, path))).collect();
    let circle = |path: &Segments| {
        let with = |other: &&Segments| reached[path].contains(*other) && reached[*other].contains(path);
        modules.keys().filter(with).map(|other| modules[other].file.as_path()).collect::<Vec<_>>()
    };
    modules.keys().map(circle).filter(|circle| circle.len() > 1).collect()
}

fn modules(root: &str) -> Modules {
    let mut modules = Modules::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(root), &[], &mut modules);
    modules
}

/// Which floor a module of the library is on.
fn floor(path: &Segments) -> usize {
    let room = path.first().map_or("lib", String::as_str);
    FLOORS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| panic!("{room} is on no floor"))
}

#[test]
fn imports_go_down_the_floors() {
    let modules = modules("src/lib.rs");
    let mut upward = Vec::new();
    for (from, all) in imports(&modules) {
        for to in all {
            let neighbours = from.first() != to.first() && floor(from) == floor(to);
            let engines = FLOORS[floor(from)].contains(&"cpu") && neighbours;
            if floor(to) > floor(from) || engines {
                upward.push(format!("{} -> {}", from.join("::"), to.join("::")));
            }
        }
    }
    assert!(upward.is_empty(), "imports against the floors:\n{}", upward.join("\n"));
}

#[test]
fn no_circle_of_files_imports_itself() {
    for root in ["src/lib.rs", "cli/src/main.rs"] {
        let modules = modules(root);
        assert!(modules.len() > 20, "{root}: {} modules were found", modules.len());
        let circles = circles(&modules);
        assert!(circles.is_empty(), "{root}: circles of files\n{circles:#?}");
    }
}

/// Rust files below a folder.
fn rust_files(folder: &Path, all: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
}

#[test]
fn whoever_silences_a_lint_says_why() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "cli/src", "cli/tests"] {
        rust_files(&root.join(folder), &mut files);
    }
    let mut silent = Vec::new();
    for file in &files {
        let tokens = words(&std::fs::read_to_string(file).expect("a source text"));
        let silenced =
            tokens.windows(2).enumerate().filter(|(_, w)| ["allow", "expect"].contains(&w[0].as_str()) && w[1] == "(");
        for (at, _) in silenced.filter(|(at, _)| *at > 0 && ["[", ","].contains(&tokens[at - 1].as_str())) {
            let attribute = tokens[at..].iter().take_while(|token| *token != "]");
            if !attribute.into_iter().any(|token| token == "reason") {
                silent.push(format!("{}: {}", file.display(), tokens[at..at + 4].concat()));
            }
        }
    }
    for manifest in ["Cargo.toml", "cli/Cargo.toml"] {
        let text = std::fs::read_to_string(root.join(manifest)).expect("a manifest");
        let lines: Vec<&str> = text.lines().collect();
        let bare = lines.windows(2).filter(|w| w[1].ends_with("= \"allow\"") && !w[0].starts_with('#'));
        silent.extend(bare.map(|w| format!("{manifest}: {}", w[1])));
    }
    assert!(files.len() > 150 && silent.is_empty(), "of {} files:\n{}", files.len(), silent.join("\n"));
}

#[test]
fn circles_are_found_through_re_exports_and_tests_are_no_imports() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write("lib.rs", "mod a; mod b; mod c; pub(crate) use b::B; // use c::Nothing;");
    write("a.rs", "use crate::{B, c}; pub(crate) struct A(B, c::C<'static>);");
    write("b.rs", "pub(crate) struct B(&'static str); #[cfg(test)] mod tests { use crate::a::A; }");
    write("c.rs", "macro_rules! m { () => { $crate::b::B(\"use crate::a::A;\") } } pub(crate) struct C<'a>(&'a u8);");
    let read = || {
        let mut modules = Modules::new();
        read(&folder.path().join("lib.rs"), &[], &mut modules);
        modules
    };
    let named = |path: &str| vec![path.to_owned()];
    let found = read();
    assert_eq!(imports(&found)[&named("a")], BTreeSet::from([&named("b"), &named("c")]));
    assert_eq!(imports(&found)[&named("c")], BTreeSet::from([&named("b")]));
    assert!(circles(&found).is_empty(), "{:?}", circles(&found));
    write("b.rs", "pub(crate) struct B(Option<&'static super::a::A>);");
    let found = read();
    let files = circles(&found).into_iter().flatten().map(|file| file.file_name().expect("a name")).collect::<Vec<_>>();
    assert_eq!(files, ["a.rs", "b.rs", "c.rs"], "c is between them: a imports it, and it imports b");
}
