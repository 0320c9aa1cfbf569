//! One direction of a connection over a bad link, as what TCP makes of it: bytes go in at one end and come out at the other later. Pure, time is
//! an argument.
//!
//! *The link.* Segments of 1,448 bytes, which are packets of 1,500, leave one after the other at the link's rate, and arrive a delay later, unless
//! they are lost: each with the same probability, or because 64 kB wait to leave before them (a router that drops what comes
//! last). Lost ones have used the link all the same, and their repetition uses it again.
//!
//! *The sender.* What arrives is confirmed one by one (selective acknowledgements, RFC 2018), a delay later. A segment is taken for
//! lost when one was confirmed that was sent three or more after it (the three duplicates of RFC 5681, section 3.2, counted by
//! transmissions as in RFC 8985, so that a lost repetition is noticed too), or when nothing was confirmed for RTO = max(200 ms, SRTT + 4
//! RTTVAR), doubled each time in a row (RFC 6298; 200 ms instead of its second, as Linux has it). So without others behind it,
//! a lost segment comes an RTO late, else about a round trip, and what was sent behind it waits for it: bytes are given out in order.
//! How much is on its way is bounded by a congestion window: 10 segments at first (RFC 6928), slow start, one more in each round trip, half of
//! it after a loss (once for all that were on the way then), one segment after a timeout, 10 at most after a silence (RFC 5681).
//! With 5 % loss that, not the rate, decides on a link of 32 kB/s and 300 ms: by the formula of Mathis et al. (1997) TCP brings 1448 / 0.3
//! · sqrt(3/2) / sqrt(0.05) = 26 kB/s over it.
//!
//! *Left out:* confirmations are neither lost nor delayed, and use no rate; no tail loss probes; no CUBIC or BBR, which would be faster on
//! such a link; the receiver's window (it takes everything at once).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::Conditions;

/// What a sender's socket holds that is not confirmed, bytes; beyond, nothing is taken from the program. Whole segments, since a program that
/// always has more to say fills them.
pub(super) const SENDER_BYTES: usize = 45 * SEGMENT_BYTES;
/// First patience of a connection (RFC 6298).
pub(super) const FIRST_TIMEOUT: Duration = Duration::from_secs(1);

const SEGMENT_BYTES: usize = 1448;
/// Of TCP with time stamps, and IP.
const HEADER_BYTES: usize = 52;
const ROUTER_BYTES: f64 = 65_536.0;
const LEAST_TIMEOUT: Duration = Duration::from_millis(200);
const FIRST_WINDOW: f64 = 10.0;
/// Segments sent after one, of which one confirmed tells that it is lost.
const REORDERING: u64 = 3;

/// What is on its way in one direction.
#[derive(Debug)]
pub(super) struct Path {
    conditions: Conditions,
    dice: ChaCha8Rng,
    /// Taken from the program and never sent.
    waiting: VecDeque<u8>,
    /// Sent, the oldest of them not confirmed.
    flight: VecDeque<Segment>,
    /// Number of the first of these.
    first: u64,
    /// Number of the segment that is to be given out next.
    awaited: u64,
    /// What happens to segments: when, in the order of transmission, to which one.
    events: BTreeMap<(Duration, u64), Event>,
    /// Segments that may be on their way, and where slow start ends.
    window: f64,
    threshold: f64,
    /// Losses of segments before this one have been answered.
    recovered: u64,
    transmissions: u64,
    /// When the link is free for the next packet, and bytes that crossed it so far.
    free: Duration,
    crossed: u64,
    /// Smoothed round trip and its variation.
    measured: Option<(Duration, Duration)>,
    timeouts: u32,
    /// When patience ends, while something is on its way.
    timer: Option<Duration>,
}

#[derive(Debug)]
struct Segment {
    bytes: Vec<u8>,
    /// Number of its last transmission, when that was, and whether there was an earlier one.
    transmission: u64,
    sent: Duration,
    repeated: bool,
    arrived: bool,
    confirmed: bool,
    /// Taken for lost, to be sent again.
    lost: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Arrives(u64),
    Confirmed(u64),
}

impl Path {
    pub(super) fn new(conditions: Conditions, dice: ChaCha8Rng) -> Self {
        Self {
            conditions,
            dice,
            waiting: VecDeque::new(),
            flight: VecDeque::new(),
            first: 0,
            awaited: 0,
            events: BTreeMap::new(),
            window: FIRST_WINDOW,
            threshold: f64::INFINITY,
            recovered: 0,
            transmissions: 0,
            free: Duration::ZERO,
            crossed: 0,
            measured: None,
            timeouts: 0,
            timer: None,
        }
    }

    /// Bytes that are taken from the program now.
    pub(super) fn room(&self) -> usize {
        let held = self.waiting.len() + self.flight.len() * SEGMENT_BYTES;
        SENDER_BYTES.saturating_sub(held)
    }

    /// Bytes of packets that have used the link.
    pub(super) fn crossed(&self) -> u64 {
        self.crossed
    }

    /// Takes bytes from the program; they are sent by the next [`Self::advance`].
    pub(super) fn offer(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
    }

    /// When something happens next; `None` when everything has arrived, and the sender knows.
    pub(super) fn next(&self) -> Option<Duration> {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        event.into_iter().chain(self.timer).min()
    }

