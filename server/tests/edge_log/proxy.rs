//! What stands before the log server in a warehouse: a proxy that drops header names as nginx does by default.
//!
//! In: requests of any client. Out: the same requests to the server, without headers whose names hold anything but
//! letters, digits and hyphens. Owns: one thread a connection, which ends with it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Starts it before a port, gives its own.
pub fn start(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || pass(client, server));
        }
    });
    own
}

/// Until one side ends it.
fn pass(mut client: TcpStream, server: u16) -> Option<()> {
    let mut upstream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], server))).ok()?;
    loop {
        let (head, body) = message(&mut client)?;
        let goes = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let mut lines = head.trim_end().split("\r\n");
        let mut passed = lines.next()?.to_owned();
        for line in lines.filter(|line| line.split(':').next().is_some_and(goes)) {
            passed = passed + "\r\n" + line;
        }
        upstream.write_all(&[passed.as_bytes(), b"\r\n\r\n", &body].concat()).ok()?;
        let (head, body) = message(&mut upstream)?;
        client.write_all(&[head.as_bytes(), &body].concat()).ok()?;
    }
}

/// A head with its blank line, and its body.
fn message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut head, mut one) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut one).ok()?;
        head.push(one[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let lower = head.to_lowercase();
    let length =
        lower.split("content-length: ").nth(1).map_or("0", |rest| rest.split("\r\n").next().unwrap());
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}
