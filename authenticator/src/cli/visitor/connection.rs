//! Connections to a relying party, which send a request in one piece, as browsers do.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, Runtime};

/// How long a relying party may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The most that is read of an answer, in bytes.
const ANSWER_LIMIT: usize = 4 << 20;

/// One thread that drives all connections, however many there are.
#[derive(Debug)]
pub(in crate::cli) struct Connections(Runtime);

impl Connections {
    /// # Errors
    /// The operating system has no room for it.
    pub(in crate::cli) fn new() -> io::Result<Self> {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().map(Self)
    }

    /// A connection to the relying party at an origin, which one visitor after the other may use. Nothing is sent yet.
    pub(in crate::cli) fn to(&self, origin: &str) -> Connection {
        let authority = super::authority(origin);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => (host, port),
            _ => (authority, "80"),
        };
        // `localhost` is an IPv4 listener here; looking the name up could give ::1 first, or nothing in a container.
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        Connection { runtime: self.0.handle().clone(), address: format!("{host}:{port}"), sender: None }
    }
}

/// A connection that is opened when it is needed, and anew when it has ended. One request at a time.
#[derive(Debug)]
pub(in crate::cli) struct Connection {
    runtime: Handle,
    /// Host and port.
    address: String,
    sender: Option<SendRequest<Body>>,
}

impl Connection {
    /// The answer to a request, with its body.
    ///
    /// # Errors
    /// Nobody is there, or whoever is there breaks off, or takes longer than half a minute.
    pub(super) fn exchange(&mut self, request: Request<Body>) -> io::Result<Response<Bytes>> {
        let Self { runtime, address, sender } = self;
        let answer = async {
            let (head, body) = send(sender, address, request).await?.into_parts();
            let body = to_bytes(Body::new(body), ANSWER_LIMIT).await.map_err(io::Error::other)?;
            Ok(Response::from_parts(head, body))
        };
        runtime.block_on(async {
            tokio::time::timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| io::ErrorKind::TimedOut)?
        })
    }
}

/// Sends a request, by a new connection if there is none or the old one has ended meanwhile.
async fn send(
    kept: &mut Option<SendRequest<Body>>,
    address: &str,
    mut request: Request<Body>,
) -> io::Result<Response<hyper::body::Incoming>> {
    // Its task says when it is ready for the next one, or has ended.
    if let Some(sender) = kept
        && sender.ready().await.is_ok()
    {
        match sender.try_send_request(request).await {
            Ok(answer) => return Ok(answer),
            Err(mut failed) => {
                // What has been sent may have been heard, and is not sent twice.
                request = failed.take_message().ok_or_else(|| io::Error::other(failed.into_error()))?;
            }
        }
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    kept.insert(sender).send_request(request).await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn ask(connection: &mut Connection) -> io::Result<Bytes> {
        let request = Request::post("/").header("host", "here").body(Body::from("question")).unwrap();
        connection.exchange(request).map(Response::into_body)
    }

    #[test]
    fn one_connection_is_enough_for_any_number_of_requests() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0; 1024];
            while stream.read(&mut heard).unwrap() > 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nanswer").unwrap();
            }
        });
        let connections = Connections::new().unwrap();
        let mut connection = connections.to(&origin);
        // A second one would not be accepted.
        for _ in 0..500 {
            assert_eq!(ask(&mut connection).unwrap(), "answer");
        }
        drop(connection);
        server.join().unwrap();
    }

    #[test]
    fn a_request_comes_in_one_piece_and_by_a_new_connection_where_the_old_one_has_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut heard = [0; 1024];
                let count = stream.read(&mut heard).unwrap();
                assert!(heard[..count].ends_with(b"\r\n\r\nquestion"));
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nanswer").unwrap();
            }
        });
        let connections = Connections::new().unwrap();
        let mut connection = connections.to(&origin);
        // A request that goes out while the end is on its way would be lost with the connection.
        let ends = |connection: &Connection| {
            while connection.sender.as_ref().is_some_and(|sender| !sender.is_closed()) {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        assert_eq!(ask(&mut connection).unwrap(), "answer");
        ends(&connection);
        assert_eq!(ask(&mut connection).unwrap(), "answer");
        ends(&connection);
        server.join().unwrap();
        ask(&mut connection).expect_err("nobody is there any more");
    }
}
