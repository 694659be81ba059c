"""A running `doppelkey bridge`, and the two browsers with its extension.

Chromium is driven by Selenium over Debian's chromedriver. Firefox is driven over Marionette, the protocol that it
speaks itself: geckodriver, which Selenium would need, is in no package registry that is plain to reach.
"""

import base64
import contextlib
import hmac
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

FIREFOX, CHROMIUM, CHROMEDRIVER = (shutil.which(name) for name in ("firefox-esr", "chromium", "chromedriver"))


def authorization(token, path, body):
    """What the extension sends in place of the token; path without the slash in front."""
    nonce = base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode()
    proof = hmac.digest(token.encode(), f"request\n{path}\n{nonce}\n".encode() + body, "sha256")
    return f"Doppelkey {nonce}." + base64.urlsafe_b64encode(proof).rstrip(b"=").decode()


class Program:
    """A subcommand of doppelkey that prints one line of JSON once it is ready."""

    def __init__(self, *arguments, **options):
        command = [os.environ["DOPPELKEY"], *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
        line = self.process.stdout.readline()
        assert line, f"{' '.join(command)} ended before it was ready"
        self.ready = json.loads(line)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0
        self.process.stdout.close()


@contextlib.contextmanager
def running(*arguments, **options):
    """A program itself, to read from, to write to, or to stop."""
    running = Program(*arguments, **options)
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def program(*arguments):
    with running(*arguments) as started:
        yield started.ready


@contextlib.contextmanager
def relying_party():
    """The URL of a relying party in memory."""
    with program("relying-party", "--json", "--db", "memory", "--listen", "127.0.0.1:0") as ready:
        yield ready["url"]


@contextlib.contextmanager
def bridge(*arguments):
    """A bridge to an authenticator in memory whose user approves everything; or as the arguments say."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = arguments or ("--ephemeral", "--user", "auto")
        with program("bridge", "--json", "--extensions", folder, *arguments) as ready:
            yield ready


@contextlib.contextmanager
def chromium(extension, *arguments):
    """Headless Chromium with the extension and these further arguments, as Selenium's driver."""
    from selenium import webdriver

    class Chromium(ChromiumMethods, webdriver.Chrome):
        pass

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in [
        "--headless=new",
        "--no-sandbox",  # the tests may run as root
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--load-extension={extension}",
        *arguments,
    ]:
        options.add_argument(argument)
    driver = Chromium(options, webdriver.ChromeService(CHROMEDRIVER))
    try:
        driver.set_script_timeout(30)
        yield driver
    finally:
        driver.quit()


# As WebDriver has them (§17.4.2).
KEYS = {"ArrowDown": "\ue015", "ArrowUp": "\ue013", "Enter": "\ue007", "Escape": "\ue00c"}


class ChromiumMethods:
    """What a test needs beyond Selenium, with the names of Marionette's below."""

    def get(self, url):
        """As Selenium's, and waits until the extension is attached: what a page asks before goes to the browser itself."""
        super().get(url)
        is_attached = """
            const done = arguments[0];
            if (!globalThis.PublicKeyCredential) return done(true);
            PublicKeyCredential.isUserVerifyingPlatformAuthenticatorAvailable().then(done);
        """
        wait_until(lambda: self.execute_async_script(is_attached), "the extension")

    def open_tab(self, url):
        self.switch_to.new_window("tab")
        self.get(url)

    def tab(self):
        return self.current_window_handle

    def go_to_tab(self, handle):
        self.switch_to.window(handle)

    def close_tab(self):
        self.close()

    def reload_extension(self):
        """As the button on chrome://extensions does."""
        here = self.tab()
        self.open_tab("chrome://extensions")
        self.execute_async_script("""
            const [done, id] = [arguments[1], arguments[0]];
            chrome.developerPrivate.reload(id, { failQuietly: true }).then(done, done);
        """, "hobkallklihhfficgpclfggelmflbedd")
        self.close_tab()
        self.go_to_tab(here)

    def offered(self):
        root = self.execute_cdp_cmd("DOM.getDocument", {"depth": -1, "pierce": True})["root"]
        entries = []

        def look(node, inside):
            attributes = node.get("attributes", [])
            inside = inside or "doppelkey-autofill" in attributes
            if inside and node["nodeName"] == "BUTTON":
                box = self.execute_cdp_cmd("DOM.getBoxModel", {"backendNodeId": node["backendNodeId"]})["model"]["border"]
                text = "".join(child.get("nodeValue", "") for child in node.get("children", []))
                entries.append([text, sum(box[0::2]) / 4, sum(box[1::2]) / 4])
            for child in node.get("children", []) + node.get("shadowRoots", []):
                look(child, inside)

        look(root, False)
        return entries

    def click_at(self, x, y):
        for kind in ["mousePressed", "mouseReleased"]:
            deed = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            self.execute_cdp_cmd("Input.dispatchMouseEvent", deed)

    def press_keys(self, *names):
        from selenium.webdriver import ActionChains

        ActionChains(self).send_keys("".join(KEYS[name] for name in names)).perform()


class Marionette:
    """As much of Marionette as a test needs; the methods have Selenium's names."""

    def __init__(self, port):
        deadline = time.monotonic() + 60
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
                break
            except OSError:
                assert time.monotonic() < deadline, "Firefox does not open its Marionette port"
                time.sleep(0.1)
        self.buffer = b""
        self._receive()
        self.number = 0
        self.send("WebDriver:NewSession", {"capabilities": {"alwaysMatch": {"acceptInsecureCerts": False}}})
        self.send("WebDriver:SetTimeouts", {"script": 30_000, "implicit": 10_000})

    def _receive(self):
        while b":" not in self.buffer:
            self._read()
        length, self.buffer = self.buffer.split(b":", 1)
        while len(self.buffer) < int(length):
            self._read()
        message, self.buffer = self.buffer[: int(length)], self.buffer[int(length) :]
        return json.loads(message)

    def _read(self):
        piece = self.socket.recv(65536)
        assert piece, "Firefox closed its Marionette port"
        self.buffer += piece

    def send(self, name, parameters=None):
        self.number += 1
        message = json.dumps([0, self.number, name, parameters or {}]).encode()
        self.socket.sendall(b"%d:%s" % (len(message), message))
        _, number, error, result = self._receive()
        assert number == self.number
        if error:
            raise RuntimeError(f"{error['error']}: {error['message']}")
        return result

    def install(self, folder):
        """Installs an extension from a folder, until Firefox ends."""
        self.extension = folder
        self.send("Addon:Install", {"path": str(folder), "temporary": True})

    def reload_extension(self):
        """As the button on about:debugging does."""
        self.install(self.extension)

    def get(self, url):
        self.send("WebDriver:Navigate", {"url": url})

    @property
    def current_url(self):
        return self.send("WebDriver:GetCurrentURL")["value"]

    def open_tab(self, url):
        """Opens a tab with this page, and goes there."""
        handle = self.send("WebDriver:NewWindow", {"type": "tab"})["handle"]
        self.go_to_tab(handle)
        self.get(url)

    def tab(self):
        return self.send("WebDriver:GetWindowHandle")["value"]

    def go_to_tab(self, handle):
        self.send("WebDriver:SwitchToWindow", {"handle": handle})

    def close_tab(self):
        self.send("WebDriver:CloseWindow")

    def offered(self):
        """What autofill offers, which only the browser can see: the text of each entry and where it is."""
        script = """
            const list = document.getElementById("doppelkey-autofill")?.openOrClosedShadowRoot;
            return [...(list?.querySelectorAll("[role=option]") ?? [])].map((option) => {
              const { x, y, width, height } = option.getBoundingClientRect();
              return [option.textContent, Math.round(x + width / 2), Math.round(y + height / 2)];
            });
        """
        return self.send("WebDriver:ExecuteScript", {"script": script, "args": [], "sandbox": "system"})["value"]

    def click_at(self, x, y):
        """A click that is the user's, to the page."""
        deeds = [
            {"type": "pointerMove", "x": x, "y": y, "duration": 0},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": deeds}
        self.send("WebDriver:PerformActions", {"actions": [mouse]})

    def press_keys(self, *names):
        deeds = [{"type": kind, "value": KEYS[name]} for name in names for kind in ("keyDown", "keyUp")]
        self.send("WebDriver:PerformActions", {"actions": [{"type": "key", "id": "keyboard", "actions": deeds}]})

    def execute_async_script(self, script, *arguments):
        return self.send("WebDriver:ExecuteAsyncScript", {"script": script, "args": arguments, "sandbox": None})["value"]

    def execute_script(self, script, *arguments):
        return self.send("WebDriver:ExecuteScript", {"script": script, "args": arguments, "sandbox": None})["value"]


@contextlib.contextmanager
def firefox(extension):
    """Headless Firefox with the extension."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as profile:
        preferences = {
            "marionette.port": port,
            "app.normandy.enabled": False,
            "browser.shell.checkDefaultBrowser": False,
            "datareporting.policy.dataSubmissionEnabled": False,
            "toolkit.telemetry.enabled": False,
            "extensions.update.enabled": False,
            "network.captive-portal-service.enabled": False,
            "network.connectivity-service.enabled": False,
        }
        text = "".join(f'user_pref("{name}", {json.dumps(value)});\n' for name, value in preferences.items())
        pathlib.Path(profile, "user.js").write_text(text)
        command = [FIREFOX, "--headless", "--marionette", "--no-remote", "--profile", profile, "about:blank"]
        # As root it refuses a home that is somebody else's.
        surroundings = {**os.environ, "HOME": profile}
        process = subprocess.Popen(command, env=surroundings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            driver = Marionette(port)
            driver.install(extension)
            yield driver
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_until(condition, what, seconds=30):
    """The condition's first value that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)
