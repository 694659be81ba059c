"""Chromium and Firefox, with the extension of `doppelkey bridge` and without USB, at the relying party's own pages."""

import concurrent.futures
import contextlib
import datetime
import http.server
import json
import signal
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

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


CONDITIONAL = """
const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON({ challenge: "AAAAAAAAAAAAAAAAAAAAAA", ...given[0] });
const used = await navigator.credentials.get({ publicKey, mediation: "conditional" });
return { id: used.id };
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


def focus(browser):
    """Has the field with autofill get the focus anew; gives what is offered under it."""
    browser.execute_script("document.activeElement.blur(); document.querySelector('[autocomplete~=webauthn]').focus()")
    time.sleep(0.5)
    return [text for text, _, _ in browser.offered()]


def wait_for_offer(browser, name):
    """Waits until autofill offers this and nothing else."""
    bridge.wait_until(lambda: focus(browser) == [f"{name} (passkey)"], f"the list with {name} alone")


def pick(browser, name):
    """Clicks this entry of autofill's list, as a user does."""
    (x, y), = [(x, y) for text, x, y in browser.offered() if text == f"{name} (passkey)"]
    browser.click_at(x, y)


def press(browser, selector):
    bridge.wait_until(lambda: browser.execute_script("return document.readyState === 'complete'"), "the page's scripts")
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
            offered = bridge.wait_until(lambda: focus(chromium), "the list of autofill")
            assert offered == ["firefox@example.com (passkey)", "chromium@example.com (passkey)"]
            pick(chromium, "chromium@example.com")
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


def test_options_are_taken_as_a_browser_takes_them(open_browser, relying_party):
    open_it, name = open_browser
    create = """
        const challenge = new Uint8Array(16), pubKeyCredParams = [{ type: "public-key", alg: -7 }];
        const user = { id: new Uint8Array(1), name: "mona \\ud800", displayName: 7 };
        const publicKey = { rp: { name: "Example" }, user, challenge, pubKeyCredParams, authenticatorSelection: null,
                            timeout: 59999.5, extensions: null, attestation: null };
        const made = await navigator.credentials.create({ publicKey });
        const allowCredentials = [{ type: "public-key", id: made.rawId }];
        const used = await navigator.credentials.get({ publicKey: { challenge, allowCredentials, extensions: null } });
        const selected = { requireResidentKey: null, userVerification: null };
        await navigator.credentials.create({ publicKey: { ...publicKey, authenticatorSelection: selected } });
        return [made.id, used.id]"""
    with bridge.bridge() as ready, open_it(ready[name]) as browser:
        browser.get(f"{relying_party}/login")
        taken = run(browser, create)
        assert isinstance(taken, list) and taken[0] == taken[1], taken
        if name == "firefox":
            silent = 'return await navigator.credentials.get({ publicKey: { challenge: new Uint8Array(16) }, mediation: "silent" })'
            assert run(browser, silent) is None
            passing = create.replace("({ publicKey })", '({ publicKey, mediation: "conditional" })')
            assert run(browser, passing)["name"] == "NotSupportedError"


def test_what_a_page_may_do_is_what_its_browser_says(open_browser, relying_party):
    open_it, name = open_browser
    with bridge.bridge() as ready, open_it(ready[name]) as browser:
        browser.get(f"{relying_party}/login")
        told = run(browser, "return await PublicKeyCredential.getClientCapabilities()")
        asked = """return [await PublicKeyCredential.isConditionalMediationAvailable(),
                           await PublicKeyCredential.isUserVerifyingPlatformAuthenticatorAvailable()]"""
        assert [told["conditionalGet"], told["userVerifyingPlatformAuthenticator"]] == run(browser, asked) == [True, True]
        signals = [f"signal{kind}" for kind in ("UnknownCredential", "AllAcceptedCredentials", "CurrentUserDetails")]
        for served in ["passkeyPlatformAuthenticator", "extension:prf", "extension:largeBlob", "extension:credProps", *signals]:
            assert told[served] is True, (served, told)
        # What neither the client nor the bridge does.
        assert not told.get("extension:appid") and not told.get("extension:payment"), told
        if name == "firefox":
            assert not told["relatedOrigins"] and not told["conditionalCreate"], told


def test_a_page_that_aborts_frees_the_authenticator(open_browser, relying_party):
    open_it, name = open_browser
    # Somebody who thinks for a minute.
    with bridge.program("run", *WAITING) as running, bridge.bridge("--packets", running["packets"]) as ready:
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


WAITING = ("--ephemeral", "--user", "control", "--usbip", "off", "--packets", "127.0.0.1:0", "--json")


