//! Serving over HTTP/1.1, with bounds on what a connection may hold up.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::Service as _;

/// What connections may hold up.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// How long the head of a request may take, and a connection may be without one. Whoever keeps connections open has
    /// to say something now and then; a proxy opens another one.
    head: Duration,
    /// How many connections there may be at a time; more wait to be accepted. Below the 1024 files that most systems
    /// let a program open, the database's among them.
    connections: usize,
}

const BOUNDS: Bounds = Bounds { head: Duration::from_secs(30), connections: 768 };

/// How long requests in hand have when the service ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves the relying party on a listener until `shutdown` is done; requests in hand are finished, but streams of
/// events, which have no end, are cut after a second.
///
/// At most 768 connections are open at a time. One that has not sent the whole head of a request after 30 seconds is
/// closed; what a body may take is bounded by the application itself.
///
/// # Errors
/// None so far: a listener that fails is asked again.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    serve_within(BOUNDS, listener, router, shutdown).await;
    Ok(())
}

async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let connections = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        let Ok((stream, peer)) = accepted else {
            // That connection is gone already, or there are no files left: then some may be in a moment.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let connection = connections.watch(connection(stream, peer, router.clone(), bounds.head));
        tokio::spawn(async move {
            // A connection that fails has told its client; nobody else can do anything about it.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(FAREWELL, connections.shutdown()).await;
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    head: Duration,
) -> impl GracefulConnection<Error = hyper::Error> + Send + 'static {
    // An answer is written in one piece, and not held back for what may follow.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        async move { router.call(request).await as Result<Response, Infallible> }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    /// A service with these bounds, and what ends it.
    async fn service(bounds: Bounds) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }))
            .route("/never", get(async || std::future::pending::<String>().await));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let running = tokio::spawn(serve_within(bounds, listener, routes, shutdown));
        (address, stop, running)
    }

    async fn hear(stream: &mut TcpStream) -> String {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).await.unwrap_or(0);
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[tokio::test]
    async fn a_connection_that_drips_its_request_is_closed() {
        let bounds = Bounds { head: Duration::from_millis(300), connections: 10 };
        let (address, _stop, _) = service(bounds).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        let mut sent = 0;
        for byte in REQUEST.iter().cycle() {
            // The first refusal to take a byte, or the end, whichever shows.
            if slow.write_all(&[*byte]).await.is_err() {
                break;
            }
            sent += 1;
            assert!(sent < 30, "it is still open after a second and a half");
            let mut byte = [0];
            let heard = tokio::time::timeout(Duration::from_millis(50), slow.read(&mut byte)).await;
            if matches!(heard, Ok(Ok(0) | Err(_))) {
                break;
            }
        }
        assert!(sent < REQUEST.len(), "before the head was whole");
    }

    #[tokio::test]
    async fn who_asks_in_time_is_answered_by_its_address_and_may_ask_again() {
        let (address, _stop, _) = service(BOUNDS).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            stream.write_all(REQUEST).await.unwrap();
            let answer = hear(&mut stream).await;
            let own = stream.local_addr().unwrap().to_string();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&own), "{answer}");
        }
    }

    #[tokio::test]
    async fn when_all_places_are_taken_the_next_waits_until_one_is_free() {
        let bounds = Bounds { head: Duration::from_secs(3), connections: 2 };
        let (address, _stop, _) = service(bounds).await;
        let mut idle =
            [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(REQUEST).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), hear(&mut next)).await;
        assert!(early.is_err(), "there is no place yet");
        let answer = tokio::time::timeout(Duration::from_secs(20), hear(&mut next)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // One of those who said nothing had to go.
        let gone = tokio::time::timeout(Duration::from_secs(20), hear(&mut idle[0])).await.unwrap();
        assert!(gone.is_empty() || gone.starts_with("HTTP/1.1 408"), "{gone}");
    }

    #[tokio::test]
    async fn the_end_does_not_wait_for_ever() {
        let (address, stop, running) = service(BOUNDS).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /never HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(20), running).await.unwrap().unwrap();
    }
}
