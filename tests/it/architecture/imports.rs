//! Which file of `src` uses which other, read from the paths in its code.
//!
//! It knows as much of Rust as paths need: comments, literals, attributes, `mod`, `use`, and the names of items. Code for tests
//! is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// The path of a module below the crate, or of an item in it.
type ItemPath = Vec<String>;

/// All modules of `src` outside tests.
#[derive(Default)]
pub(super) struct Modules {
    modules: BTreeMap<ItemPath, Module>,
}

/// A module: a file, or a `mod name { … }` in a file.
#[derive(Default)]
struct Module {
    file: PathBuf,
    /// Its items, and whether each is a type.
    items: BTreeMap<String, bool>,
    /// Imported names, and what they stand for.
    aliases: BTreeMap<String, ItemPath>,
    globs: Vec<ItemPath>,
    /// What the code names, apart from re-exports of its own submodules.
    paths: BTreeSet<ItemPath>,
}

impl Modules {
    /// Reads all Rust files below a directory.
    pub(super) fn read(src: &Path) -> Self {
        let mut files = Vec::new();
        rust_files(src, Path::new(""), &mut files);
        files.retain(|file| !is_test_code(file));
        Self::parse(files.into_iter().map(|file| (read_to_string(src.join(&file)).unwrap(), file)))
    }

    /// Parses files: the text of each, and its path below `src`.
    pub(super) fn parse(files: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        let mut all = Self::default();
        let mut found = Vec::new();
        for (text, file) in files {
            let module = module_of(&file);
            all.modules.insert(module.clone(), Module { file: file.clone(), ..Module::default() });
            let tokens = without_tests(&tokens(&text));
            all.declare(&module, &file, &tokens, &mut found);
        }
        // A path can be made absolute when all modules are known.
        for (module, named) in found {
            all.add(&module, &named);
        }
        all
    }

    /// The rooms that the code of each file names: the first parts of its paths.
    pub(super) fn rooms_used(&self) -> BTreeMap<&Path, BTreeSet<&str>> {
        let mut used = BTreeMap::<_, BTreeSet<_>>::new();
        for module in self.modules.values() {
            let rooms = module.paths.iter().filter_map(|path| path.first()).map(String::as_str);
            used.entry(module.file.as_path()).or_default().extend(rooms);
        }
        used
    }

    /// For each file the files that define what its code names, with these names. Re-exports are followed.
    ///
    /// A type that the file of a parent module declares is left out. A submodule is the only place for a part of the methods
    /// of a type with private fields, so it has to name that type, and the parent has to name what the submodule adds.
    pub(super) fn edges(&self) -> BTreeMap<&Path, BTreeMap<&Path, BTreeSet<String>>> {
        let mut edges = BTreeMap::<_, BTreeMap<_, BTreeSet<_>>>::new();
        for (own_path, module) in &self.modules {
            let used = edges.entry(module.file.as_path()).or_default();
            for path in &module.paths {
                let Some(found) = self.definition(path, true) else { continue };
                let is_of_parent = found.is_type && own_path.starts_with(&module_of(found.file));
                if found.file != module.file && !is_of_parent {
                    used.entry(found.file).or_default().insert(path.last().unwrap().clone());
                }
            }
        }
        edges
    }

    /// Collects the modules and items of a file, and its paths together with the module in which they are.
    fn declare(
        &mut self,
        module: &ItemPath,
        file: &Path,
        tokens: &[String],
        found: &mut Vec<(ItemPath, Named)>,
    ) {
        let mut at = 0;
        while at < tokens.len() {
            let next = tokens.get(at + 1).map_or("", String::as_str);
            match tokens[at].as_str() {
                "mod" if tokens.get(at + 2).is_some_and(|token| token == "{") => {
                    let end = after_group(tokens, at + 2);
                    let inner = joined(module, [next]);
                    self.modules.insert(inner.clone(), Module { file: file.into(), ..Module::default() });
                    self.declare(&inner, file, &tokens[at + 3..end - 1], found);
                    at = end;
                }
                "use" => {
                    let end = at + tokens[at..].iter().position(|token| token == ";").unwrap_or(0);
                    let is_public = at > 0 && matches!(tokens[at - 1].as_str(), "pub" | ")");
                    leaves(&tokens[at + 1..end], &[], &mut |path, alias| {
                        let named = Named { path, alias: Some(alias), is_public };
                        found.push((module.clone(), named));
                    });
                    at = end.max(at + 1);
                }
                "fn" | "struct" | "enum" | "trait" | "const" | "static" | "type" | "union"
                    if is_name(next) =>
                {
                    let is_type = !matches!(tokens[at].as_str(), "fn" | "const" | "static");
                    self.modules.get_mut(module).unwrap().items.insert(next.to_owned(), is_type);
                    at += 1;
                }
                name if is_name(name) => {
                    let mut path = vec![name.to_owned()];
                    while tokens.get(at + 1).is_some_and(|token| token == "::")
                        && tokens.get(at + 2).is_some_and(|token| is_name(token))
                    {
                        path.push(tokens[at + 2].clone());
                        at += 2;
                    }
                    if path.len() > 1 {
                        found.push((module.clone(), Named { path, alias: None, is_public: false }));
                    }
                    at += 1;
                }
                // The rest of a path whose start is a type, as in `<T as Trait>::NAME`.
                "::" | "." => at += 1 + usize::from(is_name(next)),
                _ => at += 1,
            }
        }
    }

