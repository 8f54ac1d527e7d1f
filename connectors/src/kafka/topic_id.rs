//! The id that a broker gives a topic when it is created: a recreated topic has another one.
//!
//! rdkafka wraps no DescribeTopics, so this is the one place that calls librdkafka's C functions
//! directly. Every pointer is created, checked and destroyed in [`describe`].

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use weir_contract::{Code, Error, Result};

use super::config::Context;
use super::fault;

/// Destroys a librdkafka object at the end of its scope.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T), what: &str) -> Result<Self> {
        if pointer.is_null() {
            return Err(Error::new(Code::Connect, format!("librdkafka gave no {what}")));
        }
        Ok(Self(pointer, destroy))
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer is not null (checked in `new`), is owned by this value alone, and
        // `destroy` is librdkafka's own destructor of this type.
        unsafe { (self.1)(self.0) }
    }
}

/// Asks the broker for a topic's id, as 22 characters of base64. One round trip.
///
/// # Errors
/// `W0404` for an unknown topic, `W0401` where no answer came in time.
pub fn describe(client: &Client<Context>, topic: &str, timeout: Duration) -> Result<String> {
    let doing = format!("asking for the id of topic {topic}");
    let name = CString::new(topic).map_err(|_| Error::new(Code::NoTopic, format!("{topic:?} is no name")))?;
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let native = client.native_ptr();
    // SAFETY: `native` lives as long as `client`, which outlives this call. `names` and `name` outlive
    // `TopicCollection_of_topic_names`, which copies them. Each object is destroyed once, by `Owned`, in
    // reverse order of creation. What is borrowed from the event (result, topics, error, id, text)
    // is read before the event is dropped.
    unsafe {
        let mut names = [name.as_ptr()];
        let topics = Owned::new(
            c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            c::rd_kafka_TopicCollection_destroy,
            "topic collection",
        )?;
        let options = Owned::new(
            c::rd_kafka_AdminOptions_new(native, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            c::rd_kafka_AdminOptions_destroy,
            "admin options",
        )?;
        let mut why = [0; 256];
        c::rd_kafka_AdminOptions_set_request_timeout(options.0, millis, why.as_mut_ptr(), why.len());
        let queue = Owned::new(c::rd_kafka_queue_new(native), c::rd_kafka_queue_destroy, "queue")?;
        c::rd_kafka_DescribeTopics(native, topics.0, options.0, queue.0);
        let event = Owned::new(
            c::rd_kafka_queue_poll(queue.0, millis.saturating_add(500)),
            c::rd_kafka_event_destroy,
            "answer in time",
        )?;
        let code = RDKafkaErrorCode::from(c::rd_kafka_event_error(event.0));
        if code != RDKafkaErrorCode::NoError {
            return Err(fault::of_code(code, &doing));
        }
        let result = c::rd_kafka_event_DescribeTopics_result(event.0);
        let mut count = 0;
        let described = if result.is_null() {
            std::ptr::null_mut()
        } else {
            c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count)
        };
        if described.is_null() || count != 1 {
            return Err(Error::new(Code::Connect, format!("{doing}: an answer without the topic")));
        }
        let code =
            RDKafkaErrorCode::from(c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(*described)));
        if code != RDKafkaErrorCode::NoError {
            return Err(fault::of_code(code, &doing));
        }
        let id = c::rd_kafka_TopicDescription_topic_id(*described);
        let text = if id.is_null() { std::ptr::null() } else { c::rd_kafka_Uuid_base64str(id) };
        if text.is_null() {
            return Err(Error::new(Code::Refused, format!("{doing}: the broker gives topics no ids"))
                .expected("Kafka 2.8 or newer"));
        }
        Ok(CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
