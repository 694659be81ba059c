// Between the page's world and the extension's: a port that page.js opens before any script of the page runs; and the list
// of autofill, which no script of the page sees into.
addEventListener("message", function opened({ source, data, ports: [page] }) {
  if (source !== window || data !== "doppelkey" || !page) return;
  removeEventListener("message", opened);
  const { runtime } = globalThis.browser ?? chrome;
  // Whether any page above is of another origin: who frames it may be framed by one of this origin again.
  const crossOrigin = (() => {
    try {
      for (let page = window; page !== top; page = page.parent) if (page.parent.location.origin !== location.origin) return true;
      return false;
    } catch { return true; }
  })();

  // What waits for an answer, by our own numbers.
  const waiting = new Map();
  let extension = null;
  let last = 0;
  const lose = () => {
    extension = null;
    const error = { name: "NotAllowedError", message: "the extension was reloaded, or the page left: reload the page" };
    for (const settle of waiting.values()) settle({ error });
    waiting.clear();
  };
  const connect = () => {
    const port = runtime.connect();
    port.onMessage.addListener(({ id, ...answer }) => { waiting.get(id)?.(answer); waiting.delete(id); });
    port.onDisconnect.addListener(() => { if (port === extension) lose(); });
    return port;
  };
  // The RP ID, if it is another origin's and that one lists this one (WebAuthn §5.11): in the browser's own word, as no script
  // of the page can say it. Firefox knows of none.
  const listed = new Map();
  const related = ({ publicKey, details }) => {
    const rpId = (publicKey ?? details)?.rpId;
    const own = typeof rpId !== "string" || rpId === location.hostname || location.hostname.endsWith(`.${rpId}`);
    if (own || "mozInnerScreenX" in window) return;
    if (!listed.has(rpId)) listed.set(rpId, check(rpId));
    return listed.get(rpId);
  };
  // A signal is the only call that is checked and shows nothing; the passkey that this one tells of is nobody's.
  const check = async (rpId) => {
    for (;;) {
      try {
        await PublicKeyCredential.signalUnknownCredential({ rpId, credentialId: crypto.randomUUID() });
        return rpId;
      } catch ({ name }) {
        if (name !== "OperationError") return void listed.delete(rpId);
        // A document has one request at a time, and the page a dialog open.
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  };
  const ask = async (path, body, number = ++last) => {
    const answered = new Promise((settle) => waiting.set(number, settle));
    const checked = await related(body);
    try {
      // Unless it was taken back meanwhile.
      if (waiting.has(number)) (extension ??= connect()).postMessage({ path, id: number, crossOrigin, checked, body });
    } catch { lose(); }
    return answered;
  };
  // A page that is left may be kept, and come back: what it asked ends all the same.
  addEventListener("pagehide", () => { extension?.disconnect(); lose(); });

  // A conditional request: pending until the user picks an account in the list under the field.
  const autofill = (body, settle) => {
    const host = Object.assign(document.createElement("div"), { id: "doppelkey-autofill" });
    const list = Object.assign(document.createElement("div"), { role: "listbox" });
    host.attachShadow({ mode: "closed" }).append(list);
    const entry = ({ id, name }) => {
      const option = Object.assign(document.createElement("button"), { type: "button", role: "option", textContent: `${name} (passkey)` });
      option.onmousedown = (event) => event.preventDefault();
      option.onclick = ({ isTrusted }) => isTrusted && option.pick();
      option.pick = () => {
        stop();
        const { extensions } = body.publicKey;
        const own = { ...extensions?.prf?.evalByCredential };
        for (const key in own) if (key !== id) delete own[key];
        const prf = extensions?.prf && { ...extensions.prf, evalByCredential: own };
        settle({ ...body, publicKey: { ...body.publicKey, extensions: { ...extensions, prf }, allowCredentials: [{ type: "public-key", id }] } });
      };
      return option;
    };
    // By the keyboard as in the browser's own lists: arrows choose, Enter picks, Escape closes.
    let chosen = -1;
    const choose = (number) => {
      chosen = number;
      [...list.children].forEach((option, index) => {
        option.ariaSelected = `${index === chosen}`;
        option.style.outline = index === chosen ? "3px solid" : "";
      });
    };
    const press = (event) => {
      const count = list.children.length;
      if (!event.isTrusted || !host.isConnected) return;
      if (event.key === "ArrowDown") choose((chosen + 1) % count);
      else if (event.key === "ArrowUp") choose((Math.max(chosen, 0) + count - 1) % count);
      else if (event.key === "Escape") hide();
      else if (event.key === "Enter" && chosen >= 0) list.children[chosen].pick();
      else return;
      event.preventDefault();
      event.stopImmediatePropagation();
    };
    let looks = 0;
    const show = async (event) => {
      // The field itself, where it is in an open shadow root.
      const target = event.composedPath()[0];
      // A list that is shown is left alone: somebody may be choosing.
      if (host.isConnected || !target?.matches?.('input[autocomplete~="webauthn"]')) return;
      const look = ++looks;
      const entries = (await accounts()).map(entry);
      if (look !== looks || entries.length === 0 || focused() !== target) return;
      const { left, bottom } = target.getBoundingClientRect();
      Object.assign(host.style, { position: "absolute", zIndex: 2 ** 31 - 1, left: `${left + scrollX}px`, top: `${bottom + scrollY}px` });
      list.replaceChildren(...entries);
      choose(-1);
      document.body.append(host);
    };
    let stopped = false;
    const hide = () => { looks++; host.remove(); };
    const stop = () => {
      stopped = true;
      hide();
      removeEventListener("focusin", show);
      removeEventListener("focusout", hide);
      removeEventListener("keydown", press, true);
    };
    const focused = () => {
      let element = document.activeElement;
      while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
      return element;
    };
    // A bridge that is not there may come; what this page may not ask for is refused.
    const accounts = async () => {
      const { response, error, absent } = await ask("accounts", body);
      if (stopped) return [];
      if (error && !absent) { stop(); settle(null, { error }); }
      return response ?? [];
    };
    addEventListener("focusin", show);
    addEventListener("focusout", hide);
    addEventListener("keydown", press, true);
    // Also where no field has the focus: whether the page may ask shows at once.
    accounts().then(() => stopped || show({ composedPath: () => [focused()] }));
    return stop;
  };

  // What the page waits for, by its numbers: how to take it back.
  const asked = new Map();
  const kinds = ["create", "get", "signal"];
  page.onmessage = ({ data: { path, id, body } }) => {
    if (path === "cancel") { asked.get(id)?.(); return asked.delete(id); }
    const answer = (told) => { asked.delete(id); page.postMessage({ id, response: told.response, error: told.error }); };
    const take = (path, body) => {
      const number = ++last;
      asked.set(id, () => { waiting.delete(number); extension?.postMessage({ path: "cancel", id: number }); });
      return ask(path, body, number).then(answer);
    };
    if (path === "autofill") asked.set(id, autofill(body, (picked, refused) => (picked ? take("get", picked) : answer(refused))));
    else if (kinds.includes(path)) take(path, body);
  };
});