    fn add(&mut self, module: &ItemPath, named: &Named) {
        let Some(path) = self.absolute(module, &named.path) else { return };
        let is_reexport = named.is_public && path.starts_with(module);
        let entry = self.modules.get_mut(module).unwrap();
        match named.alias.as_deref() {
            Some("*") => entry.globs.push(path.clone()),
            Some(alias) => drop(entry.aliases.insert(alias.to_owned(), path.clone())),
            None => {}
        }
        if !is_reexport && !path.is_empty() {
            entry.paths.insert(path);
        }
    }

    /// Returns a path from the root of the crate, or `None` for another crate, a type or a local name.
    fn absolute(&self, module: &ItemPath, path: &[String]) -> Option<ItemPath> {
        let first = path[0].as_str();
        match first {
            "crate" | "vintedbot_ingest" => Some(path[1..].to_vec()),
            "self" => Some([module.as_slice(), &path[1..]].concat()),
            "super" => {
                let parent = module[..module.len().checked_sub(1)?].to_vec();
                match path.get(1).map(String::as_str) {
                    Some("super") => self.absolute(&parent, &path[1..]),
                    _ => Some([parent.as_slice(), &path[1..]].concat()),
                }
            }
            _ if self.modules.contains_key(&joined(module, [first])) => {
                Some([module.as_slice(), path].concat())
            }
            _ => {
                let target = self.modules[module].aliases.get(first)?;
                Some([target.as_slice(), &path[1..]].concat())
            }
        }
    }

    /// Returns where an item is defined. Re-exports are followed. A module by itself is no item.
    ///
    /// An item that a macro makes is not found. With `or_last` it counts as one of the last module in its path.
    fn definition(&self, path: &[String], or_last: bool) -> Option<Definition<'_>> {
        let mut place = Vec::new();
        for (at, name) in path.iter().enumerate() {
            let module = &self.modules[&place];
            let inner = joined(&place, [name.as_str()]);
            let is_module = self.modules.contains_key(&inner);
            if let Some(is_type) = module.items.get(name).filter(|_| !is_module) {
                return Some(Definition { file: &module.file, is_type: *is_type });
            }
            let is_last = at + 1 == path.len();
            if let Some(target) = module.aliases.get(name).filter(|_| !is_module || is_last) {
                let target = [target.as_slice(), &path[at + 1..]].concat();
                return if target == path { None } else { self.definition(&target, or_last) };
            }
            if is_module {
                place = inner;
                continue;
            }
            let in_glob = |glob: &ItemPath| self.definition(&[glob.as_slice(), &path[at..]].concat(), false);
            return match module.globs.iter().find_map(in_glob) {
                None if or_last => Some(Definition { file: &module.file, is_type: false }),
                found => found,
            };
        }
        None
    }
}

/// Where an item is defined.
struct Definition<'m> {
    file: &'m Path,
    is_type: bool,
}

/// A path in the code of a module, as it is written.
struct Named {
    path: ItemPath,
    /// For a `use`: the name that it introduces.
    alias: Option<String>,
    is_public: bool,
}

/// All Rust files below a directory, as paths below `src`.
fn rust_files(dir: &Path, below_src: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let below_src = below_src.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            rust_files(&entry.path(), &below_src, files);
        } else if below_src.extension().is_some_and(|extension| extension == "rs") {
            files.push(below_src);
        }
    }
}

/// Tests, conformance suites and fuzz targets may use every room.
fn is_test_code(below_src: &Path) -> bool {
    below_src.iter().any(|part| {
        let part = part.to_str().unwrap().trim_end_matches(".rs");
        matches!(part, "conformance" | "fuzzing") || part.ends_with("tests")
    })
}

