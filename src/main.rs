//! scaffolding
fn main() {}
