//! A browser's way to an authenticator without USB, kernel module or root.
//!
//! Two small extensions (`authenticator/browser/`) send what pages ask here, over HTTP on loopback; each request is
//! one ceremony of [`Client`](crate::client::Client). A request is served if it proves to come from whoever has the
//! token that this process wrote into the extension's folder, and comes from an extension: Chromium's has an origin that
//! its key fixes, and Firefox's another in every profile, so any of its extensions with such a proof is served. The
//! answer proves that it comes from this process (`proof.rs`).
//!
//! | path | body | answer |
//! |---|---|---|
//! | `/hello` | | `response`: null |
//! | `/create`, `/get` | `origin`, `crossOrigin`, `allowed`, `checked`, `mediation`, `publicKey` | `response`, or `error` with `name` and `message` |
//! | `/accounts` | `origin`, `crossOrigin`, `checked`, `publicKey` | `response`: a list of `id` and `name`, for autofill |
//! | `/signal` | `origin`, `crossOrigin`, `checked`, `kind`, `details` | `response`: null |
//!
//! `checked` is an RP ID that the browser has checked for this origin, as one of its related origins; another one is not.
//!
//! A ceremony whose request ends early (a page aborts, a tab closes, a browser is killed) is aborted, and so is what
//! `/accounts` looks for. That takes two seconds at most: of an authenticator that is busy, or hangs, autofill offers
//! nothing. Who may not ask, for where the page is framed or for its RP ID, is refused at once, whoever has the device.

mod extension;
mod proof;
mod routes;
mod signal;
mod source;
mod turns;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use self::proof::Proofs;
use crate::token::Token;

pub use extension::{CHROMIUM_ORIGIN, Folders};
pub use proof::authorization;
pub use source::Source;

/// A listening bridge. Closes, with every ceremony under way, when dropped.
pub struct Server {
    address: SocketAddr,
    token: Token,
    /// Always there, but in `drop`.
    runtime: Option<tokio::runtime::Runtime>,
}

/// What every request shares.
struct Bridge {
    source: Source,
    proofs: Proofs,
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
        let proofs = Proofs::new(token.clone());
        let bridge = Arc::new(Bridge { source, proofs });
        let listener = {
            let _guard = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(async move {
            // Serving ends with the runtime; an error before is the listener's, and every later request shows it.
            let _ = axum::serve(listener, routes::routes(bridge)).await;
        });
        Ok(Server { address, token, runtime: Some(runtime) })
    }

    /// Where it listens, with the port it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a request must prove to be made with, see [`authorization`].
    pub fn token(&self) -> &Token {
        &self.token
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Each ceremony is aborted, and takes back what it asked of its authenticator. One that hangs holds up nobody.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(FAREWELL);
        }
    }
}

/// How long the accounts of another process' authenticator are looked for, with the wait for it and for its answers.
const LOOK: Duration = Duration::from_secs(2);
/// How long the ceremonies under way may take to end with the bridge.
const FAREWELL: Duration = Duration::from_secs(1);
