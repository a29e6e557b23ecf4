//! Fetches in a network of their own, where every address is this machine, and a DNS server of the test answers.
//!
//! So a connection to any address would succeed, and is seen. The test executes itself in new user, mount and network
//! namespaces, which needs no privileges where the kernel allows it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::{assert_refused, attempts, fetch, kind, photo, problems_of};
use crate::common::skip;
use crate::support::Server;

/// Set in the process that runs in the namespaces: the directory of the certificates.
const INSIDE: &str = "VINTEDBOT_TEST_NAMESPACE";
const TEST: &str =
    "fetch::namespace::names_that_change_their_mind_and_addresses_in_all_spellings_are_not_connected_to";

/// Makes every address local, and this machine's DNS server that of the test.
const SCRIPT: &str = "
    set -e
    ip link set lo up
    ip route add local 0.0.0.0/0 dev lo
    ip -6 route add local ::/0 dev lo || true
    echo 'nameserver 127.0.0.1' > \"$0/resolv.conf\"
    echo 'options timeout:1 attempts:1' >> \"$0/resolv.conf\"
    mount --bind \"$0/resolv.conf\" /etc/resolv.conf
    exec \"$@\"";

const CERTIFICATES: &str = "
    set -e
    key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
    openssl req -x509 $key -keyout ca.key -out ca.crt -days 2 -subj /CN=ca
    openssl req $key -keyout server.key -out server.csr -subj /CN=photos \
        -addext subjectAltName=DNS:photos.test,DNS:rebind.test,DNS:rebind-later.test,DNS:mixed.test,DNS:mixed6.test
    openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out server.crt";

/// The address of the good server.
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));

/// Addresses that names resolve to: `n0.test` and so on.
const PRIVATE: [&str; 24] = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::1",
    "2001::7f00:1",
    "fe80::1",
    "fd00:ec2::254",
    "2001:db8::1",
];

#[test]
fn names_that_change_their_mind_and_addresses_in_all_spellings_are_not_connected_to() {
    if let Some(dir) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(inside(Path::new(&dir)));
    }
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new("sh").args(["-c", CERTIFICATES]).current_dir(dir.path()).output();
    if !made.is_ok_and(|made| made.status.success()) {
        return skip("fetches in a network of their own: there is no openssl for certificates");
    }
    let in_namespace = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-rmn", "sh", "-c", SCRIPT]).arg(dir.path()).arg(program).args(arguments);
        command.env(INSIDE, dir.path()).output()
    };
    if !in_namespace(Path::new("true"), &[]).is_ok_and(|output| output.status.success()) {
        return skip("fetches in a network of their own: unshare -rmn with ip and mount is not allowed");
    }
    let own = std::env::current_exe().unwrap();
    let output = in_namespace(&own, &["--exact", TEST, "--nocapture"]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

async fn inside(dir: &Path) {
    let lookups = dns_server();
    let connections = Arc::new(Mutex::new(Vec::new()));
    let tls = acceptor(dir);
    for port in [80, 443] {
        for any in ["0.0.0.0", "::"] {
            let address = SocketAddr::new(any.parse().unwrap(), port);
            match listen(address) {
                Ok(listener) => serve(listener, tls.clone(), Arc::clone(&connections)),
                Err(error) => assert!(address.is_ipv6(), "{address}: {error}"),
            }
        }
    }
    let certificates = dir.join("ca.crt").display().to_string();
    // The default FETCH_ALLOW.
    let settings = [("FETCH_ENABLED", "true"), ("SSL_CERT_FILE", certificates.as_str())];
    let home = Arc::new(TempDir::new_in(dir).unwrap());
    let server = Server::start_in(home, &settings);
    let public = SocketAddr::new(PUBLIC, 443);
    let taken = || std::mem::take(&mut *connections.lock().unwrap());
    let count = |name: &str| lookups.lock().unwrap().get(name).copied().unwrap_or(0);

    let good = "https://photos.test/photo.jpg";
    let (status, draft) = fetch(&server, "", &[good]).await;
    assert_eq!((status, taken()), (201, vec![public]), "{draft}: {:#?}", server.output());

    // The first answer is public, and all later ones are not.
    let rebound = ["https://rebind.test/photo.jpg"];
    assert_eq!(fetch(&server, "", &rebound).await.0, 201);
    assert_eq!((count("rebind.test"), taken()), (1, vec![public]), "one lookup, and its address");
    for lookup in 2..5 {
        let (status, problem) = fetch(&server, "", &rebound).await;
        assert_eq!((status, kind(&problem)), (422, "fetch-failed"));
        assert_eq!((count("rebind.test"), taken()), (lookup, vec![]));
    }
    // A redirect to another name, and one to the same name, which has changed meanwhile.
    for url in ["https://photos.test/to?https://n0.test/", "https://rebind-later.test/to?/photo.jpg"] {
        let (status, problem) = fetch(&server, "", &[url]).await;
        assert_eq!((status, kind(&problem), taken()), (422, "fetch-failed", vec![public]), "{url}");
    }
    for url in ["https://mixed.test/photo.jpg", "https://mixed6.test/photo.jpg"] {
        let (status, draft) = fetch(&server, "", &[url]).await;
        assert_eq!((status, taken()), (201, vec![public]), "{draft}");
    }

    // These listeners see connections to any address: an exact origin is connected to, wherever it is.
    let exact = ["https://10.0.0.1", "https://169.254.169.254", "https://n0.test"];
    let allowed = exact.join(",");
    let settings = [&settings[..], &[("FETCH_ALLOW", allowed.as_str())]].concat();
    let trusting = Server::start_in(Arc::new(TempDir::new_in(dir).unwrap()), &settings);
    for (url, address) in exact.into_iter().zip(["10.0.0.1", "169.254.169.254", "127.0.0.1"]) {
        let (status, problem) = fetch(&trusting, "", &[url]).await;
        let connected = SocketAddr::new(address.parse().unwrap(), 443);
        assert_eq!(
            (status, kind(&problem), taken()),
            (422, "fetch-failed", vec![connected]),
            "no certificate"
        );
    }

    let mut urls = attempts::urls(None);
    urls.extend((0..PRIVATE.len()).map(|number| format!("https://n{number}.test/photo.jpg")));
    urls.extend(["https://silent.test/".into(), "https://absent.test/".into()]);
    let lines = urls.iter().filter(|url| url.bytes().all(|byte| byte.is_ascii_graphic()));
    let redirects: Vec<String> = lines.map(|url| format!("https://photos.test/to?{url}")).collect();
    for attempts in [&urls, &redirects] {
        assert_refused(&problems_of(&server, good, attempts).await);
    }
    let connections = taken();
    assert!(connections.iter().all(|connection| *connection == public), "{connections:?}");
    println!(
        "{} URLs and {} redirects: {} connections, all to {public}",
        urls.len(),
        redirects.len(),
        connections.len()
    );
}

fn listen(address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    tokio::net::TcpListener::from_std(TcpListener::from(socket))
}

fn acceptor(dir: &Path) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(dir.join("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()))
}

/// Serves a photo, and redirects as `/to?URL` says. Notes the address of each connection.
fn serve(listener: tokio::net::TcpListener, tls: TlsAcceptor, connections: Arc<Mutex<Vec<SocketAddr>>>) {
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            connections.lock().unwrap().push(socket.local_addr().unwrap());
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = tls.accept(socket).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n")
                    && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0)
                {}
                let head = String::from_utf8_lossy(&head).into_owned();
                let target = head.split(' ').nth(1).unwrap_or_default();
                let answer = match (target, target.strip_prefix("/to?")) {
                    ("/photo.jpg", _) => {
                        let photo = photo(0);
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", photo.len());
                        [head.as_bytes(), &photo].concat()
                    }
                    (_, Some(url)) => {
                        format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n")
                            .into_bytes()
                    }
                    _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
                };
                let _gone = stream.write_all(&answer).await;
            });
        }
    });
}

