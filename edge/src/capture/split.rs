//! A stream of JPEGs, cut into frames.
//!
//! In:   bytes of a child process or a camera on the network, in any chunks.
//! Out:  whole JPEGs, from SOI to EOI, with their size in pixels.
//! Owns: the unfinished frame, at most `bytes_max` of it. What lies between frames (boundaries, headers,
//!       noise) is skipped and counted; so are frames that are too large, and broken ones.
//!
//! The segments of a JPEG are walked, not searched: a thumbnail inside has an end of its own.

/// What came of the bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct SplitCounts {
    pub frames: u64,
    pub too_large: u64,
    pub broken: u64,
    pub skipped_bytes: u64,
}

/// A whole JPEG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jpeg {
    pub bytes: Vec<u8>,
    /// 0 where no frame header was in it.
    pub width: u16,
    pub height: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between frames; true after 0xff.
    Outside(bool),
    /// A marker has to come; true after 0xff.
    Marker(bool),
    /// First byte of a segment's length, after this marker.
    LengthHigh(u8),
    LengthLow(u8, u8),
    /// So many bytes of a segment, after this marker.
    Segment(u8, usize),
    /// Coded pixels; true after 0xff.
    Pixels(bool),
}

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;

/// Cuts frames.
#[derive(Debug)]
pub struct Splitter {
    state: State,
    frame: Vec<u8>,
    bytes_max: usize,
    /// Bytes of the frame header, as far as they came: precision, height, width.
    header: Vec<u8>,
    pub counts: SplitCounts,
}

impl Splitter {
    pub fn new(bytes_max: usize) -> Self {
        let counts = SplitCounts::default();
        Self { state: State::Outside(false), frame: Vec::new(), bytes_max, header: Vec::new(), counts }
    }

    pub fn push(&mut self, bytes: &[u8], frames: &mut Vec<Jpeg>) {
        let mut rest = bytes;
        while let Some(byte) = rest.first() {
            let run = match self.state {
                State::Outside(false) | State::Pixels(false) => {
                    memchr::memchr(0xff, rest).unwrap_or(rest.len())
                }
                _ => 0,
            };
            if run == 0 {
                self.take(*byte, frames);
                rest = &rest[1..];
                continue;
            }
            // What is no marker goes in one piece.
            let (plain, later) = rest.split_at(run);
            rest = later;
            if self.state == State::Outside(false) {
                self.counts.skipped_bytes += run as u64;
            } else if self.frame.len() + run > self.bytes_max {
                self.counts.too_large += 1;
                self.counts.skipped_bytes += (self.frame.len() + run - self.bytes_max) as u64;
                self.abandon(0);
            } else {
                self.frame.extend_from_slice(plain);
            }
        }
    }

    /// The stream ended: an unfinished frame is none.
    pub fn cut(&mut self) {
        if !matches!(self.state, State::Outside(_)) {
            self.counts.broken += 1;
        }
        self.state = State::Outside(false);
        self.frame = Vec::new();
    }

    fn abandon(&mut self, byte: u8) {
        self.frame.clear();
        self.state = State::Outside(byte == 0xff);
    }

    fn take(&mut self, byte: u8, frames: &mut Vec<Jpeg>) {
        if let State::Outside(after_ff) = self.state {
            match (after_ff, byte) {
                (true, SOI) => {
                    self.counts.skipped_bytes -= 1;
                    self.frame.extend_from_slice(&[0xff, SOI]);
                    self.header.clear();
                    self.state = State::Marker(false);
                }
                _ => {
                    self.counts.skipped_bytes += 1;
                    self.state = State::Outside(byte == 0xff);
                }
            }
            return;
        }
        if self.frame.len() == self.bytes_max {
            self.counts.too_large += 1;
            self.abandon(byte);
            return;
        }
        self.frame.push(byte);
        self.state = match self.state {
            State::Outside(after) => State::Outside(after),
            State::Marker(false) if byte == 0xff => State::Marker(true),
            State::Marker(true) if byte == 0xff => State::Marker(true),
            State::Marker(true) if byte == EOI => return self.finish(frames),
            State::Marker(true) if byte == SOI => {
                // The frame before ended without an end.
                self.counts.broken += 1;
                self.frame.clear();
                self.frame.extend_from_slice(&[0xff, SOI]);
                self.header.clear();
                State::Marker(false)
            }
            // Markers that stand alone.
            State::Marker(true) if byte == 1 || (0xd0..=0xd7).contains(&byte) => State::Marker(false),
            State::Marker(true) if byte >= 0xc0 => State::LengthHigh(byte),
            State::Marker(_) => {
                self.counts.broken += 1;
                return self.abandon(byte);
            }
            State::LengthHigh(marker) => State::LengthLow(marker, byte),
            State::LengthLow(marker, high) => {
                match usize::from(u16::from_be_bytes([high, byte])).checked_sub(2) {
                    Some(0) => after_segment(marker),
                    Some(length) => State::Segment(marker, length),
                    None => {
                        self.counts.broken += 1;
                        return self.abandon(byte);
                    }
                }
            }
            State::Segment(marker, length) => {
                let of_frame = (0xc0..=0xcf).contains(&marker) && ![0xc4, 0xc8, 0xcc].contains(&marker);
                if of_frame && self.header.len() < 5 {
                    self.header.push(byte);
                }
                if length == 1 { after_segment(marker) } else { State::Segment(marker, length - 1) }
            }
            State::Pixels(false) => State::Pixels(byte == 0xff),
            State::Pixels(true) => match byte {
                EOI => return self.finish(frames),
                0xff => State::Pixels(true),
                0 | 0xd0..=0xd7 => State::Pixels(false),
                SOI => {
                    self.counts.broken += 1;
                    self.frame.clear();
                    self.frame.extend_from_slice(&[0xff, SOI]);
                    self.header.clear();
                    State::Marker(false)
                }
                // Another scan of a progressive image, or tables before it.
                marker => State::LengthHigh(marker),
            },
        };
    }

