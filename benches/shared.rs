//! Shared by the benchmarks and the comparison with other servers: the corpus and the recipe.

use std::path::{Path, PathBuf};

use vintedbot_ingest::config::{Settings, Source};
use vintedbot_ingest::imaging::Recipe;

/// Returns the corpus of real photos, if it exists: `VINTEDBOT_CORPUS`, or `shared/corpus` beside the repository.
pub(crate) fn corpus() -> Option<PathBuf> {
    let dir = std::env::var_os("VINTEDBOT_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), PathBuf::from);
    dir.is_dir().then_some(dir)
}

/// Returns the server's default processing of a photo.
pub(crate) fn recipe() -> Recipe {
    Settings::load(&Source::default()).unwrap().recipe()
}
