//! One worker owns the trainer and does one job at a time, away from the threads that keep the connection alive.

use std::time::Duration;

use client_core::event::Event;
use protocol::id::{Round, Version};
use protocol::plan::ModelSpec;
use protocol::train::{EvaluateJob, TrainJob, Trainer};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio::time::Instant;

/// Jobs that may wait. Client-core asks for one at a time; another run can begin while an old job is still going on.
const JOBS_MAX: usize = 8;

/// What a trainer is asked.
#[derive(Debug)]
pub(crate) enum Job {
    /// Build the model of a run with this seed.
    Prepare(ModelSpec, u64),
    /// Learn.
    Train(Box<TrainJob>),
    /// Score.
    Evaluate(Box<EvaluateJob>),
}

/// What a job was about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    /// The run's model.
    Model,
    /// A round's training.
    Round(Round),
    /// A version's evaluation.
    Version(Version),
}

impl Job {
    fn subject(&self) -> Subject {
        match self {
            Self::Prepare(..) => Subject::Model,
            Self::Train(job) => Subject::Round(job.round),
            Self::Evaluate(job) => Subject::Version(job.version),
        }
    }
}

/// What came of a job.
#[derive(Debug)]
pub(crate) enum Done {
    /// The answer.
    Answer {
        /// What the job was about.
        subject: Subject,
        /// For client-core.
        event: Event,
        /// Time it took.
        took: Duration,
    },
    /// The trainer is gone.
    Lost(String),
}

/// Starts the worker; it ends when the sender of jobs is gone. Jobs run on the runtime's blocking threads rather than on a
/// thread of their own, so that a paused clock waits for them.
pub(crate) fn start(mut trainer: Box<dyn Trainer>, done: mpsc::Sender<Done>) -> mpsc::Sender<Job> {
    let (sender, mut jobs) = mpsc::channel::<Job>(JOBS_MAX);
    tokio::spawn(async move {
        while let Some(job) = jobs.recv().await {
            let (subject, started) = (job.subject(), Instant::now());
            let worked = tokio::task::spawn_blocking(move || (perform(&mut *trainer, job), trainer)).await;
            let what = match worked {
                Ok((event, returned)) => {
                    trainer = returned;
                    Done::Answer { subject, event, took: started.elapsed() }
                }
                // What a panic has left of the trainer cannot be trusted.
                Err(error) => {
                    let _ = done.send(Done::Lost(cause(error))).await;
                    return;
                }
            };
            if done.send(what).await.is_err() {
                return;
            }
        }
    });
    sender
}

fn perform(trainer: &mut dyn Trainer, job: Job) -> Event {
    match job {
        Job::Prepare(spec, seed) => Event::Prepared(trainer.take_up(&spec, seed)),
        Job::Train(job) => Event::Trained(trainer.train(*job)),
        Job::Evaluate(job) => Event::Evaluated(trainer.evaluate(*job)),
    }
}

fn cause(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "the runtime is ending".to_owned() };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown cause".to_owned())
}
