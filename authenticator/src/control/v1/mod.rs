//! Our own routes, for what neither WebDriver nor the button controller has. JSON in, JSON out.
//!
//! | route | what |
//! |---|---|
//! | `GET /v1/devices` | every device |
//! | `GET`, `DELETE /v1/devices/N` | one; takes it away for good |
//! | `PUT /v1/devices/N/power` | `{"on": false}` unplugs |
//! | `POST /v1/devices/N/replug`, `/reset` | unplugs and plugs in; forgets everything too |
//! | `GET`, `PUT`, `PATCH /v1/devices/N/user` | how the user is (`Habits`) |
//! | `POST /v1/devices/N/user/DEED` | one thing the user does: see `user.rs` |
//! | `DELETE /v1/devices/N/user/deeds` | forgets what was kept for later prompts |
//! | `GET`, `POST`, `DELETE /v1/devices/N/credentials[/ID]` | reads back, injects, deletes: `credentials.rs` |
//! | `GET`, `PUT`, `DELETE /v1/devices/N/pin` | the PIN and its retries |
//! | `GET /v1/personas`, `GET`, `PUT /v1/devices/N/persona`, `GET …/metadata` | what it pretends to be |
//! | `POST /v1/devices` | a further device |
//! | `GET /v1/faults`, `PUT`, `DELETE /v1/devices/N/faults[/NAME]` | what goes wrong: `faults.rs` |
//! | `GET /v1/events` | what happens, as server-sent events |

pub(super) mod credentials;
mod devices;
mod faults;
mod persona;
mod user;

pub(super) use user::described as described_prompt;

use axum::Router;

use super::fleet::Fleet;

pub(super) fn routes() -> Router<Fleet> {
    Router::new()
        .merge(devices::routes())
        .merge(user::routes())
        .merge(credentials::routes())
        .merge(faults::routes())
        .merge(persona::routes())
}
