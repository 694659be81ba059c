//! The routes of the button controller that python-fido2's device tests press and replug keys with.
//!
//! Any 2xx is success. `touch/on` puts a finger on device N, `touch/off` takes it away; `power/off` unplugs it,
//! `power/on` plugs it in again, with everything as after power-up.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;

use super::fleet::Fleet;
use super::reply::{Answered, Failure};

pub(super) fn routes() -> Router<Fleet> {
    Router::new().route("/", get(async || "doppelkey\n")).route("/{usb}/{what}/{state}", get(switch))
}

async fn switch(
    State(fleet): State<Fleet>,
    Path((usb, what, state)): Path<(String, String, String)>,
) -> Answered<&'static str> {
    let unknown =
        || Failure::not_found(format!("there is no /{usb}/{what}/{state}"), "say /usbN/touch|power/on|off");
    let number = usb.strip_prefix("usb").and_then(|number| number.parse().ok()).ok_or_else(unknown)?;
    let on = match state.as_str() {
        "on" => true,
        "off" => false,
        _ => return Err(unknown()),
    };
    let member = fleet.member(number)?;
    super::blocking(move || match what.as_str() {
        "touch" => {
            member.user().hold(on);
            Ok(())
        }
        "power" => {
            member.set_power(on)?;
            Ok(())
        }
        _ => Err(Failure::not_found(format!("devices have no {what}"), "say touch or power")),
    })
    .await?;
    Ok("ok\n")
}
