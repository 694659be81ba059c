// Chromium routes the page's calls here itself, after its own checks of RP ID and origin.
importScripts("background.js");
const proxy = chrome.webAuthenticationProxy;

for (const kind of ["Create", "Get"]) {
  proxy[`on${kind}Request`].addListener(async ({ requestId, requestDetailsJson }) => {
    const publicKey = JSON.parse(requestDetailsJson);
    const { origin, sameOriginWithAncestors } = publicKey.extensions.remoteDesktopClientOverride;
    const frame = { crossOrigin: !sameOriginWithAncestors, allowed: true };
    const { response, error } = await ask(kind.toLowerCase(), { id: `${requestId}`, origin, ...frame, publicKey });
    const complete = (answer) => proxy[`complete${kind}Request`]({ requestId, ...answer });
    try {
      await complete(error ? { error } : { responseJson: JSON.stringify(response) });
    } catch (refused) {
      // A response that Chromium cannot read, such as one with an ES384 key: it would keep the page, and every request
      // after this one, waiting.
      await complete({ error: { name: "NotSupportedError", message: `the browser takes no such response: ${refused.message}` } });
    }
  });
}
proxy.onRequestCanceled.addListener((requestId) => ask("cancel", { id: `${requestId}` }));
proxy.onIsUvpaaRequest.addListener(({ requestId }) => proxy.completeIsUvpaaRequest({ requestId, isUvpaa: true }));
proxy.attach();
