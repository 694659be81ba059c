"""The authenticators of PyPI that are called in process: WebAuthn options in, WebAuthn response out."""

import json
import sys
import time

ROUNDS = 300


def times(work):
    for _ in range(ROUNDS // 10):
        work()
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1e6)
    taken.sort()
    return {"median_us": taken[ROUNDS // 2], "p99_us": taken[ROUNDS * 99 // 100]}


def soft_webauthn():
    from soft_webauthn import SoftWebauthnDevice

    device = SoftWebauthnDevice()
    create = {
        "rp": {"id": "example.com", "name": "Example"},
        "user": {"id": b"1", "name": "mona", "displayName": "Mona"},
        "challenge": b"\7" * 32,
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
    }
    get = {"rpId": "example.com", "challenge": b"\7" * 32}
    origin = "https://example.com"
    return lambda: device.create({"publicKey": create}, origin), lambda: device.get({"publicKey": get}, origin)


def soft_fido2():
    import soft_fido2

    create = {
        "rp": {"id": "example.com", "name": "Example"},
        "user": {"id": "AQ", "name": "mona", "displayName": "Mona"},
        "challenge": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc",
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
    }
    get = {"rpId": "example.com", "challenge": create["challenge"]}
    held = [soft_fido2.Fido2Authenticator()]

    def make():
        held[0] = soft_fido2.Fido2Authenticator()  # one holds one key
        return held[0].credential_create(create)

    return make, lambda: held[0].credential_request(get)


def main():
    make, get = {"soft-webauthn": soft_webauthn, "soft-fido2": soft_fido2}[sys.argv[1]]()
    make()
    print("ready", flush=True)
    if sys.argv[-1] == "ready":
        return
    found = {"make": times(make), "get": times(get)}
    memory = next(line for line in open("/proc/self/status") if line.startswith("VmRSS:"))
    print(json.dumps({**found, "memory_kib": int(memory.split()[1])}))


if __name__ == "__main__":
    main()
