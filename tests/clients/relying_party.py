"""A running `doppelkey relying-party`, its visitors, and a small certificate authority, for tests."""

import base64
import datetime
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class RelyingParty:
    """By its ready line; `environment` is added to the program's own."""

    def __init__(self, *arguments, environment=()):
        command = [os.environ["DOPPELKEY"], "relying-party", "--json", "--listen", "127.0.0.1:0"]
        if "--db" not in arguments:
            command += ["--db", "memory"]
        # A file, which can be read meanwhile and is never full.
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command + [str(argument) for argument in arguments],
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, **dict(environment)},
        )
        line = self.process.stdout.readline()
        if not line:
            self.process.communicate()
            raise RuntimeError(self.complaints)
        self.ready = json.loads(line)
        self.url = self.ready["url"]

    def events(self):
        request = urllib.request.Request(
            self.url.replace("localhost", "127.0.0.1") + "/api/v2/logs?take=100",
            headers={"Authorization": "Bearer " + self.ready["admin_token"]},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def codes(self):
        return [event["type"] for event in self.events()]

    @property
    def complaints(self):
        """What it has said on standard error."""
        return os.pread(self.errors.fileno(), os.fstat(self.errors.fileno()).st_size, 0).decode(errors="replace")

    def wait_for_complaint(self, text, seconds=60):
        """Waits until it has said this on standard error, for what comes next to come after that."""
        deadline = time.monotonic() + seconds
        while text not in self.complaints:
            assert time.monotonic() < deadline, f"{text!r} is not said: {self.complaints}"
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, said + self.complaints


class Visitor:
    """A browser without a script: forms, JSON, cookies, redirects that are followed by hand."""

    def __init__(self, party):
        self.party, self.cookies = party, {}

    def send(self, method, path, body=None, content_type=None):
        """The status, the headers and the text."""
        request = urllib.request.Request(
            self.party.url.replace("localhost", "127.0.0.1") + path, method=method, data=body
        )
        request.add_header("Host", self.party.url.split("://")[1])
        if content_type:
            request.add_header("Content-Type", content_type)
        if self.cookies:
            request.add_header("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        try:
            answer = NO_REDIRECTS.open(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        for line in answer.headers.get_all("set-cookie") or []:
            name, value = re.match(r"([^=]+)=([^;]*)", line).groups()
            self.cookies[name] = value
        return answer.status, answer.headers, answer.read().decode()

    def get(self, path):
        return self.send("GET", path)

    def form(self, path, **fields):
        """Where the answer leads, or what it says."""
        body = urllib.parse.urlencode(fields).encode()
        status, headers, text = self.send("POST", path, body, "application/x-www-form-urlencoded")
        return headers["location"] if status == 303 else text

    def json(self, path, value):
        status, _, text = self.send("POST", path, json.dumps(value).encode(), "application/json")
        return status, json.loads(text)


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


NO_REDIRECTS = urllib.request.build_opener(NoRedirects)


class Authority:
    """A root certificate, or one below another authority, and what it signs."""

    def __init__(self, name="A root for tests", above=None, days=(-1, 30)):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (above or self)._certificate(self.name, self.key.public_key(), [
            (x509.BasicConstraints(ca=True, path_length=None), True),
        ], days)

    def issue(self, key, names, extensions=(), days=(-1, 30), ca=False):
        """A certificate of an end entity, valid between two days from now."""
        subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in names])
        return self._certificate(subject, key.public_key(), [
            (x509.BasicConstraints(ca=ca, path_length=None), True), *extensions,
        ], days)

    def _certificate(self, subject, public_key, extensions, days):
        now = datetime.datetime.now(datetime.timezone.utc)
        first, last = (now + datetime.timedelta(days=day) for day in days)
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public_key)
            .serial_number(x509.random_serial_number()).not_valid_before(first).not_valid_after(last)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def revokes(self, *certificates, days=(-1, 30), extensions=()):
        """The list of the certificates that it has taken back, PEM; the next is due on the second day."""
        now = datetime.datetime.now(datetime.timezone.utc)
        first, next = (now + datetime.timedelta(days=day) for day in days)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(first).next_update(next)
        for certificate in certificates:
            revoked = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(first)
            builder = builder.add_revoked_certificate(revoked.build())
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def pem(self):
        return self.certificate.public_bytes(Encoding.PEM)
