//! Whose request it is, when proxies stand in between.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{FORWARDED, HeaderMap};
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of the client.
///
/// Headers count only if the peer itself is a trusted proxy. They are read from the right, the end that trusted proxies
/// wrote, up to the first address that is not one of theirs; what lies left of it anybody may have invented. Where both
/// headers are present `X-Forwarded-For` counts and `Forwarded` (RFC 7239) does not: proxies that write the latter are
/// rare and remove the former, while those that write the former pass the latter on as the client sent it.
pub fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
    let peer = peer.to_canonical();
    if !is_trusted(peer) {
        return peer;
    }
    let mut client = peer;
    for hop in hops(headers).into_iter().rev() {
        let Some(ip) = hop else { break };
        client = ip;
        if !is_trusted(ip) {
            break;
        }
    }
    client
}

/// The addresses from the client's end to ours; `None` where one cannot be read.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let values = |name: &str| -> Vec<String> {
        headers
            .get_all(name)
            .iter()
            .flat_map(|value| {
                value.to_str().unwrap_or("").split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>()
            })
            .collect()
    };
    if headers.contains_key(X_FORWARDED_FOR) {
        return values(X_FORWARDED_FOR).iter().map(|hop| parse(hop)).collect();
    }
    values(FORWARDED.as_str()).iter().map(|element| parse(forwarded_for(element)?)).collect()
}

/// The `for` parameter of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// An address, possibly bracketed, possibly with a port.
fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let ip = bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()));
    ip.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        address(peer.parse().unwrap(), &map, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_peer_is_believed() {
        let forged = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4")];
        assert_eq!(client("203.0.113.9", &forged), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &forged), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_client() {
        let chain = [("x-forwarded-for", "6.6.6.6, 198.51.100.7, 10.2.2.2"), ("x-forwarded-for", "10.1.1.1")];
        assert_eq!(client("10.0.0.1", &chain), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "198.51.100.7, nonsense")]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "10.9.9.9")]), "10.9.9.9");
    }

    #[test]
    fn forwarded_is_read_where_it_stands_alone() {
        assert_eq!(
            client("::1", &[("forwarded", r#"for=6.6.6.6;proto=http, For="[2001:db8::7]:4711""#)]),
            "2001:db8::7"
        );
        assert_eq!(client("::1", &[("forwarded", "for=192.0.2.43:1234;by=10.0.0.1")]), "192.0.2.43");
        assert_eq!(
            client("::1", &[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "192.0.2.1")]),
            "192.0.2.1"
        );
        assert_eq!(client("::1", &[("forwarded", "for=_hidden")]), "::1");
    }
}
