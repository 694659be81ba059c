"""The same page in the same Chromium with each authenticator that it can have there. Prints JSON."""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

from playwright.sync_api import sync_playwright

ROUNDS = int(os.environ.get("BROWSER_ROUNDS", 60))
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")

# Times of create() and get(), which extensions gave what they promise, and how many accounts of a site (25 at most) have
# room beside one another. Two accounts take turns otherwise: Chromium's own authenticator has room for three.
PAGE = """async rounds => {
  const bytes = (n, value = 7) => new Uint8Array(n).fill(value);
  const user = n => ({id: bytes(8, n), name: `user-${n}`, displayName: `user-${n}`});
  const create = (n, extensions = {}, alg = -7) => navigator.credentials.create({publicKey: {
    rp: {id: "localhost", name: "Example"}, user: user(n), challenge: bytes(32),
    pubKeyCredParams: [{type: "public-key", alg}],
    authenticatorSelection: {residentKey: "required", userVerification: "required"}, extensions, timeout: 6000}});
  const get = (id, extensions = {}) => navigator.credentials.get({publicKey: {
    rpId: "localhost", challenge: bytes(32), userVerification: "required", extensions, timeout: 6000,
    allowCredentials: id ? [{type: "public-key", id}] : []}});
  const times = async work => {
    for (let n = 0; n < 3; n++) await work(n);
    const taken = [];
    for (let n = 0; n < rounds; n++) {
      const start = performance.now();
      await work(n);
      taken.push(1000 * (performance.now() - start));
    }
    taken.sort((a, b) => a - b);
    return {median_us: taken[rounds >> 1], p99_us: taken[Math.floor(rounds * 0.99)]};
  };
  let made;
  const found = {make: await times(async n => { made = await create(n % 2); })};
  found.get = await times(() => get(made.rawId));
  const late = () => new Promise((_, reject) => setTimeout(() => reject(new Error("it does not answer")), 8000));
  found.passkeys = 2;
  try {
    for (let n = 2; n < 25; n++) { await Promise.race([create(100 + n), late()]); found.passkeys++; }
  } catch (error) { }
  const tries = {
    "credProps": async () => (await create(1, {credProps: true})).getClientExtensionResults().credProps?.rk === true,
    "PRF": async () => {
      const one = await create(1, {prf: {}});
      const used = await get(one.rawId, {prf: {eval: {first: bytes(32)}}});
      return used.getClientExtensionResults().prf?.results?.first?.byteLength === 32;
    },
    "largeBlob": async () => {
      const one = await create(1, {largeBlob: {support: "required"}});
      const wrote = await get(one.rawId, {largeBlob: {write: bytes(10)}});
      const read = await get(one.rawId, {largeBlob: {read: true}});
      return wrote.getClientExtensionResults().largeBlob?.written === true
        && read.getClientExtensionResults().largeBlob?.blob?.byteLength === 10;
    },
    "credBlob": async () => (await create(1, {credBlob: bytes(16)})).getClientExtensionResults().credBlob === true,
    "credProtect": async () => {
      const extensions = {credentialProtectionPolicy: "userVerificationRequired", enforceCredentialProtectionPolicy: true};
      const data = new Uint8Array((await create(1, extensions)).response.getAuthenticatorData());
      return (data[32] & 0x80) !== 0 && new TextDecoder().decode(data).includes("credProtect");
    },
    "without an allow list": async () => Boolean(await get(null)),
    "EdDSA": async () => (await create(1, {}, -8)).response.getPublicKeyAlgorithm() === -8,
    "RS256": async () => (await create(1, {}, -257)).response.getPublicKeyAlgorithm() === -257,
    "ML-DSA-65": async () => (await create(1, {}, -49)).response.getPublicKeyAlgorithm() === -49,
    "ES384": async () => (await create(1, {}, -35)).response.getPublicKeyAlgorithm() === -35,
  };
  found.supports = {};
  for (const [name, works] of Object.entries(tries)) {
    try { found.supports[name] = await Promise.race([works(), late()]); } catch (error) { found.supports[name] = false; }
  }
  return found;
}"""


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>ceremonies</title><p>ceremonies")

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def browser(playwright, extension=None):
    arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]
    without = []
    if extension:
        arguments += [f"--load-extension={extension}", f"--disable-extensions-except={extension}"]
        without = ["--disable-extensions"]
    context = playwright.chromium.launch_persistent_context(
        "", executable_path=CHROMIUM, headless=False, args=arguments, ignore_default_args=without
    )
    try:
        yield context
    finally:
        context.close()


def measured(context, url, prepare=lambda page: None):
    """`prepare` plugs in."""
    page = context.pages[0] if context.pages else context.new_page()
    page.goto(url)
    start = time.perf_counter()
    prepare(page)
    ready_ms = (time.perf_counter() - start) * 1e3
    return {**page.evaluate(PAGE, ROUNDS), "ready_ms": ready_ms}


def chromiums(playwright, url):
    def prepare(page):
        session = page.context.new_cdp_session(page)
        session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "ctap2Version": "ctap2_1", "transport": "internal", "hasResidentKey": True,
            "hasUserVerification": True, "isUserVerified": True, "hasLargeBlob": True, "hasCredBlob": True,
            "hasPrf": True, "automaticPresenceSimulation": True,
        }
        session.send("WebAuthn.addVirtualAuthenticator", {"options": options})

    with browser(playwright) as context:
        return measured(context, url, prepare)


def playwrights(playwright, url):
    with browser(playwright) as context:
        return measured(context, url, lambda page: (page.context.credentials.install(), page.reload()))


def doppelkeys(playwright, url):
    with tempfile.TemporaryDirectory() as folder:
        command = [os.environ["DOPPELKEY"], "run", "--ephemeral", "--user", "auto", "--usbip", "off", "--json"]
        command += ["--bridge", "127.0.0.1:0", "--extensions", folder]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                ready = json.loads(process.stdout.readline())
                ready_ms = (time.perf_counter() - start) * 1e3
                with browser(playwright, ready["chromium"]) as context:
                    return {**measured(context, url), "ready_ms": ready_ms}
            finally:
                process.kill()


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://localhost:{server.server_address[1]}/"
    version = subprocess.run([CHROMIUM, "--version"], capture_output=True, text=True).stdout.strip()
    found = {"version": version}
    with sync_playwright() as playwright:
        peers = {"Chromium's own": chromiums, "Playwright's own": playwrights, "Doppelkey's bridge": doppelkeys}
        for name, work in peers.items():
            try:
                found[name] = work(playwright, url)
            except Exception as error:  # noqa: BLE001  # what keeps a peer from being measured is a result, too
                found[name] = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
            print(name, found[name], file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
