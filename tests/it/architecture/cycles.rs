//! Cycles in the graph of files that use each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

type Edges<'a> = BTreeMap<&'a Path, BTreeMap<&'a Path, BTreeSet<String>>>;

/// The groups of two or more files in which each file reaches every other.
pub(super) fn cycles<'a>(edges: &Edges<'a>) -> Vec<BTreeSet<&'a Path>> {
    let reached: BTreeMap<_, _> = edges.keys().map(|file| (*file, reachable(file, edges))).collect();
    let mut groups: Vec<BTreeSet<&Path>> = Vec::new();
    for (file, others) in &reached {
        let group: BTreeSet<_> =
            others.iter().copied().filter(|other| reached[other].contains(file)).collect();
        if group.len() > 1 && !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

/// The files that a file uses, directly or through others.
fn reachable<'a>(from: &Path, edges: &Edges<'a>) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Path> = edges[from].keys().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(edges[file].keys());
        }
    }
    reached
}

/// A line for each use inside a cycle.
pub(super) fn describe(group: &BTreeSet<&Path>, edges: &Edges<'_>) -> String {
    let mut lines = String::new();
    for file in group {
        for (used, names) in edges[file].iter().filter(|(used, _)| group.contains(*used)) {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            writeln!(lines, "  {} uses {} of {}", file.display(), names.join(", "), used.display()).unwrap();
        }
    }
    lines
}