def test_a_tab_that_closes_or_navigates_frees_the_authenticator(open_browser):
    open_it, name = open_browser
    there = bridge.program("run", *WAITING)
    with page_server() as port, there as running, bridge.bridge("--packets", running["packets"]) as ready:
        user = User(running)
        with open_it(ready[name]) as browser:
            browser.get(f"http://localhost:{port}/field")
            begin(browser, CREATE, {})
            user.answer("press")
            made = outcome(browser)["id"]
            first = browser.tab()

            def ask():
                if name == "firefox":
                    return begin(browser, GET, {})
                # What Chromium does not route itself: after a pick in autofill's list.
                begin(browser, CONDITIONAL, {})
                bridge.wait_until(lambda: focus(browser), "the list of autofill")
                pick(browser, "localhost")

            # The tab closes.
            browser.open_tab(f"http://localhost:{port}/field")
            ask()
            bridge.wait_until(user.prompt, "the prompt")
            browser.close_tab()
            bridge.wait_until(lambda: user.prompt() is None, "the end of the prompt of a tab that closed")
            # The tab goes elsewhere; and what the next page asks is its own.
            browser.go_to_tab(first)
            ask()
            bridge.wait_until(user.prompt, "the prompt")
            before = user.prompt()["number"]
            browser.get(f"http://localhost:{port}/field?next")
            begin(browser, GET, {})
            after = lambda: (user.prompt() or {"number": before})["number"] > before
            bridge.wait_until(after, "the prompt of the next page")
            user.answer("press")
            assert outcome(browser)["id"] == made


# A page that asks six times at once.
MANY = """
const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON({ challenge: "AAAAAAAAAAAAAAAAAAAAAA", timeout: 600000 });
const names = [];
for (let i = 0; i < 6; ++i) navigator.credentials.get({ publicKey }).catch(({ name }) => names.push(name));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
while (names.length < 5) await pause(50);
// The sixth, if it is refused, too.
await pause(500);
return names;
"""


def test_a_page_that_asks_many_times_holds_up_no_other_page(relying_party):
    with bridge.program("run", *WAITING) as running, bridge.bridge("--packets", running["packets"]) as ready:
        user = User(running)
        with bridge.firefox(ready["firefox"]) as browser:
            browser.get(f"{relying_party}/login")
            begin(browser, CREATE, {})
            user.answer("press")
            made = outcome(browser)["id"]
            assert run(browser, MANY) == ["NotAllowedError"] * 5
            number = bridge.wait_until(user.prompt, "the prompt")["number"]
            browser.open_tab(f"{relying_party}/login")
            begin(browser, GET, {})
            # The one that is shown is refused, and the next is the other page's.
            user.answer("deny")
            bridge.wait_until(lambda: (user.prompt() or {"number": number})["number"] > number, "the other page's prompt")
            user.answer("press")
            assert outcome(browser)["id"] == made
            assert user.prompt() is None


SIGNAL = """
return await PublicKeyCredential.signalUnknownCredential({ rpId: "localhost", credentialId: "AAAA" }) ?? null;
"""


def test_frames_that_wait_for_autofill_hold_up_no_other_page(open_browser):
    open_it, name = open_browser
    with page_server() as port, bridge.program("run", *WAITING) as running:
        user = User(running)
        with bridge.bridge("--packets", running["packets"]) as ready, open_it(ready[name]) as browser:
            browser.get(f"http://localhost:{port}/field")
            begin(browser, CREATE, {})
            user.answer("press")
            made = outcome(browser)["id"]
            begin(browser, GET, {})
            number = bridge.wait_until(user.prompt, "the prompt")["number"]
            browser.open_tab(f"http://localhost:{port}/frames")
            bridge.wait_until(lambda: browser.execute_script("return document.body.children.length") == 8, "the frames")
            time.sleep(0.5)
            browser.open_tab(f"http://localhost:{port}/field")
            # What is no ceremony has its turn while the prompt is shown; so has one.
            assert run(browser, SIGNAL) is None
            begin(browser, GET, {})
            time.sleep(0.5)
            user.answer("deny")
            bridge.wait_until(lambda: (user.prompt() or {"number": number})["number"] > number, "the other page's prompt", 5)
            user.answer("press")
            assert outcome(browser)["id"] == made


