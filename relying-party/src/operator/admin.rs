//! `/admin`: the policy as a form, and the latest events. Signing in with the token gives a cookie for this path.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::Query;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::policy_api;
use crate::app::App;
use crate::edge::FormBody;
use crate::failure::{Failure, Told};
use crate::pages;
use crate::secret;
use crate::secret::Secret;
use crate::session::Visit;
use crate::store::{LAST, StoredEvent};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin", get(show))
        .route("/admin/token", post(sign_in))
        .route("/admin/policy", post(change))
}

#[derive(Debug, Default, Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
}

async fn show(mut visit: Visit, Query(search): Query<Search>) -> Result<Response, Failure> {
    if !visit.is_operator() {
        return Ok(visit.page(pages::admin::token(&visit.app, None)));
    }
    let notice = visit.take_notice().await?;
    let page = overview(&visit, &search.q, notice.as_deref(), None).await?;
    Ok(visit.page(page))
}

async fn overview(
    visit: &Visit,
    q: &str,
    notice: Option<&str>,
    error: Option<&Told>,
) -> Result<maud::Markup, Failure> {
    let policy = visit.app.policy().await?;
    let value = serde_json::to_value(policy.as_ref()).map_err(|_| Failure::Broken("a policy is JSON"))?;
    let events = latest_events(visit, q).await?;
    let warnings = policy.warnings(&visit.app.config);
    Ok(pages::admin::overview(&visit.app, (&value, &warnings), &events, q, notice, error))
}

/// The latest events that fit a search, the latest first, however far back they are.
async fn latest_events(visit: &Visit, q: &str) -> Result<Vec<StoredEvent>, Failure> {
    let filter = super::logs_api::Filter::of(q);
    let (mut found, mut before) = (Vec::new(), LAST.to_string());
    while found.len() < SHOWN {
        let page = visit.app.database.events_before(&before, PAGE).await?;
        let Some(last) = page.last() else { break };
        before.clone_from(&last.id);
        found.extend(page.into_iter().filter(|event| filter.fits(event)));
    }
    found.truncate(SHOWN);
    Ok(found)
}

/// How many events are shown.
const SHOWN: usize = 50;

/// How many are read at a time.
const PAGE: i64 = 500;

#[derive(Debug, Deserialize)]
struct TokenForm {
    token: Secret,
}

async fn sign_in(mut visit: Visit, FormBody(form): FormBody<TokenForm>) -> Result<Response, Failure> {
    if !secret::equal(form.token.trim().as_bytes(), visit.app.config.admin_token.as_bytes()) {
        let told = Failure::NotOperator.told();
        return Ok(visit.refusal(&told, pages::admin::token(&visit.app, Some(&told))));
    }
    visit.make_operator().await?;
    Ok(visit.see_other("/admin"))
}

async fn change(
    mut visit: Visit,
    FormBody(form): FormBody<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    if !visit.is_operator() {
        return Err(Failure::NotOperator);
    }
    let policy = visit.app.policy().await?;
    let current = serde_json::to_value(policy.as_ref()).map_err(|_| Failure::Broken("a policy is JSON"))?;
    let patch = patch_of(&current, &form)?;
    if patch.as_object().is_some_and(Map::is_empty) {
        visit.data.notice = Some("Nothing has changed.".into());
        visit.save().await?;
        return Ok(visit.see_other("/admin"));
    }
    match policy_api::merge(&visit, &patch).await {
        Ok(_) => {
            visit.data.notice = Some("The policy is in force.".into());
            visit.save().await?;
            Ok(visit.see_other("/admin"))
        }
        Err(Failure::BadBody(why)) => {
            let told = Failure::Field("invalid_request", format!("Nothing has changed: {why}.")).told();
            let page = overview(&visit, "", None, Some(&told)).await?;
            Ok(visit.refusal(&told, page))
        }
        Err(failure) => Err(failure),
    }
}

/// The form's fields are `section.option`; what kind each is, the policy in force says. A box that is not ticked is
/// not sent, so the form says which boxes it has. It also says what it has `shown`: only what differs from that has been
/// decided here. The rest is as it was when the page was made, and may have been changed since by somebody else.
fn patch_of<'a>(current: &'a Value, form: &[(String, String)]) -> Result<Value, Failure> {
    let shown = form.iter().find(|(name, _)| name == "shown").map(|(_, text)| text);
    let shown: Value = match shown {
        Some(text) => serde_json::from_str(text).map_err(Failure::BadJson)?,
        None => Value::Null,
    };
    let mut patch = Value::Object(Map::new());
    let boxes =
        form.iter().filter(|(name, _)| name == "box").map(|(_, path)| (path.clone(), "off".to_string()));
    // A box that is ticked comes after itself.
    let fields: BTreeMap<String, String> =
        boxes.chain(form.iter().filter(|(name, _)| name != "box").cloned()).collect();
    for (path, text) in fields {
        // No option is inside another one: what is named here has a place of its own in the patch.
        let inside = |place: &'a Value, name| place.as_object()?.get(name);
        let Some(known) = path.split('.').try_fold(current, inside) else { continue };
        if known.is_object() {
            return Err(Failure::BadBody(format!("{path} is a section, and no option")));
        }
        let value = value_like(known, &text);
        if shown.pointer(&format!("/{}", path.replace('.', "/"))) == Some(&value) {
            continue;
        }
        let mut place = &mut patch;
        for name in path.split('.') {
            place = &mut place[name];
        }
        *place = value;
    }
    Ok(patch)
}

fn value_like(known: &Value, text: &str) -> Value {
    match known {
        Value::Bool(_) => json!(text == "on"),
        Value::Number(_) => text.trim().parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
        Value::Array(_) => {
            let words = text.split([',', ' ', '\n', '\r']).map(str::trim).filter(|word| !word.is_empty());
            words
                .map(|word| word.parse::<i64>().map_or_else(|_| json!(word), |number| json!(number)))
                .collect()
        }
        _ => json!(text),
    }
}
