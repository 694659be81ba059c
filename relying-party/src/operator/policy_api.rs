//! `GET` and `PATCH /api/v2/policy`.

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use super::Operator;
use crate::app::App;
use crate::edge::JsonBody;
use crate::events::Event;
use crate::failure::Failure;
use crate::policy::Policy;
use crate::session::Visit;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v2/policy", get(read).patch(change))
}

async fn read(operator: Operator) -> Result<Response, Failure> {
    Ok(Json(operator.app.policy().await?.as_ref().clone()).into_response())
}

async fn change(operator: Operator, JsonBody(patch): JsonBody<Value>) -> Result<Response, Failure> {
    let policy = merge(&operator.visit, &patch).await?;
    Ok(Json(policy).into_response())
}

/// Merges a patch (RFC 7396: objects into each other, everything else replaces) into the policy and puts the result
/// into force, if it holds; logged.
pub(super) async fn merge(visit: &Visit, patch: &Value) -> Result<Policy, Failure> {
    if !patch.is_object() {
        return Err(Failure::BadBody("a patch is an object".into()));
    }
    let merged = |current: Policy| {
        let mut value = serde_json::to_value(current).map_err(|_| Failure::Broken("a policy is JSON"))?;
        merge_into(&mut value, patch);
        follow_sign_up(&mut value, patch);
        let policy: Policy =
            serde_json::from_value(value).map_err(|error| Failure::BadBody(error.to_string()))?;
        policy.check().map_err(Failure::BadBody)?;
        Ok(policy)
    };
    let policy = visit.app.change_policy(merged).await?;
    let mut event = Event::of("sapi").detail("operation", "policy").detail("patch", patch.clone());
    let warnings = policy.warnings(&visit.app.config);
    if !warnings.is_empty() {
        event = event.detail("warnings", warnings);
    }
    visit.log(event).await;
    Ok(policy)
}

/// An attribute that sign-up begins to require is one that the profile requires, unless the patch speaks of that, too.
fn follow_sign_up(policy: &mut Value, patch: &Value) {
    let Some(attributes) = patch["attributes"].as_object() else { return };
    for (name, said) in attributes {
        if said["signup"] == "required" && said.get("profile_required").is_none() {
            policy["attributes"][name]["profile_required"] = Value::Null;
        }
    }
}

fn merge_into(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                merge_into(target.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}
