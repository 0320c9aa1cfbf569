//! What the binary does: the parts from the settings, then the run.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use identity::Token;
use identity::tls::server_config;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::config::Config;
use crate::driver::End;
use crate::learning::Learning;
use crate::limits::{BLOCKING_THREADS_MAX, FAREWELL_TIME, FIRST_TOKEN_TIME};
use crate::output::Join;
use crate::run::{Parts, Security, run};
use crate::state::StateFolder;
use crate::store::Store;
use crate::store::folder::FolderStore;
use crate::tokens::Tokens;
use crate::{Error, Meter, Output, authority, tcp};

/// Serves a run from its state folder on a TCP port until it ends, or `stop` asks for it.
///
/// # Errors
/// Settings that cannot be used, a state folder that cannot, a port in use, and those of [`run`].
pub async fn serve(
    config: Config,
    learning: Arc<dyn Learning>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<End, Error> {
    let settings = &config.settings;
    learning.knows(&config.run.settings().preset).map_err(Error::Usage)?;
    let folder = StateFolder::open(&settings.state)?;
    let (store, notices) = FolderStore::open(&folder)?;
    let listener = bind(&config.listen).await?;
    let address = listener.local_addr().map_err(|source| listen_error(&config.listen, source))?;

    let mut output = Output::standard(settings.json, Some(folder.path().to_path_buf()));
    notices.iter().for_each(|notice| output.notice(notice));
    config.run.cautions().iter().for_each(|caution| output.notice(caution));
    let security = if settings.insecure {
        output.greet(&address.to_string(), None, None);
        Security::Insecure
    } else {
        let reach = reach(&settings.names, address);
        let (security, token) = secure(&folder, &settings.names, address, &store)?;
        let join = token.map(|token| Join { address: &reach, token: token.to_string() });
        output.greet(&address.to_string(), join.as_ref(), Some(folder.path()));
        security
    };
    let meter = Arc::new(Meter::default());
    let parts = Parts {
        store: Box::new(store),
        learning,
        incoming: tcp(listener),
        security,
        output,
        meter,
        farewell_time: FAREWELL_TIME,
        ingest_bytes: u64::from(settings.ingest_memory) << 20,
        uploads: Some(folder.join("uploads")),
    };
    run(config.run, parts, stop).await
}

/// What a coordinator runs on: a thread for each processor, and some for what blocks.
///
/// # Errors
/// The system gives no threads.
pub fn runtime() -> std::io::Result<Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread().enable_all().max_blocking_threads(processors + BLOCKING_THREADS_MAX).build()
}

/// Makes a token; works beside a running coordinator, and before the first start.
///
/// # Errors
/// A state folder that is none or cannot be written.
pub fn create_token(state: &Path, ttl: Duration, uses: u32) -> Result<Token, Error> {
    let folder = StateFolder::open(state)?;
    let now = SystemTime::now();
    let authority = authority::open(&folder, now)?;
    Ok(Tokens::open(&folder)?.create(authority.fingerprint(), now, ttl, uses)?)
}

/// TLS with the folder's authority, and a first token while nobody has joined.
///
/// # Errors
/// A state folder that cannot be read or written, no randomness.
pub fn secure(
    folder: &StateFolder,
    names: &[String],
    address: SocketAddr,
    store: &FolderStore,
) -> Result<(Security, Option<Token>), Error> {
    let now = SystemTime::now();
    let authority = authority::open(folder, now)?;
    let server = authority.issue_server(&server_names(names, address), now)?;
    let config = server_config(authority.certificate(), server)?;
    let tokens = Tokens::open(folder)?;
    tokens.forget_old(now)?;
    let token = if store.has_clients()? {
        None
    } else {
        Some(tokens.create(authority.fingerprint(), now, FIRST_TOKEN_TIME, 1)?)
    };
    Ok((Security::Tls { authority: Arc::new(authority), tokens, config }, token))
}

/// What the server certificate is for, besides the name that clients ask for: so that other tools can check it as well.
fn server_names(names: &[String], address: SocketAddr) -> Vec<String> {
    let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    all.extend(hostname());
    if !address.ip().is_unspecified() {
        all.push(address.ip().to_string());
    }
    all.extend(names.iter().cloned());
    all.sort_unstable();
    all.dedup();
    all
}

/// The address in the join line: as the operator says, else as the machine is called, else where it listens.
fn reach(names: &[String], address: SocketAddr) -> String {
    let unspecified = address.ip().is_unspecified();
    let host = names.first().cloned().or_else(|| hostname().filter(|_| unspecified));
    match host {
        Some(host) => format!("{host}:{}", address.port()),
        None if unspecified => format!("localhost:{}", address.port()),
        None => address.to_string(),
    }
}

/// The machine's name, if it can be part of a certificate.
fn hostname() -> Option<String> {
    let name = gethostname::gethostname().into_string().ok()?;
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (!name.is_empty() && name.bytes().all(valid)).then_some(name)
}

async fn bind(addresses: &[SocketAddr]) -> Result<TcpListener, Error> {
    TcpListener::bind(addresses).await.map_err(|source| listen_error(addresses, source))
}

fn listen_error(addresses: &[SocketAddr], source: std::io::Error) -> Error {
    let address = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    let hint = match source.kind() {
        std::io::ErrorKind::AddrInUse => ": another program has this port, choose one with --listen",
        std::io::ErrorKind::AddrNotAvailable => ": this machine does not have that address",
        std::io::ErrorKind::PermissionDenied => {
            ": ports below 1024 need rights, choose another with --listen"
        }
        _ => "",
    };
    Error::Listen { address, source, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_join_line_names_an_address_that_can_be_reached() {
        let any: SocketAddr = "0.0.0.0:7843".parse().unwrap();
        let loopback: SocketAddr = "127.0.0.1:9".parse().unwrap();
        assert_eq!(reach(&[], loopback), "127.0.0.1:9");
        assert_eq!(reach(&["farm.example".to_owned()], any), "farm.example:7843");
        assert!(!reach(&[], any).starts_with("0.0.0.0"));
    }

    #[test]
    fn a_token_can_be_made_before_the_first_start_and_is_of_the_same_authority_after_it() {
        let root = tempfile::tempdir().unwrap();
        let before = create_token(root.path(), Duration::from_secs(60), 1).unwrap();
        let folder = StateFolder::open(root.path()).unwrap();
        let _lock = folder.lock().unwrap();
        let beside = create_token(root.path(), Duration::from_secs(60), 1).unwrap();
        assert_eq!(before.authority, beside.authority);
        assert_ne!(before.secret, beside.secret);
    }
}
