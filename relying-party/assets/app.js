// The ceremonies, and nothing that a page needs otherwise. No build step; no library.
"use strict";

const has = (name) => "PublicKeyCredential" in window && name in PublicKeyCredential;
const errorBox = document.getElementById("error");

// base64url, for browsers that lack the JSON methods of WebAuthn Level 3
const toBytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const toText = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

function parse(json, kind) {
  const name = kind === "create" ? "parseCreationOptionsFromJSON" : "parseRequestOptionsFromJSON";
  if (has(name)) return PublicKeyCredential[name](json);
  const list = (items) => (items ?? []).map((item) => ({ ...item, id: toBytes(item.id) }));
  const options = { ...json, challenge: toBytes(json.challenge) };
  if (json.user) options.user = { ...json.user, id: toBytes(json.user.id) };
  if (json.excludeCredentials) options.excludeCredentials = list(json.excludeCredentials);
  if (json.allowCredentials) options.allowCredentials = list(json.allowCredentials);
  return options;
}

function toJSON(credential) {
  if (credential.toJSON) return credential.toJSON();
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = toText(credential.response[name]);
  }
  if (credential.response.getTransports) response.transports = credential.response.getTransports();
  const { id, type, authenticatorAttachment } = credential;
  return { id, rawId: toText(credential.rawId), type, authenticatorAttachment, clientExtensionResults: credential.getClientExtensionResults(), response };
}

async function post(url, body) {
  const headers = { "content-type": "application/json", accept: "application/json" };
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) }).catch(() => Response.error());
  const json = await answer.json().catch(() => ({}));
  if (answer.ok) return json;
  if (json.error === "step-up-required" && body.mediation !== "conditional") location.assign("/step-up?then=" + encodeURIComponent(location.pathname));
  if (json.signalUnknownCredential && has("signalUnknownCredential")) {
    await PublicKeyCredential.signalUnknownCredential(json.signalUnknownCredential).catch(() => {});
  }
  throw Object.assign(new Error([json.message ?? "The server could not be reached.", json.hint].filter(Boolean).join(" ")), { name: "ServerError", key: json.error });
}

// One ceremony: options from the server, a credential from the browser, the answer to the server.
async function begin(element, extra = {}) {
  const platform = has("isUserVerifyingPlatformAuthenticatorAvailable") && (await PublicKeyCredential.isUserVerifyingPlatformAuthenticatorAvailable());
  return post(element.dataset.options, { platformAuthenticator: platform, ...extra });
}

async function finish(element, kind, asked, signal = undefined) {
  const options = { publicKey: parse(asked.publicKey, kind), signal };
  if (asked.mediation) options.mediation = asked.mediation;
  const credential = await navigator.credentials[kind](options);
  // The API may give null; for whoever wanted a passkey that is no other thing.
  if (!credential) throw new DOMException("", "NotAllowedError");
  const done = await post(element.dataset.finish, toJSON(credential));
  location.assign(done.next);
}

function explain(error, kind) {
  const words = {
    NotAllowedError: kind === "create" ? "No passkey was created. You can try again." : "No passkey was used. You can try again.",
    InvalidStateError: "There is a passkey for this account on this device already. Log in with it instead.",
    SecurityError: "This page is not allowed to use passkeys here. Tell the people who run this service.",
    NotSupportedError: "This device cannot create the kind of passkey that is needed here. Try another device or a security key.",
    OperationError: "Your browser is still busy with another passkey request. Wait a moment, then try again.",
    ServerError: error.message,
  };
  if (error.name === "AbortError") return;
  // What only the operator can mend belongs into the log.
  if (["SecurityError", "NotSupportedError"].includes(error.name)) post("/browser-error", { ceremony: kind, error: error.name, message: error.message }).catch(() => {});
  errorBox.textContent = words[error.name] ?? "Something went wrong. Try again.";
  errorBox.dataset.errorCode = error.key ?? error.name;
  errorBox.hidden = false;
  errorBox.focus();
}

// Autofill: waits until the user picks a passkey; a button aborts it. Renewed a minute before its challenge dies.
let waiting = new AbortController();
async function autofill(form) {
  const current = (waiting = new AbortController());
  if (!has("isConditionalMediationAvailable") || !(await PublicKeyCredential.isConditionalMediationAvailable())) return;
  const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });
  for (let refusals = 0; refusals < 3 && !current.signal.aborted; ) {
    const asked = await begin(form, { mediation: "conditional" }).catch(() => undefined);
    if (!asked) { await pause(30_000); continue; }
    const renewal = new AbortController();
    const life = asked.publicKey.timeout;
    const timer = setTimeout(() => renewal.abort(), Math.max(life - 60_000, life / 2));
    const stop = () => renewal.abort();
    current.signal.addEventListener("abort", stop);
    if (current.signal.aborted) stop();
    try {
      return await finish(form, "get", asked, renewal.signal);
    } catch (error) {
      if (error.name === "ServerError") { refusals++; explain(error, "get"); }
      else if (!renewal.signal.aborted) return error.name === "SecurityError" ? explain(error, "get") : undefined;
    } finally {
      clearTimeout(timer);
      current.signal.removeEventListener("abort", stop);
    }
  }
}

const conditional = document.querySelector("[data-conditional]");
for (const button of document.querySelectorAll("[data-ceremony]")) {
  if (!("PublicKeyCredential" in window)) { button.hidden = true; continue; }
  button.addEventListener("click", async () => {
    if (button.hasAttribute("aria-busy")) return;
    const kind = button.dataset.ceremony;
    waiting.abort();
    button.setAttribute("aria-busy", "true");
    if (errorBox) errorBox.hidden = true;
    try {
      await finish(button, kind, await begin(button, "targeted" in button.dataset ? { targeted: true } : {}));
    } catch (error) {
      const again = button.querySelector("[data-again]");
      if (again) again.textContent = again.dataset.again;
      explain(error, kind);
      if (conditional) autofill(conditional);
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
}

if (conditional) autofill(conditional);

// A silent upgrade after a password: where the browser can, the passkey is there without a question.
const upgrade = document.querySelector("[data-upgrade]");
if (upgrade && has("getClientCapabilities")) {
  PublicKeyCredential.getClientCapabilities()
    .then(async (can) => can.conditionalCreate && finish(upgrade, "create", await begin(upgrade, { mediation: "conditional" }), waiting.signal))
    .catch(() => {});
}

// Signal API: the provider learns which passkeys still count, and the user's name.
const known = document.querySelector("[data-signal]");
if (known) {
  const { rpId, userId, allAcceptedCredentialIds, name, displayName } = JSON.parse(known.dataset.signal);
  if (has("signalAllAcceptedCredentials")) PublicKeyCredential.signalAllAcceptedCredentials({ rpId, userId, allAcceptedCredentialIds }).catch(() => {});
  if (has("signalCurrentUserDetails")) PublicKeyCredential.signalCurrentUserDetails({ rpId, userId, name, displayName }).catch(() => {});
}

if (errorBox && !errorBox.hidden) errorBox.focus();
