//! The journal file: frames that are there whole or not at all.
//!
//! ```text
//! "fovea j1"                                       8 bytes
//! frame: length u32 | crc32c u32 | sequence u64    little-endian; the sum is over length, sequence and body
//!        body: one or more entries, each length u32 and bytes
//! ```
//!
//! A frame is one append. Opening checks every frame: an incomplete frame at the end is what a crash leaves, and is cut off; a
//! broken frame with a whole one behind it cannot come from a crash, and is refused. Sequence numbers count up without gaps, from
//! 1 at first; a journal that was rewritten goes on counting, so that no number is used twice and whoever follows the journal
//! by number takes the rewritten part for news.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use protocol::limits::UPDATE_BYTES_MAX;

use super::StoreError;

const MAGIC: &[u8; 8] = b"fovea j1";
const HEAD: usize = 16;
/// Longest frame's body: one update and its record, or many small entries.
const BODY_BYTES_MAX: usize = UPDATE_BYTES_MAX + (4 << 20);

/// A journal open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
    sequence: u64,
    failed: bool,
}

/// One append, read back.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) sequence: u64,
    pub(super) entries: Vec<Vec<u8>>,
}

impl Journal {
    /// Opens the journal at `path`, or begins one. The second value is how many bytes of an incomplete end were cut off.
    pub(super) fn open(path: &Path) -> Result<(Self, u64), StoreError> {
        let io = |source| StoreError::io(path, source);
        // Of a rewrite that a crash has interrupted.
        if let Err(error) = fs::remove_file(successor_of(path))
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(io(error));
        }
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let end = file.metadata().map_err(io)?.len();
        if end < MAGIC.len() as u64 {
            begin(&mut file, path, end)?;
            let length = MAGIC.len() as u64;
            return Ok((Self { path: path.to_path_buf(), file, length, sequence: 0, failed: false }, 0));
        }
        let mut frames = Frames::open(path, end)?;
        let broken = frames.by_ref().find_map(Result::err);
        let (length, sequence) = (frames.offset, frames.sequence);
        match broken {
            None => {}
            Some(Broken::Io(source)) => return Err(io(source)),
            Some(Broken::Frame(rule)) => {
                if is_followed(path, length, end, sequence)? {
                    return Err(StoreError::Damaged { path: path.to_path_buf(), offset: length, rule });
                }
                file.set_len(length).and_then(|()| file.sync_all()).map_err(io)?;
            }
        }
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok((Self { path: path.to_path_buf(), file, length, sequence, failed: false }, end - length))
    }

    /// Appends one frame with these entries; durable on return. After a failure nothing of it is in the file as far as that can
    /// still be made so, and the journal takes no more: after a failed fsync nobody knows what the disk holds.
    pub(super) fn append(&mut self, entries: &[Vec<u8>]) -> Result<u64, StoreError> {
        if self.failed {
            return Err(StoreError::Failed);
        }
        let sequence = self.sequence + 1;
        let frame = encode(sequence, entries);
        let written = self.file.write_all(&frame).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            self.failed = true;
            let _ = self.file.set_len(self.length).and_then(|()| self.file.sync_all());
            return Err(StoreError::io(&self.path, source));
        }
        self.length += frame.len() as u64;
        self.sequence = sequence;
        Ok(sequence)
    }

    /// Writes `entries` in place of all frames, one frame each, with numbers that go on from the last one. A crash leaves the
    /// old journal or the new one; so does an error, and then the journal goes on as it was.
    pub(super) fn rewrite(
        &mut self,
        entries: impl Iterator<Item = Result<Vec<u8>, StoreError>>,
    ) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Failed);
        }
        let path = successor_of(&self.path);
        let written = write_successor(&path, self.sequence, entries);
        let io = |source| StoreError::io(&self.path, source);
        let renamed = written.and_then(|new| fs::rename(&path, &self.path).map(|()| new).map_err(io));
        let (file, length, sequence) = match renamed {
            Ok(new) => new,
            Err(error) => {
                // Nobody else will clean up; the first error is the one worth telling.
                let _ = fs::remove_file(&path);
                return Err(error);
            }
        };
        // After a crash now the old journal may be back. Nothing may be appended that would be lost with the new one.
        if let Err(source) = crate::durable::sync_folder(&self.path) {
            self.failed = true;
            return Err(StoreError::io(&self.path, source));
        }
        (self.file, self.length, self.sequence) = (file, length, sequence);
        Ok(())
    }

    /// Length of the file, bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Number of the last frame; 0 before the first.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The frames as far as the journal reaches now.
    pub(super) fn frames(
        &self,
    ) -> Result<impl Iterator<Item = Result<Frame, StoreError>> + Send + use<>, StoreError> {
        let frames = Frames::open(&self.path, self.length)?;
        let path = self.path.clone();
        let mut offset = frames.offset;
        Ok(frames.map(move |frame| {
            let at = offset;
            frame.inspect(|frame| offset += frame.length()).map_err(|broken| match broken {
                Broken::Io(source) => StoreError::io(&path, source),
                Broken::Frame(rule) => StoreError::Damaged { path: path.clone(), offset: at, rule },
            })
        }))
    }
}