    /// Lets everything happen until `now`; what comes out is added to `arrived`.
    pub(super) fn advance(&mut self, now: Duration, arrived: &mut Vec<u8>) {
        while let Some(at) = self.next().filter(|at| *at <= now) {
            match self.events.first_entry().filter(|event| event.key().0 == at) {
                Some(event) => match event.remove_entry() {
                    (_, Event::Arrives(number)) => self.arrives(at, number, arrived),
                    ((_, transmission), Event::Confirmed(number)) => self.confirmed(at, number, transmission),
                },
                None => self.gives_up(at),
            }
            self.send(at);
        }
        self.send(now);
    }

    fn segment(&mut self, number: u64) -> Option<&mut Segment> {
        self.flight.get_mut(number.checked_sub(self.first)? as usize)
    }

    fn arrives(&mut self, at: Duration, number: u64, arrived: &mut Vec<u8>) {
        if let Some(segment) = self.segment(number) {
            segment.arrived = true;
            let transmission = segment.transmission;
            self.events.insert((at + self.conditions.delay, transmission), Event::Confirmed(number));
        }
        while let Some(segment) = self.segment(self.awaited).filter(|segment| segment.arrived) {
            arrived.append(&mut segment.bytes);
            self.awaited += 1;
        }
    }

    fn confirmed(&mut self, at: Duration, number: u64, transmission: u64) {
        let Some(segment) = self.segment(number).filter(|segment| !segment.confirmed) else { return };
        segment.confirmed = true;
        segment.lost = false;
        // A repetition tells nothing of the round trip (Karn's algorithm).
        let round_trip = (!segment.repeated).then(|| at - segment.sent);
        self.window += if self.window < self.threshold { 1.0 } else { 1.0 / self.window };
        self.measured = match (round_trip, self.measured) {
            (None, measured) => measured,
            (Some(round_trip), None) => Some((round_trip, round_trip / 2)),
            (Some(round_trip), Some((smooth, variation))) => Some((
                smooth.mul_f64(0.875) + round_trip.mul_f64(0.125),
                variation.mul_f64(0.75) + smooth.abs_diff(round_trip).mul_f64(0.25),
            )),
        };
        let (first, recovered) = (self.first, self.recovered);
        let mut found = false;
        for (number, segment) in (first..).zip(&mut self.flight) {
            if !segment.confirmed && !segment.lost && segment.transmission + REORDERING <= transmission {
                segment.lost = true;
                found |= number >= recovered;
            }
        }
        if found {
            self.window = (self.window / 2.0).max(2.0);
            self.threshold = self.window;
            self.recovered = self.first + self.flight.len() as u64;
        }
        while self.flight.front().is_some_and(|segment| segment.confirmed) {
            self.flight.pop_front();
            self.first += 1;
        }
        self.timeouts = 0;
        self.timer = (!self.flight.is_empty()).then(|| at + self.patience());
    }

    fn patience(&self) -> Duration {
        let patience = self.measured.map_or(FIRST_TIMEOUT, |(smooth, variation)| smooth + 4 * variation);
        patience.max(LEAST_TIMEOUT) * (1 << self.timeouts.min(6))
    }

    /// Nothing was confirmed for too long.
    fn gives_up(&mut self, at: Duration) {
        for segment in self.flight.iter_mut().filter(|segment| !segment.confirmed) {
            segment.lost = true;
        }
        self.threshold = (self.window / 2.0).max(2.0);
        self.window = 1.0;
        self.recovered = self.first + self.flight.len() as u64;
        self.timeouts += 1;
        self.timer = Some(at + self.patience());
    }

    /// Sends what the window allows: again what was lost, then what is new.
    fn send(&mut self, now: Duration) {
        let silent = self.flight.is_empty() && now > self.free + self.patience();
        if silent && !self.waiting.is_empty() {
            self.window = self.window.min(FIRST_WINDOW);
        }
        let out = |segment: &&Segment| !segment.confirmed && !segment.lost;
        let mut underway = self.flight.iter().filter(out).count();
        while (underway as f64) < self.window {
            let again = self.flight.iter().position(|segment| segment.lost);
            let place = match again {
                Some(place) => place,
                None if self.waiting.is_empty() => return,
                None => {
                    let length = self.waiting.len().min(SEGMENT_BYTES);
                    self.flight.push_back(Segment {
                        bytes: self.waiting.drain(..length).collect(),
                        transmission: 0,
                        sent: now,
                        repeated: false,
                        arrived: false,
                        confirmed: false,
                        lost: false,
                    });
                    self.flight.len() - 1
                }
            };
            self.transmit(now, place, again.is_some());
            underway += 1;
        }
    }

    fn transmit(&mut self, now: Duration, place: usize, repeated: bool) {
        let Conditions { bytes_per_second, delay, loss, .. } = self.conditions;
        let segment = &mut self.flight[place];
        self.transmissions += 1;
        (segment.transmission, segment.sent) = (self.transmissions, now);
        (segment.repeated, segment.lost) = (segment.repeated | repeated, false);
        if self.timer.is_none() {
            self.timer = Some(now + self.patience());
        }
        let waits = self.free.saturating_sub(now).as_secs_f64() * bytes_per_second;
        if waits > ROUTER_BYTES {
            return;
        }
        let segment = &self.flight[place];
        // Those that have arrived, but not in the sender's eyes, have given out their bytes already.
        let length =
            if segment.bytes.is_empty() { SEGMENT_BYTES } else { segment.bytes.len() } + HEADER_BYTES;
        self.crossed += length as u64;
        self.free = self.free.max(now) + Duration::from_secs_f64(length as f64 / bytes_per_second);
        if self.dice.random::<f64>() >= loss {
            let number = self.first + place as u64;
            self.events.insert((self.free + delay, self.transmissions), Event::Arrives(number));
        }
    }
}

#[cfg(test)]
mod tests;
