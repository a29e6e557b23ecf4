//! What the linked server contains of its dependencies, where `deny.toml` relies on it.

use memchr::memmem;

#[test]
fn linked_server_has_no_code_of_little_exif_that_parses_xml() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_vintedbot-ingest")).unwrap();
    // Names of symbols, in which each part has its length before it.
    let has = |symbol: &str| memmem::find(&binary, symbol.as_bytes()).is_some();
    assert!(has("11little_exif8metadata"), "the binary has no symbols, so this test shows nothing");
    assert!(!has("11little_exif3xmp") && !has("11little_exif3png"), "quick-xml 0.37 can be reached");
}
