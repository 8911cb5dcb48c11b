//! The floors of ARCHITECTURE.md, held against the source: who may name whom, what lives in one file only, and that the page
//! names what is there.

#![allow(clippy::unwrap_used, reason = "a test file as a whole")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// From the ground up: a module names those on floors below its own, and itself.
const FLOORS: [&[&str]; 9] = [
    &["model"],
    &["rules", "signed"],
    &["filing"],
    &["store"],
    &["work", "client"],
    &["doors"],
    &["config"],
    &["desk"],
    &["daemon"],
];

/// Doors see of the stages only the ports that they implement.
const DOORS_SEE_OF_WORK: &str = "ports";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the program proper with its text: no tests, no comments.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&repository().join("src"), &mut paths);
    paths.sort();
    let mut sources = Vec::new();
    for path in paths {
        let name = path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned();
        let is_test = ["tests.rs", "_tests.rs", "_suite.rs"].iter().any(|end| name.ends_with(end))
            || ["src/small_world", "src/store/ledger_suite/"].iter().any(|start| name.starts_with(start));
        if is_test {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = program.lines().filter(|line| !line.trim_start().starts_with("//"));
        sources.push((name, lines.map(|line| format!("{line}\n")).collect()));
    }
    assert!(sources.len() > 100, "only {} files were found", sources.len());
    sources
}

/// `crate::A::B` as (A, B), wherever it stands.
fn named(text: &str) -> Vec<(String, String)> {
    let word =
        |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut found = Vec::new();
    for rest in text.split("crate::").skip(1) {
        let module = word(rest);
        let item = rest[module.len()..].strip_prefix("::").map(word).unwrap_or_default();
        found.push((module, item));
    }
    found
}

fn module_of(name: &str) -> &str {
    let rest = name.strip_prefix("src/").unwrap();
    rest.split('/').next().unwrap().trim_end_matches(".rs")
}

#[test]
fn imports_go_down() {
    let floor_of: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, modules)| modules.iter().map(move |m| (*m, floor)))
        .collect();
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let module = module_of(&name);
        // The roof, which names everything, and is named by nobody.
        if ["main", "lib", "cli"].contains(&module) {
            continue;
        }
        let own = *floor_of.get(module).unwrap_or_else(|| panic!("{name}: no floor is known for it"));
        for (other, item) in named(&text) {
            let Some(&floor) = floor_of.get(other.as_str()) else {
                wrong.push(format!("{name} names crate::{other}"));
                continue;
            };
            let port = module == "doors" && other == "work" && item != DOORS_SEE_OF_WORK;
            if other != module && (floor >= own || port) {
                wrong.push(format!("{name} names crate::{other}::{item}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn one_home_each() {
    for (what, homes) in [
        ("SystemTime::now", &["src/model/time.rs"][..]),
        ("Utc::now", &[]),
        ("Local::now", &[]),
        // The demo plays the importer, who is somebody else.
        ("fs::rename", &["src/store/durable.rs", "src/cli/demo.rs"]),
        ("unsafe ", &[]),
    ] {
        let found: Vec<String> =
            sources().into_iter().filter(|(_, text)| text.contains(what)).map(|(name, _)| name).collect();
        let elsewhere: Vec<_> = found.iter().filter(|name| !homes.contains(&name.as_str())).collect();
        assert!(elsewhere.is_empty(), "{what} in {elsewhere:?}");
    }
}

/// What stands in backquotes.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_page_names_what_is_there() {
    let page = std::fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let folders = ["src/", "tests/", "benches/", "conf/", "systemd/", "fuzz/", "examples/", ".ci/"];
    let named: Vec<_> = quoted(&page)
        .into_iter()
        .filter(|word| folders.iter().any(|folder| word.starts_with(folder)) && !word.contains(['*', ' ']))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<_> = named.into_iter().filter(|path| !repository().join(path).exists()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names {missing:?}");

    let map = page.split("## Map").nth(1).unwrap().split("\n## ").next().unwrap();
    for (name, _) in sources() {
        let module = module_of(&name);
        assert!(
            map.contains(&format!("{module}/")) || map.contains(&format!("{module}.rs")),
            "{module} is not on the map"
        );
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let page = std::fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let section = page.split("## Dependencies").nth(1).unwrap().split("\n## ").next().unwrap();
    let told: BTreeSet<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split('|').next())
        .flat_map(|cell| quoted(cell))
        .collect();
    let manifest: toml::Table =
        std::fs::read_to_string(repository().join("Cargo.toml")).unwrap().parse().unwrap();
    let used: BTreeSet<&str> = ["dependencies", "dev-dependencies"]
        .iter()
        .filter_map(|table| manifest[*table].as_table())
        .flat_map(|table| table.keys().map(String::as_str))
        .collect();
    assert_eq!(told, used);
}
