//! HTTP/2 over connections: hyper's, driven here rather than by tonic's server because that one leaves it to every stream to hold
//! 400 kB that a client does not take. With hundreds of clients that would be most of the coordinator's memory.

use std::io;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;
use tower::limit::ConcurrencyLimit;

use crate::connection::Connection;
use crate::limits::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, HEADER_BYTES_MAX, PING_INTERVAL, PING_TIME, REQUESTS_MAX,
    RESETS_MAX, SEND_BYTES_MAX, STREAM_WINDOW_BYTES, STREAMS_MAX,
};

/// Serves `routes` on all connections until `closed`, then lets each finish what it is at.
pub(crate) async fn serve(
    connections: impl Stream<Item = io::Result<Connection>>,
    routes: Routes,
    closed: impl Future<Output = ()>,
) {
    let builder = builder();
    let routes = routes.prepare();
    let (closing, until) = watch::channel(());
    {
        let (mut connections, mut closed) = (std::pin::pin!(connections), std::pin::pin!(closed));
        loop {
            let connection = tokio::select! {
                connection = connections.next() => connection,
                () = &mut closed => break,
            };
            let Some(Ok(connection)) = connection else { break };
            let peer = connection.peer();
            let service = ConcurrencyLimit::new(routes.clone(), REQUESTS_MAX);
            let service = service.map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer.clone());
                request.map(Body::new)
            });
            // On the heap before it is part of the task, which would otherwise have room for it twice.
            let mut serving = Box::pin(
                builder.serve_connection(TokioIo::new(connection), TowerToHyperService::new(service)),
            );
            let mut until = until.clone();
            tokio::spawn(async move {
                let served = tokio::select! {
                    served = &mut serving => served,
                    _ = until.changed() => {
                        serving.as_mut().graceful_shutdown();
                        serving.await
                    }
                };
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection broke");
                }
            });
        }
    }
    drop(until);
    let _ = closing.send(());
    closing.closed().await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buf_size(SEND_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIME)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX);
    builder
}
