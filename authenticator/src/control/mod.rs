//! The control port: HTTP, for tests, to lead the devices of this process and their user by the hand.
//!
//! It listens on loopback and wants a token (`access.rs`). Three vocabularies share it: the button controller of
//! python-fido2's device tests (`button.rs`), WebDriver's virtual authenticators (`webdriver/`), and our own under
//! `/v1` (`v1/`) for what neither has.

mod access;
mod asserting;
mod button;
mod events;
mod fleet;
mod reply;
#[cfg(test)]
mod tests;
mod user;
mod v1;
mod webdriver;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use axum::Router;
use axum::http::StatusCode;
use tokio::sync::oneshot;

use self::reply::Failure;
use crate::stack;

pub use crate::token::Token;
pub use fleet::{Fleet, Member, Model, Setup, without_sensor};
pub use user::{ControlledUser, Deed, Done, Habits, Manner};
pub use webdriver::BrowserDriver;

/// A listening control port. Closes, with every connection, when dropped.
pub struct Server {
    address: SocketAddr,
    token: Token,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, and leads these devices. It runs on a thread of its own, and needs no runtime of the caller's.
    pub fn bind(address: SocketAddr, fleet: Fleet) -> io::Result<Self> {
        Self::before_browser(address, fleet, None)
    }

    /// The same, and WebDriver's commands that are not about authenticators go to this browser's driver.
    pub fn before_browser(
        address: SocketAddr,
        fleet: Fleet,
        browser: Option<BrowserDriver>,
    ) -> io::Result<Self> {
        let token = Token::random().ok_or_else(|| io::Error::other("no random bytes for the token"))?;
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let app = access::guarded(routes(fleet, browser), token.clone(), address);
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime has I/O");
                tokio::select! {
                    served = axum::serve(listener, app) => served.expect("axum's serve never ends"),
                    _ = stopped => {}
                }
            });
            // A handler that waits for a device's store ends by itself: nobody waits for it here.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("doppelkey-control".into()).spawn(serve)?;
        Ok(Server { address, token, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens, with the port it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL without the token: what the ready line says.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The token of this run.
    pub fn token(&self) -> &Token {
        &self.token
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that anybody could still be told.
            let _ = thread.join();
        }
    }
}

fn routes(fleet: Fleet, browser: Option<BrowserDriver>) -> Router {
    Router::new()
        .merge(button::routes())
        .merge(events::routes())
        .merge(v1::routes())
        .fallback(async || {
            Failure::not_found(
                "there is no such route",
                "the routes are in authenticator/src/control/README.md",
            )
        })
        .with_state(fleet.clone())
        .merge(webdriver::routes(fleet, browser))
}

/// Does what may wait for a device or a disk on a thread that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        // Its thread waits for the next one, with whatever keys were moved on its stack.
        stack::scrub();
        done
    });
    done.await.unwrap_or_else(|_| {
        let hint = "look at the log, and report it";
        Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the request's thread ended early", hint))
    })
}
