//! What every door that listens does: take connections, and let go of them when it closes.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};

/// A connected stream socket of either kind. Reads and writes through a shared reference, as sockets do.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    /// A TCP connection that sends what it is given at once, and notices when the other side has silently gone.
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        {
            use rustix::net::sockopt;
            sockopt::set_socket_keepalive(&stream, true)?;
            sockopt::set_tcp_keepidle(&stream, Duration::from_secs(30))?;
            sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(10))?;
            sockopt::set_tcp_keepcnt(&stream, 3)?;
        }
        Ok(Stream::Tcp(stream))
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            #[cfg(unix)]
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
        })
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(timeout),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }

    /// Whether the other side has ended the connection, also where what it said before has not been read yet. `false`
    /// where the system does not tell.
    pub(crate) fn has_been_ended(&self) -> bool {
        #[cfg(target_os = "linux")]
        {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let mut end = [match self {
                Stream::Tcp(stream) => PollFd::new(stream, PollFlags::RDHUP),
                Stream::Unix(stream) => PollFd::new(stream, PollFlags::RDHUP),
            }];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut end, Some(&at_once)).is_ok_and(|ended| ended > 0)
        }
        #[cfg(not(target_os = "linux"))]
        false
    }

    /// Ends the connection in both directions: whoever is blocked on it comes back.
    pub(crate) fn shutdown(&self) {
        // An error means that it has ended already.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).read(buffer),
            #[cfg(unix)]
            Stream::Unix(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).write(bytes),
            #[cfg(unix)]
            Stream::Unix(stream) => (&*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a door listens on.
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixDoor),
}

/// A listening Unix socket, and its name in the file system: removed when dropped, unless it is another's by then.
#[cfg(unix)]
pub(crate) struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of what was made there.
    made: (u64, u64),
}

#[cfg(unix)]
impl UnixDoor {
    /// What is at this path: device and inode.
    fn at(path: &Path) -> io::Result<(u64, u64)> {
        use std::os::unix::fs::MetadataExt as _;
        path.symlink_metadata().map(|found| (found.dev(), found.ino()))
    }
}

#[cfg(unix)]
impl Drop for UnixDoor {
    fn drop(&mut self) {
        if Self::at(&self.path).is_ok_and(|found| found == self.made) {
            // Somebody may have removed it since; nobody can connect then either.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    pub(crate) fn tcp(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).map(Listener::Tcp)
    }

    /// Listens at a path, only for this user. A socket that is there and that nobody listens on is replaced.
    #[cfg(unix)]
    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::FileTypeExt as _;
        if let Ok(metadata) = path.symlink_metadata()
            && metadata.file_type().is_socket()
        {
            if UnixStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        let listener = crate::private_file::listen(path)?;
        let made = UnixDoor::at(path)?;
        Ok(Listener::Unix(UnixDoor { listener, path: path.to_owned(), made }))
    }

    /// Listens at a path: not on this system.
    #[cfg(not(unix))]
    pub(crate) fn unix(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn tcp_address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Some),
            #[cfg(unix)]
            Listener::Unix(_) => Ok(None),
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => Stream::tcp(listener.accept()?.0),
            #[cfg(unix)]
            Listener::Unix(door) => Ok(Stream::Unix(door.listener.accept()?.0)),
        }
    }

    /// Makes a blocked accept come back, on every system.
    fn poke(&self) {
        let _ = match self {
            Listener::Tcp(listener) => listener.local_addr().and_then(TcpStream::connect).map(drop),
            #[cfg(unix)]
            Listener::Unix(door) => {
                // Linux wakes it whatever has become of the path; elsewhere it takes a connection.
                let _ = rustix::net::shutdown(&door.listener, rustix::net::Shutdown::Both);
                UnixStream::connect(&door.path).map(drop)
            }
        };
    }
}

/// Serves every connection to a listener on a thread of its own. When dropped, it takes no more and ends those
/// that are there.
pub(crate) struct Acceptor {
    listener: Arc<Listener>,
    connections: Arc<Connections>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Connections {
    closing: AtomicBool,
    open: Mutex<HashMap<u64, Stream>>,
    ended: std::sync::Condvar,
}

impl Acceptor {
    /// Starts. `name` is the door's in messages; `serve` has one connection for as long as it lasts.
    pub(crate) fn start(
        name: &'static str,
        listener: Listener,
        serve: impl Fn(&Stream) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = Arc::new(listener);
        let connections = Arc::<Connections>::default();
        let (accepting, open) = (listener.clone(), connections.clone());
        let thread = std::thread::Builder::new()
            .name(format!("doppelkey-{name}"))
            .spawn(move || accept(name, &accepting, &open, &Arc::new(serve)))?;
        Ok(Acceptor { listener, connections, thread: Some(thread) })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.connections.closing.store(true, Ordering::Release);
        self.listener.poke();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let mut open = self.connections.lock();
        for stream in open.values() {
            stream.shutdown();
        }
        while !open.is_empty() {
            open = self.connections.ended.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Stream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(
    name: &'static str,
    listener: &Listener,
    connections: &Arc<Connections>,
    serve: &Arc<impl Fn(&Stream) + Send + Sync + 'static>,
) {
    for number in 0.. {
        let accepted = listener.accept();
        if connections.closing.load(Ordering::Acquire) {
            return;
        }
        let begun = accepted.and_then(|stream| begin(name, number, stream, connections, serve));
        if let Err(error) = begun {
            log::warn!("{name}: a connection could not be taken: {error}");
            // The reason (no files or threads left, say) may last: do not spin on it.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn begin(
    name: &'static str,
    number: u64,
    stream: Stream,
    connections: &Arc<Connections>,
    serve: &Arc<impl Fn(&Stream) + Send + Sync + 'static>,
) -> io::Result<()> {
    let mut open = connections.lock();
    if open.len() >= CONNECTIONS_MAX {
        log::warn!("{name}: a connection was refused: {CONNECTIONS_MAX} are open");
        return Ok(());
    }
    let (connections, serve) = (connections.clone(), serve.clone());
    let known = stream.try_clone()?;
    let thread = std::thread::Builder::new().name(format!("doppelkey-{name}-{number}"));
    // The thread waits for the lock before it can end, so it is in the list by then.
    thread.spawn(move || {
        let done = Done { connections, number };
        serve(&stream);
        stream.shutdown();
        drop(stream);
        drop(done);
    })?;
    open.insert(number, known);
    Ok(())
}

/// Takes a connection off the list, also if its thread panics.
struct Done {
    connections: Arc<Connections>,
    number: u64,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.number);
        self.connections.ended.notify_all();
    }
}

/// Enough for every test runner; few enough that a flood of connections takes no more than threads' worth.
const CONNECTIONS_MAX: usize = 256;
