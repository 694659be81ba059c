"""Chromium and Firefox, with the extension of `doppelkey bridge` and without USB, at the relying party's own pages."""

import contextlib
import http.server
import json
import signal
import threading
import urllib.error
import urllib.request

import pytest

import bridge

# Run in a page: an asynchronous function whose value, or the error's name and message, comes back.
SCRIPT = """
const done = arguments[arguments.length - 1];
const given = [...arguments].slice(0, -1);
(async (...given) => { %s })(...given).then(done, ({ name, message }) => done({ name, message }));
"""
CREATE = """
const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON({
  rp: { name: "Example" }, user: { id: "AQ", name: "mona", displayName: "Mona" }, challenge: "AAAAAAAAAAAAAAAAAAAAAA",
  pubKeyCredParams: [{ type: "public-key", alg: -7 }, { type: "public-key", alg: -257 }],
  authenticatorSelection: { residentKey: "required" }, ...given[0] });
const made = await navigator.credentials.create({ publicKey });
return { id: made.id, extensions: made.getClientExtensionResults(), transports: made.response.getTransports(),
         algorithm: made.response.getPublicKeyAlgorithm(), key: made.response.getPublicKey().byteLength,
         is: [made instanceof PublicKeyCredential, made.response instanceof AuthenticatorAttestationResponse] };
"""
GET = """
const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON({ challenge: "AAAAAAAAAAAAAAAAAAAAAA", ...given[0] });
const signal = given[1] ? AbortSignal.timeout(given[1]) : undefined;
const used = await navigator.credentials.get({ publicKey, signal });
const { prf } = used.getClientExtensionResults();
const text = (bytes) => bytes && new Uint8Array(bytes).toBase64();
return { id: used.id, prf: prf?.results && text(prf.results.first), json: used.toJSON().response.clientDataJSON };
"""


def run(browser, script, *arguments):
    return browser.execute_async_script(SCRIPT % script, *arguments)


def begin(browser, script, *arguments):
    """Runs it without waiting; `outcome` tells when it is over."""
    keep = "window.outcome = null; const keep = (outcome) => { window.outcome = outcome; };"
    browser.execute_script(keep + "(function () { %s })(...arguments, keep)" % (SCRIPT % script), *arguments)


def outcome(browser):
    return bridge.wait_until(lambda: browser.execute_script("return window.outcome"), "the end of the ceremony")


@pytest.fixture(scope="module")
def relying_party():
    with bridge.relying_party() as url:
        yield url


@pytest.fixture(params=["chromium", "firefox"])
def open_browser(request):
    return getattr(bridge, request.param), request.param


def sign_up(browser, url, email):
    browser.get(f"{url}/signup")
    run(browser, "document.querySelector('[name=email]').value = given[0]; document.querySelector('form').submit()", email)
    bridge.wait_until(lambda: browser.current_url.endswith("/signup/passkey"), "the offer of a passkey")
    press(browser, "[data-ceremony=create]")
    bridge.wait_until(lambda: browser.current_url.endswith("/account"), "the account after signing up")


def sign_out(browser):
    run(browser, "document.querySelector('form[action=\"/logout\"]').submit()")
    bridge.wait_until(lambda: not browser.current_url.endswith("/account"), "the page after logging out")


def press(browser, selector):
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def account(browser):
    bridge.wait_until(lambda: browser.current_url.endswith("/account"), "the account after logging in")
    return browser.execute_script("return document.body.innerText")


def test_signed_up_in_one_browser_and_in_in_the_other_from_one_vault(relying_party):
    with bridge.bridge() as ready:
        with bridge.chromium(ready["chromium"]) as chromium:
            sign_up(chromium, relying_party, "chromium@example.com")
            sign_out(chromium)
            # The same browser, by the button.
            chromium.get(f"{relying_party}/login")
            press(chromium, "[data-ceremony=get]")
            assert "chromium@example.com" in account(chromium)
        with bridge.firefox(ready["firefox"]) as firefox:
            # The other one, by the button.
            firefox.get(f"{relying_party}/login")
            press(firefox, "[data-ceremony=get]")
            assert "chromium@example.com" in account(firefox)
            sign_out(firefox)
            sign_up(firefox, relying_party, "firefox@example.com")
        with bridge.chromium(ready["chromium"]) as chromium:
            # And back, by autofill, which offers both.
            chromium.get(f"{relying_party}/login")
            chromium.execute_script("document.activeElement.blur(); document.querySelector('[autocomplete~=webauthn]').focus()")
            offer = "return [...document.querySelectorAll('#doppelkey-autofill [role=option]')].map((option) => option.textContent)"
            offered = bridge.wait_until(lambda: chromium.execute_script(offer), "the list of autofill")
            assert offered == ["firefox@example.com (passkey)", "chromium@example.com (passkey)"]
            press(chromium, "#doppelkey-autofill [role=option]:last-child")
            assert "chromium@example.com" in account(chromium)