def test_the_fifth_tab_that_asks_at_a_time_is_refused_and_has_no_connection():
    there = bridge.program("run", *WAITING)
    with page_server() as port, there as running, bridge.bridge("--packets", running["packets"]) as ready:
        user = User(running)
        # Chromium, which does not say which tab asks; in both the number is counted in the same place.
        with bridge.chromium(ready["chromium"]) as browser:
            tabs = []
            for number in range(5):
                browser.open_tab(f"http://localhost:{port}/field")
                tabs.append(browser.tab())
                begin(browser, CREATE, {"user": {"id": f"A{'AQgw'[number % 4]}", "name": "mona", "displayName": "Mona"}})
                bridge.wait_until(user.prompt, "the prompt")
            refused = outcome(browser)
            assert refused["name"] == "NotAllowedError" and "too many tabs" in refused["message"], refused
            # There is a connection left for what is no ceremony, and the four are served one after the other.
            assert run(browser, SIGNAL) is None
            for _ in tabs[:4]:
                number = bridge.wait_until(user.prompt, "the prompt")["number"]
                user.answer("deny")
                bridge.wait_until(lambda: (user.prompt() or {"number": 0})["number"] != number, "the end of the prompt")
            for tab in tabs[:4]:
                browser.go_to_tab(tab)
                assert outcome(browser)["name"] == "NotAllowedError"


def ask(ready, path, body, timeout=10):
    """What Chromium's extension sends, and the bridge's answer."""
    body = json.dumps(body).encode()
    headers = {
        "Authorization": bridge.authorization(ready["token"], path, body),
        "Content-Type": "application/json",
        "Origin": "chrome-extension://hobkallklihhfficgpclfggelmflbedd",
    }
    request = urllib.request.Request(f"{ready['bridge']}/{path}", body, headers)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer)


CREATION = {
    "rp": {"id": "example.com", "name": "Example"},
    "user": {"id": "AQ", "name": "mona", "displayName": "Mona"},
    "challenge": "AAAA",
    "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
    "authenticatorSelection": {"residentKey": "required"},
}


def test_a_request_that_would_wait_for_ever_is_answered():
    with bridge.bridge() as ready:
        body = {"origin": "https://example.com", "mediation": "conditional", "publicKey": {"challenge": "AAAA"}}
        assert ask(ready, "get", body)["error"]["name"] == "NotAllowedError"


def test_an_rp_id_that_the_browser_has_checked_is_one_of_a_related_origin():
    with bridge.bridge() as ready:
        creation = {"origin": "https://example.de", "publicKey": CREATION}
        request = {"origin": "https://example.de", "publicKey": {"rpId": "example.com", "challenge": "AAAA"}}
        assert ask(ready, "create", creation)["error"]["name"] == "SecurityError"
        made = ask(ready, "create", {**creation, "checked": "example.com"})["response"]["id"]
        checked = {**request, "checked": "example.com"}
        assert ask(ready, "get", checked)["response"]["id"] == made
        # What is no ceremony has its word, too; not what is in a frame.
        signal = {"kind": "UnknownCredential", "details": {"rpId": "example.com", "credentialId": "AAAA"}}
        for path in ["accounts", "signal"]:
            assert ask(ready, path, {**request, **signal})["error"]["name"] == "SecurityError"
            assert "response" in ask(ready, path, {**checked, **signal})
            assert ask(ready, path, {**checked, **signal, "crossOrigin": True})["error"]["name"] == "NotAllowedError"
        # It is a domain all the same, and the one that is asked for, wherever in the options.
        for rp_id in ["com", "Example.com", "example.com/"]:
            asked = {**request, "checked": rp_id, "publicKey": {"rpId": rp_id, "challenge": "AAAA"}}
            assert ask(ready, "get", asked)["error"]["name"] == "SecurityError"
        other = {"rpId": "example.com", "challenge": "AAAA"}
        for options in [other, {**other, "rpId": "example.fr", "publicKey": other}]:
            asked = {**request, "checked": "example.fr", "publicKey": options}
            assert ask(ready, "get", asked)["error"]["name"] == "SecurityError"
        # An extension that is still loaded from an earlier program says only whether the browser has checked it.
        own = {"origin": "https://example.com", "publicKey": request["publicKey"]}
        for said in [True, False]:
            assert ask(ready, "get", {**request, "checked": said})["error"]["name"] == "SecurityError"
            assert ask(ready, "get", {**own, "checked": said})["response"]["id"] == made


# A page that says itself what its browser has checked, on the port from under page.js.
FORGED = """
const { postMessage } = MessagePort.prototype;
let port;
MessagePort.prototype.postMessage = function (...given) { port = this; return postMessage.apply(this, given); };
const details = { rpId: "example.com", credentialId: "AAAA" };
await PublicKeyCredential.signalUnknownCredential(details).catch(() => {});
return await new Promise((resolve) => {
  port.addEventListener("message", ({ data }) => { if (data.id === 1001) resolve(data.error?.name ?? "served"); });
  const body = { kind: "UnknownCredential", details, checked: "example.com" };
  postMessage.call(port, { path: "signal", id: 1001, checked: "example.com", body });
});
"""


