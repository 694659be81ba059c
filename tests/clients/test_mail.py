"""Mail through a real server: with TLS and credentials, and with a server that is down or says no."""

import re
import socket
import ssl
import time
from email import message_from_bytes, policy

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography import x509
from cryptography.x509.oid import NameOID

from relying_party import Authority, RelyingParty, Visitor

EMAIL, PASSWORD = "ada@example.org", "correct horse battery"
# Not ASCII, as most services' names are somewhere.
NAME = "Café Größe"
USER, SECRET = b"doppelkey", b"a-secret-of-the-mail-server"


class Mailbox:
    """What arrived, and how."""

    def __init__(self):
        self.messages, self.refuse = [], None

    async def handle_DATA(self, server, session, envelope):
        if self.refuse:
            return self.refuse
        message = message_from_bytes(envelope.content, policy=policy.default)
        self.messages.append((session, envelope, message))
        return "250 OK"

    def wait(self, count=1, seconds=20):
        deadline = time.monotonic() + seconds
        while len(self.messages) < count:
            assert time.monotonic() < deadline, "no mail came"
            time.sleep(0.05)
        return self.messages[-1]


class Settings:
    """A certificate for localhost, the root to believe, and a port that is free."""

    def __init__(self, folder):
        authority = Authority()
        key = ec.generate_private_key(ec.SECP256R1())
        name = [(NameOID.COMMON_NAME, "localhost")]
        alternative = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = authority.issue(key, name, [(alternative, False)])
        chain = folder / "server.pem"
        chain.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
        )
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(chain)
        root = folder / "root.pem"
        root.write_bytes(authority.pem())
        # Where OpenSSL's programs look for roots, and lettre's.
        self.environment = {"SSL_CERT_FILE": str(root)}
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]

    def party(self, url):
        mail = ("--smtp", url.format(port=self.port), "--mail-from", "login@example.org", "--name", NAME)
        return RelyingParty(*mail, environment=self.environment)


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path)


@pytest.fixture
def mailbox():
    return Mailbox()


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (USER, SECRET))


def ask_for_a_code(party):
    """Signs up, and asks for a code to recover with; gives the visitor."""
    visitor = Visitor(party)
    assert visitor.form("/signup", email=EMAIL) == "/signup/passkey"
    assert visitor.form("/signup/password", password=PASSWORD) == "/account"
    visitor = Visitor(party)
    assert visitor.form("/recover", email=EMAIL) == "/recover/code"
    return visitor


def recover_with(visitor, message):
    code = re.search(r"\b\d{6}\b", message.get_content()).group()
    assert visitor.form("/recover/code", code=code) == "/recover/new"


@pytest.mark.parametrize("how", ["starttls", "tls"])
def test_a_code_arrives_over_tls_from_an_authenticated_sender(settings, mailbox, how):
    arguments = {"tls_context": settings.tls, "require_starttls": True}
    if how == "tls":
        arguments = {"ssl_context": settings.tls, "auth_require_tls": False}
    server = Controller(
        mailbox, hostname="127.0.0.1", port=settings.port, server_hostname="localhost",
        authenticator=authenticate, auth_required=True, **arguments,
    )
    server.start()
    try:
        scheme, query = ("smtps", "") if how == "tls" else ("smtp", "?tls=required")
        url = f"{scheme}://{USER.decode()}:{SECRET.decode()}@localhost:{{port}}{query}"
        with settings.party(url) as party:
            visitor = ask_for_a_code(party)
            session, envelope, message = mailbox.wait()
            assert session.authenticated
            assert (envelope.mail_from, envelope.rcpt_tos) == ("login@example.org", [EMAIL])
            assert f"is your code for {NAME}" in message["Subject"]
            assert (message["MIME-Version"], message.get_content_charset()) == ("1.0", "utf-8")
            assert NAME in message.get_content()
            recover_with(visitor, message)
            assert "fn" not in party.codes()
    finally:
        server.stop()


def test_a_server_that_nobody_vouches_for_gets_no_password_and_no_mail(settings, mailbox, tmp_path):
    seen = []

    def remember(server, session, envelope, mechanism, data):
        seen.append(data)
        return AuthResult(success=True)

    server = Controller(
        mailbox, hostname="127.0.0.1", port=settings.port, server_hostname="localhost", tls_context=settings.tls,
        authenticator=remember, auth_required=True,
    )
    server.start()
    try:
        stranger = tmp_path / "stranger.pem"
        stranger.write_bytes(Authority().pem())
        settings.environment = {"SSL_CERT_FILE": str(stranger)}
        with settings.party("smtp://doppelkey:secret@localhost:{port}?tls=required") as party:
            ask_for_a_code(party)
            party.wait_for_complaint("no secure connection")
        assert (seen, mailbox.messages) == ([], [])
    finally:
        server.stop()


def test_a_mail_outlives_a_server_that_is_down(settings, mailbox):
    with settings.party("smtp://localhost:{port}") as party:
        # The visitor sees the next screen, as ever.
        visitor = ask_for_a_code(party)
        # Not before: a server that is up by the first try shows nothing.
        party.wait_for_complaint("tried again")
        assert "fn" not in party.codes()
        server = Controller(mailbox, hostname="127.0.0.1", port=settings.port, server_hostname="localhost")
        server.start()
        try:
            _, _, message = mailbox.wait()
            recover_with(visitor, message)
        finally:
            server.stop()
    assert "cannot be reached" in party.complaints


def test_a_mail_that_is_refused_is_one_event_without_the_recipient(settings, mailbox):
    mailbox.refuse = f"550 5.1.1 <{EMAIL}> is nobody here"
    server = Controller(mailbox, hostname="127.0.0.1", port=settings.port, server_hostname="localhost")
    server.start()
    try:
        with settings.party("smtp://localhost:{port}") as party:
            ask_for_a_code(party)
            deadline = time.monotonic() + 10
            while "fn" not in party.codes():
                assert time.monotonic() < deadline, "no event came"
                time.sleep(0.05)
            (event,) = [event for event in party.events() if event["type"] == "fn"]
            assert event["details"]["error"]["message"] == "the mail server answered 550"
        assert EMAIL not in party.complaints and "550" in party.complaints
    finally:
        server.stop()


@pytest.mark.parametrize("url, sender", [("imap://localhost", "login@example.org"), ("smtp://localhost", "nobody")])
def test_settings_that_cannot_work_are_told_at_the_start(url, sender):
    with pytest.raises(RuntimeError, match="(?s)error: .*hint: for example"):
        RelyingParty("--smtp", url, "--mail-from", sender)