def test_a_page_gets_what_the_browser_would_give_it(open_browser, relying_party):
    open_it, name = open_browser
    with bridge.bridge() as ready, open_it(ready[name]) as browser:
        browser.get(f"{relying_party}/login")
        made = run(browser, CREATE, {"extensions": {"prf": {}, "credProps": True}})
        assert made["is"] == [True, True], made
        assert made["extensions"] == {"prf": {"enabled": True}, "credProps": {"rk": True}}
        assert (made["algorithm"], made["key"]) == (-7, 91)
        salted = {"extensions": {"prf": {"eval": {"first": "AAAA"}}}}
        first, second = run(browser, GET, salted), run(browser, GET, salted)
        assert first["id"] == made["id"] and first["prf"] and first["prf"] == second["prf"]
        excluded = run(browser, CREATE, {"excludeCredentials": [{"type": "public-key", "id": made["id"]}]})
        assert excluded["name"] == "InvalidStateError"
        foreign = run(browser, GET, {"rpId": "example.com"})
        assert foreign["name"] == "SecurityError"
        unknown = run(browser, GET, {"allowCredentials": [{"type": "public-key", "id": "AAAA"}]})
        assert unknown["name"] == "NotAllowedError"
        # Chromium reads no ES384 key: there the page's next choice is taken, and without one no passkey is made in vain.
        es384 = {"type": "public-key", "alg": -35}
        chosen = run(browser, CREATE, {"pubKeyCredParams": [es384, {"type": "public-key", "alg": -7}]})
        assert (chosen["algorithm"], chosen["key"]) == {"chromium": (-7, 91), "firefox": (-35, 120)}[name]
        if name == "chromium":
            assert run(browser, CREATE, {"pubKeyCredParams": [es384]})["name"] == "NotSupportedError"
            assert run(browser, GET, {})["id"] == chosen["id"]


def test_a_page_that_aborts_frees_the_authenticator(open_browser, relying_party):
    open_it, name = open_browser
    # Somebody who thinks for a minute.
    arguments = ("--ephemeral", "--user", "control", "--usbip", "off", "--packets", "127.0.0.1:0", "--json")
    with bridge.program("run", *arguments) as running, bridge.bridge("--packets", running["packets"]) as ready:
        user = User(running)
        with open_it(ready[name]) as browser:
            browser.get(f"{relying_party}/login")
            begin(browser, CREATE, {})
            user.answer("press")
            made = outcome(browser)
            given_up = run(browser, GET, {}, 1000)
            assert given_up["name"] in ("TimeoutError", "AbortError"), given_up
            bridge.wait_until(lambda: user.prompt() is None, "the end of the prompt")
            begin(browser, GET, {})
            user.answer("press")
            assert outcome(browser)["id"] == made["id"]
            begin(browser, GET, {})
            user.answer("deny")
            assert outcome(browser)["name"] == "NotAllowedError"


def test_a_browser_killed_in_mid_ceremony_leaves_nothing_pending(relying_party):
    arguments = ("--ephemeral", "--user", "control", "--usbip", "off", "--packets", "127.0.0.1:0", "--json")
    with bridge.program("run", *arguments) as running, bridge.bridge("--packets", running["packets"]) as ready:
        user = User(running)
        with bridge.chromium(ready["chromium"]) as browser:
            browser.get(f"{relying_party}/login")
            begin(browser, CREATE, {})
            bridge.wait_until(user.prompt, "the prompt")
        bridge.wait_until(lambda: user.prompt() is None, "the end of the prompt")


