//! A camera that speaks HTTP: one answer that never ends, a JPEG after each boundary.
//!
//! Owns: the connection. A camera that says nothing for the stall time ends by its own time limit.

use std::io::{self, Read};
use std::time::Duration;

use weir_contract::{Code, Error, Result};

use super::FrameSource;
use crate::web::{self, Tls};

pub struct Stream(ureq::BodyReader<'static>);

impl Stream {
    pub fn open(url: &str, tls: &Tls, silence: Duration) -> Result<Self> {
        let agent = web::client(tls, None, silence)?;
        let refused = |what: String| Error::new(Code::Connect, format!("{url}: {what}"));
        let response = agent.get(url).call().map_err(|e| refused(e.to_string()))?;
        if response.status().as_u16() != 200 {
            return Err(refused(format!("the camera answers {}", response.status())));
        }
        Ok(Self(response.into_body().into_reader()))
    }
}

impl FrameSource for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }

    fn killer(&self) -> Box<dyn FnMut() + Send> {
        // The read's own limit ends it.
        Box::new(|| {})
    }
}