def test_a_related_origin_signs_up_and_in_in_chromium(tmp_path):
    with related_sites(tmp_path) as browser:
        browser.get("https://example.de")
        made = run(browser, CREATE, {"rp": {"id": "example.com", "name": "Example"}})
        assert run(browser, GET, {"rpId": "example.com"})["id"] == made["id"]
        browser.get("https://example.fr")
        assert run(browser, GET, {"rpId": "example.com"})["name"] == "SecurityError"


def test_a_related_origin_has_autofill_and_signals_in_chromium(tmp_path):
    tell = "return await PublicKeyCredential.signalCurrentUserDetails({ rpId: 'example.com', userId: 'AQ', name: 'lisa', displayName: '' }) ?? null"
    with related_sites(tmp_path) as browser:
        browser.get("https://example.com")
        made = run(browser, CREATE, {})["id"]
        browser.get("https://example.de")
        assert run(browser, tell) is None
        begin(browser, CONDITIONAL, {"rpId": "example.com"})
        assert bridge.wait_until(lambda: focus(browser), "the list") == ["lisa (passkey)"]
        pick(browser, "lisa")
        assert outcome(browser) == {"id": made}
        # An origin that is not related waits for nothing, and is told and believed nothing, whatever it says.
        browser.get("https://example.fr")
        assert run(browser, CONDITIONAL, {"rpId": "example.com"})["name"] == "SecurityError"
        assert run(browser, tell)["name"] == "SecurityError"
        assert run(browser, FORGED) == "SecurityError"


@contextlib.contextmanager
def related_sites(folder):
    """Chromium with a bridge, in a world of example.com, its related origin example.de, and others, each with a field for autofill."""

    class Sites(http.server.BaseHTTPRequestHandler):
        """Every site there is: example.com, which names its related origin, and the others' pages."""

        def do_GET(self):
            kind, page = "text/html", FIELD
            if self.path == "/.well-known/webauthn":
                kind, page = "application/json", b'{"origins": ["https://example.de"]}'
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(folder / "certificate.pem"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sites) as sites, bridge.bridge() as ready:
        sites.socket = context.wrap_socket(sites.socket, server_side=True)
        threading.Thread(target=sites.serve_forever, daemon=True).start()
        there = f"--host-resolver-rules=MAP example.*:443 127.0.0.1:{sites.server_address[1]}"
        with bridge.chromium(ready["chromium"], there, "--ignore-certificate-errors") as browser:
            yield browser
        sites.shutdown()