def test_a_hung_authenticator_ends_the_ceremony_and_serves_the_next(relying_party, tmp_path):
    arguments = ("--ephemeral", "--user", "auto", "--usbip", "off", "--packets", "127.0.0.1:0", "--json")
    log = tmp_path / "log"
    with bridge.running("run", *arguments) as hung, open(log, "w") as told:
        packets = ("--packets", hung.ready["packets"], "--extensions", str(tmp_path))
        with bridge.running("bridge", "--json", *packets, stderr=told) as started:
            with bridge.chromium(started.ready["chromium"]) as browser:
                browser.get(f"{relying_party}/login")
                made = run(browser, CREATE, {})
                hung.process.send_signal(signal.SIGSTOP)
                refused = run(browser, CREATE, {})
                hung.process.send_signal(signal.SIGCONT)
                assert refused == {"name": "NotAllowedError", "message": "no answer within the time allowed"}
                # Nothing came of it, and what was there is there.
                assert run(browser, GET, {})["id"] == made["id"]
        assert "NotAllowedError: no answer within the time allowed" in log.read_text()


def test_a_relying_partys_signals_are_followed_and_destroy_nothing(open_browser, relying_party):
    open_it, name = open_browser
    offer = """
        document.activeElement.blur();
        document.querySelector("[autocomplete~=webauthn]").focus();
        await new Promise((resolve) => setTimeout(resolve, 500));
        return [...document.querySelectorAll("#doppelkey-autofill [role=option]")].map((option) => option.textContent);
    """
    tell = "return await PublicKeyCredential[`signal${given[0]}`]({ rpId: 'localhost', userId: 'AQ', ...given[1] }) ?? null"
    with bridge.bridge() as ready, open_it(ready[name]) as browser:
        browser.get(f"{relying_party}/login")
        made = run(browser, CREATE, {})["id"]
        assert run(browser, offer) == ["mona (passkey)"]
        # The account has another name by now.
        assert run(browser, tell, "CurrentUserDetails", {"name": "mona.lisa", "displayName": "Mona Lisa"}) is None
        assert run(browser, offer) == ["mona.lisa (passkey)"]
        # The relying party has forgotten the passkey: it is offered no more; and remembers it: it is there again.
        assert run(browser, tell, "UnknownCredential", {"credentialId": made}) is None
        assert run(browser, offer) == []
        assert run(browser, GET, {})["name"] == "NotAllowedError"
        assert run(browser, tell, "AllAcceptedCredentials", {"allAcceptedCredentialIds": [made]}) is None
        assert run(browser, offer) == ["mona.lisa (passkey)"]
        assert run(browser, tell, "AllAcceptedCredentials", {"allAcceptedCredentialIds": []}) is None
        assert run(browser, offer) == []
        assert run(browser, tell, "AllAcceptedCredentials", {"allAcceptedCredentialIds": [made]}) is None
        assert run(browser, GET, {})["id"] == made
        # A page cannot speak for another site, nor make no sense.
        foreign = run(browser, tell, "UnknownCredential", {"rpId": "example.com", "credentialId": made})
        assert foreign["name"] == "SecurityError"
        assert run(browser, tell, "UnknownCredential", {})["name"] == "TypeError"
        assert run(browser, GET, {})["id"] == made


# A page that speaks to the extension itself: it takes the port from under page.js, says what it likes, and tells what it heard.
FRAME = b"""<!doctype html><script>
const { postMessage } = MessagePort.prototype;
let port, last = 1000;
MessagePort.prototype.postMessage = function (...given) { port = this; return postMessage.apply(this, given); };
const say = (path, body) => new Promise((resolve) => {
  const id = ++last;
  port.addEventListener("message", ({ data }) => { if (data.id === id) resolve([path, data.error?.name ?? "served"]); });
  postMessage.call(port, { path, id, crossOrigin: false, body: { allowed: true, crossOrigin: false, cross_origin: false, ...body } });
});
const challenge = "AAAAAAAAAAAAAAAAAAAAAA";
const request = { rpId: "localhost", challenge };
const creation = { rp: { id: "localhost", name: "Example" }, user: { id: "Ag", name: "eve", displayName: "Eve" }, challenge,
                   pubKeyCredParams: [{ type: "public-key", alg: -7 }] };
const details = { rpId: "localhost", credentialId: "AAAA" };
PublicKeyCredential.signalUnknownCredential(details).catch(() => {}).then(async () => {
  const heard = [await say("accounts", { publicKey: request }), await say("signal", { kind: "UnknownCredential", details }),
                 await say("get", { publicKey: request }), await say("create", { publicKey: creation })];
  top.postMessage(heard, "*");
});
</script>"""
AROUND = b"""<!doctype html><script>onmessage = ({ data }) => { if (Array.isArray(data)) window.heard = data; };</script>"""