    fn finish(&mut self, frames: &mut Vec<Jpeg>) {
        self.state = State::Outside(false);
        let number = |at: usize| self.header.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
        let (height, width) = (number(1), number(3));
        self.counts.frames += 1;
        frames.push(Jpeg { bytes: std::mem::take(&mut self.frame), width, height });
    }
}

fn after_segment(marker: u8) -> State {
    if marker == SOS { State::Pixels(false) } else { State::Marker(false) }
}

/// A small sound JPEG for tests: real segments, pixels of `fill` bytes.
#[cfg(test)]
pub(crate) fn test_jpeg(number: u8, fill: usize) -> Vec<u8> {
    let mut bytes = vec![0xff, SOI];
    // An application segment with a thumbnail's end inside.
    bytes.extend_from_slice(&[0xff, 0xe1, 0, 8, 0xff, SOI, 0xff, EOI, 1, number]);
    bytes.extend_from_slice(&[0xff, 0xc0, 0, 11, 8, 0, 48, 0, 64, 1, 1, 0x11, 0]);
    bytes.extend_from_slice(&[0xff, SOS, 0, 8, 1, 1, 0, 0, 63, 0]);
    bytes.extend((0..fill).map(|n| (n % 200) as u8));
    bytes.extend_from_slice(&[0xff, 0, 0xff, 0xd3, number]);
    bytes.extend_from_slice(&[0xff, EOI]);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(bytes: &[u8], bytes_max: usize) -> (Vec<Jpeg>, SplitCounts) {
        let mut splitter = Splitter::new(bytes_max);
        let mut frames = Vec::new();
        splitter.push(bytes, &mut frames);
        splitter.cut();
        (frames, splitter.counts)
    }

    #[test]
    fn frames_between_headers_and_noise() {
        let mut stream = b"--boundary\r\nContent-Type: image/jpeg\r\n\r\n".to_vec();
        stream.extend(test_jpeg(1, 1_000));
        stream.extend(b"\r\n--boundary\xff\xff\r\n");
        stream.extend(test_jpeg(2, 10));
        stream.extend(&test_jpeg(3, 10)[..30]);
        let (frames, counts) = split(&stream, 1 << 16);
        assert_eq!(
            frames.iter().map(|f| f.bytes.clone()).collect::<Vec<_>>(),
            [test_jpeg(1, 1_000), test_jpeg(2, 10)]
        );
        assert_eq!((frames[0].width, frames[0].height), (64, 48));
        assert_eq!((counts.frames, counts.broken, counts.too_large), (2, 1, 0));
        assert_eq!(counts.skipped_bytes, 40 + 16);
    }

    #[test]
    fn a_frame_that_is_too_large_is_let_go_and_the_next_one_found() {
        let mut stream = test_jpeg(1, 100_000);
        stream.extend(test_jpeg(2, 100));
        let (frames, counts) = split(&stream, 1_000);
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].bytes, test_jpeg(2, 100));
        assert_eq!(counts.too_large, 1);
    }

    #[test]
    fn a_frame_without_an_end_gives_way_to_the_next() {
        let whole = test_jpeg(1, 300);
        let mut stream = whole[..200].to_vec();
        stream.extend(test_jpeg(2, 10));
        let (frames, counts) = split(&stream, 1 << 16);
        assert_eq!((frames.len(), counts.broken), (1, 1));
        assert_eq!(frames[0].bytes, test_jpeg(2, 10));
    }

    proptest! {
        #[test]
        fn chunks_change_nothing_and_noise_never_stops_it(noise in prop::collection::vec(any::<u8>(), 0..3_000), cut in 1..400_usize) {
            let mut stream = noise;
            stream.extend([0; 3]);
            stream.extend(test_jpeg(1, 50));
            stream.extend(test_jpeg(2, 50));
            let (whole, counts) = split(&stream, 4_000);
            let mut parts = Splitter::new(4_000);
            let mut frames = Vec::new();
            stream.chunks(cut).for_each(|c| parts.push(c, &mut frames));
            parts.cut();
            prop_assert_eq!(&frames, &whole);
            prop_assert_eq!(parts.counts, counts);
            // A false beginning in the noise may swallow what follows, up to the cap; the stream goes on.
            prop_assert!(frames.iter().all(|f| f.bytes.len() <= 4_000 && f.bytes.starts_with(&[0xff, SOI]) && f.bytes.ends_with(&[0xff, EOI])));
        }
    }
}
