//! Streams of answers to a client: a bounded channel, of which places are pointers.
//!
//! Tokio's channels make 32 places at a time, whatever their bound, and a session has next to nothing to say most of the time: places
//! as large as messages would be a sixth of what an idle connection costs.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

type Answer<T> = Box<Result<T, Status>>;

/// The side that answers. Clones answer into the same stream, which ends with the last of them.
#[derive(Debug)]
pub(crate) struct Answering<T>(mpsc::Sender<Answer<T>>);

/// The answers, in order.
#[derive(Debug)]
pub(crate) struct Answers<T>(mpsc::Receiver<Answer<T>>);

/// A stream of answers; at most `bound` wait to be taken.
pub(crate) fn answers<T>(bound: usize) -> (Answering<T>, Answers<T>) {
    let (answering, answers) = mpsc::channel(bound);
    (Answering(answering), Answers(answers))
}

impl<T> Answering<T> {
    /// Waits until there is room; whether somebody still takes answers.
    pub(crate) async fn send(&self, answer: Result<T, Status>) -> bool {
        self.0.send(Box::new(answer)).await.is_ok()
    }

    /// Whether there was room, and somebody to take it.
    pub(crate) fn try_send(&self, answer: Result<T, Status>) -> bool {
        self.0.try_send(Box::new(answer)).is_ok()
    }
}

impl<T> Clone for Answering<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Stream for Answers<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|answer| answer.map(|answer| *answer))
    }
}
