//! Every error code of weir: what it means, whose fault it is, whether a retry helps.
//!
//! Ranges: 01xx records and rows, 02xx SQL and checks, 03xx engine, 04xx connectors, 05xx storage
//! and checkpoints, 06xx rule tests, 07xx command line, 08xx images and models. `docs/ERRORS.md` is generated from here.

use std::fmt;

/// Whose fault an error is, and so who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Bad data: a counted reject.
    Data,
    /// The author of a rule, view or table.
    Author,
    /// The person who runs weir: configuration, disk, rights.
    Operator,
    /// A peer such as a broker or a database: retried, with a bound.
    Peer,
    /// weir itself: a bug.
    Weir,
}

macro_rules! codes {
    ($($name:ident = $number:literal, $fault:ident, $retry:literal, $text:literal, $act:literal;)*) => {
        /// A stable error code, shown as `W0207`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Code { $(#[doc = $text] $name = $number,)* }

        impl Code {
            /// All codes in ascending order.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            pub fn text(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            pub fn fault(self) -> Fault {
                match self { $(Code::$name => Fault::$fault,)* }
            }

            /// Whether the same call may succeed later without anybody acting.
            pub fn retry(self) -> bool {
                match self { $(Code::$name => $retry,)* }
            }

            /// Who has to do what.
            pub fn act(self) -> &'static str {
                match self { $(Code::$name => $act,)* }
            }
        }
    };
}

