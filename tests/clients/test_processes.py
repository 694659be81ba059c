"""Two relying parties on one PostgreSQL database under load: one is killed, and the other goes on."""

import json
import os
import signal
import subprocess
import time

import pytest

from postgresql import PROGRAMS, cluster
from relying_party import RelyingParty, Visitor

USERS, SIGN_INS = 40, 8


@pytest.fixture
def database():
    with cluster() as url:
        yield url


def load(party, users, sign_ins):
    command = [os.environ["DOPPELKEY"], "load", "--json", "--relying-party", party.url, "--users", str(users)]
    command += ["--sign-ins", str(sign_ins), "--at-a-time", "8"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_one_of_two_processes_is_killed_under_load_and_the_other_goes_on(tmp_path, database):
    policy = tmp_path / "policy.toml"
    policy.write_text("[limits]\nsignups_per_ip_minute = 1000000\n")
    with RelyingParty("--db", database, "--policy", policy) as survivor:
        victim = RelyingParty("--db", database)
        # Whoever has signed up at one is known at the other: the session, too.
        visitor = Visitor(victim)
        visitor.form("/signup", email="ada@example.org")
        assert visitor.form("/signup/password", password="correct horse battery") == "/account"
        visitor.party = survivor
        assert visitor.get("/account")[0] == 200

        steady, doomed = load(survivor, USERS, SIGN_INS), load(victim, 10000, 1)
        ends = time.monotonic() + 60
        while len(survivor.codes()) < 60 and time.monotonic() < ends:
            time.sleep(0.05)
        assert doomed.poll() is None and steady.poll() is None, "both are under load"
        victim.process.send_signal(signal.SIGKILL)
        victim.process.communicate()
        said, complained = doomed.communicate(timeout=60)
        assert doomed.returncode == 1 and "error: " in complained and "hint: is it running?" in complained
        signed_up = json.loads(said)["users"]
        said, complained = steady.communicate(timeout=300)
        assert steady.returncode == 0, complained
        figures = json.loads(said)["ceremonies"]
        assert (figures["sign-up"]["count"], figures["sign-in"]["count"]) == (USERS, USERS * SIGN_INS)
        times = figures["sign-in"]["ms"]
        print(f"sign-ins beside a process that is killed: 50 % {times['p50']:.1f} ms, 99 % {times['p99']:.1f} ms")

        # Another takes its place, and everybody who was told to be signed up is there.
        with RelyingParty("--db", database) as successor:
            visitor.party = successor
            assert visitor.get("/account")[0] == 200
        query = "SELECT COUNT(*) FROM users"
        counted = subprocess.run(
            [f"{PROGRAMS}/psql", "-tA", "-U", "stories", "-h", database.split("host=")[1], "-c", query, "postgres"],
            check=True, capture_output=True, text=True,
        )
        assert int(counted.stdout) >= 1 + USERS + signed_up