/// `web/mod.rs` and `web.rs` are the module `web`, and `lib.rs` is the crate.
fn module_of(below_src: &Path) -> ItemPath {
    let path = below_src.with_extension("");
    let mut module: ItemPath = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    module.pop_if(|last| last == "mod" || last == "lib");
    module
}

fn joined<'a>(path: &[String], names: impl IntoIterator<Item = &'a str>) -> ItemPath {
    path.iter().cloned().chain(names.into_iter().map(str::to_owned)).collect()
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The tokens of a source: names, `::`, and single characters. Comments and literals are left out.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else if is_name(rest) {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else {
            let length = if rest.starts_with("::") { 2 } else { c.len_utf8() };
            if !c.is_whitespace() {
                tokens.push(rest[..length].to_owned());
            }
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the text, character or number at the start.
fn literal(rest: &str) -> Option<usize> {
    let quoted = rest.trim_start_matches(['b', 'c', 'r']);
    let prefix = rest.len() - quoted.len();
    if prefix <= 2 && rest[..prefix].contains('r') {
        let hashes = quoted.len() - quoted.trim_start_matches('#').len();
        if quoted[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return quoted[hashes + 1..].find(&end).map(|at| prefix + hashes + 1 + at + end.len());
        }
    }
    let quote = quoted.chars().next()?;
    match quote {
        '"' if prefix <= 1 => {}
        // A lifetime has no second quote.
        '\'' if prefix <= 1 && (quoted[1..].starts_with('\\') || quoted.chars().nth(2) == Some('\'')) => {}
        _ if rest.starts_with(|c: char| c.is_ascii_digit()) => {
            return rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        }
        _ => return None,
    }
    let mut is_escaped = false;
    let end = quoted.char_indices().skip(1).find(|(_, c)| {
        let is_end = *c == quote && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        is_end
    });
    end.map(|(at, _)| prefix + at + 1)
}

/// The position after the bracket that closes the one at `open`.
fn after_group(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Leaves out the items, statements and fields that are compiled for tests and fuzzing only, and all attributes.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] != "#" {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let open = at + 1 + usize::from(tokens[at + 1] == "!");
        let end = after_group(tokens, open);
        let attribute = &tokens[open..end];
        let has = |name: &str| attribute.iter().any(|token| token == name);
        at = if attribute[1] == "cfg" && (has("test") || has("fuzzing")) && !has("not") {
            after_item(tokens, end)
        } else {
            end
        };
    }
    kept
}

/// The position after the item, statement or field at `at`.
fn after_item(tokens: &[String], mut at: usize) -> usize {
    let ends_at_semicolon = matches!(tokens[at].as_str(), "use" | "let" | "const" | "static" | "type");
    let is_field = tokens.get(at + 1).is_some_and(|token| token == ":");
    while at < tokens.len() {
        match tokens[at].as_str() {
            ";" => return at + 1,
            "," if is_field => return at + 1,
            "}" | ")" => return at,
            "{" if !ends_at_semicolon => return after_group(tokens, at),
            "{" | "(" | "[" => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Calls `leaf` for each path of a `use`, with the name that it introduces.
fn leaves(tokens: &[String], before: &[String], leaf: &mut impl FnMut(ItemPath, String)) {
    let mut path = before.to_vec();
    let mut alias = None;
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "," => {
                end_of_leaf(std::mem::replace(&mut path, before.to_vec()), before, alias.take(), leaf);
                at += 1;
            }
            "{" => {
                let end = after_group(tokens, at);
                leaves(&tokens[at + 1..end - 1], &path, leaf);
                path = before.to_vec();
                at = end;
            }
            "as" => {
                alias = tokens.get(at + 1).cloned();
                at += 2;
            }
            "::" => at += 1,
            name => {
                path.push(name.to_owned());
                at += 1;
            }
        }
    }
    end_of_leaf(path, before, alias, leaf);
}

fn end_of_leaf(
    mut path: ItemPath,
    before: &[String],
    alias: Option<String>,
    leaf: &mut impl FnMut(ItemPath, String),
) {
    if path.len() == before.len() {
        return;
    }
    // `use room::{self}` is `use room`.
    if path.len() > 1 {
        path.pop_if(|last| last == "self");
    }
    let name = path.last().unwrap().clone();
    if name == "*" {
        path.pop();
    }
    leaf(path, alias.unwrap_or(name));
}
