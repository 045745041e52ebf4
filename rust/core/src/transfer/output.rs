//! What goes to the sink: encoded audio, an MP3 with its head in front.

use bytes::Bytes;

use crate::chunks::{Chunking, Silences};
use crate::error::Result;
use crate::extract::mp3::{Mp3Head, resampled};
use crate::sink::Sink;

/// Where the encoded audio goes.
pub(super) struct Out<'a> {
    pub(super) mp3: Option<Mp3Wrapper>,
    pub(super) sink: &'a mut Sink,
    pub(super) chunking: Option<&'a mut Chunking>,
    pub(super) silences: &'a Silences,
}

impl Out<'_> {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if let Some(mp3) = &mut self.mp3 {
            mp3.before(&bytes, self.sink).await?;
        }
        if let Some(chunking) = &mut self.chunking {
            chunking.push(&bytes, self.silences).await?;
        }
        self.sink.write(bytes).await
    }

    /// Whether just the frames were written that an encoder makes of so many samples.
    pub(super) fn holds_all(&self, samples: Option<u64>) -> bool {
        self.mp3.as_ref().zip(samples).is_some_and(|(mp3, samples)| mp3.head.holds_all(samples))
    }
}

/// Puts the tag and the Info frame in front of an MP3, and sets them right at the end where that is possible.
pub(super) struct Mp3Wrapper {
    pub(super) head: Mp3Head,
    /// Samples, and the rate they are counted at where it is not the output's.
    pub(super) promised: Option<(u64, Option<u32>)>,
    /// The head that was written, and whether it says a length.
    pub(super) sent: Option<(Bytes, bool)>,
}

impl Mp3Wrapper {
    /// Looks at the next bytes before they are written; the first frame says what the head must look like.
    async fn before(&mut self, bytes: &[u8], sink: &mut Sink) -> Result<()> {
        self.head.follow(bytes)?;
        if self.sent.is_none()
            && let Some(first) = self.head.first()
        {
            let samples = self.promised.map(|(samples, rate)| resampled(samples, rate, first.sample_rate_hz));
            if let Some(head) = self.head.predicted(samples) {
                sink.write_head(head.clone(), samples.is_none()).await?;
                self.sent = Some((head, samples.is_some()));
            }
        }
        Ok(())
    }

    /// Compares what was promised with what came; gives the right number of samples when the wrong one has left.
    pub(super) async fn after(&mut self, samples: Option<u64>, sink: &mut Sink) -> Result<Option<u64>> {
        let (Some((sent, says_length)), Some(right)) = (&self.sent, self.head.actual(samples)) else {
            return Ok(None);
        };
        if *sent == right || sink.replace_head(right).await? || !says_length {
            return Ok(None);
        }
        Ok(samples)
    }
}