def test_a_foreign_frame_gets_neither_a_ceremony_nor_names_whatever_it_says(open_browser, relying_party):
    open_it, name = open_browser
    with page_server() as port, bridge.bridge() as ready, open_it(ready[name]) as browser:
        browser.get(f"{relying_party}/login")
        run(browser, CREATE, {})
        said = ["accounts", "signal", "get", "create"]
        # The frame of a page of its own origin, of one elsewhere, and of one elsewhere that its own origin frames.
        pages = ["localhost:%d/around", "127.0.0.1:%d/around", "localhost:%d/twice"]
        for page, outcome in zip(pages, ["served", "NotAllowedError", "NotAllowedError"]):
            browser.get(f"http://{page % port}")
            heard = bridge.wait_until(lambda: browser.execute_script("return window.heard"), "what the frame heard")
            assert heard == [[path, outcome] for path in said]


@contextlib.contextmanager
def page_server():
    """Serves /frame, /around with that frame of localhost in it, /twice with 127.0.0.1's /around; gives the port."""

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            around = {"/around": b"localhost:%d/frame" % port, "/twice": b"127.0.0.1:%d/around" % port}
            page = FRAME if self.path == "/frame" else None
            if self.path in around:
                page = AROUND + b'<iframe src="http://%s" allow="publickey-credentials-get *"></iframe>' % around[self.path]
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield port
        server.shutdown()


def test_only_the_extension_with_the_token_is_served():
    with bridge.bridge() as ready:

        def status(token, origin):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Origin": origin}
            body = json.dumps({"id": "1", "origin": "https://example.com", "publicKey": {}}).encode()
            request = urllib.request.Request(f"{ready['bridge']}/accounts", body, headers)
            try:
                return urllib.request.urlopen(request, timeout=10).status
            except urllib.error.HTTPError as error:
                return error.code

        extension = "chrome-extension://hobkallklihhfficgpclfggelmflbedd"
        assert status(ready["token"], extension) == 200
        assert status("stolen-yesterday", extension) == 401
        assert status(ready["token"], "https://evil.example") == 403
        assert status(ready["token"], "chrome-extension://" + "a" * 32) == 403
        # In Firefox, each profile's extension has an origin of its own: the first that shows the token is served.
        assert status(ready["token"], "moz-extension://first") == 200
        assert status(ready["token"], "moz-extension://second") == 403


def test_without_a_bridge_a_page_learns_so_at_once(open_browser, relying_party, tmp_path):
    open_it, name = open_browser
    with bridge.program("bridge", "--json", "--ephemeral", "--user", "auto", "--extensions", str(tmp_path)) as ready:
        running = open_it(ready[name])
        browser = running.__enter__()
    try:
        browser.get(f"{relying_party}/login")
        refused = run(browser, CREATE, {})
        assert refused["name"] == "NotAllowedError" and "doppelkey bridge" in refused["message"]
        # Started again, at another port and with another token: nothing needs to be reloaded.
        with bridge.program("bridge", "--json", "--ephemeral", "--user", "auto", "--extensions", str(tmp_path)):
            assert "id" in run(browser, CREATE, {})
    finally:
        running.__exit__(None, None, None)


class User:
    """The user of a running authenticator, by its control port."""

    def __init__(self, ready):
        self.ready = ready

    def _ask(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.ready['token']}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.ready["control"] + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def prompt(self):
        return self._ask("GET", "/v1/devices/1/user")["prompt"]

    def answer(self, deed):
        bridge.wait_until(self.prompt, "the prompt")
        self._ask("POST", f"/v1/devices/1/user/{deed}", {})
