//! Pages of `docs/` that are generated from the code.

use std::path::Path;

/// Compares a page with its `text`, or writes it if the variable `UPDATE_DOCS` is set.
pub(crate) fn assert_page(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == text, "docs/{name} is out of date: run `UPDATE_DOCS=1 cargo test --lib docs`");
}
