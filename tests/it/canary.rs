//! No pixel, file name or box of an image leaves the device: everything that passes between clients and coordinator in a whole
//! run is recorded, taken apart down to gRPC messages, and searched.
//!
//! The canary is a picture of random pixels in a client's data folder, which that client really opens and decodes before it
//! trains and before it scores. Searched for are every 16-byte window of its pixels (as drawn, and as decoded from the JPEG), of
//! the JPEG file, and of the base64 text of each at all three alignments, and its file name. A check that cannot fail proves
//! nothing: planted leaks of each kind are found by the same search.
//!
//! Not searched is what HTTP/2 compresses, the headers: they are bounded instead, and too small for a picture. What weights
//! reveal of the images they were learned from is another question, which this test does not answer.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dataset::{DecodeLimits, OpenOptions};
use fovea_tests::{Heard, Site, Tap, Watched, Work, device, settings};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};
use protocol::train::TrainError;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

const WINDOW: usize = 16;
const FILE: &str = "canary-7f3a91.jpg";
const SIDE: u32 = 48;
/// First bytes of a client's side of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A data folder with one labelled picture in it, and what must not be found elsewhere.
struct Canary {
    folder: TempDir,
    pixels: Vec<u8>,
    jpeg: Vec<u8>,
    windows: HashSet<[u8; WINDOW]>,
}

impl Canary {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut pixels = vec![0; (SIDE * SIDE * 3) as usize];
        ChaCha8Rng::seed_from_u64(11).fill_bytes(&mut pixels);
        let mut jpeg = Cursor::new(Vec::new());
        let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 95);
        encoder.encode(&pixels, SIDE, SIDE, ExtendedColorType::Rgb8).unwrap();
        let jpeg = jpeg.into_inner();
        fs::write(folder.path().join(FILE), &jpeg).unwrap();
        fs::write(folder.path().join(FILE.replace("jpg", "txt")), "0 0.5 0.5 0.25 0.25\n").unwrap();
        fs::write(folder.path().join("classes.txt"), "cat\n").unwrap();
        let decoded = image::load_from_memory_with_format(&jpeg, ImageFormat::Jpeg).unwrap().into_rgb8();
        let windows = windows_of(&[&pixels, decoded.as_raw(), &jpeg]);
        Self { folder, pixels, jpeg, windows }
    }

    /// Whether any of it is in `bytes`, and where.
    fn find(&self, bytes: &[u8]) -> Option<String> {
        let seen = |window: &[u8]| {
            window.try_into().is_ok_and(|window| self.windows.contains::<[u8; WINDOW]>(window))
        };
        if let Some(at) = bytes.windows(WINDOW).position(seen) {
            return Some(format!("bytes of the picture at {at}"));
        }
        let name = FILE.split('.').next().unwrap().as_bytes();
        let at = bytes.windows(name.len()).position(|window| window == name)?;
        Some(format!("its name at {at}"))
    }
}

/// All windows of each of these, and of their base64 text however it is aligned.
fn windows_of(secrets: &[&[u8]]) -> HashSet<[u8; WINDOW]> {
    let mut windows = HashSet::new();
    for secret in secrets {
        let texts = (0..3).map(|skip| STANDARD.encode(&secret[skip..]).into_bytes());
        for bytes in texts.chain([secret.to_vec()]) {
            windows.extend(bytes.windows(WINDOW).map(|window| <[u8; WINDOW]>::try_from(window).unwrap()));
        }
    }
    windows
}

/// What one side said over a connection.
struct Said {
    /// Bodies of gRPC messages, in order per stream.
    messages: Vec<Vec<u8>>,
    /// Bytes of the longest block of headers.
    headers_max: usize,
}

/// Takes HTTP/2 apart (RFC 9113: 9 bytes of length, type, flags and stream before each frame), then gRPC (one byte of flags,
/// four of length before each message). `preface` is what comes before the first frame.
fn messages(bytes: &[u8], preface: &[u8]) -> Said {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    const PADDED: u8 = 8;
    let mut rest = bytes.strip_prefix(preface).expect("a connection begins with its preface");
    let mut streams = BTreeMap::<u32, Vec<u8>>::new();
    let mut headers_max = 0;
    // The last frame may have been cut off with the connection.
    while let Some((head, body)) = rest.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((body, after)) = body.split_at_checked(length) else { break };
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        match head[3] {
            DATA => {
                assert_eq!(head[4] & PADDED, 0, "nobody here pads");
                streams.entry(stream).or_default().extend_from_slice(body);
            }
            HEADERS | CONTINUATION => headers_max = headers_max.max(length),
            _ => {}
        }
        rest = after;
    }
    let mut messages = Vec::new();
    for stream in streams.values() {
        let mut rest = stream.as_slice();
        while let Some((head, body)) = rest.split_at_checked(5) {
            assert_eq!(head[0], 0, "a compressed message cannot be searched");
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let body_len = length.min(body.len());
            messages.push(body[..body_len].to_vec());
            rest = &body[body_len..];
        }
    }
    Said { messages, headers_max }
}

