//! The upload page: one HTML file, made of `page.html`, `page.css`, `page.js` and the client in `clients/js`, whose source it shares.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use url::Url;

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// The modules of the page's script. Each one imports only modules before it.
const MODULES: [&str; 11] = [
    include_str!("../../clients/js/src/problem.js"),
    include_str!("../../clients/js/src/request.js"),
    include_str!("../../clients/js/src/retry.js"),
    include_str!("../../clients/js/src/store.js"),
    include_str!("../../clients/js/src/upload.js"),
    include_str!("../../clients/js/src/album.js"),
    include_str!("../../clients/js/src/rotate.js"),
    include_str!("../../clients/js/src/thumbhash.js"),
    include_str!("words.js"),
    include_str!("card.js"),
    include_str!("page.js"),
];

/// What the page says of the limits of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageLimits {
    /// Most photos of a draft.
    pub photos: usize,
    /// Bytes of the largest photo.
    pub photo_bytes: u64,
}

/// Where photos are read, beside this server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhotoSources<'a> {
    /// MEDIA_BASE_URL.
    pub base_url: &'a str,
    /// Whether `GET /media` may redirect to a bucket, whose address clients need not know.
    pub may_redirect: bool,
}

impl PhotoSources<'_> {
    /// Returns the sources in the words of Content-Security-Policy.
    fn expressions(self) -> String {
        let Self { base_url, may_redirect } = self;
        if may_redirect {
            return "https: http:".to_owned();
        }
        Url::parse(base_url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
    }
}

/// The page as it is served.
#[derive(Debug)]
pub(crate) struct UploadPage {
    /// The HTML.
    pub html: Bytes,
    /// The value of Content-Security-Policy: only this script and this style, by their hashes, and requests to this server.
    pub policy: String,
    /// The strong entity tag of the HTML.
    pub etag: String,
}

impl UploadPage {
    /// Makes the page.
    pub(crate) fn new(limits: PageLimits, photos: PhotoSources<'_>) -> Self {
        let script = script();
        let html = HTML
            .replace("{photos}", &limits.photos.to_string())
            .replace("{bytes}", &limits.photo_bytes.to_string())
            .replace("{style}", STYLE)
            .replace("{script}", &script);
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; img-src 'self' data: {}; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            source_of(&script),
            source_of(STYLE),
            photos.expressions(),
        );
        let etag = format!("\"{}\"", blake3::hash(html.as_bytes()).to_hex());
        Self { html: html.into(), policy, etag }
    }
}

/// Joins the modules into one script: without imports, since what they import comes before them, and without exports.
fn script() -> String {
    let lines = MODULES.iter().flat_map(|module| module.lines());
    let lines = lines.filter(|line| !line.starts_with("import "));
    lines.flat_map(|line| [line.strip_prefix("export ").unwrap_or(line), "\n"]).collect()
}

/// Returns the source expression of an inline element with this content.
fn source_of(content: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    const LIMITS: PageLimits = PageLimits { photos: 7, photo_bytes: 3 << 20 };

    fn page(base_url: &str, may_redirect: bool) -> (String, String) {
        let page = UploadPage::new(LIMITS, PhotoSources { base_url, may_redirect });
        (String::from_utf8(page.html.to_vec()).unwrap(), page.policy)
    }

    /// Returns the content of the only element with this name.
    fn content<'a>(html: &'a str, name: &str) -> &'a str {
        let (_, rest) = html.split_once(&format!("<{name}")).unwrap();
        assert!(!rest.contains(&format!("<{name}>")), "two elements {name}");
        rest.split_once('>').unwrap().1.split_once(&format!("</{name}>")).unwrap().0
    }

    #[test]
    fn policy_has_the_hashes_of_script_and_style() {
        let (html, policy) = page("/media", false);
        for (directive, name) in [("script-src", "script"), ("style-src", "style")] {
            let hash = source_of(content(&html, name));
            assert!(policy.contains(&format!("; {directive} '{hash}';")), "{name}: {policy}");
        }
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn policy_allows_photos_from_where_they_are() {
        for (base_url, may_redirect, expected) in [
            ("/media", false, "img-src 'self' data: ;"),
            ("https://cdn.example:8443/photos", false, "img-src 'self' data: https://cdn.example:8443;"),
            ("/media", true, "img-src 'self' data: https: http:;"),
        ] {
            let (_, policy) = page(base_url, may_redirect);
            assert!(policy.contains(expected), "{policy}");
        }
    }

    #[test]
    fn page_names_the_limits_and_has_no_marker_left() {
        let (html, _) = page("/media", false);
        assert!(
            html.contains(r#"data-photos="7" data-bytes="3145728""#) && html.contains("at most 7 photos")
        );
        for marker in ["{style}", "{script}", "{photos}", "{bytes}"] {
            assert!(!html.contains(marker), "{marker}");
        }
    }

    /// A browser ends a script at the first of these, wherever it is.
    #[test]
    fn script_and_style_cannot_end_early() {
        let script = script().to_ascii_lowercase();
        assert!(!script.contains("</script") && !script.contains("<!--") && !STYLE.contains("</style"));
    }

    /// Joining modules is right only for lines like these.
    #[test]
    fn modules_import_only_modules_before_them_in_single_lines() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let client = root.join("clients/js/src");
        let mut before: Vec<PathBuf> = Vec::new();
        for name in [
            "problem",
            "request",
            "retry",
            "store",
            "upload",
            "album",
            "rotate",
            "thumbhash",
            "words",
            "card",
            "page",
        ] {
            let dir = if ["words", "card", "page"].contains(&name) {
                root.join("src/upload_page")
            } else {
                client.clone()
            };
            let path = dir.join(format!("{name}.js"));
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, MODULES[before.len()], "{name}");
            for line in text.lines().filter(|line| line.starts_with("import")) {
                let imported = line.split_once(" from '").unwrap().1.strip_suffix("';").unwrap();
                let imported = dir.join(imported).canonicalize().unwrap();
                assert!(before.contains(&imported), "{name}: {line}");
                assert!(line.starts_with("import { ") && !line.contains(" as "), "{name}: {line}");
            }
            for line in text.lines().filter(|line| line.starts_with("export")) {
                let is_declaration = ["class", "function", "async", "const"]
                    .iter()
                    .any(|word| line.starts_with(&format!("export {word} ")));
                assert!(is_declaration, "{name}: {line}");
            }
            before.push(path.canonicalize().unwrap());
        }
    }
}
