//! What happens next: events ordered by time, and by the order in which they were scheduled where times are equal.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use protocol::time::Timestamp;

/// A queue in virtual time. Equal times keep their order of scheduling, so a run is the same every time.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    scheduled: u64,
    now: Timestamp,
}

#[derive(Debug)]
struct Entry<E> {
    at: Timestamp,
    sequence: u64,
    event: E,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), scheduled: 0, now: Timestamp::START }
    }
}

impl<E> Queue<E> {
    /// The time of the last event taken out.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Schedules `event`; a time in the past means now.
    pub fn schedule(&mut self, at: Timestamp, event: E) {
        let entry = Entry { at: at.max(self.now), sequence: self.scheduled, event };
        self.scheduled += 1;
        self.heap.push(Reverse(entry));
    }

    /// Takes out the next event and moves time to it.
    pub fn pop(&mut self) -> Option<(Timestamp, E)> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some((entry.at, entry.event))
    }

    /// Number of scheduled events.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is scheduled.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_keep_their_order_and_the_past_is_now() {
        let mut queue = Queue::default();
        for (at, event) in [(5, 'b'), (3, 'a'), (5, 'c')] {
            queue.schedule(Timestamp(at), event);
        }
        assert_eq!(queue.pop(), Some((Timestamp(3), 'a')));
        queue.schedule(Timestamp(1), 'x');
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [(Timestamp(3), 'x'), (Timestamp(5), 'b'), (Timestamp(5), 'c')]);
        assert!(queue.is_empty());
    }
}