/// Everything both sides said on all connections.
fn taken_apart(heard: &[Heard]) -> Vec<Said> {
    let both = |heard: &Heard| [messages(&heard.up, PREFACE), messages(&heard.down, b"")];
    heard.iter().flat_map(both).collect()
}

/// Reads the data folder as a trainer does; the pixels.
fn read(folder: &Path) -> Result<Vec<u8>, TrainError> {
    let data = |error: &dyn std::fmt::Display| TrainError::Data(error.to_string());
    let opened = dataset::open(folder, &OpenOptions::default()).map_err(|error| data(&error))?;
    let image = opened.samples[0].load(&DecodeLimits::default()).map_err(|error| data(&error))?;
    Ok(image.pixels().to_vec())
}

/// A run of two rounds in which one of two clients has the canary; `spoil` may fail its jobs.
async fn run(canary: &Canary, spoil: impl Fn(Work) -> Result<(), TrainError> + Send + 'static) -> Vec<Said> {
    let tap = Tap::default();
    let mut settings = settings(2, 2);
    settings.min_contributors = Some(1);
    let site = Site::insecure(settings, tap.clone()).await;
    for name in ["canary-keeper", "other"] {
        site.join(name).await;
    }
    let coordinator = site.coordinator();
    let folder: PathBuf = canary.folder.path().to_path_buf();
    let (reads, read_often) = std::sync::mpsc::channel();
    let watch = move |work| {
        read(&folder)?;
        let _ = reads.send(());
        spoil(work)
    };
    let keeper = site.client("canary-keeper", Box::new(Watched { trainer: device(0), watch }), |_| ());
    let other = site.client("other", device(1), |_| ());
    assert!(coordinator.end().await.unwrap().complete);
    for client in [keeper, other] {
        assert!(client.end().await.unwrap().complete);
    }
    assert!(read_often.try_iter().count() >= 2, "the picture is really read, in every round");
    taken_apart(&tap.heard())
}

fn find(canary: &Canary, said: &[Said]) -> Option<String> {
    said.iter().flat_map(|said| &said.messages).find_map(|message| canary.find(message))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_an_image_is_in_the_traffic_of_a_run() {
    let canary = Canary::new();
    let said = run(&canary, |_| Ok(())).await;
    let all: Vec<_> = said.iter().flat_map(|said| &said.messages).collect();
    assert!(all.len() >= 20, "only {} messages: does the tap hear the run?", all.len());
    // Hellos are in there as they were said, so a picture would be.
    assert!(all.iter().any(|message| message.windows(3).any(|window| window == b"dog")));
    assert_eq!(find(&canary, &said), None);
    let headers = said.iter().map(|said| said.headers_max).max().unwrap();
    assert!(headers < 512, "a block of headers has {headers} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planted_leak_is_found() {
    let canary = Canary::new();
    let texts = [
        ("pixels as text", STANDARD.encode(&read(canary.folder.path()).unwrap()[301..400])),
        ("the file as text", STANDARD.encode(&canary.jpeg[900..1000])),
        ("its name", format!("cannot draw {FILE}")),
    ];
    for (what, text) in texts {
        let leak = move |work| match work {
            Work::Train(1) => Err(TrainError::Model(text.clone())),
            _ => Ok(()),
        };
        assert!(find(&canary, &run(&canary, leak).await).is_some(), "{what}");
    }
    // Text cannot carry raw bytes, so these are looked for in a message of the test's own.
    let raw = [b"before".as_slice(), &canary.pixels[77..77 + WINDOW], b"after"].concat();
    let mut framed = PREFACE.to_vec();
    let (first, second) = raw.split_at(12);
    let grpc = [[0, 0, 0, 0, raw.len() as u8].as_slice(), first].concat();
    for part in [grpc.as_slice(), second] {
        framed.extend_from_slice(&[0, 0, part.len() as u8, 0, 0, 0, 0, 0, 3]);
        framed.extend_from_slice(part);
    }
    let heard = Heard { up: framed, down: Vec::new() };
    assert!(find(&canary, &taken_apart(&[heard])).is_some(), "raw pixels across two frames");
}

/// An unreadable picture is named to the device's owner, and to nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_image_is_not_named_to_the_coordinator() {
    let canary = Canary::new();
    let reason = format!("{}: truncated", canary.folder.path().join(FILE).display());
    let damage = move |work| match work {
        Work::Train(1) => Err(TrainError::Data(reason.clone())),
        _ => Ok(()),
    };
    assert_eq!(find(&canary, &run(&canary, damage).await), None);
}
