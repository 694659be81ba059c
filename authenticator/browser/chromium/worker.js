// Chromium routes the page's calls here itself, after its own checks of RP ID and origin.
importScripts("background.js");
const proxy = chrome.webAuthenticationProxy;

// ES384, ES512 and ES256K: Chromium reads no attestation object with a key on another curve than P-256. It is not
// asked for one, so that no passkey is made in vain and the page's next choice is taken.
const UNREADABLE = [-35, -36, -47];

const requested = new Map();

for (const kind of ["Create", "Get"]) {
  proxy[`on${kind}Request`].addListener(async ({ requestId, requestDetailsJson }) => {
    const publicKey = JSON.parse(requestDetailsJson);
    const { origin, sameOriginWithAncestors } = publicKey.extensions.remoteDesktopClientOverride;
    // That this origin may use this RP ID was checked by the browser, which alone asks for related origins.
    const checked = kind === "Create" ? publicKey.rp.id : publicKey.rpId;
    const frame = { crossOrigin: !sameOriginWithAncestors, allowed: true, checked };
    const complete = (answer) => proxy[`complete${kind}Request`]({ requestId, ...answer });
    if (kind === "Create") {
      publicKey.pubKeyCredParams = publicKey.pubKeyCredParams.filter(({ alg }) => !UNREADABLE.includes(alg));
      if (!publicKey.pubKeyCredParams.length) {
        return complete({ error: { name: "NotSupportedError", message: "this browser reads none of these algorithms' keys" } });
      }
    }
    // Which tab asks, the browser does not say.
    if (holding.size >= HOLDING_MAX) return complete(FULL);
    const abort = new AbortController();
    requested.set(requestId, abort);
    holding.set(abort, abort);
    const { response, error } = await ask(kind.toLowerCase(), { origin, ...frame, publicKey }, abort.signal);
    holding.delete(abort);
    // The browser has let go of what it cancelled.
    if (!requested.delete(requestId)) return;
    try {
      await complete(error ? { error } : { responseJson: JSON.stringify(response) });
    } catch (refused) {
      // A response that Chromium cannot read: it would keep the page, and every request after this one, waiting.
      await complete({ error: { name: "NotSupportedError", message: `the browser takes no such response: ${refused.message}` } });
    }
  });
}
proxy.onRequestCanceled.addListener((requestId) => {
  requested.get(requestId)?.abort();
  requested.delete(requestId);
});
proxy.onIsUvpaaRequest.addListener(({ requestId }) => proxy.completeIsUvpaaRequest({ requestId, isUvpaa: true }));
proxy.attach();
