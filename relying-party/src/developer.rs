//! Pages for developers, at localhost only: the mails that went out, and what a verification found step by step.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;

use crate::app::App;
use crate::conformance;
use crate::failure::Failure;
use crate::pages;
use crate::session::Visit;
use crate::store::LAST;

/// The paths, if the service runs in development mode; none otherwise. The inspector is for operators too.
pub(crate) fn routes(app: &App) -> Router<App> {
    let inspector = Router::new().route("/inspect", get(inspect_latest)).route("/inspect/{id}", get(inspect));
    if !app.config.dev {
        return inspector;
    }
    inspector.route("/outbox", get(outbox)).route("/playground", get(playground)).merge(conformance::routes())
}

async fn playground(visit: Visit) -> Response {
    visit.page(pages::developer::playground(&visit.app))
}

async fn outbox(visit: Visit) -> Result<Response, Failure> {
    let mails = visit.app.database.outbox(50).await?;
    Ok(visit.page(pages::developer::outbox(&visit.app, &mails)))
}

/// Events name people, so they are for developers on their own machine and for operators.
fn may_inspect(visit: &Visit) -> Result<(), Failure> {
    if visit.app.config.dev || visit.is_operator() { Ok(()) } else { Err(Failure::NotFound) }
}

async fn inspect_latest(visit: Visit) -> Result<Response, Failure> {
    may_inspect(&visit)?;
    let events = visit.app.database.events_before(LAST, 100).await?;
    Ok(visit.page(pages::developer::events(&visit.app, &events)))
}

async fn inspect(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    may_inspect(&visit)?;
    let event = visit.app.database.event(&id).await?.ok_or(Failure::NotFound)?;
    Ok(visit.page(pages::developer::event(&visit.app, &event)))
}