def certificate(path):
    """A certificate and its key, which nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([]), datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now)
    signed = builder.not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, *plain) + signed.public_bytes(pem))
    return path


@pytest.mark.parametrize("door", ["packets", "usbip"])
def test_two_tabs_share_a_device_in_another_process(door):
    doors = {"--packets": "off", "--usbip": "off", f"--{door}": "127.0.0.1:0"}
    arguments = [word for pair in doors.items() for word in pair]
    with bridge.program("run", "--ephemeral", "--user", "control", "--json", *arguments) as running:
        with bridge.bridge(f"--{door}", running[door]) as ready, concurrent.futures.ThreadPoolExecutor() as tabs:
            user, page = User(running), {"origin": "https://example.com"}
            creation, request = {**page, "publicKey": CREATION}, {**page, "publicKey": {"challenge": "AAAA"}}
            made = tabs.submit(ask, ready, "create", creation)
            user.answer("press")
            made = made.result()["response"]["id"]
            first = tabs.submit(ask, ready, "get", request, 30)
            shown = bridge.wait_until(user.prompt, "the prompt")["number"]
            second = tabs.submit(ask, ready, "get", request, 30)
            # Autofill meanwhile offers nothing, and its page is not refused.
            assert ask(ready, "accounts", request) == {"response": []}
            # A tab that closes while it waits leaves nothing.
            with pytest.raises(TimeoutError):
                ask(ready, "get", request, 0.5)
            for number in [first, second]:
                user.answer("press")
                assert number.result()["response"]["id"] == made
                if number is first:
                    bridge.wait_until(lambda: (user.prompt() or {"number": shown})["number"] > shown, "the other tab's")
            assert user.prompt() is None
            assert len(ask(ready, "accounts", request)["response"]) == 1


def test_a_foreign_frame_is_refused_at_once_while_another_tab_has_the_usbip_device():
    doors = ("--packets", "off", "--usbip", "127.0.0.1:0")
    with bridge.program("run", "--ephemeral", "--user", "control", "--json", *doors) as running:
        with bridge.bridge("--usbip", running["usbip"]) as ready, concurrent.futures.ThreadPoolExecutor() as tabs:
            user, page = User(running), {"origin": "https://example.com"}
            made = tabs.submit(ask, ready, "create", {**page, "publicKey": CREATION}, 30)
            shown = bridge.wait_until(user.prompt, "the prompt")
            request = {**page, "publicKey": {"challenge": "AAAA"}}
            foreign = {"origin": "https://example.de", "publicKey": {**request["publicKey"], "rpId": "example.com"}}
            try:
                for path, options in [("get", request["publicKey"]), ("create", CREATION)]:
                    framed = {**page, "crossOrigin": True, "allowed": False, "publicKey": options}
                    assert ask(ready, path, framed, 5)["error"]["name"] == "NotAllowedError"
                assert ask(ready, "get", foreign, 5)["error"]["name"] == "SecurityError"
                assert user.prompt() == shown, "whoever has the device keeps it"
            finally:
                user.answer("press")
            assert "response" in made.result()


def test_autofill_outlives_an_authenticator_that_hangs():
    doors = ("--packets", "127.0.0.1:0", "--usbip", "off")
    with bridge.running("run", "--ephemeral", "--user", "auto", "--json", *doors) as hung:
        with bridge.bridge("--packets", hung.ready["packets"]) as ready, concurrent.futures.ThreadPoolExecutor() as tabs:
            page = {"origin": "https://example.com"}
            hung.process.send_signal(signal.SIGSTOP)
            try:
                began = time.monotonic()
                made = tabs.submit(lambda: (ask(ready, "create", {**page, "publicKey": CREATION}), time.monotonic()))
                # A ceremony gives up on it later than a look, which takes its turn at what other tabs ask.
                assert ask(ready, "accounts", {**page, "publicKey": {"challenge": "AAAA"}}) == {"response": []}
                looked = time.monotonic()
                refused, ended = made.result()
                assert refused["error"]["name"] == "NotAllowedError"
                # Two seconds and three: a machine that stalls may run both out at once.
                assert looked < ended or looked - began > 2.5
            finally:
                hung.process.send_signal(signal.SIGCONT)


def test_a_browser_killed_in_mid_ceremony_leaves_nothing_pending(relying_party):
    with bridge.program("run", *WAITING) as running, bridge.bridge("--packets", running["packets"]) as ready:
        user = User(running)
        with bridge.chromium(ready["chromium"]) as browser:
            browser.get(f"{relying_party}/login")
            begin(browser, CREATE, {})
            bridge.wait_until(user.prompt, "the prompt")
        bridge.wait_until(lambda: user.prompt() is None, "the end of the prompt")


@pytest.mark.parametrize("door", ["packets", "usbip"])
def test_a_hung_authenticator_ends_the_ceremony_and_serves_the_next(relying_party, tmp_path, door):
    doors = {"packets": "off", "usbip": "off", door: "127.0.0.1:0"}
    arguments = ("--ephemeral", "--user", "auto", "--packets", doors["packets"], "--usbip", doors["usbip"], "--json")
    log = tmp_path / "log"
    with bridge.running("run", *arguments) as hung, open(log, "w") as told:
        there = (f"--{door}", hung.ready[door], "--extensions", str(tmp_path))
        try:
            with bridge.running("bridge", "--json", *there, stderr=told) as started:
                with bridge.chromium(started.ready["chromium"]) as browser:
                    browser.get(f"{relying_party}/login")
                    made = run(browser, CREATE, {})
                    hung.process.send_signal(signal.SIGSTOP)
                    refused = run(browser, CREATE, {})
                    hung.process.send_signal(signal.SIGCONT)
                    assert refused == {"name": "NotAllowedError", "message": "no answer within the time allowed"}
                    # Nothing came of it, and what was there is there.
                    assert run(browser, GET, {})["id"] == made["id"]
                    # And it can be ended while it waits.
                    hung.process.send_signal(signal.SIGSTOP)
                    begin(browser, CREATE, {})
                    time.sleep(0.5)
                    started.stop()
        finally:
            hung.process.send_signal(signal.SIGCONT)
        assert "NotAllowedError: no answer within the time allowed" in log.read_text()


def test_a_relying_partys_signals_are_followed_and_destroy_nothing(open_browser, relying_party):
    open_it, name = open_browser
    tell = "return await PublicKeyCredential[`signal${given[0]}`]({ rpId: 'localhost', userId: 'AQ', ...given[1] }) ?? null"
    with bridge.bridge() as ready, open_it(ready[name]) as browser:
        browser.get(f"{relying_party}/login")
        made = run(browser, CREATE, {})["id"]
        wait_for_offer(browser, "mona")
        # The account has another name by now.
        assert run(browser, tell, "CurrentUserDetails", {"name": "mona.lisa", "displayName": "Mona Lisa"}) is None
        wait_for_offer(browser, "mona.lisa")
        # The relying party has forgotten the passkey: it is offered no more; and remembers it: it is there again.
        assert run(browser, tell, "UnknownCredential", {"credentialId": made}) is None
        assert focus(browser) == []
        assert run(browser, GET, {})["name"] == "NotAllowedError"
        assert run(browser, tell, "AllAcceptedCredentials", {"allAcceptedCredentialIds": [made]}) is None
        wait_for_offer(browser, "mona.lisa")
        assert run(browser, tell, "AllAcceptedCredentials", {"allAcceptedCredentialIds": []}) is None
        assert focus(browser) == []
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
  if (path === "accounts" || path === "autofill") setTimeout(() => resolve([path, "unanswered"]), 1000);
  postMessage.call(port, { path, id, crossOrigin: false, body: { allowed: true, crossOrigin: false, cross_origin: false, ...body } });
});
const challenge = "AAAAAAAAAAAAAAAAAAAAAA";
const request = { rpId: "localhost", challenge };
const creation = { rp: { id: "localhost", name: "Example" }, user: { id: "Ag", name: "eve", displayName: "Eve" }, challenge,
                   pubKeyCredParams: [{ type: "public-key", alg: -7 }] };
const details = { rpId: "localhost", credentialId: "AAAA" };
PublicKeyCredential.signalUnknownCredential(details).catch(() => {}).then(async () => {
  const heard = [await say("accounts", { publicKey: request }), await say("autofill", { publicKey: request }), await say("signal", { kind: "UnknownCredential", details }),
                 await say("get", { publicKey: request }), await say("create", { publicKey: creation })];
  top.postMessage(heard, "*");
});
</script>"""
FIELD = b"""<!doctype html><input autocomplete="username webauthn">"""
# Eight documents that wait for autofill.
FRAMES = b"<!doctype html><body>" + b"<iframe src=/autofill></iframe>" * 8
AUTOFILL = b"""<!doctype html><script>
navigator.credentials.get({ publicKey: { challenge: new Uint8Array(16) }, mediation: "conditional" });
</script>"""
AROUND = b"""<!doctype html><script>onmessage = ({ data }) => { if (Array.isArray(data)) window.heard = data; };</script>"""