/// What a rewrite writes before it takes the journal's place.
fn successor_of(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn write_successor(
    path: &Path,
    mut sequence: u64,
    entries: impl Iterator<Item = Result<Vec<u8>, StoreError>>,
) -> Result<(File, u64, u64), StoreError> {
    let io = |source| StoreError::io(path, source);
    let file = File::options().write(true).create(true).truncate(true).open(path).map_err(io)?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    out.write_all(MAGIC).map_err(io)?;
    let mut length = MAGIC.len() as u64;
    for entry in entries {
        sequence += 1;
        let frame = encode(sequence, &[entry?]);
        out.write_all(&frame).map_err(io)?;
        length += frame.len() as u64;
    }
    let file = out.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    Ok((file, length, sequence))
}

impl Frame {
    fn length(&self) -> u64 {
        HEAD as u64 + self.entries.iter().map(|entry| 4 + entry.len() as u64).sum::<u64>()
    }
}

/// An empty file, or one cut off in its first eight bytes.
fn begin(file: &mut File, path: &Path, end: u64) -> Result<(), StoreError> {
    let io = |source| StoreError::io(path, source);
    let mut start = vec![0; end as usize];
    file.read_exact(&mut start).map_err(io)?;
    if !MAGIC.starts_with(&start) {
        return Err(StoreError::Foreign { path: path.to_path_buf() });
    }
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    file.write_all(MAGIC).and_then(|()| file.sync_all()).map_err(io)?;
    crate::durable::sync_folder(path).map_err(io)
}

fn encode(sequence: u64, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = vec![0; HEAD];
    for entry in entries {
        frame.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        frame.extend_from_slice(entry);
    }
    let length = ((frame.len() - HEAD) as u32).to_le_bytes();
    let sum = sum(length, sequence, &frame[HEAD..]);
    frame[..4].copy_from_slice(&length);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
    frame[8..HEAD].copy_from_slice(&sequence.to_le_bytes());
    frame
}

fn sum(length: [u8; 4], sequence: u64, body: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(&length), &sequence.to_le_bytes());
    crc32c::crc32c_append(head, body)
}

enum Broken {
    /// The frame is not as it was written, or not all of it is there: what is wrong.
    Frame(String),
    Io(io::Error),
}

/// Reads frames; after the first broken one, `offset` is where it begins.
struct Frames {
    reader: BufReader<File>,
    offset: u64,
    end: u64,
    sequence: u64,
}

impl Frames {
    fn open(path: &Path, end: u64) -> Result<Self, StoreError> {
        let io = |source| StoreError::io(path, source);
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(io)?);
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic).map_err(io)?;
        if magic != *MAGIC {
            return Err(StoreError::Foreign { path: path.to_path_buf() });
        }
        Ok(Self { reader, offset: MAGIC.len() as u64, end, sequence: 0 })
    }

    fn read(&mut self) -> Result<Frame, Broken> {
        let left = self.end - self.offset;
        let cut = || Broken::Frame("a frame is cut short".to_owned());
        if left < HEAD as u64 {
            return Err(cut());
        }
        let mut head = [0; HEAD];
        self.reader.read_exact(&mut head).map_err(Broken::Io)?;
        let (length, stored, sequence) = parse(&head);
        if u64::from(length) > left - HEAD as u64 {
            return Err(cut());
        }
        if length as usize > BODY_BYTES_MAX {
            return Err(Broken::Frame(format!("a frame of {length} bytes, more than {BODY_BYTES_MAX}")));
        }
        let mut body = vec![0; length as usize];
        self.reader.read_exact(&mut body).map_err(Broken::Io)?;
        if sum(length.to_le_bytes(), sequence, &body) != stored {
            return Err(Broken::Frame("the check sum is wrong".to_owned()));
        }
        let expected = self.sequence + 1;
        // The first one of a journal that was rewritten has any number.
        let first = self.sequence == 0 && sequence > 0;
        if sequence != expected && !first {
            return Err(Broken::Frame(format!("frame {sequence} where frame {expected} should be")));
        }
        let entries = split(&body).ok_or_else(|| Broken::Frame("entries do not fill their frame".into()))?;
        self.offset += (HEAD + body.len()) as u64;
        self.sequence = sequence;
        Ok(Frame { sequence, entries })
    }
}

impl Iterator for Frames {
    type Item = Result<Frame, Broken>;
    fn next(&mut self) -> Option<Self::Item> {
        (self.offset < self.end).then(|| self.read())
    }
}

fn parse(head: &[u8; HEAD]) -> (u32, u32, u64) {
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    (word(0), word(4), u64::from(word(8)) | u64::from(word(12)) << 32)
}

fn split(mut body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut entries = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk::<4>()?;
        let (entry, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        entries.push(entry.to_vec());
        body = rest;
    }
    Some(entries)
}

/// Whether a whole frame with a later sequence number lies anywhere behind `offset`: then what is at `offset` was damaged after
/// it had been written. Called on broken journals alone.
fn is_followed(path: &Path, offset: u64, end: u64, sequence: u64) -> Result<bool, StoreError> {
    let io = |source| StoreError::io(path, source);
    let mut file = File::open(path).map_err(io)?;
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    let mut tail = Vec::new();
    file.take(end - offset).read_to_end(&mut tail).map_err(io)?;
    Ok((1..tail.len()).any(|at| {
        let Some((head, rest)) = tail[at..].split_first_chunk::<HEAD>() else { return false };
        let (length, stored, found) = parse(head);
        let plausible = found > sequence && length as usize <= rest.len();
        plausible && sum(length.to_le_bytes(), found, &rest[..length as usize]) == stored
    }))
}

#[cfg(test)]
mod tests;
