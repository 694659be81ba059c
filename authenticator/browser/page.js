// In the page's world: what the browser itself does not route to the extension. In Chromium that is autofill and the
// Signal API; in Firefox, everything.
(() => {
  if (!window.PublicKeyCredential) return;
  const routed = !("mozInnerScreenX" in window);
  const { port1: port, port2 } = new MessageChannel();
  postMessage("doppelkey", "*", [port2]);
  const waiting = new Map();
  let last = 0;
  port.onmessage = ({ data: { id, response, error } }) => {
    const { resolve, reject } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (!error) return resolve?.(response);
    reject?.(error.name === "TypeError" ? new TypeError(error.message) : new DOMException(error.message, error.name));
  };
  // Firefox has page.js run in open pages again when the extension is reloaded: then nobody answers what was asked before.
  let own = true;
  addEventListener("message", ({ source, data }) => {
    if (source !== window || data !== "doppelkey") return;
    if (own) return (own = false);
    const gone = new DOMException("the extension was reloaded: ask again, or reload the page", "NotAllowedError");
    for (const { reject } of waiting.values()) reject(gone);
    waiting.clear();
  });
  const ask = (path, body, signal) => new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const id = ++last;
    waiting.set(id, { resolve, reject });
    signal?.addEventListener("abort", () => {
      port.postMessage({ path: "cancel", id });
      waiting.delete(id);
      reject(signal.reason);
    });
    port.postMessage({ path, id, body });
  });

  const view = (v) => (v instanceof ArrayBuffer ? new Uint8Array(v) : new Uint8Array(v.buffer, v.byteOffset, v.byteLength));
  const toJSON = (v) => {
    if (v instanceof ArrayBuffer || ArrayBuffer.isView(v)) return view(v).toBase64({ alphabet: "base64url", omitPadding: true });
    if (Array.isArray(v)) return v.map(toJSON);
    if (v && typeof v === "object") return Object.fromEntries(Object.entries(v).map((entry) => entry.map(toJSON)));
    // As Web IDL's USVString: half a surrogate pair is no character.
    return typeof v === "string" ? v.toWellFormed() : v;
  };
  const bytes = (text) => (text == null ? null : Uint8Array.fromBase64(text, { alphabet: "base64url" }).buffer);
  const object = (type, fields) => Object.create(type.prototype,
    Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, { value, enumerable: true }])));
  const credential = (json) => {
    const { id, type, authenticatorAttachment, response: r, clientExtensionResults } = json;
    const results = structuredClone(clientExtensionResults);
    for (const [part, name] of [[results.prf?.results, "first"], [results.prf?.results, "second"], [results.largeBlob, "blob"], [results, "getCredBlob"]]) {
      if (part?.[name]) part[name] = bytes(part[name]);
    }
    const response = r.attestationObject
      ? object(AuthenticatorAttestationResponse, {
          clientDataJSON: bytes(r.clientDataJSON), attestationObject: bytes(r.attestationObject),
          getTransports: () => r.transports, getAuthenticatorData: () => bytes(r.authenticatorData),
          getPublicKey: () => bytes(r.publicKey), getPublicKeyAlgorithm: () => r.publicKeyAlgorithm })
      : object(AuthenticatorAssertionResponse, {
          clientDataJSON: bytes(r.clientDataJSON), authenticatorData: bytes(r.authenticatorData),
          signature: bytes(r.signature), userHandle: bytes(r.userHandle) });
    return object(PublicKeyCredential, { id, rawId: bytes(id), type, authenticatorAttachment, response,
      getClientExtensionResults: () => results, toJSON: () => json });
  };

  const { create, get } = CredentialsContainer.prototype;
  const call = (kind, native) => async function (options) {
    const conditional = kind === "get" && options?.mediation === "conditional";
    if (!options?.publicKey || (routed && !conditional)) return native.call(this, options);
    if (kind === "create" && options.mediation === "conditional") {
      throw new DOMException("no passkey is made in passing here", "NotSupportedError");
    }
    options.signal?.throwIfAborted();
    // Nothing can be told without asking (Credential Management §2.5.1).
    if (kind === "get" && options.mediation === "silent") return null;
    const body = { mediation: options.mediation, publicKey: toJSON(options.publicKey) };
    // The list under the field is relay.js's: the page learns no names.
    return credential(await ask(conditional ? "autofill" : kind, body, options.signal));
  };
  Object.assign(CredentialsContainer.prototype, { create: call("create", create), get: call("get", get) });
  const served = { conditionalGet: true, passkeyPlatformAuthenticator: true, userVerifyingPlatformAuthenticator: true };
  PublicKeyCredential.isConditionalMediationAvailable = async () => true;
  if (!routed) {
    PublicKeyCredential.isUserVerifyingPlatformAuthenticatorAvailable = async () => true;
    Object.assign(served, { conditionalCreate: false, relatedOrigins: false });
  }
  for (const kind of ["UnknownCredential", "AllAcceptedCredentials", "CurrentUserDetails"]) {
    PublicKeyCredential[`signal${kind}`] = (details) => ask("signal", { kind, details });
    served[`signal${kind}`] = true;
  }
  // What the client knows of (authenticator/src/client/extensions.rs), as far as the browser lets it through.
  const extensions = ["credBlob", "credProps", "credentialProtectionPolicy", "enforceCredentialProtectionPolicy", "getCredBlob",
    "hmacCreateSecret", "largeBlob", "minPinLength", "prf"].map((name) => `extension:${name}`);
  const capabilities = PublicKeyCredential.getClientCapabilities;
  PublicKeyCredential.getClientCapabilities = async () => {
    const native = await capabilities?.call(PublicKeyCredential);
    const told = { ...native, ...served };
    for (const name of new Set([...Object.keys(told).filter((name) => name.startsWith("extension:")), ...extensions])) {
      told[name] = extensions.includes(name) && (!routed || Boolean(told[name]));
    }
    // In WebAuthn's order (§5.1.7).
    return Object.fromEntries(Object.entries(told).sort());
  };
})();