codes! {
    BadRecord = 101, Data, false, "a record cannot be decoded", "owner of the device or adapter. The record is in {table}.rejected; all other records go on.";
    NoEventTime = 102, Data, false, "a row has no event time", "owner of the device or adapter. The record is in {table}.rejected; all other records go on.";
    ClockAhead = 103, Data, false, "a time lies more than max_ahead after the record's append time", "owner of the device: set its clock. The record is in {table}.rejected.";
    TooLarge = 104, Data, false, "a record is larger than max_record_bytes", "owner of the device or adapter. The record is in {table}.rejected, its bytes cut.";
    BadHeartbeat = 105, Data, false, "a heartbeat header is not an RFC 3339 time", "owner of the device or adapter. The record is in {table}.rejected.";
    OutOfRange = 106, Data, false, "a value does not fit its column's type", "owner of the device or adapter. The record is in {table}.rejected.";

    Syntax = 201, Author, false, "the statement cannot be parsed", "author of the script. Nothing was started.";
    UnknownName = 202, Author, false, "a name is not known", "author of the script. Nothing was started.";
    UnknownOption = 203, Author, false, "an option is not known", "author of the script. Nothing was started.";
    BadOption = 204, Author, false, "an option has a value that it cannot take", "author of the script. Nothing was started.";
    BadColumn = 205, Author, false, "a column definition is not valid", "author of the script. Nothing was started.";
    Duplicate = 206, Author, false, "a name is defined twice", "author of the script. Nothing was started.";
    NotEventTime = 207, Author, false, "a window, a time join or a rule needs an event-time column", "rule author. Not retried.";
    Unbounded = 208, Author, false, "the query would need unbounded state", "rule author. Not retried.";
    NotYet = 209, Author, false, "this part of the dialect is not there yet", "rule author. Not retried.";
    NotImmutable = 210, Author, false, "a function reads the wall clock or chance", "rule author. Not retried.";
    BadRule = 211, Author, false, "a rule does not keep the contract of rules", "rule author. Not retried.";
    Plan = 212, Author, false, "the query cannot be planned", "rule author. Not retried.";
    DetectPlace = 213, Author, false, "detect() stands where it may not", "author of the script: the detector is a program of its own; rules read what it writes.";

    TwoPartitions = 301, Data, false, "one partition-key value came in two partitions of co-partitioned tables", "operator: fix the producer's partitioner, then restart.";
    Internal = 302, Weir, false, "weir broke one of its own rules", "weir's developers. The program stopped before it acknowledged anything.";
    SecondProcess = 303, Operator, false, "the program runs already in another process", "operator: stop the other process or use another --data folder.";
    PassedEffect = 304, Operator, false, "a control record takes effect at a time that was passed already", "operator: the writer of the control log broke its order.";
    Expression = 305, Author, false, "an expression failed on a whole batch", "rule author.";
    ControlLog = 306, Operator, false, "the control log cannot be read or written", "operator: see the cause.";

    Connect = 401, Peer, true, "a peer cannot be reached", "operator, if it lasts. A program that runs waits and goes on by itself.";
    Refused = 402, Operator, false, "a peer refused the request", "operator: rights, names and settings of the peer.";
    Retention = 403, Operator, false, "the log no longer holds a position that is needed", "operator: raise the retention, or start cold.";
    NoTopic = 404, Operator, false, "a topic does not exist", "operator: create it.";
    BadFile = 405, Operator, false, "a file cannot be read", "operator.";
    Recreated = 406, Operator, false, "a topic is not the one that the checkpoint knows", "operator: start cold, or restore the topic.";
    Reference = 407, Operator, true, "the reference database cannot be used", "operator.";

    Io = 501, Operator, true, "the file system refused a read or write", "operator: space, rights and health of the disk.";
    Damaged = 502, Operator, false, "stored bytes fail their checksum", "operator: an older copy is used where there is one.";
    Locked = 503, Operator, false, "another process writes here", "operator: stop the other process.";
    NoCheckpoint = 504, Operator, false, "no whole checkpoint is left", "operator: start cold from the logs.";
    DiskFull = 505, Operator, true, "the disk is full", "operator: free space. A program that runs waits and goes on by itself.";

    TestFailed = 601, Author, false, "a rule test does not give what it expects", "rule author.";
    BadTest = 602, Author, false, "a rule test is not valid", "rule author.";

    Usage = 701, Operator, false, "the command line is not valid", "the caller.";

    BadImage = 801, Data, false, "an image cannot be decoded", "owner of the camera. The image is skipped and counted; all other images go on.";
    ImageTooLarge = 802, Data, false, "an image is larger than its limits", "owner of the camera: send smaller images, or raise the limits.";
    NoRuntime = 803, Operator, false, "the inference library cannot be loaded", "operator: `make onnxruntime` fetches it; WEIR_ORT_LIB names it by an absolute path.";
    NoModel = 804, Operator, false, "a model file cannot be read", "operator: path and rights of the file.";
    BadModel = 805, Operator, false, "a model cannot be used", "whoever exported the model. The last good model stays.";
    ModelChanged = 806, Operator, false, "a model file is not the one that was named", "operator: install the file whose sha256 is configured. The last good model stays.";
    Inference = 807, Operator, false, "a model failed on an image", "whoever exported the model. The image is skipped and counted.";
    TooSlow = 808, Operator, true, "an image was not done within its time limit", "operator: fewer images, more threads or a smaller model. An agent skips the image and counts it; detect() tries again for ten minutes, then stops before it acknowledges anything.";
    Busy = 809, Operator, true, "the queue of images is full", "operator: fewer images, or more threads. The image is skipped and counted.";
    WorkerPanic = 810, Weir, false, "a library panicked on an image", "weir's developers: keep the image. It is skipped and counted, and the worker starts anew.";
    NoFrame = 811, Operator, false, "a stored frame is missing", "operator: the store for frames, or who writes there. The frame is skipped and counted.";
    FrameChanged = 812, Operator, false, "a stored frame is not the one that its uri names", "operator: the store for frames. The frame is skipped and counted.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "W{:04}", *self as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_and_say_who_acts() {
        assert!(Code::ALL.windows(2).all(|w| w[0] < w[1]));
        assert!(Code::ALL.iter().all(|c| !c.text().is_empty() && !c.act().is_empty()));
        assert_eq!(Code::NotEventTime.to_string(), "W0207");
    }
}
