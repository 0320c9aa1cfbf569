//! Training jobs on real threads. A job's answer is delivered at its virtual time, so results do not depend on how many
//! workers there are or how long a job takes.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use client_core::event::Event;
use protocol::train::{EvaluateJob, TrainJob, Trainer};

/// What a device is asked to compute.
pub enum Job {
    /// Train.
    Train(Box<TrainJob>),
    /// Evaluate.
    Evaluate(Box<EvaluateJob>),
}

impl Job {
    fn run(self, trainer: &mut dyn Trainer) -> Event {
        match self {
            Self::Train(job) => Event::Trained(trainer.train(*job)),
            Self::Evaluate(job) => Event::Evaluated(trainer.evaluate(*job)),
        }
    }
}

type Task = (usize, Box<dyn Trainer>, Job);
type Answer = (usize, Box<dyn Trainer>, Event);

/// Threads that run jobs; without threads, jobs run when they are submitted.
pub struct Workers {
    tasks: Option<Sender<Task>>,
    answers: Receiver<Answer>,
    done: BTreeMap<usize, (Box<dyn Trainer>, Event)>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads; 0 runs every job in place, which is fastest for jobs that take microseconds.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn new(count: usize) -> std::io::Result<Self> {
        let (give, take) = channel::<Task>();
        let (answer, answers) = channel();
        let take = Arc::new(Mutex::new(take));
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (take, answer) = (Arc::clone(&take), answer.clone());
            let work = move || {
                loop {
                    let task = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((device, mut trainer, job)) = task else { return };
                    let event = job.run(trainer.as_mut());
                    if answer.send((device, trainer, event)).is_err() {
                        return;
                    }
                }
            };
            threads.push(Builder::new().name(format!("device-{index}")).spawn(work)?);
        }
        let tasks = (count > 0).then_some(give);
        Ok(Self { tasks, answers, done: BTreeMap::new(), threads })
    }

    /// Starts a device's job; a device has one at a time.
    pub fn submit(&mut self, device: usize, mut trainer: Box<dyn Trainer>, job: Job) {
        match &self.tasks {
            // The threads live as long as `self`, so a task is never turned away.
            Some(tasks) => drop(tasks.send((device, trainer, job))),
            None => {
                let event = job.run(trainer.as_mut());
                self.done.insert(device, (trainer, event));
            }
        }
    }

    /// Waits for a device's answer; `None` if it has no job.
    pub fn wait(&mut self, device: usize) -> Option<(Box<dyn Trainer>, Event)> {
        loop {
            if let Some(done) = self.done.remove(&device) {
                return Some(done);
            }
            self.tasks.as_ref()?;
            let (finished, trainer, event) = self.answers.recv().ok()?;
            self.done.insert(finished, (trainer, event));
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.tasks = None;
        for thread in self.threads.drain(..) {
            // A worker that panicked has already said why.
            drop(thread.join());
        }
    }
}
