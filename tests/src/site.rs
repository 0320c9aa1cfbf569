//! The real coordinator behind a [`Network`], with its state folder, and real clients with theirs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::enrol::enrol;
use client::{Address, Connector, Ended, Folder, Happening, Member, RunError};
use client_core::retry::BackoffRange;
use coordinator::learning::Learning;
use coordinator::state::StateFolder;
use coordinator::store::Store;
use coordinator::store::folder::FolderStore;
use coordinator::{End, Error, Meter, Output, Parts, Security};
use coordinator_core::{RoundReport, RunConfig, Settings};
use protocol::id::ClientId;
use protocol::train::Trainer;
use tempfile::TempDir;

use crate::network::{Network, Tap, Weather};
use crate::process::Process;
use crate::toy::ToyLearning;

/// A coordinator's state folder, its port, and the folders of its clients. Programs on it come and go.
pub struct Site {
    root: TempDir,
    settings: Settings,
    learning: Arc<dyn Learning>,
    secure: bool,
    /// The port.
    pub network: Network,
}

/// How long a coordinator waits for clients at the end: long enough for those that are started again, short enough for tests
/// in which nobody comes.
const FAREWELL_TIME: Duration = Duration::from_secs(5);

/// A running coordinator.
pub type Coordinator = Process<Result<End, Error>>;
/// A running client.
pub type Client = Process<Result<Ended, RunError>>;

impl Site {
    /// With mutual TLS.
    ///
    /// # Panics
    /// When the system gives no folder or port.
    pub async fn secure(settings: Settings) -> Self {
        Self::new(settings, true, Weather::default()).await
    }

    /// Without TLS, on loopback, where `tap` hears everything.
    ///
    /// # Panics
    /// When the system gives no folder or port.
    pub async fn insecure(settings: Settings, tap: Tap) -> Self {
        Self::new(settings, false, Weather { tap: Some(tap), cut_after: None }).await
    }

    /// With mutual TLS, over connections that break once so many bytes have come from the client.
    ///
    /// # Panics
    /// When the system gives no folder or port.
    pub async fn cut_after(settings: Settings, bytes: u64) -> Self {
        Self::new(settings, true, Weather { tap: None, cut_after: Some(bytes) }).await
    }

    async fn new(settings: Settings, secure: bool, weather: Weather) -> Self {
        let root = TempDir::new().expect("a temporary folder");
        let learning = Arc::new(ToyLearning);
        Self { root, settings, learning, secure, network: Network::new(weather).await }
    }

    /// With another model than the toy.
    #[must_use]
    pub fn with_learning(self, learning: Arc<dyn Learning>) -> Self {
        Self { learning, ..self }
    }

    /// The coordinator's state folder.
    pub fn state(&self) -> PathBuf {
        self.root.path().join("coordinator")
    }

    /// The state folder of a client.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Starts the coordinator on its state folder.
    ///
    /// # Panics
    /// As [`Self::coordinator_with`].
    pub fn coordinator(&self) -> Coordinator {
        self.coordinator_with(|store| Box::new(store))
    }

    /// Starts the coordinator, with something between it and its store.
    ///
    /// # Panics
    /// When the settings make no run, or the state folder cannot be used.
    pub fn coordinator_with(&self, wrap: impl FnOnce(FolderStore) -> Box<dyn Store>) -> Coordinator {
        let config = RunConfig::new(self.settings.clone()).expect("the settings make a run");
        let (store, security) = self.open().expect("the state folder is whole and not in use");
        let parts = Parts {
            store: wrap(store),
            learning: self.learning.clone(),
            incoming: self.network.plug(),
            security,
            output: Output::to(Box::new(std::io::sink()), true, Some(self.state())),
            meter: Arc::new(Meter::default()),
            farewell_time: FAREWELL_TIME,
            ingest_bytes: 1 << 20,
            uploads: Some(self.state().join("uploads")),
        };
        Process::start(coordinator::run(config, parts, std::future::pending()))
    }

    fn open(&self) -> Result<(FolderStore, Security), Error> {
        let folder = StateFolder::open(&self.state())?;
        let (store, _notices) = FolderStore::open(&folder)?;
        let security = match self.secure {
            true => coordinator::secure(&folder, &[], self.network.socket(), &store)?.0,
            false => Security::Insecure,
        };
        Ok((store, security))
    }

    /// Makes a client a member. With TLS there must be a coordinator.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn join(&self, name: &str) {
        let client = ClientId::new(name).expect("a name of the test's");
        let (folder, address) = (self.folder(name), self.network.address());
        if self.secure {
            let token =
                coordinator::create_token(&self.state(), Duration::from_secs(600), 1).expect("a token");
            enrol(&folder, &address, &token, Some(client)).await.expect("a valid token admits");
        } else {
            let member = Member { client, coordinator: address, secure: false };
            let folder = Folder::prepare(&folder).expect("a new folder");
            folder.settle(&member, None).expect("the folder can be written");
        }
    }

    /// How a client that has joined reaches the coordinator.
    ///
    /// # Panics
    /// When it has not joined.
    pub fn connector(&self, name: &str) -> Connector {
        self.connector_at(name, &self.network.address())
    }

    /// The same, by way of another address.
    ///
    /// # Panics
    /// When it has not joined.
    pub fn connector_at(&self, name: &str, address: &Address) -> Connector {
        let (folder, member) = Folder::look(&self.folder(name)).expect("the client has joined");
        let connector = match member.secure {
            true => Connector::secure(address, &folder.credentials().expect("it has a certificate")),
            false => Ok(Connector::insecure(address, &member.client)),
        };
        connector.expect("key and certificate belong together")
    }

    /// Starts a client that has joined; `watch` hears everything it tells its owner.
    ///
    /// # Panics
    /// As [`Self::client_over`].
    pub fn client(
        &self,
        name: &str,
        trainer: Box<dyn Trainer>,
        watch: impl FnMut(&Happening) + Send + Sync + 'static,
    ) -> Client {
        self.client_over(name, self.connector(name), trainer, watch)
    }

    /// Starts a client that has joined, with other means of reaching a coordinator.
    ///
    /// # Panics
    /// When it has not joined, or another process has its folder.
    pub fn client_over(
        &self,
        name: &str,
        connector: Connector,
        trainer: Box<dyn Trainer>,
        mut watch: impl FnMut(&Happening) + Send + Sync + 'static,
    ) -> Client {
        let (folder, member) = Folder::open(&self.folder(name)).expect("the client has joined");
        let mut config = client_core::Config::new(member.client, trainer.summary(), self.settings.seed);
        config.backoff = BackoffRange { first: Duration::from_millis(5), most: Duration::from_millis(40) };
        let report = move |happening| watch(&happening);
        let stop = std::future::pending();
        Process::start(client::run(Arc::new(folder), config, trainer, connector, stop, report))
    }

    /// The reports of the rounds, as the state folder has them.
    ///
    /// # Panics
    /// While a coordinator runs, or when there is no readable state.
    pub fn reports(&self) -> Vec<RoundReport> {
        let folder = StateFolder::open(&self.state()).expect("the state folder is there");
        let (store, _) = FolderStore::open(&folder).expect("the coordinator has ended");
        store.reports().expect("the index is readable").into_values().collect()
    }
}