def test_a_foreign_frame_gets_neither_a_ceremony_nor_names_whatever_it_says(open_browser, relying_party):
    open_it, name = open_browser
    with page_server() as port, bridge.bridge() as ready, open_it(ready[name]) as browser:
        browser.get(f"{relying_party}/login")
        run(browser, CREATE, {})
        # Names are told to no page at all; where they are shown to the user, autofill waits for them.
        said = ["signal", "get", "create"]
        # The frame of a page of its own origin, of one elsewhere, and of one elsewhere that its own origin frames.
        pages = ["localhost:%d/around", "127.0.0.1:%d/around", "localhost:%d/twice"]
        for page, outcome in zip(pages, ["served", "NotAllowedError", "NotAllowedError"]):
            autofill = {"served": "unanswered"}.get(outcome, outcome)
            browser.get(f"http://{page % port}")
            heard = bridge.wait_until(lambda: browser.execute_script("return window.heard"), "what the frame heard")
            assert heard == [["accounts", "unanswered"], ["autofill", autofill]] + [[path, outcome] for path in said]


@contextlib.contextmanager
def page_server():
    """Serves /field, with a field for autofill; /frames; /frame, /around with that frame of localhost in it, /twice with 127.0.0.1's /around; gives the port."""

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            around = {"/around": b"localhost:%d/frame" % port, "/twice": b"127.0.0.1:%d/around" % port}
            page = {"/frame": FRAME, "/field": FIELD, "/frames": FRAMES, "/autofill": AUTOFILL}.get(self.path.split("?")[0])
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
        body = json.dumps({"origin": "https://example.com", "publicKey": {}}).encode()

        def status(token, origin):
            return served(bridge.authorization(token, "accounts", body), origin)

        def served(proof, origin):
            headers = {"Authorization": proof, "Content-Type": "application/json", "Origin": origin}
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
        # In Firefox, each profile's extension has an origin of its own: all that show the token are served.
        for profile in ["moz-extension://first", "moz-extension://second", "moz-extension://first"]:
            assert status(ready["token"], profile) == 200
            assert status("stolen-yesterday", profile) == 401
        # What one has sent is good once, whoever says it again.
        proof = bridge.authorization(ready["token"], "accounts", body)
        assert [served(proof, f"moz-extension://{profile}") for profile in ("first", "second")] == [200, 401]


