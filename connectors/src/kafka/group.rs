//! A member of a consumer group: which partitions this process has, and how far each of them is.
//!
//! In:   a topic and the group's name; positions to keep.
//! Out:  partitions given and asked back; positions that other members kept.
//! Owns: the membership and the group's offsets. It reads no record: what it is assigned is paused, and read
//!       by cursors of its own.
//!
//! G1  What is asked back is given back only by [`KafkaGroup::give_back`], once its work has ended. Whoever
//!     takes longer than `max.poll.interval.ms` loses it all the same, as does a process that stands still
//!     for `session.timeout.ms`.
//! G2  An offset is accepted from the member that has the partition alone: the broker refuses an older one's.
//! G3  What weir knows beside the position is the offset's metadata. An offset that somebody else set has
//!     none: only the position is known then.
//!
//! Callbacks only note what came. Start at `KafkaGroup::turn`. Tests: `server/tests/copies.rs`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use weir_contract::{Code, Error, Result};
use weir_engine::run::copies::{Kept, Progress};

use super::asker::number;
use super::client::Client;
use super::config::{Context, Health, KafkaOptions};
use super::fault;

/// What a member has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Nothing: the group is about to say who has what.
    Wait,
    /// These partitions are this member's, ascending; perhaps none.
    Work(Vec<u32>),
    /// End the work and give the partitions back.
    GiveBack,
}

/// A member of a group that shares one topic. Dropping it leaves the group.
pub struct KafkaGroup {
    consumer: Client<BaseConsumer<Member>>,
    topic: String,
    group: String,
    timeout: Duration,
    /// What was kept last.
    last: Mutex<BTreeMap<u32, Kept>>,
}

impl KafkaGroup {
    /// Asks to be a member; `turn` says what came of it.
    pub fn join(options: &KafkaOptions, group: &str) -> Result<Self> {
        let doing = || format!("joining group {group} of topic {}", options.topic);
        let member = Member { context: Context { health: Health::default() }, said: Mutex::default() };
        let consumer: BaseConsumer<Member> =
            BaseConsumer::from_config_and_context(&options.member(group), member)
                .map_err(|e| fault::of(&e, &doing()))?;
        let consumer = Client::new(consumer);
        consumer.subscribe(&[&options.topic]).map_err(|e| fault::of(&e, &doing()))?;
        let (topic, timeout) = (options.topic.clone(), options.timeout);
        Ok(Self { consumer, topic, group: group.to_owned(), timeout, last: Mutex::default() })
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} group {} of topic {}", self.group, self.topic)
    }

    /// Hears what the group says, for `wait` at most; to be called again and again, also while the work goes
    /// on: a member that does not is taken for dead.
    ///
    /// # Errors
    /// `W0402` where the brokers refuse the membership. Brokers that are away are waited for.
    pub fn turn(&self, wait: Duration) -> Result<Turn> {
        match self.consumer.poll(wait) {
            // A record slipped through before its partition was paused; cursors read it.
            None | Some(Ok(_)) => {}
            Some(Err(error)) => {
                let ours = fault::of(&error, &self.doing("as a member of"));
                if ours.code() == Code::Refused || matches!(error, KafkaError::MessageConsumptionFatal(_)) {
                    return Err(ours);
                }
                tracing::debug!("{}", ours.what());
            }
        }
        let mut said = self.consumer.context().said();
        if let Some(fault) = said.fault.take() {
            return Err(fault::of(&fault, &self.doing("taking what was assigned by")));
        }
        Ok(match &said.assigned {
            Some(_) if said.asked_back => Turn::GiveBack,
            Some(partitions) => Turn::Work(partitions.clone()),
            None => Turn::Wait,
        })
    }

    /// Gives back what was asked back; its work has ended.
    pub fn give_back(&self) -> Result<()> {
        self.consumer.context().said().clear();
        self.consumer.unassign().map_err(|e| fault::of(&e, &self.doing("giving partitions back to")))
    }

    /// What was kept of partitions; None where nothing ever was.
    pub fn kept(&self, partitions: &[u32]) -> Result<BTreeMap<u32, Option<Kept>>> {
        let doing = || self.doing("reading the offsets of");
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&self.topic, number(*partition)?);
        }
        let list =
            self.consumer.committed_offsets(list, self.timeout).map_err(|e| fault::of(&e, &doing()))?;
        let mut kept = BTreeMap::new();
        for element in list.elements() {
            element.error().map_err(|e| fault::of(&e, &doing()))?;
            let partition =
                u32::try_from(element.partition()).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            let position = match element.offset() {
                Offset::Offset(position) => Some(position),
                _ => None,
            };
            kept.insert(partition, position.map(|position| read(position, element.metadata())));
        }
        Ok(kept)
    }
}

