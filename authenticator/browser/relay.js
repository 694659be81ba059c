// Between the page's world and the extension's: a port that page.js opens before any script of the page runs.
addEventListener("message", function opened({ source, data, ports: [port] }) {
  if (source !== window || data !== "doppelkey" || !port) return;
  removeEventListener("message", opened);
  // Whether any page above is of another origin: who frames it may be framed by one of this origin again.
  const crossOrigin = (() => {
    try {
      for (let page = window; page !== top; page = page.parent) if (page.parent.location.origin !== location.origin) return true;
      return false;
    } catch { return true; }
  })();
  port.onmessage = async ({ data: { path, id, body } }) => {
    const answer = await (globalThis.browser ?? chrome).runtime.sendMessage({ path, id, crossOrigin, body });
    if (path !== "cancel") port.postMessage({ id, ...answer });
  };
});