def test_one_bridge_serves_one_firefox_after_the_other(relying_party):
    with bridge.bridge() as ready:
        with bridge.firefox(ready["firefox"]) as first:
            sign_up(first, relying_party, "mona@example.com")
        # Its profile is new, and the origin of the extension another.
        with bridge.firefox(ready["firefox"]) as second:
            second.get(f"{relying_party}/login")
            press(second, "[data-ceremony=get]")
            assert "mona@example.com" in account(second)


def test_a_program_at_a_dead_bridges_port_is_not_believed(open_browser, tmp_path):
    open_it, name = open_browser
    heard = []

    class Impostor(http.server.BaseHTTPRequestHandler):
        """Answers as a bridge does, with a key of its own."""

        def do_POST(self):
            heard.append((self.path, self.rfile.read(int(self.headers["Content-Length"])), str(self.headers)))
            response = {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {"attestationObject": "oA"}}
            self.send_response(200)
            self.send_header("Doppelkey-Proof", "A" * 43)
            self.end_headers()
            self.wfile.write(json.dumps({"response": response}).encode())

        def log_message(self, *_):
            pass

    program = bridge.Program("bridge", "--json", "--ephemeral", "--user", "auto", "--extensions", str(tmp_path))
    ready = program.ready
    with page_server() as port, open_it(ready[name]) as browser:
        browser.get(f"http://localhost:{port}/field")
        made = run(browser, CREATE, {})
        program.process.kill()
        program.process.wait()
        program.process.stdout.close()
        address = ("127.0.0.1", int(ready["bridge"].rsplit(":")[-1]))
        with http.server.ThreadingHTTPServer(address, Impostor) as impostor:
            threading.Thread(target=impostor.serve_forever, daemon=True).start()
            for ask in [CREATE, GET]:
                refused = run(browser, ask, {})
                assert refused["name"] == "NotAllowedError" and "doppelkey bridge" in refused["message"], refused
            impostor.shutdown()
    assert "id" in made
    # It was told nothing: not who asks, not for whom, and not the token.
    assert [(path, body) for path, body, _ in heard] == [("/hello", b"")] * 2
    assert not any(ready["token"] in headers for _, _, headers in heard)


def test_a_bridge_whose_terminal_is_closed_takes_its_token_away(tmp_path):
    # Under `nohup` whoever runs these tests ignores the signal, and so would what they start.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        program = bridge.Program("bridge", "--json", "--ephemeral", "--user", "auto", "--extensions", str(tmp_path))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert list(tmp_path.glob("*/config.json"))
    program.process.send_signal(signal.SIGHUP)
    assert program.process.wait(timeout=30) == 0
    program.process.stdout.close()
    assert not list(tmp_path.glob("*/config.json"))


def test_the_relying_partys_page_says_what_its_autofill_failed_of():
    said = "const box = document.getElementById('error'); return box.hidden ? '' : box.textContent"
    with bridge.bridge() as ready, bridge.chromium(ready["chromium"]) as browser:
        # The origins have the port in them, so it is chosen before; late, when nobody else here takes one any more.
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        here, there = (f"http://{host}:{port}" for host in ("localhost", "other.localhost"))
        arguments = ("--db", "memory", "--listen", f"127.0.0.1:{port}", "--origin", here, "--origin", there)
        with bridge.program("relying-party", "--json", *arguments):
            sign_up(browser, here, "mona@example.com")
            sign_out(browser)
            # A browser takes localhost for a public suffix: it is no RP ID of what is under it.
            browser.get(f"{there}/login")
            told = bridge.wait_until(lambda: browser.execute_script(said), "what the page says")
            assert "not allowed to use passkeys here" in told
            browser.get(f"{here}/login")
            bridge.wait_until(lambda: focus(browser), "the list of autofill")
            assert browser.execute_script(said) == ""
        # Now that the passkey is picked, nobody is there to take what it signs.
        pick(browser, "mona@example.com")
        told = bridge.wait_until(lambda: browser.execute_script(said), "what the page says")
        assert "could not be reached" in told


