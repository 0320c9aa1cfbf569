//! What a device is sent so that it has a version: nothing it has already, and as few bytes as there are.
//!
//! Every publication, statistics included, is a state of the model, and a delta leads from each to the next. A device names the
//! state it holds; what it is sent is the cheapest way from there: some deltas, sums of them over power-of-two spans, or the whole
//! version. All is encoded once and shared by everyone.

mod sizes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use codec::delta::{Content, Delta, Heading, encode_between, encode_moves, encode_sum};
use codec::snapshot::encode_snapshot;
use codec::statistics::StatisticsLayout;
use params::{Canonical, Digest, Faint, Scope};
use protocol::id::Version;
use protocol::message::{Part, PartKind};

use crate::broadcast::Moves;
use crate::published::Published;

pub use sizes::{Sizes, sizes};

/// Versions that can be asked for: the newest, and the one before it, which slow devices still evaluate.
pub const VERSIONS_SERVED: usize = 2;
/// Deltas kept: two for each version, so a device may miss this half as many versions before it has to fetch a whole one.
pub const STEPS_MAX: usize = protocol::limits::DOWNLOAD_PARTS_MAX;
/// Bytes of deltas kept, for each shared weight: a chain of so many hardly costs less than a whole version.
const KEPT_BYTES_PER_WEIGHT: usize = 1;
/// Most bytes of a delta for each shared weight: beyond, it hardly costs less than a whole version.
const STEP_BYTES_PER_WEIGHT: f64 = 1.5;

/// Bytes beyond both, for heads and statistics.
const SLACK_BYTES: usize = 32 << 10;

/// Bytes of one part, shared by all downloads.
pub type Shared = Arc<[u8]>;

/// What to send, in order; nothing when the device has the version already.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// What each piece is.
    pub parts: Vec<Part>,
    /// The pieces.
    pub pieces: Vec<Shared>,
}

impl Offer {
    /// Bytes of all pieces.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    fn push(&mut self, kind: PartKind, from: Version, to: Version, piece: &Shared) {
        self.parts.push(Part { kind, from, to, length: piece.len() as u64 });
        self.pieces.push(piece.clone());
    }
}

/// A delta from one state to the next.
#[derive(Debug)]
struct Step {
    heading: Heading,
    piece: Shared,
}

/// A version that can be asked for.
#[derive(Debug)]
struct Served {
    version: Version,
    content: Content,
    /// Digest of its weights.
    digest: Digest,
    /// Number of its state.
    state: u64,
    /// Its weights, held by whoever makes versions, and its statistics; not of an older one that the steps lead back to.
    whole: Option<(Faint, Vec<f32>)>,
    /// Its weights, where nobody else has them and no steps lead back to them.
    kept: Option<Canonical>,
    /// Encoded when it is needed first.
    snapshot: OnceLock<Option<Shared>>,
}

/// The last states of a model, as they are served.
#[derive(Debug, Default)]
pub struct Downlink {
    layout: Option<StatisticsLayout>,
    /// Shared weights of a version.
    weights: usize,
    /// In order of version.
    served: VecDeque<Served>,
    /// Number of the state that the first step starts from.
    first: u64,
    steps: VecDeque<Step>,
    /// By where they start and how many steps they are the sum of.
    merged: BTreeMap<(u64, u64), Step>,
    bytes: usize,
}

impl Downlink {
    /// Goes on after a restart: `published` is what was published last, `steps` are the deltas up to it as
    /// [`Downlink::publish`] gave them, in order. Those that do not lead to it are left out.
    pub fn resume(published: &Published, steps: impl Iterator<Item = Vec<u8>>) -> Self {
        let mut downlink = Self::default();
        let Some(layout) = statistics_of(published) else { return downlink };
        let content = published.content();
        for bytes in steps {
            let decoded = Delta::decode(&published.model, layout.len(), &bytes);
            let Ok((heading, _)) = decoded else { continue };
            if downlink.steps.back().is_some_and(|last| last.heading.result != heading.base) {
                downlink.forget();
            }
            downlink.push(&published.model, layout.len(), Step { heading, piece: bytes.into() });
        }
        // A crash may have come between a delta and what it leads to, or the other way round.
        while downlink.steps.back().is_some_and(|last| last.heading.result != content) {
            downlink.drop_last();
        }
        downlink.layout = Some(layout);
        downlink.serve(published, content);
        downlink
    }