/// What an offset says; its metadata counts only where it was written with it.
fn read(position: i64, metadata: &str) -> Kept {
    let written = serde_json::from_str::<Kept>(metadata).ok();
    written.filter(|kept| kept.position == position).unwrap_or_else(|| Kept::only(position))
}

impl KafkaGroup {
    fn commit(&self, kept: &BTreeMap<u32, Kept>) -> Result<()> {
        let doing = || self.doing("keeping offsets in");
        let mut list = TopicPartitionList::with_capacity(kept.len());
        for (partition, kept) in kept {
            let text = serde_json::to_string(kept).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            let mut element = list.add_partition(&self.topic, number(*partition)?);
            element.set_offset(Offset::Offset(kept.position)).map_err(|e| fault::of(&e, &doing()))?;
            element.set_metadata(text);
        }
        self.consumer.commit(&list, CommitMode::Sync).map_err(|e| fault::of(&e, &doing()))
    }

    fn last(&self) -> MutexGuard<'_, BTreeMap<u32, Kept>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for KafkaGroup {
    fn keep(&self, kept: &BTreeMap<u32, Kept>) -> Result<()> {
        let mut last = self.last();
        self.commit(kept)?;
        last.clone_from(kept);
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let last = self.last();
        if last.is_empty() { Ok(()) } else { self.commit(&last) }
    }
}

impl Drop for KafkaGroup {
    fn drop(&mut self) {
        let asked_back = {
            let mut said = self.consumer.context().said();
            said.leaving = true;
            said.asked_back
        };
        // Closing waits for what was asked back and not given.
        if asked_back && let Err(error) = self.give_back() {
            tracing::info!("{}", error.what());
        }
    }
}

/// What the group said last.
#[derive(Default)]
struct Said {
    assigned: Option<Vec<u32>>,
    asked_back: bool,
    leaving: bool,
    fault: Option<KafkaError>,
}

impl Said {
    fn clear(&mut self) {
        (self.assigned, self.asked_back) = (None, false);
    }
}

struct Member {
    context: Context,
    said: Mutex<Said>,
}

impl Member {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.context.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let mut said = self.said();
        let done = if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let elements = list.elements();
            let mut numbers: Vec<u32> =
                elements.iter().filter_map(|e| u32::try_from(e.partition()).ok()).collect();
            numbers.sort_unstable();
            (said.assigned, said.asked_back) = (Some(numbers), false);
            // Paused, and at the end: nothing is to be fetched here.
            let ends = list.set_all_offsets(Offset::End);
            ends.and_then(|()| consumer.assign(list)).and_then(|()| consumer.pause(list))
        } else if said.leaving || said.assigned.is_none() {
            said.clear();
            consumer.unassign()
        } else {
            said.asked_back = true;
            Ok(())
        };
        said.fault = done.err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_counts_only_with_its_own_offset() {
        let ends = BTreeMap::from([("detections".to_owned(), 7)]);
        let kept = Kept { log: "kafka:c/t/i".into(), position: 5, watermark: i64::MIN, ends };
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(read(5, &text), kept);
        for (position, metadata) in [(4, text.as_str()), (5, ""), (5, "set by hand")] {
            assert_eq!(read(position, metadata), Kept::only(position), "{metadata:?}");
        }
    }
}
