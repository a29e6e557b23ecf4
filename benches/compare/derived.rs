//! The photos that the corpus lacks, made from those that it has. `derived.tsv` has format, name, source and recipe of each, and
//! `peers/derive.py` explains the recipes.
//!
//! The files stay in `target/compare`: the larger HEIC ones take half a minute each, and `cargo bench -- pipeline` uses them too.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::format::Format;
use crate::judge::Judge;

/// What the files depend on, besides source and recipe.
const MAKERS: [&str; 2] =
    [include_str!("peers/derive.py"), include_str!("../../tools/peers/requirements.txt")];

/// A photo that is made from another one.
#[derive(Debug)]
pub(crate) struct Derived {
    pub(crate) name: &'static str,
    pub(crate) format: Format,
    source: &'static str,
    recipe: &'static str,
}

/// Returns the table of all derived photos.
pub(crate) fn all() -> Outcome<Vec<Derived>> {
    let read = |line: &'static str| {
        let cells: Vec<_> = line.split('\t').collect();
        let [format, name, source, recipe] = cells[..] else { return None };
        Some(Derived { name, format: Format::of_word(format)?, source, recipe })
    };
    let wrong =
        |line: &str| format!("derived.tsv needs a format, a name, a source and a recipe: {line}").into();
    include_str!("derived.tsv").lines().map(|line| read(line).ok_or_else(|| wrong(line))).collect()
}

impl Derived {
    /// Returns the file, and creates it if it does not exist. Returns `None` if the corpus lacks the source.
    pub(crate) fn file(&self, corpus: &Path, judge: &mut Judge) -> Outcome<Option<PathBuf>> {
        let source = corpus.join("photos").join(self.source);
        let Ok(metadata) = fs::metadata(&source) else {
            eprintln!("compare: NO {}: {} IS LEFT OUT", self.source, self.name);
            return Ok(None);
        };
        let mut hash = blake3::Hasher::new();
        for part in [self.source, &metadata.len().to_string(), self.recipe].iter().chain(&MAKERS) {
            hash.update(part.as_bytes()).update(b"\0");
        }
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/compare").join(self.format.word());
        fs::create_dir_all(&dir)?;
        let version = &hash.finalize().to_hex()[..8];
        let path = dir.join(format!("{}.{version}.{}", self.name, self.format.extension()));
        if !path.is_file() {
            eprintln!("compare: making {} {}", self.format.word(), self.name);
            remove_older(&dir, self.name)?;
            let unfinished = dir.join(format!("{}.unfinished.{}", self.name, self.format.extension()));
            judge.derive(&source, self.recipe, &unfinished)?;
            fs::rename(unfinished, &path)?;
        }
        Ok(Some(path))
    }
}

/// Removes the files of former recipes.
fn remove_older(dir: &Path, name: &str) -> Outcome<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if file.split('.').next() == Some(name) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
