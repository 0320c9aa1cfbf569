//! Every bound in one file, with its unit. Constructors and decoders refuse what lies beyond.

use params::PARAMETERS_MAX;

/// Largest control message (anything but bulk data), encoded: a hello with all its class names, a plan, a report.
pub const CONTROL_BYTES_MAX: usize = 512 << 10;
/// Largest piece of bulk data in one message.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Usual piece of bulk data, bytes: what a connection that breaks costs at most, besides what is on its way. With what is put around it
/// on the way (8 bytes of protobuf, 5 of gRPC, 9 of HTTP/2) it just fits the buffer with which a connection begins, and such a buffer is
/// what each of many connections costs.
pub const PIECE_BYTES: usize = (8 << 10) - 32;
/// Largest update: a dense f32 update of the largest model plus a header.
pub const UPDATE_BYTES_MAX: usize = 4 * PARAMETERS_MAX + (64 << 10);
/// Largest model snapshot.
pub const SNAPSHOT_BYTES_MAX: usize = 4 * PARAMETERS_MAX + (4 << 20);
/// Most pieces of a download.
pub const DOWNLOAD_PARTS_MAX: usize = 256;
/// Most classes of a run.
pub const CLASSES_MAX: usize = 256;
/// Longest class name, bytes of UTF-8.
pub const CLASS_NAME_BYTES_MAX: usize = 128;
/// Most clients connected at a time.
pub const CLIENTS_MAX: usize = 10_000;
/// Most clients asked in one round.
pub const COHORT_MAX: usize = 10_000;
/// Largest weight (capped examples) of one contribution.
pub const WEIGHT_MAX: u32 = 1 << 14;
/// Longest reason or other free text in a message, bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 10;
/// Most rounds of a run.
pub const ROUNDS_MAX: u32 = 1_000_000;
/// Most local epochs of a round.
pub const LOCAL_EPOCHS_MAX: u32 = 1_000;
/// Bins of a score histogram.
pub const SCORE_BINS_MAX: usize = 1024;
/// Bytes of one encoded evaluation (histograms of all classes and thresholds, sparse).
pub const EVALUATION_BYTES_MAX: usize = 256 << 10;
/// Longest name of a preset, codec or personalisation method, bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Most images of one optimiser step.
pub const BATCH_MAX: u32 = 4096;
/// Largest enrolment message, encoded.
pub const ENROL_BYTES_MAX: usize = 16 << 10;
/// Largest certificate or signing request, DER.
pub const CERTIFICATE_BYTES_MAX: usize = 8 << 10;
/// Length of a token's secret: 128 bits cannot be guessed.
pub const TOKEN_SECRET_BYTES: usize = 16;

// Relations the rest of the code relies on.
const _: () = assert!(CHUNK_BYTES_MAX < CONTROL_BYTES_MAX);
const _: () = assert!(PIECE_BYTES <= CHUNK_BYTES_MAX);
const _: () = assert!(EVALUATION_BYTES_MAX < CONTROL_BYTES_MAX);
const _: () = assert!((COHORT_MAX as u64) * (WEIGHT_MAX as u64) <= params::WEIGHT_TOTAL_MAX);
const _: () = assert!(CLASSES_MAX * CLASS_NAME_BYTES_MAX < CONTROL_BYTES_MAX);
