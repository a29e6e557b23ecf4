//! Twenty photos, and what a plain upload of them gives.

use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

use super::block_on;
use crate::support::{Server, file, form, noise};

/// The photos that one draft may have.
pub(crate) const PHOTOS: usize = 20;

/// Large enough that most of them do not get through one connection of the proxy.
static ALBUM: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| (1..).take(PHOTOS).map(|seed| noise(1300, 1200, seed)).collect());

/// What a form of the album becomes, in order. Made by a server of its own, so that no later server recognises the photos.
static PLAIN: LazyLock<Vec<String>> = LazyLock::new(|| {
    let parts: Vec<_> = ALBUM.iter().map(|photo| file(photo)).collect();
    let server = Server::start(&[]);
    let (status, draft) = block_on(server.upload(form(&parts)));
    assert_eq!(status, 201, "{draft}");
    urls(&draft)
});

/// Returns the photo at this place of the album.
pub(crate) fn photo(at: usize) -> &'static [u8] {
    &ALBUM[at]
}

/// Returns the sum of the lengths of the first `count` photos.
pub(crate) fn bytes(count: usize) -> u64 {
    ALBUM[..count].iter().map(|photo| photo.len() as u64).sum()
}

/// Returns the URLs of the first `count` photos after a plain upload.
pub(crate) fn plain(count: usize) -> &'static [String] {
    &PLAIN[..count]
}

/// Writes the first `count` photos to files in `dir`.
pub(crate) fn write(dir: &TempDir, count: usize) -> Vec<PathBuf> {
    let write = |(at, photo): (usize, &Vec<u8>)| {
        let path = dir.path().join(format!("photo {at}.jpg"));
        std::fs::write(&path, photo).unwrap();
        path
    };
    ALBUM[..count].iter().enumerate().map(write).collect()
}

/// Returns the URLs of the photos of a draft, which have the hashes of their bytes.
pub(crate) fn urls(draft: &Value) -> Vec<String> {
    let photos = draft["photos"].as_array().unwrap_or_else(|| panic!("{draft}"));
    photos.iter().map(|photo| photo["media"]["url"].as_str().unwrap().to_owned()).collect()
}