    /// A version is published, or again with other statistics; the delta that leads there, to be kept for
    /// [`Downlink::resume`], if there is one worth keeping. Where the version before is not there any more, it takes `moves` to
    /// make one. The version has to be kept as long as it shall be served whole.
    pub fn publish(&mut self, published: &Published, moves: Option<&Moves>) -> Option<Shared> {
        let content = published.content();
        let Some(last) = self.served.back() else {
            self.layout = statistics_of(published);
            self.serve(published, content);
            return None;
        };
        if last.content == content {
            // Said again after a restart.
            self.serve(published, content);
            return None;
        }
        let Published { version, model, statistics, .. } = published;
        let (from, base) = (last.version, last.content);
        let (before, before_statistics) = last.whole.as_ref()?;
        let layout = self.layout.as_ref()?;
        let mut piece: Option<Shared> = None;
        if before.is_like(model) && before_statistics.len() == statistics.len() {
            let heading = Heading { from: from.0, to: version.0, base, result: content };
            let to = (model, &**statistics);
            let moves = moves.filter(|moves| moves.from == last.digest);
            let encoded = if last.digest == published.digest {
                Some(encode_moves(&heading, layout, std::iter::empty, before_statistics, to))
            } else if let Some(moves) = moves.filter(|moves| moves.before.is_none()) {
                Some(encode_moves(&heading, layout, || moves.sent.entries(), before_statistics, to))
            } else {
                let before = moves.and_then(|moves| moves.before.clone()).or_else(|| before.upgrade());
                before.map(|before| encode_between(&heading, layout, (&before, before_statistics), to))
            };
            piece = encoded.filter(|piece| piece.len() <= step_bytes_max(model)).map(Shared::from);
            if let Some(piece) = piece.clone() {
                self.push(model, layout.len(), Step { heading, piece });
            }
        }
        if piece.is_none() {
            self.forget();
            let before = moves.and_then(|moves| moves.before.clone());
            if let Some(last) = self.served.back_mut().filter(|last| last.version != *version) {
                last.kept = before;
                // It may have been asked for while nobody had it.
                if matches!(last.snapshot.get(), Some(None)) {
                    last.snapshot = OnceLock::new();
                }
            }
        }
        self.serve(published, content);
        piece
    }

    /// What a device needs for `version` that holds a state of this name; `None` if the version cannot be had.
    pub fn offer(&self, version: Version, held: Option<Content>) -> Option<Offer> {
        let served = self.served.iter().find(|served| served.version == version)?;
        let way = held.and_then(|held| self.way(held, served));
        let cheap = self.weights as u64;
        // A whole version is hardly below a byte for each weight: then it need not even be encoded.
        match way {
            Some(way) if way.bytes() <= cheap / 2 => Some(way),
            Some(way) if way.bytes() <= self.snapshot(served)?.len() as u64 => Some(way),
            _ => {
                let mut offer = Offer::default();
                offer.push(PartKind::Snapshot, version, version, self.snapshot(served)?);
                Some(offer)
            }
        }
    }

    /// Whether a version can be asked for, though it may take until the next is published to have it whole.
    pub fn serves(&self, version: Version) -> bool {
        self.served.iter().any(|served| served.version == version)
    }

    /// Lets go of encoded whole versions: whoever still asks for one has it encoded again.
    pub fn forget_wholes(&mut self) {
        self.served.iter_mut().for_each(|served| served.snapshot = OnceLock::new());
    }

    /// The newest version.
    pub fn newest(&self) -> Option<Version> {
        self.served.back().map(|served| served.version)
    }

