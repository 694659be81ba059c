// Takes what a page asks to `doppelkey bridge`, and the answer back. Shared by both extensions.
const api = globalThis.browser ?? chrome;
const bytes = (text) => new TextEncoder().encode(text);
const base64url = (data) => new Uint8Array(data).toBase64({ alphabet: "base64url", omitPadding: true });
const refusal = (message, name = "NotAllowedError") => ({ error: { name, message } });

// One request to the bridge and its answer. Both prove that they come from whoever has this run's token, which is not
// sent (authenticator/src/bridge/proof.rs): after a bridge that was killed, anybody may listen at its address.
async function exchange({ url, token }, path, body, signal) {
  const key = await crypto.subtle.importKey("raw", bytes(token), { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"]);
  const nonce = base64url(crypto.getRandomValues(new Uint8Array(16)));
  const proof = base64url(await crypto.subtle.sign("HMAC", key, bytes(`request\n${path}\n${nonce}\n${body}`)));
  const headers = { Authorization: `Doppelkey ${nonce}.${proof}`, "Content-Type": "application/json" };
  const answer = await fetch(`${url}/${path}`, { method: "POST", headers, body, signal, redirect: "error" });
  const [text, shown] = [await answer.text(), answer.headers.get("Doppelkey-Proof") ?? ""];
  const proven = Uint8Array.fromBase64(shown, { alphabet: "base64url" });
  if (!(await crypto.subtle.verify("HMAC", key, proven, bytes(`answer\n${nonce}\n${text}`)))) throw new Error("not this run's bridge");
  return JSON.parse(text);
}

async function ask(path, body, signal) {
  // Chromium ends an extension's worker that has nothing to do for 30 seconds, and a user may think for longer.
  const awake = setInterval(() => api.runtime.getPlatformInfo(), 20_000);
  try {
    // Written by the bridge at each start; read each time, so that a restart needs no reload of the extension.
    const config = await (await fetch(api.runtime.getURL("config.json"), { cache: "no-store" })).json();
    // Only to who has answered this is anything told.
    await exchange(config, "hello", "", signal);
    return await exchange(config, path, JSON.stringify(body), signal);
  } catch {
    if (signal.aborted) return refusal("the ceremony was aborted", "AbortError");
    return { ...refusal("`doppelkey bridge` does not answer: is it running?"), absent: true };
  } finally {
    clearInterval(awake);
  }
}

// Who holds a ceremony, a tab one at a time. A browser has six connections to the bridge: four for these, and one for what
// is none, so that no page takes them all.
const holding = new Map();
const HOLDING_MAX = 4;
const FULL = refusal("too many tabs have asked, and not been answered yet");

// What is no ceremony, one after the other: of a tab, so that it waits mostly for itself, and of all.
const last = new Map();
const inTurn = (whose, deed) => {
  const done = Promise.resolve(last.get(whose)).then(deed);
  last.set(whose, done);
  return done.finally(() => last.get(whose) === done && last.delete(whose));
};

// One port for each document: what it asked ends with it, or when it says so.
api.runtime.onConnect.addListener((port) => {
  const asked = new Map();
  const { sender } = port;
  // Who asks is the browser's word, not the page's, and relay.js's what it has checked; here nobody tells whether a policy
  // lets a frame call.
  const origin = sender.origin ?? new URL(sender.url).origin;
  const answer = async (path, body, signal) => {
    const tab = sender.tab?.id;
    // What holds nothing, or is refused at once as a frame of another origin is.
    if ((path !== "create" && path !== "get") || body.crossOrigin) {
      return inTurn(tab, () => inTurn("all", () => ask(path, body, signal)));
    }
    const before = holding.get(tab);
    if (before && !before.signal.aborted) return refusal("this tab has asked already, and not been answered yet");
    if (!before && holding.size >= HOLDING_MAX) return FULL;
    // One that was taken back ends first.
    const done = Promise.resolve(before?.done).then(() => ask(path, body, signal));
    holding.set(tab, { signal, done });
    return done.finally(() => holding.get(tab)?.signal === signal && holding.delete(tab));
  };
  port.onMessage.addListener(async ({ path, id, crossOrigin, checked, body }) => {
    if (path === "cancel") return asked.get(id)?.abort();
    const abort = new AbortController();
    asked.set(id, abort);
    const told = await answer(path, { ...body, origin, crossOrigin, allowed: false, checked }, abort.signal);
    // The document may have gone, or asked for something else by this number.
    if (asked.get(id) === abort && asked.delete(id)) port.postMessage({ id, ...told });
  });
  port.onDisconnect.addListener(() => {
    for (const abort of asked.values()) abort.abort();
    asked.clear();
  });
});
