//! What one peer can take of the port, and what it leaves to the others.

use super::*;

/// Answers come, whatever the machine does meanwhile.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

fn get(token: &str) -> String {
    format!("GET /v1/log/scans HTTP/1.1\r\nauthorization: Bearer {token}\r\nhost: x\r\n\r\n")
}

fn head(token: &str, length: usize) -> String {
    format!(
        "POST /v1/log/scans HTTP/1.1\r\nauthorization: Bearer {token}\r\nweir-key: W1\r\nhost: x\r\n\
         content-length: {length}\r\n\r\n"
    )
}

fn rig(limits: Limits, room: Room) -> Rig {
    Rig::with(limits, room, |_, _| Ok(()))
}

#[test]
fn a_stranger_gives_its_place_back_and_a_device_keeps_it() {
    let rig = rig(Limits::default(), Room { patience: SHORT, ..Room::default() });
    // Where the machine is slower than the patience, the device is a stranger for longer.
    let mut device = loop {
        let mut stream = rig.connect();
        stream.write_all(get(TOKEN).as_bytes()).unwrap();
        let mut first = [0; 12];
        if stream.read_exact(&mut first).is_ok() && first == *b"HTTP/1.1 200" {
            assert!(answer(&mut stream).contains("d1"));
            break stream;
        }
    };
    let mut silent = rig.connect();
    assert_eq!(silent.read(&mut [0; 100]).unwrap(), 0, "closed without a word");
    let mut slow = rig.connect();
    slow.write_all(b"POST /v1/log/scans HT").unwrap();
    let mut said = String::new();
    let _reset_in_any_case = slow.read_to_string(&mut said);
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    device.write_all(get(TOKEN).as_bytes()).unwrap();
    assert!(answer(&mut device).starts_with("HTTP/1.1 200"));
}

#[test]
fn strangers_make_room_for_whoever_comes_and_devices_do_not() {
    let rig = rig(Limits::default(), Room { connections: 2, patience: LONG, ..Room::default() });
    let mut silent = [rig.connect(), rig.connect()];
    let device = || {
        let mut stream = rig.connect();
        let mut said = [0; 12];
        stream.write_all(get(TOKEN).as_bytes()).unwrap();
        let _closed_early = stream.read_exact(&mut said);
        (stream, String::from_utf8_lossy(&said).into_owned())
    };
    let (first, second) = (device(), device());
    assert_eq!((first.1.as_str(), second.1.as_str()), ("HTTP/1.1 200", "HTTP/1.1 200"));
    for stranger in &mut silent {
        assert_eq!(stranger.read(&mut [0; 100]).unwrap(), 0, "closed for a device");
    }
    let mut said = [0; 12];
    rig.connect().read_exact(&mut said).unwrap();
    assert_eq!(said, *b"HTTP/1.1 503", "devices stay");
}

#[test]
fn a_body_has_to_come_at_a_least_rate() {
    let rig = rig(Limits::default(), Room { patience: SHORT, ..Room::default() });
    let mut stream = rig.connect();
    stream.write_all(head(TOKEN, 1_000_000).as_bytes()).unwrap();
    let mut drip = stream.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while drip.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(answer(&mut stream).starts_with("HTTP/1.1 408"));
    drop(stream);
    dripping.join().unwrap();
    assert!(rig.told.summary()["refused"]["unknown"]["408"].as_u64().is_some_and(|n| n > 0));
}

#[test]
fn one_devices_bodies_leave_room_for_another() {
    let limits = Limits { body_bytes: 1_000, waiting_bytes: 1_000, ..Limits::default() };
    let rig = rig(limits, Room { waiting_bytes: 1_100, patience: LONG, ..Room::default() });
    // All that the device may have, told and not sent.
    let mut held = rig.connect();
    let waits = head(TOKEN, 1_000).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    held.write_all(waits.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    held.read_exact(&mut go_on).unwrap();
    let other = b"{\"event_id\":\"d2/b/1\"}";
    let mut second = rig.connect();
    second.write_all(head(OTHER, other.len()).as_bytes()).unwrap();
    second.write_all(other).unwrap();
    assert!(answer(&mut second).starts_with("HTTP/1.1 200"));
    let (status, head, text) = rig.post("weir-key: W1", ONE);
    assert!(status == 429 && head.contains("retry-after: 1") && text.contains("other bodies"), "{text}");
    assert_eq!(rig.told.summary()["refused"]["d1"]["429"], 1);
    // What it held is given back.
    let body = [&ONE[..ONE.len() - 1], &[b' '; 1_000][..1_000 - ONE.len()], b"}"].concat();
    held.write_all(&body).unwrap();
    assert!(answer(&mut held).starts_with("HTTP/1.1 200"));
    assert_eq!(rig.post("weir-key: W1", ONE).0, 200);
}

#[test]
fn one_devices_connections_leave_places_for_another() {
    let rig = rig(Limits { connections: 2, ..Limits::default() }, Room { patience: LONG, ..Room::default() });
    let mut open: Vec<TcpStream> = (0..3).map(|_| rig.connect()).collect();
    let mut said = Vec::new();
    for stream in &mut open {
        stream.write_all(get(TOKEN).as_bytes()).unwrap();
        said.push(answer(stream)[..12].to_owned());
    }
    assert_eq!(said, ["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 429"]);
    let mut other = rig.connect();
    other.write_all(get(OTHER).as_bytes()).unwrap();
    assert!(answer(&mut other).starts_with("HTTP/1.1 200"));
    // A connection that ends gives its place back, once the server has seen that.
    open.remove(0);
    let until = WallClock.monotonic() + LONG;
    loop {
        let mut again = rig.connect();
        again.write_all(get(TOKEN).as_bytes()).unwrap();
        if answer(&mut again).starts_with("HTTP/1.1 200") {
            return;
        }
        assert!(WallClock.monotonic() < until, "no place came back");
    }
}
