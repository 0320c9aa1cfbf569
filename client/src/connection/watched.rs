//! A pipe that remembers what TLS has said last: HTTP/2 only tells that the connection broke.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Pipe, find_tls};

/// What TLS has said of a connection, once it has ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(Arc<OnceLock<rustls::Error>>);

impl Verdict {
    /// The error, if TLS is why the connection has ended.
    pub(crate) fn error(&self) -> Option<&rustls::Error> {
        self.0.get()
    }
}

pub(super) struct Watched {
    pub(super) pipe: Box<dyn Pipe>,
    pub(super) verdict: Verdict,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.pipe).poll_read(context, buffer));
        if let Some(error) = read.as_ref().err().and_then(|error| find_tls(error)) {
            // The first error is the one that counts.
            let _ = self.verdict.0.set(error.clone());
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}
