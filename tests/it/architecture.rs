//! Compares ARCHITECTURE.md with the source.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Returns the rooms in the order of the table in ARCHITECTURE.md: `ingest/` and `disk.rs` are `ingest` and `disk`.
fn rooms_in_order() -> Vec<String> {
    let text = read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, section) = text.split_once("\n## Rooms").expect("ARCHITECTURE.md has a section \"Rooms\"");
    let rows = section.lines().skip(1).take_while(|line| !line.starts_with("## "));
    let first_cells = rows.filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let names = first_cells.flat_map(|cell| cell.split(", ").collect::<Vec<_>>());
    names.map(|name| room_of(Path::new(name.trim().trim_matches('`').trim_end_matches('/')))).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the first part of a path below `src`, without `.rs`.
fn room_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

/// Collects all Rust files below a directory, with their paths below `src`.
fn rust_files(dir: &Path, below_src: &Path, files: &mut Vec<(PathBuf, PathBuf)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let below_src = below_src.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            rust_files(&entry.path(), &below_src, files);
        } else if below_src.extension().is_some_and(|extension| extension == "rs") {
            files.push((entry.path(), below_src));
        }
    }
}

/// Returns whether a file has tests, conformance suites or fuzz targets, which may use every room.
fn is_test_code(below_src: &Path) -> bool {
    below_src.iter().any(|part| {
        let part = part.to_str().unwrap().trim_end_matches(".rs");
        matches!(part, "conformance" | "fuzzing") || part.ends_with("tests")
    })
}

/// Returns the rooms that the code of a file names, by `crate::room` or `crate::{room, …}`.
fn rooms_used(source: &str) -> BTreeSet<String> {
    let test_module = source.match_indices("#[cfg(test)]\nmod ").find(|(at, _)| {
        let declaration = source[*at..].lines().nth(1).unwrap_or_default();
        declaration.ends_with('{')
    });
    let code = &source[..test_module.map_or(source.len(), |(at, _)| at)];
    let lines: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = lines.join("\n");
    let mut used = BTreeSet::new();
    for marker in ["crate::", "vintedbot_ingest::"] {
        for (at, _) in code.match_indices(marker) {
            let after = &code[at + marker.len()..];
            match after.strip_prefix('{') {
                Some(list) => used.extend(first_names(list)),
                None => used.extend(name_at(after)),
            }
        }
    }
    used
}

/// Returns the identifier at the start of a text.
fn name_at(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// Returns the first identifier of each item in a list of imports. The text begins after the opening brace.
fn first_names(list: &str) -> Vec<String> {
    let (mut depth, mut starts) = (0, vec![0]);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    starts.into_iter().filter_map(|at| name_at(&list[at..])).collect()
}

#[test]
fn table_of_rooms_names_every_room_once() {
    let entries = std::fs::read_dir(root().join("src")).unwrap();
    let mut exist: Vec<_> = entries.map(|entry| room_of(Path::new(&entry.unwrap().file_name()))).collect();
    exist.retain(|room| room != "lib");
    exist.sort();
    let mut listed = rooms_in_order();
    listed.sort();
    assert_eq!(listed, exist, "left: rooms in the table of ARCHITECTURE.md; right: rooms in src/");
}

#[test]
fn rooms_depend_only_on_rooms_below_them() {
    let order = rooms_in_order();
    let row = |room: &str| order.iter().position(|name| name == room);
    let mut files = Vec::new();
    rust_files(&root().join("src"), Path::new(""), &mut files);
    let mut upward = Vec::new();
    for (path, below_src) in &files {
        let room = room_of(below_src);
        // `lib.rs` declares the rooms and uses none.
        let Some(own) = row(&room).filter(|_| !is_test_code(below_src)) else { continue };
        for used in rooms_used(&read_to_string(path).unwrap()) {
            if used != room && row(&used).is_some_and(|other| other < own) {
                upward.push(format!("src/{} uses {used}, which is above {room}", below_src.display()));
            }
        }
    }
    assert!(files.len() > 100, "only {} files were read", files.len());
    assert!(upward.is_empty(), "dependencies against the order in ARCHITECTURE.md:\n{}", upward.join("\n"));
}

#[test]
fn imports_are_found_in_lines_and_lists_but_not_in_comments_and_tests() {
    let source = "//! [`crate::comment`]\nuse crate::one::Two;\npub(crate) use crate::{three, four::{Five, Six},\n  seven};\n\
        fn f() { crate::eight::g() }\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod inline {\nuse crate::nine;\n}\n";
    let used: Vec<_> = rooms_used(source).into_iter().collect();
    assert_eq!(used, ["eight", "four", "one", "seven", "three"]);
}
