//! Every bound of the shell in one place, with its unit. Those of messages are in `protocol::limits`.

use std::time::Duration;

use protocol::limits::CLIENTS_MAX;

/// Connections at a time; beyond, new ones are closed at once.
pub const CONNECTIONS_MAX: usize = CLIENTS_MAX + CONNECTIONS_ANONYMOUS_MAX;
/// Connections at a time without a client certificate: devices that enrol.
pub const CONNECTIONS_ANONYMOUS_MAX: usize = 64;
/// Time for a TLS handshake.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Life of a connection without a client certificate.
pub const ANONYMOUS_TIME: Duration = Duration::from_secs(60);
/// Pause before a wrong token is answered: a guesser gets one try a second per connection.
pub const WRONG_TOKEN_PAUSE: Duration = Duration::from_secs(1);

/// HTTP/2 streams of one connection at a time: a session, a download, an upload, and room for retries.
pub const STREAMS_MAX: u32 = 16;
/// Requests of one connection at a time whose answer has not begun.
pub const REQUESTS_MAX: usize = 8;
/// Resets a client may cause before its connection is closed (rapid reset).
pub const RESETS_MAX: usize = 20;
/// Bytes of request headers.
pub const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Flow-control window of a stream, bytes.
pub const STREAM_WINDOW_BYTES: u32 = 96 << 10;
/// Flow-control window of a connection, bytes: larger, so that bulk data cannot hold up a session.
pub const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// Largest HTTP/2 frame, bytes: the least that may be asked for; a usual piece of an upload with its envelope fits in one.
pub const FRAME_BYTES_MAX: u32 = 16 << 10;
/// Bytes of a stream that wait because the client does not take them; beyond, nothing more is made ready for it.
/// Less than a piece, so that it is one piece at a time.
pub const SEND_BYTES_MAX: usize = 4 << 10;
/// Encrypted bytes of a connection that wait for the network.
pub const TLS_BYTES_MAX: usize = 8 << 10;
/// Time between HTTP/2 pings on an idle connection: keeps it open through hours of training, and finds dead ones.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Time for the answer to a ping; a device that trains on all cores may be slow.
pub const PING_TIME: Duration = Duration::from_secs(20);

/// Time for a session's hello, and for an upload's header.
pub const FIRST_MESSAGE_TIME: Duration = Duration::from_secs(30);
/// Instructions that wait for a slow client; beyond, its session ends and it comes back.
pub const INSTRUCTIONS_MAX: usize = 32;
/// Inputs that wait for the driver; beyond, sessions and uploads wait.
pub const INPUTS_MAX: usize = 1024;
/// Inputs that are taken in together, so that what they cause is written together.
pub const BATCH_MAX: usize = 256;
/// Payload bytes of updates that are written together; a larger one is written alone.
pub const GROUP_BYTES_MAX: usize = 3 << 20;
/// Chunks of a download that wait for the connection.
pub const CHUNKS_MAX: usize = 1;
/// Memory for uploads under way when nothing else is said, MiB; beyond, uploads wait for their turn. Eight large ones arrive at a time.
pub const INGEST_MIB: u32 = 4;
/// Memory of a connection over which pieces of an upload come, bytes: a record that is decrypted, and its pieces in the hands of HTTP/2
/// and gRPC.
pub const READING_BYTES: u64 = 32 << 10;
/// Memory in which an update is checked that is added in place, bytes.
pub const IN_PLACE_BYTES: u64 = 128 << 10;
/// Bytes of an upload that wait in memory; beyond, they are written to disk.
pub const SPOOLED_BYTES: usize = 128 << 10;
/// Largest payload, bytes, that is written into the journal itself; others stay in the file in which they arrive.
pub const EMBEDDED_BYTES_MAX: usize = 256 << 10;
/// Bytes of an upload that the operating system may hold back; beyond, they are written out while the rest arrives.
pub const UNSYNCED_BYTES_MAX: u64 = 4 << 20;
/// Threads that add one large update.
pub const ADDING_THREADS_MAX: usize = 4;
/// Time for an upload beyond that which its length allows.
pub const UPLOAD_TIME: Duration = Duration::from_secs(60);
/// Slowest upload, bytes per second on average.
pub const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 1 << 10;

/// What a version leaves out waits in memory for the next one if it is shorter, bytes; else in the store.
pub const KEPT_BYTES_MIN: usize = 1 << 20;
/// Downloads at a time that are looked up, and encoded if need be; beyond, they wait without a thread.
pub const LOOKUPS_MAX: usize = 4;
/// Threads, besides one for each processor, for what blocks: the store, files of uploads, checks, lookups, scoring. Each costs tens of
/// kB, and none waits for what another one has to do, so what comes beyond may wait for a free one.
pub const BLOCKING_THREADS_MAX: usize = 8;
/// Time for which a version is waited for that is being made into the next one, and between two looks.
pub const MAKING_TIME: Duration = Duration::from_secs(5);
/// See [`MAKING_TIME`].
pub const MAKING_PAUSE: Duration = Duration::from_millis(50);
/// Versions kept in the store: should the newest be damaged, the one before it and the journal make it again.
pub const VERSIONS_MAX: usize = 3;
/// Shortest journal that is rewritten without what is no longer needed, bytes.
pub const COMPACTED_BYTES_MIN: u64 = 4 << 20;
/// Time after the end of a run in which clients may hear of it and fetch the last version.
pub const FAREWELL_TIME: Duration = Duration::from_secs(60);
/// Life of the token that is printed at the first start.
pub const FIRST_TOKEN_TIME: Duration = Duration::from_secs(3600);
