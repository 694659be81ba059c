"""A PostgreSQL cluster that nobody else uses, for tests."""

import contextlib
import glob
import os
import shutil
import subprocess
import tempfile

PROGRAMS = (sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [None])[-1]


def as_postgres(*command):
    """PostgreSQL refuses to run as root; Debian's package makes a user for it."""
    other = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    subprocess.run([*other, *command], check=True, stdout=subprocess.DEVNULL, cwd="/")


@contextlib.contextmanager
def cluster():
    """The URL of its database; it is gone afterwards."""
    folder = tempfile.mkdtemp(prefix="doppelkey-processes-")
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    data = f"{folder}/data"
    as_postgres(f"{PROGRAMS}/initdb", "--auth=trust", "--no-sync", "--username=stories", "-D", data)
    settings = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    as_postgres(f"{PROGRAMS}/pg_ctl", "start", "--wait", "--silent", "-o", settings, "-D", data, "-l", f"{folder}/log")
    try:
        yield f"postgres://stories@localhost/postgres?host={folder}"
    finally:
        as_postgres(f"{PROGRAMS}/pg_ctl", "stop", "--mode=immediate", "--silent", "-D", data)
        shutil.rmtree(folder)