/// Answers DNS queries at 127.0.0.1. Returns the number of queries for an IPv4 address, by name.
fn dns_server() -> Arc<Mutex<BTreeMap<String, usize>>> {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    let lookups = Arc::new(Mutex::new(BTreeMap::new()));
    let counts = Arc::clone(&lookups);
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let Some((name, end)) = question(&query[..length]) else { continue };
            let is_v6 = query[end - 3] == 28;
            let lookup = {
                let mut counts = counts.lock().unwrap();
                let count = counts.entry(name.clone()).or_insert(0);
                *count += usize::from(!is_v6);
                *count
            };
            let Some(addresses) = addresses(&name, lookup) else { continue };
            let found: Vec<_> = addresses.into_iter().filter(|address| address.is_ipv6() == is_v6).collect();
            let _sent = socket.send_to(&response(&query[..end], &found), client);
        }
    });
    lookups
}

/// Returns the addresses of a name at its first, second … lookup, or `None` for no answer at all.
fn addresses(name: &str, lookup: usize) -> Option<Vec<IpAddr>> {
    let private = |text: &str| text.parse::<IpAddr>().unwrap();
    Some(match name {
        "photos.test" => vec![PUBLIC],
        "rebind.test" | "rebind-later.test" => vec![if lookup == 1 { PUBLIC } else { private("127.0.0.1") }],
        "mixed.test" => vec![private("127.0.0.1"), PUBLIC, private("10.0.0.1")],
        "mixed6.test" => vec![private("::1"), private("fd00::1"), PUBLIC],
        "silent.test" => return None,
        name => {
            let number =
                name.strip_prefix('n').and_then(|name| name.strip_suffix(".test")?.parse::<usize>().ok());
            number.and_then(|number| PRIVATE.get(number)).map(|text| private(text)).into_iter().collect()
        }
    })
}

/// Reads the name of a query, and where its question ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at + 4));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
}

fn response(query: &[u8], addresses: &[IpAddr]) -> Vec<u8> {
    let mut response = query.to_vec();
    // An answer, with one question and some addresses.
    response[2..12].copy_from_slice(&[
        0x81,
        0x80,
        0,
        1,
        0,
        u8::try_from(addresses.len()).unwrap(),
        0,
        0,
        0,
        0,
    ]);
    for address in addresses {
        let (kind, bytes) = match address {
            IpAddr::V4(address) => (1, address.octets().to_vec()),
            IpAddr::V6(address) => (28, address.octets().to_vec()),
        };
        let length = u8::try_from(bytes.len()).unwrap();
        response.extend([0xC0, 0x0C, 0, kind, 0, 1, 0, 0, 0, 0, 0, length]);
        response.extend(bytes);
    }
    response
}