def test_autofill_offers_what_the_page_allows_and_takes_only_the_users_click(open_browser, relying_party):
    open_it, name = open_browser
    with page_server() as port, bridge.bridge() as ready, open_it(ready[name]) as browser:
        browser.get(f"http://localhost:{port}/field")
        ids = {}
        for number, handle in [(1, "AQ"), (2, "Ag")]:
            user = {"id": handle, "name": f"mona{number}", "displayName": "Mona"}
            made = run(browser, CREATE, {"user": user})["id"]
            ids[user["name"]] = made
        # The page's own list counts, and the names are not in the page.
        begin(browser, CONDITIONAL, {"allowCredentials": [{"type": "public-key", "id": made}]})
        assert bridge.wait_until(lambda: focus(browser), "the list") == ["mona2 (passkey)"]
        assert "mona" not in browser.execute_script("return document.documentElement.outerHTML")
        # A click of the page's is none; one of the user's is.
        reach = "const list = document.querySelector('#doppelkey-autofill'); list.click(); return String(list.shadowRoot)"
        assert browser.execute_script(reach) == "null"
        browser.execute_script("const { left, bottom } = document.querySelector('input').getBoundingClientRect(); document.elementFromPoint(left + 9, bottom + 9).click()")
        time.sleep(0.3)
        assert browser.execute_script("return window.outcome") is None
        pick(browser, "mona2")
        assert outcome(browser) == {"id": made}
        # By the keyboard: down to the second and up again to the first, and Escape picks nobody.
        begin(browser, CONDITIONAL, {})
        bridge.wait_until(lambda: len(focus(browser)) == 2, "the list")
        browser.press_keys("ArrowDown", "Escape", "Enter")
        assert not browser.offered() and browser.execute_script("return window.outcome") is None
        first = bridge.wait_until(lambda: focus(browser), "the list")[0].split()[0]
        browser.press_keys("ArrowDown", "ArrowDown", "ArrowUp", "Enter")
        assert outcome(browser) == {"id": ids[first]}
        # A field inside of a component.
        begin(browser, CONDITIONAL, {})
        browser.execute_script("""
            const component = document.body.appendChild(document.createElement("div"));
            component.attachShadow({ mode: "open" }).innerHTML = "<input autocomplete=webauthn>";
            component.shadowRoot.firstChild.focus()""")
        time.sleep(0.5)
        bridge.wait_until(browser.offered, "the list under the component's field")
        pick(browser, "mona1")
        assert outcome(browser) == {"id": ids["mona1"]}
        # For another site there is nothing to wait for.
        assert run(browser, CONDITIONAL, {"rpId": "example.com"})["name"] == "SecurityError"


def test_autofill_gives_the_picked_passkeys_own_prf_and_refuses_what_no_browser_takes(open_browser):
    open_it, name = open_browser
    with page_server() as port, bridge.bridge() as ready, open_it(ready[name]) as browser:
        browser.get(f"http://localhost:{port}/field")
        ids = []
        for number, handle in [(1, "AQ"), (2, "Ag")]:
            user = {"id": handle, "name": f"mona{number}", "displayName": "Mona"}
            ids.append(run(browser, CREATE, {"user": user, "extensions": {"prf": {}}})["id"])
        allowed = [{"type": "public-key", "id": made} for made in ids]
        own = {"prf": {"evalByCredential": {ids[0]: {"first": "AAAA"}, ids[1]: {"first": "BBBB"}}}}
        by_autofill = GET.replace("{ publicKey, signal }", '{ publicKey, signal, mediation: "conditional" }')
        begin(browser, by_autofill, {"allowCredentials": allowed, "extensions": own})
        bridge.wait_until(lambda: len(focus(browser)) == 2, "the list")
        pick(browser, "mona2")
        picked = outcome(browser)
        expected = {"allowCredentials": allowed[1:], "extensions": {"prf": {"eval": {"first": "BBBB"}}}}
        assert (picked["id"], picked["prf"]) == (ids[1], run(browser, GET, expected)["prf"])
        # What the page itself asked counts, not what the pick leaves of it (§10.1.4, §10.1.5).
        assert run(browser, by_autofill, {"extensions": own})["name"] == "NotSupportedError"
        foreign = {"allowCredentials": allowed[:1], "extensions": own}
        assert run(browser, by_autofill, foreign)["name"] == run(browser, GET, foreign)["name"] == "SyntaxError"
        write = {"allowCredentials": allowed, "extensions": {"largeBlob": {"write": "AAAA"}}}
        assert run(browser, by_autofill, write)["name"] == run(browser, GET, write)["name"] == "NotSupportedError"


def test_a_reloaded_extension_tells_open_pages_so(open_browser):
    open_it, name = open_browser
    with page_server() as port, bridge.program("run", *WAITING) as running:
        user = User(running)
        with bridge.bridge("--packets", running["packets"]) as ready, open_it(ready[name]) as browser:
            browser.get(f"http://localhost:{port}/field")
            begin(browser, CREATE, {})
            user.answer("press")
            outcome(browser)
            begin(browser, CONDITIONAL, {})
            bridge.wait_until(lambda: focus(browser), "the list")
            pick(browser, "localhost")
            bridge.wait_until(user.prompt, "the prompt")
            browser.reload_extension()
            refused = outcome(browser)
            assert refused["name"] == "NotAllowedError" and "reload" in refused["message"], refused
            bridge.wait_until(lambda: user.prompt() is None, "the end of the prompt")


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
