// Between the page's world and the extension's: a port that page.js opens before any script of the page runs.
addEventListener("message", function opened({ source, data, ports: [port] }) {
  if (source !== window || data !== "doppelkey" || !port) return;
  removeEventListener("message", opened);
  const crossOrigin = (() => {
    try { return top.location.origin !== location.origin; } catch { return true; }
  })();
  port.onmessage = async ({ data: { path, id, body } }) => {
    const answer = await (globalThis.browser ?? chrome).runtime.sendMessage({ path, id, crossOrigin, body });
    if (path !== "cancel") port.postMessage({ id, ...answer });
  };
});
