// Chromium routes the page's calls here itself, after its own checks of RP ID and origin.
importScripts("background.js");
const proxy = chrome.webAuthenticationProxy;

for (const kind of ["Create", "Get"]) {
  proxy[`on${kind}Request`].addListener(async ({ requestId, requestDetailsJson }) => {
    const publicKey = JSON.parse(requestDetailsJson);
    const { origin, sameOriginWithAncestors } = publicKey.extensions.remoteDesktopClientOverride;
    const frame = { crossOrigin: !sameOriginWithAncestors, allowed: true };
    const { response, error } = await ask(kind.toLowerCase(), { id: `${requestId}`, origin, ...frame, publicKey });
    proxy[`complete${kind}Request`](error ? { requestId, error } : { requestId, responseJson: JSON.stringify(response) });
  });
}
proxy.onRequestCanceled.addListener((requestId) => ask("cancel", { id: `${requestId}` }));
proxy.onIsUvpaaRequest.addListener(({ requestId }) => proxy.completeIsUvpaaRequest({ requestId, isUvpaa: true }));
proxy.attach();
