//! Compares ARCHITECTURE.md with the source, and finds files that use each other in a circle.

mod cycles;
mod imports;

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use self::cycles::{cycles, describe};
use self::imports::Modules;

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

#[test]
fn table_of_rooms_names_every_room_once() {
    let entries = std::fs::read_dir(root().join("src")).unwrap();
    let mut exist: Vec<_> = entries.map(|entry| room_of(Path::new(&entry.unwrap().file_name()))).collect();
    exist.retain(|room| room != "lib");
    exist.sort();
    // `model.rs` and `model/` are one room.
    exist.dedup();
    let mut listed = rooms_in_order();
    listed.sort();
    assert_eq!(listed, exist, "left: rooms in the table of ARCHITECTURE.md; right: rooms in src/");
}

#[test]
fn rooms_depend_only_on_rooms_below_them() {
    let order = rooms_in_order();
    let row = |room: &str| order.iter().position(|name| name == room);
    let modules = Modules::read(&root().join("src"));
    let mut upward = Vec::new();
    for (file, rooms) in modules.rooms_used() {
        let room = room_of(file);
        // `lib.rs` declares the rooms and uses none.
        let Some(own) = row(&room) else { continue };
        for used in rooms {
            if used != room && row(used).is_some_and(|other| other < own) {
                upward.push(format!("src/{} uses {used}, which is above {room}", file.display()));
            }
        }
    }
    assert!(upward.is_empty(), "dependencies against the order in ARCHITECTURE.md:\n{}", upward.join("\n"));
}

/// A file uses another one if its code outside tests names an item that the other one defines. Re-exports are followed, so a
/// parent module that declares its submodules and re-exports their items uses none of them. The submodules may use a type that
/// their parent declares; see [`Modules::edges`]. A function or a constant for both belongs in a file below both.
#[test]
fn files_do_not_use_each_other_in_a_circle() {
    let modules = Modules::read(&root().join("src"));
    let edges = modules.edges();
    let uses: usize = edges.values().map(BTreeMap::len).sum();
    assert!(edges.len() > 200 && uses > 700, "only {} files and {uses} uses were found", edges.len());
    let circles: Vec<_> = cycles(&edges).iter().map(|group| describe(group, &edges)).collect();
    assert!(circles.is_empty(), "files that use each other:\n{}", circles.join("\n"));
}

/// The modules of a crate with these files.
fn crate_of(files: &[(&str, &str)]) -> Modules {
    Modules::parse(files.iter().map(|(file, text)| ((*text).to_owned(), PathBuf::from(file))))
}

#[test]
fn imports_are_found_in_lines_and_lists_but_not_in_comments_and_tests() {
    let source = "//! [`crate::comment`]\nuse crate::one::Two;\npub(crate) use crate::{three, four::{Five, Six},\n  seven};\n\
        /* use crate::block; */ fn f<'a>(c: &'a str) { crate::eight::g(\"crate::text\", 'c', r#\"crate::raw\"#) }\n\
        #[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod inline {\nuse crate::nine;\n}\n\
        impl crate::ten::T for X { #[cfg(any(test, fuzzing))] fn t() { crate::eleven::h() } }";
    let modules = crate_of(&[("room/mod.rs", source)]);
    let used: Vec<_> = modules.rooms_used().into_values().flatten().collect();
    assert_eq!(used, ["eight", "four", "one", "seven", "ten", "three"]);
}

#[test]
fn use_of_a_reexport_is_a_use_of_the_file_with_the_definition() {
    let modules = crate_of(&[
        ("lib.rs", "pub mod room; mod user;"),
        (
            "room/mod.rs",
            "mod inner; pub use self::inner::{Thing, helper as help}; pub mod deep { pub fn dig() {} }",
        ),
        ("room/inner.rs", "pub struct Thing; pub fn helper() {}"),
        (
            "user.rs",
            "use crate::room::{self, Thing}; fn f() { room::help(); room::deep::dig(); Thing::new() }",
        ),
    ]);
    let edges = modules.edges();
    let used: Vec<_> = edges[Path::new("user.rs")].keys().map(|file| file.to_str().unwrap()).collect();
    assert_eq!(used, ["room/inner.rs", "room/mod.rs"]);
    assert!(edges[Path::new("room/mod.rs")].is_empty() && cycles(&edges).is_empty());
}

#[test]
fn function_of_a_parent_makes_a_circle_and_its_type_does_not() {
    let parent = "mod part; pub struct State; fn helper() {} fn run() { part::work() }";
    let circles = |part: &str| {
        let modules = crate_of(&[("lib.rs", "mod room;"), ("room/mod.rs", parent), ("room/part.rs", part)]);
        cycles(&modules.edges()).len()
    };
    assert_eq!(circles("use super::State; impl State { fn more() {} } pub fn work() {}"), 0);
    assert_eq!(circles("pub fn work() { super::helper() }"), 1);
    assert_eq!(circles("use super::helper as h; pub fn work() { h() }"), 1);
}
