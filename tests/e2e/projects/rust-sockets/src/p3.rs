// SPDX-License-Identifier: Apache-2.0
//! Sockets of WASI 0.3: the two streams themselves, or what tokio's traits want to see.
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
    TcpSocket,
};
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};
use wasip3::{spawn_local, wit_stream};

pub type Ended = FutureReader<Result<(), ErrorCode>>;

pub struct Socket {
    pub socket: TcpSocket,
    pub out: Option<StreamWriter<u8>>,
    pub sent: Option<Ended>,
    /// None once the stream has ended.
    pub incoming: Option<StreamReader<u8>>,
    pub received: Option<Ended>,
}

pub fn wasi_address(address: SocketAddr) -> (IpAddressFamily, IpSocketAddress) {
    match address {
        SocketAddr::V4(a) => {
            let [b0, b1, b2, b3] = a.ip().octets();
            let address = Ipv4SocketAddress { port: a.port(), address: (b0, b1, b2, b3) };
            (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(address))
        }
        SocketAddr::V6(a) => {
            let [s0, s1, s2, s3, s4, s5, s6, s7] = a.ip().segments();
            let address = Ipv6SocketAddress {
                port: a.port(),
                flow_info: a.flowinfo(),
                address: (s0, s1, s2, s3, s4, s5, s6, s7),
                scope_id: a.scope_id(),
            };
            (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(address))
        }
    }
}

pub fn std_address(address: IpSocketAddress) -> SocketAddr {
    match address {
        IpSocketAddress::Ipv4(a) => {
            let (b0, b1, b2, b3) = a.address;
            SocketAddr::new(std::net::Ipv4Addr::new(b0, b1, b2, b3).into(), a.port)
        }
        IpSocketAddress::Ipv6(a) => {
            let (s0, s1, s2, s3, s4, s5, s6, s7) = a.address;
            let ip = std::net::Ipv6Addr::new(s0, s1, s2, s3, s4, s5, s6, s7);
            SocketAddr::new(ip.into(), a.port)
        }
    }
}

/// The name of a WASI error, as its documents spell it.
pub fn name(code: &ErrorCode) -> String {
    let mut out = String::new();
    for c in format!("{code:?}").replace("ErrorCode::", "").split('(').next().unwrap_or("").chars()
    {
        if c.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Looks up a name (or takes an address as it is) and connects to the first address.
pub async fn open(host: &str, port: u16) -> Result<Socket, String> {
    let ip = match host.parse() {
        Ok(ip) => ip,
        Err(_) => match resolve_addresses(host.into()).await {
            Ok(found) => match found.first() {
                Some(IpAddress::Ipv4((a, b, c, d))) => {
                    std::net::Ipv4Addr::new(*a, *b, *c, *d).into()
                }
                Some(IpAddress::Ipv6((a, b, c, d, e, f, g, h))) => {
                    std::net::Ipv6Addr::new(*a, *b, *c, *d, *e, *f, *g, *h).into()
                }
                None => return Err("name-unresolvable".into()),
            },
            Err(e) => return Err(format!("{e:?}")),
        },
    };
    let (family, address) = wasi_address(SocketAddr::new(ip, port));
    let socket = TcpSocket::create(family).map_err(|e| name(&e))?;
    socket.connect(address).await.map_err(|e| name(&e))?;
    let (out, outgoing) = wit_stream::new();
    let sent = socket.send(outgoing);
    let (incoming, received) = socket.receive();
    let (incoming, received) = (Some(incoming), Some(received));
    Ok(Socket { socket, out: Some(out), sent: Some(sent), incoming, received })
}

impl Socket {
    /// False when the other side takes no more.
    pub async fn send(&mut self, bytes: Vec<u8>) -> bool {
        match &mut self.out {
            Some(out) => out.write_all(bytes).await.is_empty(),
            None => false,
        }
    }

    /// What came, at most `max` bytes; empty at the end.
    pub async fn receive(&mut self, max: usize) -> Vec<u8> {
        while let Some(incoming) = &mut self.incoming {
            let (status, got) = incoming.read(Vec::with_capacity(max)).await;
            if !matches!(status, StreamResult::Complete(_)) {
                self.incoming = None;
            }
            if !got.is_empty() {
                return got;
            }
        }
        Vec::new()
    }

    /// Says something in PostgreSQL's protocol; the answer as a step's line. A read takes `part` bytes.
    pub async fn converse(&mut self, request: Vec<u8>, part: usize) -> String {
        let mut answer = crate::wire::Answer::default();
        if self.send(request).await {
            loop {
                let bytes = self.receive(part).await;
                if bytes.is_empty() || answer.feed(&bytes) {
                    break;
                }
            }
        }
        answer.line()
    }

    /// What drivers of tokio's kind read and write; two tasks carry the bytes.
    pub fn into_tokio(mut self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (mut from_driver, mut to_driver) = tokio::io::split(far);
        let mut out = self.out.take().expect("nobody else writes");
        let sent = self.sent.take().expect("nobody else waits");
        spawn_local(async move {
            loop {
                let mut bytes = Vec::with_capacity(1 << 14);
                match from_driver.read_buf(&mut bytes).await {
                    Ok(n) if n > 0 && out.write_all(bytes).await.is_empty() => {}
                    _ => break,
                }
            }
            drop(out);
            let _ = sent.await;
        });
        spawn_local(async move {
            loop {
                let bytes = self.receive(1 << 16).await;
                if bytes.is_empty() || to_driver.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            let _ = to_driver.shutdown().await;
        });
        near
    }
}
