//! Checks what the linked binary contains of its dependencies, where `deny.toml` relies on it.

use memchr::memmem;

#[test]
fn linked_binary_contains_no_xml_parser_of_little_exif() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_vintedbot-ingest")).unwrap();
    // Mangled symbol names, in which each part is preceded by its length.
    let has = |symbol: &str| memmem::find(&binary, symbol.as_bytes()).is_some();
    assert!(has("11little_exif8metadata"), "the binary has no symbols, so this test shows nothing");
    assert!(!has("11little_exif3xmp") && !has("11little_exif3png"), "quick-xml 0.37 is reachable");
}
