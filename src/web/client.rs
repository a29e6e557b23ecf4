//! Finds the client's address behind trusted proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::header::{FORWARDED, HeaderMap, HeaderName};
use ipnet::IpNet;

/// The addresses of the client and of the proxies before the last.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the address of the client.
///
/// Headers count only if the peer itself is a trusted proxy. They are read as bytes from the right, the end that trusted
/// proxies wrote, up to the first address that is not one of theirs. The client may have sent everything to the left of it.
///
/// An element without an address (`unknown`, an obfuscated name, invalid bytes, an empty element) ends the search, because no
/// trusted proxy wrote anything to its left. The result is then the address of the proxy that wrote the element. So a client
/// cannot choose its address, and all requests with such elements share one quota.
///
/// If both headers are present, `X-Forwarded-For` counts and `Forwarded` (RFC 7239) does not: the rare proxies that write the
/// latter remove the former, while those that write the former pass the latter on as the client sent it.
pub(crate) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let mut follow = |hop: Option<IpAddr>| {
        let Some(ip) = hop else { return false };
        client = ip;
        is_trusted(ip)
    };
    if headers.contains_key(X_FORWARDED_FOR) {
        let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).all(|hop| follow(node(hop)));
    } else {
        let lines = headers.get_all(FORWARDED).iter().rev();
        lines.flat_map(|line| FromRight(Some(line.as_bytes()))).all(|hop| follow(forwarded_for(hop)));
    }
    client
}

/// Iterates over the elements of `Forwarded` from the right. A comma in a quoted string separates nothing. Quotes are paired
/// from the right, too, so that a quote that a client left open cannot include what a proxy appended.
struct FromRight<'v>(Option<&'v [u8]>);

impl<'v> Iterator for FromRight<'v> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        let line = self.0.take()?;
        let mut is_quoted = false;
        for (at, byte) in line.iter().enumerate().rev() {
            match byte {
                b'"' if !ends_in_escape(&line[..at]) => is_quoted = !is_quoted,
                b',' if !is_quoted => {
                    self.0 = Some(&line[..at]);
                    return Some(&line[at + 1..]);
                }
                _ => {}
            }
        }
        Some(line)
    }
}

/// Returns whether the text ends with an odd number of backslashes.
fn ends_in_escape(bytes: &[u8]) -> bool {
    bytes.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Returns the address in the one `for` parameter of an element of `Forwarded` (RFC 7239 section 4).
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = element.trim_ascii();
    while !rest.is_empty() {
        let equals = rest.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (rest[..equals].trim_ascii(), rest[equals + 1..].trim_ascii_start());
        let (value, after) = match value.strip_prefix(b"\"") {
            Some(quoted) => {
                let is_end = |at: usize| quoted[at] == b'"' && !ends_in_escape(&quoted[..at]);
                let end = (0..quoted.len()).find(|at| is_end(*at))?;
                (&quoted[..end], &quoted[end + 1..])
            }
            None => value.split_at(value.iter().position(|byte| *byte == b';').unwrap_or(value.len())),
        };
        if name.eq_ignore_ascii_case(b"for") && found.replace(node(value)?).is_some() {
            return None;
        }
        let after = after.trim_ascii_start();
        rest = match after.strip_prefix(b";") {
            Some(next) => next.trim_ascii_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    found
}

/// Returns the address of a node: IPv4, or IPv6 with or without brackets, each with an optional port.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let (ip, port): (IpAddr, &str) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (ip, port) = bracketed.split_once(']')?;
            (ip.parse::<Ipv6Addr>().ok()?.into(), port)
        }
        None => {
            let (ip, port) = text.split_at(text.find(':')?);
            (ip.parse::<Ipv4Addr>().ok()?.into(), port)
        }
    };
    (port.is_empty() || is_port(port.strip_prefix(':')?)).then(|| ip.to_canonical())
}

