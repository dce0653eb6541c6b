//! The texts: what they name is there, and what the FAQ explains is what the code says.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder whose names end so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| if path.is_dir() { files(&path, ending) } else { vec![path] })
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect()
}

/// Whether this is the repository. A package has neither the command nor the scripts that the texts speak of.
fn is_repository() -> bool {
    root().join("cli").is_dir()
}

/// The README, the chapters of the guide, and the README of the benches.
fn texts() -> Vec<PathBuf> {
    let others = ["README.md", "benches/README.md"].map(|name| root().join(name));
    others.into_iter().chain(files(&root().join("docs"), ".md")).collect()
}

/// A text without its blocks of code.
fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).map(|part| part.split_once('\n').map_or("", |(_, rest)| rest)).collect()
}

/// What stands between backticks.
fn code(prose: &str) -> impl Iterator<Item = &str> {
    prose.split('`').skip(1).step_by(2)
}

/// Where links lead, without what they say of a place within it.
fn targets(prose: &str) -> impl Iterator<Item = &str> {
    let defined = prose.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ").map(|(_, target)| target));
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    defined.chain(inline).map(|target| target.split('#').next().unwrap_or_default()).filter(|target| !target.is_empty())
}

/// Whether a word names a file or folder of the repository: from the root, as texts here name all of them.
fn is_path(word: &str) -> bool {
    const ROOTS: [&str; 9] =
        ["src/", "shaders/", "tests/", "cli/", "docs/", "examples/", "benches/", ".ci/", "./test.sh"];
    let is_source = [".rs", ".wgsl"].iter().any(|ending| word.ends_with(ending));
    (is_source || ROOTS.iter().any(|folder| word.starts_with(folder))) && !word.contains([' ', '*', '{'])
}

#[test]
fn paths_in_texts_exist() {
    if !is_repository() {
        return;
    }
    let mut missing = Vec::new();
    for file in texts() {
        let text = prose(&read(&file));
        let beside = file.parent().expect("a folder");
        let named = code(&text).filter(|word| is_path(word)).map(|path| (path, root().join(path)));
        let linked = targets(&text).map(|path| (path, beside.join(path)));
        let found: Vec<(&str, PathBuf)> = named.chain(linked).collect();
        missing.extend(
            found.iter().filter(|(_, path)| !path.exists()).map(|(name, _)| format!("{}: {name}", file.display())),
        );
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_readme_is_a_page() {
    let text = read("README.md");
    assert!(text.lines().count() <= 200, "{} lines", text.lines().count());
    let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 120).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn every_chapter_is_in_the_guide() {
    let index = read("docs/README.md");
    let modules = read("src/guide/mod.rs");
    let mut listed: Vec<&str> = targets(&index).collect();
    listed.sort_unstable();
    let chapters = files(&root().join("docs"), ".md");
    let names = chapters.iter().map(|path| path.file_name().and_then(|name| name.to_str()).expect("a name"));
    let mut names: Vec<&str> = names.filter(|name| *name != "README.md").collect();
    names.sort_unstable();
    assert_eq!(listed, names, "the index has every chapter");
    for name in names {
        assert!(modules.contains(&format!("{name:?}")), "{name} is a module of the guide");
    }
    // A link that has no module here would lead to a file that a browser does not find.
    let links = read("src/guide/links.md");
    for file in chapters {
        let text = read(&file);
        for label in text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ").map(|(label, _)| label)) {
            assert!(links.contains(&format!("[{label}]: crate::guide::")), "{}: [{label}]", file.display());
        }
    }
}

#[test]
fn the_faq_has_every_error() {
    let (source, faq) = (read("src/error.rs"), read("docs/faq.md"));
    let variants = |name: &str| {
        let body = source.split(&format!("pub enum {name} {{")).nth(1).and_then(|rest| rest.split("\n}").next());
        let lines = body.expect("an enum").lines().filter_map(|line| line.strip_prefix("    "));
        let names = lines.filter(|line| line.starts_with(char::is_uppercase));
        names.map(|line| line.split([' ', ',', '{']).next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let (errors, statuses) = (variants("Error"), variants("Status"));
    assert!(errors.len() >= 14 && statuses.len() >= 5, "{errors:?}, {statuses:?}");
    for error in errors {
        assert!(faq.contains(&format!("`Error::{error}`")), "Error::{error}");
    }
    for status in statuses {
        assert!(faq.contains(&format!("`{status}`")), "Status::{status}");
    }
}

/// What the code says: its sources, with strings that go on in the next line put together.
fn said() -> String {
    let sources = ["src", "cli/src"].iter().flat_map(|folder| files(&root().join(folder), ".rs"));
    let text: String = sources.map(read).collect();
    let mut parts = text.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start())
}

/// Every text that the FAQ explains is in the code, part by part; an ellipsis stands for what differs.
#[test]
fn texts_of_the_faq_are_texts_of_the_code() {
    if !is_repository() {
        return;
    }
    let (said, faq) = (said(), read("docs/faq.md"));
    let rows = faq.split("\n| text |").skip(1).flat_map(|table| table.split("\n\n").next()).flat_map(str::lines);
    let texts = rows.filter_map(|row| row.strip_prefix("| ")?.split(" | ").next()).flat_map(code);
    let mut parts = 0;
    let mut unsaid = Vec::new();
    for text in texts.filter(|text| !text.starts_with("Error::")) {
        for part in text
            .split('…')
            .map(|part| part.trim_matches([' ', ':']))
            .filter(|part| part.len() >= 8 && !part.ends_with('='))
        {
            parts += 1;
            if !said.contains(part) {
                unsaid.push(format!("{part:?} of {text:?}"));
            }
        }
    }
    assert!(parts >= 60, "{parts} parts");
    assert!(unsaid.is_empty(), "{unsaid:#?}");
}
