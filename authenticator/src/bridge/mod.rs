//! A browser's way to an authenticator without USB, kernel module or root.
//!
//! Two small extensions (`authenticator/browser/`) send what pages ask here, over HTTP on loopback; each request is
//! one ceremony of [`Client`](crate::client::Client). A request is served if it shows the token that this process
//! wrote into the extension's folder, and comes from the extension: Chromium's has an origin that its key fixes, and
//! Firefox's, which is another in every profile, is the first that shows the token.
//!
//! | path | body | answer |
//! |---|---|---|
//! | `/create`, `/get` | `id`, `origin`, `crossOrigin`, `allowed`, `mediation`, `publicKey` | `response`, or `error` with `name` and `message` |
//! | `/accounts` | `origin`, `publicKey` | `response`: a list of `id` and `name`, for autofill |
//! | `/signal` | `origin`, `kind`, `details` | `response`: null |
//! | `/cancel` | `id` | `response`: null |
//!
//! A ceremony whose request ends early (a tab closed, a browser killed) is aborted.

mod extension;
mod routes;
mod signal;
mod source;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock};

use crate::client::Abort;
use crate::token::Token;

pub use extension::{CHROMIUM_ORIGIN, Folders};
pub use source::Source;

/// A listening bridge. Closes, with every ceremony under way, when dropped.
pub struct Server {
    address: SocketAddr,
    token: Token,
    _runtime: tokio::runtime::Runtime,
}

/// What every request shares.
struct Bridge {
    source: Source,
    token: Token,
    /// The extension's origin in Firefox, once it has shown the token.
    firefox: OnceLock<String>,
    /// Ceremonies under way, by the id that the extension gave them.
    pending: Mutex<HashMap<String, Abort>>,
}

impl Server {
    /// Listens, and serves this authenticator.
    pub fn bind(address: SocketAddr, source: Source) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let token =
            Token::random().ok_or_else(|| io::Error::other("the operating system gives no randomness"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("doppelkey-bridge")
            .enable_all()
            .build()?;
        let bridge = Arc::new(Bridge {
            source,
            token: token.clone(),
            firefox: OnceLock::new(),
            pending: Mutex::default(),
        });
        let listener = {
            let _guard = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(async move {
            // Serving ends with the runtime; an error before is the listener's, and every later request shows it.
            let _ = axum::serve(listener, routes::routes(bridge)).await;
        });
        Ok(Server { address, token, _runtime: runtime })
    }

    /// Where it listens, with the port it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a request must show.
    pub fn token(&self) -> &Token {
        &self.token
    }
}