/// Returns whether this is a port number or an obfuscated port (RFC 7239 section 6).
fn is_port(port: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match port.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(is_name),
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    fn client_of(peer: &str, headers: &[(&'static str, &[u8])]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        address(peer.parse().unwrap(), &map, &trusted).to_string()
    }

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        client_of(peer, &headers)
    }

    #[test]
    fn headers_of_an_untrusted_peer_are_ignored() {
        let forged = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4")];
        assert_eq!(client("203.0.113.9", &forged), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &forged), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("::ffff:10.0.0.1", &forged), "1.2.3.4");
        assert_eq!(client("::ffff:203.0.113.9", &forged), "203.0.113.9");
    }

    #[test]
    fn rightmost_untrusted_address_is_the_client() {
        let chain = [("x-forwarded-for", "6.6.6.6, 198.51.100.7, 10.2.2.2"), ("x-forwarded-for", "10.1.1.1")];
        assert_eq!(client("10.0.0.1", &chain), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "10.9.9.9")]), "10.9.9.9");
    }

    #[test]
    fn forwarded_is_read_without_x_forwarded_for() {
        assert_eq!(
            client("::1", &[("forwarded", r#"for=6.6.6.6;proto=http, For="[2001:db8::7]:4711""#)]),
            "2001:db8::7"
        );
        assert_eq!(client("::1", &[("forwarded", "for=192.0.2.43:1234;by=10.0.0.1")]), "192.0.2.43");
        assert_eq!(
            client("::1", &[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "192.0.2.1")]),
            "192.0.2.1"
        );
    }

    #[test]
    fn invalid_bytes_before_an_appended_address_change_nothing() {
        for bad in [
            &b"\xff"[..],
            b"",
            b"\"",
            b"\\",
            b"unknown",
            b"1.2.3.4\xff",
            b"6.6.6.6, \xfe",
            b",,,",
            b"for=\"\\",
        ] {
            let line = [bad, b", 203.0.113.7"].concat();
            assert_eq!(client_of("10.0.0.1", &[("x-forwarded-for", &line)]), "203.0.113.7", "{bad:?}");
            let lines = [("x-forwarded-for", bad), ("x-forwarded-for", &b"203.0.113.7"[..])];
            assert_eq!(client_of("10.0.0.1", &lines), "203.0.113.7", "{bad:?}");
            let line = [bad, b", for=203.0.113.7"].concat();
            assert_eq!(client_of("10.0.0.1", &[("forwarded", &line)]), "203.0.113.7", "{bad:?}");
        }
    }

    #[test]
    fn element_without_an_address_gives_the_address_of_its_proxy() {
        for bad in [
            "nonsense",
            "unknown",
            "_hidden",
            "",
            "1.2.3.4.5",
            "01.2.3.4",
            "[::1",
            "::1]",
            "1.2.3.4:",
            "[1.2.3.4]:5",
            "1.2.3.4:_",
            "1.2.3.4:_a b",
        ] {
            let line = format!("6.6.6.6, {bad}, 10.7.7.7");
            assert_eq!(client("10.0.0.1", &[("x-forwarded-for", &line)]), "10.7.7.7", "{bad}");
            let line = format!("6.6.6.6, {bad}");
            assert_eq!(client("10.0.0.1", &[("x-forwarded-for", &line)]), "10.0.0.1", "{bad}");
        }
        for bad in [
            "for=_hidden",
            "for=unknown",
            "by=1.2.3.4",
            "for=1.2.3.4;for=1.2.3.4",
            "for",
            "for=\"1.2.3.4",
            "for=\"1.2.3.4\" x",
            "",
        ] {
            let line = format!("for=6.6.6.6, {bad}, for=10.7.7.7");
            assert_eq!(client("::1", &[("forwarded", &line)]), "10.7.7.7", "{bad}");
        }
    }

    #[test]
    fn addresses_are_read_with_ports_brackets_and_quotes() {
        for (hop, expected) in [
            ("192.0.2.1:1234", "192.0.2.1"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:65535", "2001:db8::7"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ] {
            assert_eq!(client("::1", &[("x-forwarded-for", hop)]), expected);
            let line = format!("for=\"{hop}\"");
            assert_eq!(client("::1", &[("forwarded", &line)]), expected);
        }
        for line in [
            r#"by="a,b;c\",";For="192.0.2.1:_port" ; host=x"#,
            "proto=http; for=192.0.2.1;",
            r#"secret="for=6.6.6.6", for=192.0.2.1"#,
        ] {
            assert_eq!(client("::1", &[("forwarded", line)]), "192.0.2.1", "{line}");
        }
    }

    proptest! {
        /// For any bytes of a client in any number of lines, the address that the proxy appends is the client.
        #[test]
        fn arbitrary_client_bytes_do_not_change_its_address(
            lines in prop::collection::vec("[\\x20-\\x7e\\u{80}-\\u{ff}]{0,40}", 0..4),
            pieces in prop::collection::vec(prop::sample::select(vec![",", "\"", "\\", "for=", ";", "10.0.0.1", "6.6.6.6", " "]), 0..20),
            is_joined: bool,
        ) {
            let mut lines: Vec<Vec<u8>> =
                lines.iter().map(|line| line.chars().map(|c| u8::try_from(c).unwrap()).collect()).collect();
            lines.push(pieces.concat().into_bytes());
            for (name, appended) in [("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=\"203.0.113.7:80\"")] {
                let mut lines = lines.clone();
                match lines.last_mut() {
                    Some(last) if is_joined => last.extend([b", ", appended.as_bytes()].concat()),
                    _ => lines.push(appended.into()),
                }
                let headers: Vec<_> = lines.iter().map(|line| (name, line.as_slice())).collect();
                prop_assert_eq!(client_of("10.0.0.1", &headers), "203.0.113.7");
            }
        }
    }
}
