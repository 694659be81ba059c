"""Webhooks to a real server, which checks signatures as anybody would: with the package of Standard Webhooks."""

import base64
import http.server
import json
import os
import signal
import ssl
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook

from postgresql import cluster
from relying_party import Authority, RelyingParty, Visitor

PASSWORD = "correct horse battery"


class Receiver:
    """What arrived, verified; `status` is how it answers."""

    def __init__(self, folder, secret, port=0):
        self.status, self.events, self.messages = 204, [], []
        authority, key = Authority(), ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = authority.issue(key, [(NameOID.COMMON_NAME, "localhost")], [(names, False)])
        chain, root = folder / "server.pem", folder / "root.pem"
        chain.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
        )
        root.write_bytes(authority.pem())
        self.environment = {"SSL_CERT_FILE": str(root)}
        webhook, receiver = Webhook(secret), self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                # Refuses a wrong signature, and a message that is older than five minutes.
                events = webhook.verify(body, dict(self.headers.items()))
                receiver.messages.append((self.headers["webhook-id"], self.path))
                if receiver.status == 204:
                    receiver.events += events
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_port}/hooks/a-secret-path?tenant=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ids(self):
        return [event["log_id"] for event in self.events]

    def wait_for(self, ids, seconds=40):
        deadline = time.monotonic() + seconds
        while not set(ids) <= set(self.ids()):
            assert time.monotonic() < deadline, f"events are missing: {set(ids) - set(self.ids())}"
            time.sleep(0.05)


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "webhook.secret"
    text = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    path.write_text(text + "\n")
    return path, text


@pytest.fixture
def receiver(tmp_path, secret):
    receiver = Receiver(tmp_path, secret[1])
    yield receiver
    receiver.server.shutdown()


def sign_up(party, email):
    visitor = Visitor(party)
    assert visitor.form("/signup", email=email) == "/signup/passkey"
    assert visitor.form("/signup/password", password=PASSWORD) == "/account"


def logged(party):
    return [event["log_id"] for event in party.events()]


def test_events_arrive_signed_over_tls_and_a_refusal_is_told_without_the_path(secret, receiver):
    receiver.status = 500
    with RelyingParty(
        "--webhook", receiver.url, "--webhook-secret", secret[0], environment=receiver.environment
    ) as party:
        sign_up(party, "ada@example.org")
        deadline = time.monotonic() + 20
        while len(receiver.messages) < 2:
            assert time.monotonic() < deadline, "it is not tried again"
            time.sleep(0.05)
        assert receiver.messages[0][0] == receiver.messages[1][0], "one name at every try"
        receiver.status = 204
        receiver.wait_for(logged(party))
        assert {path for _, path in receiver.messages} == {"/hooks/a-secret-path?tenant=1"}
        assert [event["data"]["type"] for event in receiver.events if event["data"]["user_name"]] == ["ss", "s"]
        # What comes next is sent once the program has noted that the former arrived.
        sign_up(party, "bob@example.org")
        receiver.wait_for(logged(party))
    assert "answered 500" in party.complaints and "takes events again" in party.complaints
    assert "a-secret-path" not in party.complaints and PASSWORD not in json.dumps(receiver.events)


def test_a_receiver_that_nobody_vouches_for_hears_nothing(secret, receiver, tmp_path):
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(Authority().pem())
    with RelyingParty(
        "--webhook", receiver.url, "--webhook-secret", secret[0], environment={"SSL_CERT_FILE": str(stranger)}
    ) as party:
        sign_up(party, "ada@example.org")
        party.wait_for_complaint("no secure connection")
        assert receiver.messages == []
    assert "hint: is its certificate" in party.complaints


def test_of_two_processes_on_postgresql_one_sends_and_if_it_is_killed_the_other(secret, receiver):
    with cluster() as database:
        arguments = ("--db", database, "--webhook", receiver.url, "--webhook-secret", secret[0])
        victim = RelyingParty(*arguments, environment=receiver.environment)
        with RelyingParty(*arguments, environment=receiver.environment) as survivor:
            sign_up(victim, "ada@example.org")
            sign_up(survivor, "bob@example.org")
            ids = logged(survivor)
            receiver.wait_for(ids)
            assert sorted(receiver.ids()) == sorted(ids), "none comes from both"
            victim.process.send_signal(signal.SIGKILL)
            victim.process.communicate()
            sign_up(survivor, "eve@example.org")
            receiver.wait_for(logged(survivor))


@pytest.mark.parametrize("url, key, what", [
    ("http://siem.example.org/", "A" * 44, "is not https"),
    ("https://siem.example.org/", "hunter2", "line 1 of the webhooks' secret"),
])
def test_settings_that_cannot_work_are_told_at_the_start(tmp_path, url, key, what):
    path = tmp_path / "secret"
    path.write_text(key)
    with pytest.raises(RuntimeError, match=f"(?s)error: .*{what}.*hint: ") as told:
        RelyingParty("--webhook", url, "--webhook-secret", path)
    assert "hunter2" not in str(told.value)
