"""Another device: Chromium on a desktop without an authenticator, and a phone, as two processes of doppelkey.

There is no radio: the two hear each other in a folder. Everything else is the hybrid transport's (CTAP §11.5).
"""

import json
import os
import subprocess

import pytest

import bridge
from test_bridge import account, press, run, sign_out

EMAIL = "mona@example.com"


class Desktop:
    """A browser on `doppelkey bridge --phone`, whose screen a phone can read."""

    def __init__(self, process, browser):
        self.process, self.browser = process, browser

    def screen(self):
        """What it shows next: `{"scan": code}` or `{"calling": name}`."""
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def air(tmp_path):
    return str(tmp_path / "air")


@pytest.fixture
def desktop(tmp_path, air):
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "desktop")}
    arguments = ["--phone", "--air", air, "--json", "--picture", str(tmp_path / "qr.png")]
    with bridge.running("bridge", *arguments, env=environment) as started:
        with bridge.chromium(started.ready["chromium"]) as browser:
            yield Desktop(started.process, browser)


@pytest.fixture
def phone(air):
    arguments = ["--ephemeral", "--user", "auto", "--name", "Mona's phone", "--air", air, "--tunnel", "127.0.0.1:0"]
    with bridge.running("phone", *arguments, "--json", stdin=subprocess.PIPE) as started:
        yield started.process


def scan(phone, desktop):
    code = desktop.screen()["scan"]
    phone.stdin.write(f"{code}\n")
    phone.stdin.flush()


def test_sign_up_by_a_qr_code_and_sign_in_by_calling_the_phone(desktop, phone):
    browser = desktop.browser
    with bridge.relying_party() as url:
        browser.get(f"{url}/signup")
        email = "document.querySelector('[name=email]').value = given[0]; document.querySelector('form').submit()"
        run(browser, email, EMAIL)
        bridge.wait_until(lambda: browser.current_url.endswith("/signup/passkey"), "the offer of a passkey")
        press(browser, "[data-ceremony=create]")
        scan(phone, desktop)
        assert EMAIL in account(browser)
        sign_out(browser)

        # The second time no code is shown: the phone is known, and called.
        browser.get(f"{url}/login")
        press(browser, "[data-ceremony=get]")
        assert desktop.screen() == {"calling": "Mona's phone"}
        # The relying party has seen that the passkey is on another device, and offers one for this one.
        offered = bridge.wait_until(lambda: "/enroll/local" in browser.current_url, "the offer of a local passkey")
        assert offered
        ask = """
            const headers = { "Content-Type": "application/json" };
            return (await fetch("/enroll/local/options", { method: "POST", headers, body: "{}" })).json();
        """
        options = run(browser, ask)["publicKey"]
        assert options["authenticatorSelection"]["authenticatorAttachment"] == "platform"
        assert options["excludeCredentials"][0]["transports"] == ["hybrid", "internal"]


def test_a_phone_scans_a_picture_and_its_user_says_no(desktop, air, tmp_path):
    from test_bridge import CREATE, begin, outcome

    browser = desktop.browser
    with bridge.relying_party() as url:
        browser.get(f"{url}/login")
        begin(browser, CREATE, {})
        assert desktop.screen()["scan"].startswith("FIDO:/")
        picture = str(tmp_path / "qr.png")
        command = [os.environ["DOPPELKEY"], "phone", picture, "--once", "--ephemeral", "--air", air, "--user", "deny"]
        subprocess.run([*command, "--tunnel", "127.0.0.1:0"], check=True, timeout=60)
        assert outcome(browser)["name"] == "NotAllowedError"
