// Takes what a page asks to `doppelkey bridge`, and the answer back. Shared by both extensions.
const api = globalThis.browser ?? chrome;

async function ask(path, body) {
  try {
    // Written by the bridge at each start; read each time, so that a restart needs no reload of the extension.
    const { url, token } = await (await fetch(api.runtime.getURL("config.json"), { cache: "no-store" })).json();
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const answer = await fetch(`${url}/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
    return await answer.json();
  } catch {
    return { error: { name: "NotAllowedError", message: "`doppelkey bridge` does not answer: is it running?" } };
  }
}

api.runtime.onMessage.addListener(({ path, id, crossOrigin, body }, sender, respond) => {
  // Who asks is the browser's word, not the page's; and here nobody tells whether a policy lets a frame call.
  const origin = sender.origin ?? new URL(sender.url).origin;
  ask(path, { ...body, id: `${sender.tab?.id}.${sender.frameId}.${id}`, origin, crossOrigin, allowed: false }).then(respond);
  return true;
});
