// The playground: ceremonies with any options, in development mode only. Uses the functions of app.js.
"use strict";
{
  const element = (id) => document.getElementById(id);
  const show = (value) => { element("answer").textContent = JSON.stringify(value, null, 2); };

  async function run(kind, wanted) {
    const [name, call] = kind === "create" ? ["attestation", "create"] : ["assertion", "get"];
    const options = await post(`/${name}/options`, wanted);
    const credential = await navigator.credentials[call]({ publicKey: parse(options, call) });
    const answer = toJSON(credential);
    // The outputs of PRF are secrets: they stay in this page.
    delete answer.clientExtensionResults?.prf?.results;
    const headers = { "content-type": "application/json", accept: "application/json" };
    const result = await fetch(`/${name}/result`, { method: "POST", headers, body: JSON.stringify(answer) });
    show({ options, answer, result: await result.json() });
    return credential;
  }

  const guarded = (work) => async () => {
    errorBox.hidden = true;
    try {
      await work();
    } catch (error) {
      errorBox.textContent = `${error.name}: ${error.message}`;
      errorBox.hidden = false;
      errorBox.focus();
    }
  };
  element("create").addEventListener("click", guarded(() => run("create", JSON.parse(element("create-options").value))));
  element("get").addEventListener("click", guarded(() => run("get", JSON.parse(element("get-options").value))));

  // The secret of the passkey for this page's salt, as a key; the salt is no secret.
  async function key() {
    const salt = toText(new TextEncoder().encode("doppelkey playground note").buffer);
    const { username } = JSON.parse(element("get-options").value);
    const credential = await run("get", { username, extensions: { prf: { eval: { first: salt } } } });
    const secret = credential.getClientExtensionResults().prf?.results?.first;
    if (!secret) throw new Error("this passkey has no PRF; create one with \"prf\": {} in its extensions");
    const material = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveKey"]);
    const how = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: new TextEncoder().encode("note") };
    return crypto.subtle.deriveKey(how, material, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  }
  element("seal").addEventListener("click", guarded(async () => {
    const iv = crypto.getRandomValues(new Uint8Array(12));
    const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv }, await key(), new TextEncoder().encode(element("note").value));
    localStorage.setItem("note", `${toText(iv)}.${toText(sealed)}`);
    element("note").value = "";
  }));
  element("unseal").addEventListener("click", guarded(async () => {
    const [iv, sealed] = (localStorage.getItem("note") ?? ".").split(".").map(toBytes);
    const note = await crypto.subtle.decrypt({ name: "AES-GCM", iv }, await key(), sealed);
    element("note").value = new TextDecoder().decode(note);
  }));

  // What is stored with the passkey itself. The answer above shows it too: it is no secret to whoever uses the passkey.
  async function blob(largeBlob) {
    const { username } = JSON.parse(element("get-options").value);
    const credential = await run("get", { username, extensions: { largeBlob } });
    return credential.getClientExtensionResults().largeBlob ?? {};
  }
  element("write").addEventListener("click", guarded(async () => {
    const { written } = await blob({ write: toText(new TextEncoder().encode(element("blob").value).buffer) });
    if (!written) throw new Error("nothing was written: create a passkey with \"largeBlob\" in its extensions, and only one");
    element("blob").value = "";
  }));
  element("read").addEventListener("click", guarded(async () => {
    const { blob: found } = await blob({ read: true });
    if (!found) throw new Error("nothing is stored with this passkey");
    element("blob").value = new TextDecoder().decode(found);
  }));
}
