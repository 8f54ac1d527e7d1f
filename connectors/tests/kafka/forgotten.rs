//! A transaction that is open in a partition and that its coordinator does not know.
//!
//! A broker's crash leaves one at times: its coordinator gives up markers while a partition has no leader. Here it
//! is made on purpose, by a producer of the tests' own that does not tell the coordinator about its partition; the
//! broker has to be asked not to look.

use std::io::{Read, Write};
use std::net::TcpStream;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use weir_contract::Code;

use super::*;

const INIT_PRODUCER_ID: i16 = 22;
const PRODUCE: i16 = 0;

/// A request's body, as Kafka's protocol has it: big-endian.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn i8(self, n: i8) -> Self {
        self.raw(&n.to_be_bytes())
    }

    fn i16(self, n: i16) -> Self {
        self.raw(&n.to_be_bytes())
    }

    fn i32(self, n: i32) -> Self {
        self.raw(&n.to_be_bytes())
    }

    fn i64(self, n: i64) -> Self {
        self.raw(&n.to_be_bytes())
    }

    fn text(self, text: &str) -> Self {
        self.i16(text.len() as i16).raw(text.as_bytes())
    }

    /// A small number in the records' own form: zigzag, one byte.
    fn small(self, n: i8) -> Self {
        self.i8((n << 1) ^ (n >> 7))
    }
}

/// Sends one request of a version without tagged fields, and gives the answer behind its correlation id.
fn ask(api: i16, version: i16, body: &Body) -> Vec<u8> {
    let mut broker = TcpStream::connect(bootstrap()).unwrap();
    let request = Body::default().i16(api).i16(version).i32(7).text("forgotten").raw(&body.0).0;
    broker.write_all(&(request.len() as i32).to_be_bytes()).unwrap();
    broker.write_all(&request).unwrap();
    let mut length = [0; 4];
    broker.read_exact(&mut length).unwrap();
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    broker.read_exact(&mut answer).unwrap();
    answer.split_off(4)
}

/// Producer id and epoch of a writer's name; the writer that has them is fenced.
fn producer_of(name: &str) -> (i64, i16) {
    let answer = ask(INIT_PRODUCER_ID, 0, &Body::default().text(name).i32(60_000));
    let error = i16::from_be_bytes(answer[4..6].try_into().unwrap());
    assert_eq!(error, 0, "the producer's id");
    (
        i64::from_be_bytes(answer[6..14].try_into().unwrap()),
        i16::from_be_bytes(answer[14..16].try_into().unwrap()),
    )
}

/// Writes one record of a transaction of which the coordinator does not hear, into partition 0. Gives the broker's
/// error, 0: none.
fn forgotten(options: &KafkaOptions, name: &str, value: &str) -> i16 {
    let (id, epoch) = producer_of(name);
    let record = Body::default().i8(0).small(0).small(0).small(-1).small(value.len() as i8);
    let record = record.raw(value.as_bytes()).small(0).0;
    // Transactional; one record, from the time 0, as the first of its producer.
    let rest = Body::default().i16(0x10).i32(0).i64(0).i64(0).i64(id).i16(epoch).i32(0).i32(1);
    let rest = rest.small(record.len() as i8).raw(&record).0;
    let head = Body::default().i64(0).i32(rest.len() as i32 + 9).i32(-1).i8(2);
    let batch = head.raw(&crc32c::crc32c(&rest).to_be_bytes()).raw(&rest).0;
    let body = Body::default().text(name).i16(-1).i32(10_000).i32(1).text(&options.topic).i32(1).i32(0);
    let answer = ask(PRODUCE, 3, &body.i32(batch.len() as i32).raw(&batch));
    let error_at = 4 + 2 + options.topic.len() + 4 + 4;
    i16::from_be_bytes(answer[error_at..error_at + 2].try_into().unwrap())
}

/// Whether the broker asks the coordinator before it takes a transaction's first record.
fn verification(on: bool) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap()).create().unwrap();
    let on = on.to_string();
    let config =
        AlterConfig::new(ResourceSpecifier::Broker(1)).set("transaction.partition.verification.enable", &on);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(admin.alter_configs([&config], &AdminOptions::new())).unwrap();
    assert!(done.iter().all(Result::is_ok), "{done:?}");
}

/// Where readers of committed records stand in partition 0.
fn stable(options: &KafkaOptions) -> i64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap()).set("isolation.level", "read_committed");
    let asker: BaseConsumer = config.set("group.id", "nobody").create().unwrap();
    asker.fetch_watermarks(&options.topic, 0, Duration::from_secs(20)).unwrap().1
}

#[test]
fn the_next_writer_ends_what_its_coordinator_forgot() {
    let _broker = alone();
    let options = topic("forgotten", 1);
    let mut first = writer(&options, "w");
    first.write(records(0..3)).unwrap();
    first.commit().unwrap();
    drop(first);
    verification(false);
    let name = format!("{}.w", options.topic);
    let start = WallClock.monotonic();
    // The broker hears of its configuration a moment later.
    loop {
        let error = forgotten(&options, &name, "never");
        if error == 0 {
            break;
        }
        assert!(WallClock.monotonic().saturating_sub(start) < Duration::from_secs(30), "error {error}");
        std::thread::sleep(Duration::from_millis(100));
    }
    verification(true);

    // Readers of committed records stand before it, whoever opens a writer of another name.
    let (mut other, mut ids) = (writer(&options, "v"), Vec::new());
    other.write(records(3..5)).unwrap();
    let away = other.commit().unwrap_err();
    assert_eq!(away.code(), Code::Connect, "{away}");
    assert_eq!(stable(&options), 4, "three records and their end");
    // Its own next writer ends it, and reads back to the end.
    let mut next = writer(&options, "w");
    assert_eq!(stable(&options), 4, "opening alone does not");
    next.read_back(&vec![(0, 0)], &mut |id, _| ids.push(id)).unwrap();
    assert_eq!(ids, (0..5).map(id).collect::<Vec<_>>());
    assert_eq!(read_all(&options), numbers(0..5));
    next.write(records(5..7)).unwrap();
    next.commit().unwrap();
    other.commit().unwrap();
    assert_eq!(read_all(&options), numbers(0..7));
}
