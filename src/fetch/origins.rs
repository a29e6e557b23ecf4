//! Which origins may be fetched: the list FETCH_ALLOW.

use url::{Host, Origin, Url};

/// Origins that may be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigins(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// `https://*`: any host, at the default port.
    AnyHttps,
    /// `https://*.example.com`: the hosts below this domain, which begins with a dot, at the default port.
    Below(String),
    /// One origin, wherever its host is.
    Exact(Origin),
}

/// How an origin is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// The list has exactly this origin: it may have any address, also a private one.
    Named,
    /// The list has a wildcard: the host must be on the public internet.
    Public,
}

impl AllowedOrigins {
    /// Reads `https://*`, `https://*.example.com` and origins such as `http://10.0.0.5:9000`. Returns `None` if one of them is
    /// something else.
    pub fn parse(items: &[String]) -> Option<Self> {
        items.iter().map(|item| rule(item)).collect::<Option<_>>().map(Self)
    }

    /// Returns how the origin of `url` is allowed, or `None` if it is not.
    pub(super) fn trust(&self, url: &Url) -> Option<Trust> {
        // A blob: URL has the origin of the URL in it.
        if !is_http(url) {
            return None;
        }
        if self.0.contains(&Rule::Exact(url.origin())) {
            return Some(Trust::Named);
        }
        // The parser removes the default port.
        let is_plain_https = url.scheme() == "https" && url.port().is_none();
        let is_covered = |rule: &Rule| match rule {
            Rule::AnyHttps => true,
            Rule::Below(domain) => {
                matches!(url.host(), Some(Host::Domain(host)) if host.ends_with(domain.as_str()))
            }
            Rule::Exact(_) => false,
        };
        (is_plain_https && self.0.iter().any(is_covered)).then_some(Trust::Public)
    }
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

fn rule(item: &str) -> Option<Rule> {
    if item == "https://*" {
        return Some(Rule::AnyHttps);
    }
    if let Some(domain) = item.strip_prefix("https://*.") {
        let url = origin_of(&format!("https://{domain}"))?;
        let is_domain = matches!(url.host(), Some(Host::Domain(_))) && url.port().is_none();
        return is_domain.then(|| Rule::Below(format!(".{}", url.host_str().unwrap_or_default())));
    }
    origin_of(item).map(|url| Rule::Exact(url.origin()))
}

/// Reads a scheme, a host and an optional port, and nothing else.
fn origin_of(text: &str) -> Option<Url> {
    // The parser removes white space and control characters, and it takes backslashes for slashes.
    if text.contains(|c: char| c == '*' || c == '\\' || c.is_whitespace() || c.is_control()) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    (is_http(&url) && is_bare && !has_credentials && !text.contains('@')).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(items: &[&str]) -> Option<AllowedOrigins> {
        AllowedOrigins::parse(&items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>())
    }

    fn trust(items: &[&str], url: &str) -> Option<Trust> {
        allowed(items).unwrap().trust(&Url::parse(url).unwrap())
    }

    #[test]
    fn wildcards_cover_https_at_its_default_port_only() {
        for url in ["https://a.example/x", "https://a.example:443/", "https://10.0.0.1/", "https://[::1]/"] {
            assert_eq!(trust(&["https://*"], url), Some(Trust::Public), "{url}");
        }
        for url in ["http://a.example/", "https://a.example:8443/", "ftp://a.example/", "file:///etc/passwd"]
        {
            assert_eq!(trust(&["https://*"], url), None, "{url}");
        }
        let below = ["https://*.example.com"];
        assert_eq!(trust(&below, "https://cdn.EXAMPLE.com/a"), Some(Trust::Public));
        assert_eq!(trust(&below, "https://a.b.example.com/a"), Some(Trust::Public));
        for url in [
            "https://example.com/",
            "https://evilexample.com/",
            "https://cdn.example.com.evil.com/",
            "http://cdn.example.com/",
            "https://cdn.example.com:444/",
        ] {
            assert_eq!(trust(&below, url), None, "{url}");
        }
    }

    #[test]
    fn named_origin_is_scheme_host_and_port() {
        let named = ["http://10.0.0.5:9000", "https://*"];
        assert_eq!(trust(&named, "http://10.0.0.5:9000/a?b"), Some(Trust::Named));
        assert_eq!(trust(&named, "http://0x0a.0.0.5:9000/"), Some(Trust::Named), "it is the same host");
        assert_eq!(trust(&named, "http://10.0.0.5/"), None);
        assert_eq!(trust(&named, "https://10.0.0.5:9000/"), None);
        assert_eq!(trust(&named, "https://10.0.0.5/"), Some(Trust::Public));
        assert_eq!(trust(&named, "blob:http://10.0.0.5:9000/a"), None);
        assert_eq!(trust(&["http://a.example:80"], "http://a.example/"), Some(Trust::Named));
    }

    #[test]
    fn list_with_anything_but_origins_is_refused() {
        for item in [
            "*",
            "http://*",
            "http://*.example.com",
            "https://*.10.0.0.1",
            "https://*.example.com:8443",
            "https://a*.example.com",
            "https://*:8443",
            "https://a.example/path",
            "https://a.example?query",
            "https://a.example#",
            "https://user@a.example",
            "https://@a.example",
            "https://a .example",
            "https:\\\\a.example",
            "ftp://a.example",
            "a.example",
            "",
        ] {
            assert_eq!(allowed(&[item]), None, "{item}");
        }
        assert!(
            allowed(&["https://a.example/", "http://[::1]:80", "https://*", "https://*.a.example"]).is_some()
        );
    }
}