    /// A version whole; however many ask for it at once, one of them encodes it.
    fn snapshot<'a>(&self, served: &'a Served) -> Option<&'a Shared> {
        let encode = || {
            let layout = self.layout.as_ref()?;
            let encoded = match &served.whole {
                Some((model, statistics)) => {
                    let model = served.kept.clone().or_else(|| model.upgrade())?;
                    encode_snapshot(layout, &model, statistics)
                }
                None => {
                    let (model, statistics) = self.back_to(served, layout)?;
                    encode_snapshot(layout, &model, &statistics)
                }
            };
            Some(encoded.into())
        };
        served.snapshot.get_or_init(encode).as_ref()
    }

    /// An older version, made again from the newest.
    fn back_to(&self, served: &Served, layout: &StatisticsLayout) -> Option<(Canonical, Vec<f32>)> {
        let (newest, mut statistics) = self.served.back()?.whole.clone()?;
        let mut model = newest.upgrade()?;
        let steps = usize::try_from(served.state.checked_sub(self.first)?).ok()?..;
        for step in self.steps.range(steps).rev() {
            let (_, delta) = Delta::decode(&model, layout.len(), &step.piece).ok()?;
            delta.reversed().apply(layout, &mut model, &mut statistics);
        }
        debug_assert_eq!(codec::delta::content(&model.digest(), &statistics), served.content);
        Some((model, statistics))
    }

    /// The cheapest deltas from a state to a version, if there are any.
    fn way(&self, held: Content, served: &Served) -> Option<Offer> {
        if held == served.content {
            return Some(Offer::default());
        }
        let position = self.steps.iter().rposition(|step| step.heading.base == held)?;
        let from = self.first + position as u64;
        let goal = served.state.checked_sub(from)? as usize;
        // Fewest bytes from `from` to each state on the way, and the last piece to it.
        let mut best: Vec<Option<(usize, &Step, usize)>> = vec![None; goal + 1];
        for at in 0..goal {
            let before = if at == 0 { 0 } else { best[at]?.0 };
            let start = from + at as u64;
            let single = self.steps.get(position + at).map(|step| (1, step));
            let longer = self.merged.range((start, 0)..=(start, goal as u64));
            let longer = longer.map(|(&(_, len), step)| (len as usize, step));
            for (len, step) in single.into_iter().chain(longer).filter(|(len, _)| at + len <= goal) {
                let bytes = before + step.piece.len();
                if best[at + len].is_none_or(|(least, ..)| bytes < least) {
                    best[at + len] = Some((bytes, step, at));
                }
            }
        }
        let mut way = Vec::new();
        let mut at = goal;
        while at > 0 {
            let (_, step, before) = best[at]?;
            way.push(step);
            at = before;
        }
        let mut offer = Offer::default();
        for step in way.into_iter().rev() {
            let (from, to) = (Version(step.heading.from), Version(step.heading.to));
            offer.push(PartKind::Delta, from, to, &step.piece);
        }
        Some(offer)
    }

    /// Serves a version from now on, at the state that the last step leads to; the oldest one goes.
    fn serve(&mut self, published: &Published, content: Content) {
        let state = self.first + self.steps.len() as u64;
        let Published { version, model, statistics, .. } = published;
        self.served.retain(|served| served.version != *version);
        // Hardly anybody asks for it any more, and from the newest it can be made again.
        for older in self.served.iter_mut().filter(|older| older.state >= self.first) {
            (older.whole, older.snapshot) = (None, OnceLock::new());
        }
        let (digest, whole) = (published.digest, Some((model.faint(), statistics.clone())));
        self.weights = model.ticks().len();
        let snapshot = OnceLock::new();
        let kept = None;
        self.served.push_back(Served { version: *version, content, digest, state, whole, kept, snapshot });
        while self.served.len() > VERSIONS_SERVED {
            self.served.pop_front();
        }
    }

    /// Adds a step and the sums that it completes: spans of 2, 4, 8... steps that start at multiples of their lengths.
    fn push(&mut self, model: &Canonical, statistics_len: usize, step: Step) {
        self.bytes += step.piece.len();
        self.steps.push_back(step);
        let end = self.first + self.steps.len() as u64;
        let mut len = 2;
        while end.is_multiple_of(len) && end - len >= self.first {
            let (start, half) = (end - len, len / 2);
            let (Some(earlier), Some(later)) = (self.span(start, half), self.span(end - half, half)) else {
                break;
            };
            let Ok((heading, piece)) = encode_sum(model, statistics_len, &earlier.piece, &later.piece) else {
                break;
            };
            self.bytes += piece.len();
            self.merged.insert((start, len), Step { heading, piece: piece.into() });
            len *= 2;
        }
        // Steps that lead back to a version which is served stay, however long.
        let states = self.served.iter().map(|served| served.state).filter(|state| *state >= self.first);
        let needed = states.min().unwrap_or(end - 1);
        while (self.steps.len() > STEPS_MAX || self.bytes > kept_bytes_max(model)) && self.first < needed {
            self.drop_first();
        }
        if self.bytes > kept_bytes_max(model) {
            self.drop_merged(|_, _| true);
        }
    }

    /// The step, or the sum of steps, that starts there and is so long.
    fn span(&self, start: u64, len: u64) -> Option<&Step> {
        match len {
            1 => self.steps.get(usize::try_from(start.checked_sub(self.first)?).ok()?),
            _ => self.merged.get(&(start, len)),
        }
    }

    fn drop_first(&mut self) {
        let Some(step) = self.steps.pop_front() else { return };
        self.bytes -= step.piece.len();
        let gone = self.first;
        self.first += 1;
        self.drop_merged(|start, _| start <= gone);
    }

    fn drop_last(&mut self) {
        let Some(step) = self.steps.pop_back() else { return };
        self.bytes -= step.piece.len();
        let end = self.first + self.steps.len() as u64;
        self.drop_merged(|start, len| start + len > end);
    }

    fn drop_merged(&mut self, goes: impl Fn(u64, u64) -> bool) {
        let bytes = &mut self.bytes;
        self.merged.retain(|&(start, len), step| {
            let goes = goes(start, len);
            *bytes -= if goes { step.piece.len() } else { 0 };
            !goes
        });
    }

    /// No device can go on from the states so far.
    fn forget(&mut self) {
        self.first += self.steps.len() as u64 + 1;
        self.steps.clear();
        self.merged.clear();
        self.bytes = 0;
    }
}

fn kept_bytes_max(model: &Canonical) -> usize {
    KEPT_BYTES_PER_WEIGHT * model.ticks().len() + SLACK_BYTES
}

fn step_bytes_max(model: &Canonical) -> usize {
    (STEP_BYTES_PER_WEIGHT * model.ticks().len() as f64) as usize + SLACK_BYTES
}

fn statistics_of(published: &Published) -> Option<StatisticsLayout> {
    StatisticsLayout::new(&published.layout.of_scope(Scope::Statistic)).ok()
}

#[cfg(test)]
mod tests;
