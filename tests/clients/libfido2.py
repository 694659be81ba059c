"""libfido2 (Debian's, through ctypes) over raw 64-byte CTAPHID packets: its own I/O functions are replaced.

`fido_dev_set_io_functions` takes open, close, read and write; each packet goes through the program's
`--packets` door. Nothing of libfido2 is changed, so this is what every client built on it sees.
"""

import ctypes
import ctypes.util
import select
import socket
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_size_t, c_uint8, c_uint64, c_void_p

OK = 0
ES256, EDDSA = -7, -8
OPT_OMIT, OPT_FALSE, OPT_TRUE = 0, 1, 2
EXT_HMAC_SECRET, EXT_CRED_PROTECT = 1, 2

OPEN = CFUNCTYPE(c_void_p, c_char_p)
CLOSE = CFUNCTYPE(None, c_void_p)
READ = CFUNCTYPE(c_int, c_void_p, POINTER(c_uint8), c_size_t, c_int)
WRITE = CFUNCTYPE(c_int, c_void_p, POINTER(c_uint8), c_size_t)


class Io(ctypes.Structure):
    _fields_ = [("open", OPEN), ("close", CLOSE), ("read", READ), ("write", WRITE)]


class Fido2Error(Exception):
    def __init__(self, call, code):
        self.code = code
        super().__init__(f"{call}: {code} {LIB.fido_strerr(code).decode()}")


def _load():
    name = ctypes.util.find_library("fido2")
    if name is None:
        return None
    lib = ctypes.CDLL(name)
    for function in ("fido_dev_new", "fido_cred_new", "fido_assert_new", "fido_cbor_info_new"):
        getattr(lib, function).restype = c_void_p
    for function in ("fido_cred_id_ptr", "fido_cred_authdata_ptr", "fido_cred_pubkey_ptr", "fido_cred_sig_ptr",
                     "fido_assert_hmac_secret_ptr", "fido_assert_user_id_ptr", "fido_cbor_info_aaguid_ptr",
                     "fido_assert_id_ptr"):
        getattr(lib, function).restype = c_void_p
    for function in ("fido_cred_id_len", "fido_cred_pubkey_len", "fido_assert_count", "fido_assert_hmac_secret_len",
                     "fido_assert_user_id_len", "fido_assert_id_len"):
        getattr(lib, function).restype = c_size_t
    lib.fido_strerr.restype = c_char_p
    lib.fido_cred_fmt.restype = c_char_p
    lib.fido_assert_flags.restype = c_uint8
    lib.fido_cbor_info_maxmsgsiz.restype = c_uint64
    lib.fido_init(0)
    return lib


LIB = _load()


def check(call, *arguments):
    code = getattr(LIB, call)(*arguments)
    if code != OK:
        raise Fido2Error(call, code)


def _bytes(pointer, length):
    return ctypes.string_at(pointer, length) if pointer else b""


class Device:
    """One open device. Close it, or use it as a context manager."""

    def __init__(self, address):
        self.address = address
        self.sock = None
        self.io = Io(OPEN(self._open), CLOSE(self._close), READ(self._read), WRITE(self._write))
        self.dev = c_void_p(LIB.fido_dev_new())
        check("fido_dev_set_io_functions", self.dev, byref(self.io))
        check("fido_dev_open", self.dev, address.encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        LIB.fido_dev_close(self.dev)
        LIB.fido_dev_free(byref(self.dev))

    def _open(self, path):
        host, port = path.decode().rsplit(":", 1)
        self.sock = socket.create_connection((host, int(port)), timeout=30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return 1

    def _close(self, _):
        self.sock.close()

    def _read(self, _, buffer, size, timeout_ms):
        ready, _, _ = select.select([self.sock], [], [], None if timeout_ms < 0 else timeout_ms / 1000)
        if not ready:
            return -1
        packet = b""
        while len(packet) < size:
            piece = self.sock.recv(size - len(packet))
            if not piece:
                return -1
            packet += piece
        ctypes.memmove(buffer, packet, size)
        return size

    def _write(self, _, buffer, size):
        # libfido2 puts the HID report number (0) before the packet.
        packet = ctypes.string_at(buffer, size)
        self.sock.sendall(packet[1:])
        return size

    # -- what the tests do

    def info(self):
        info = c_void_p(LIB.fido_cbor_info_new())
        try:
            check("fido_dev_get_cbor_info", self.dev, info)
            return {
                "aaguid": _bytes(LIB.fido_cbor_info_aaguid_ptr(info), 16),
                "max_message": LIB.fido_cbor_info_maxmsgsiz(info),
            }
        finally:
            LIB.fido_cbor_info_free(byref(info))

    def set_pin(self, pin, old=None):
        check("fido_dev_set_pin", self.dev, pin.encode(), old.encode() if old else None)

    def retries(self):
        count = c_int()
        check("fido_dev_get_retry_count", self.dev, byref(count))
        return count.value

    def reset(self):
        check("fido_dev_reset", self.dev)

    def make(self, rp_id, user_id, *, pin=None, algorithm=ES256, resident=True, extensions=0, exclude=(), uv=OPT_OMIT):
        """Makes a credential and has libfido2 verify its attestation; returns (id, public key)."""
        cred = c_void_p(LIB.fido_cred_new())
        try:
            check("fido_cred_set_type", cred, algorithm)
            check("fido_cred_set_clientdata_hash", cred, b"\x11" * 32, c_size_t(32))
            check("fido_cred_set_rp", cred, rp_id.encode(), b"Example")
            check("fido_cred_set_user", cred, user_id, c_size_t(len(user_id)), b"alice", b"Alice", None)
            check("fido_cred_set_rk", cred, OPT_TRUE if resident else OPT_FALSE)
            check("fido_cred_set_uv", cred, uv)
            if extensions:
                check("fido_cred_set_extensions", cred, extensions)
            if extensions & EXT_CRED_PROTECT:
                check("fido_cred_set_prot", cred, 3)
            for credential_id in exclude:
                check("fido_cred_exclude", cred, credential_id, c_size_t(len(credential_id)))
            check("fido_dev_make_cred", self.dev, cred, pin.encode() if pin else None)
            check("fido_cred_verify_self", cred)
            return (
                _bytes(LIB.fido_cred_id_ptr(cred), LIB.fido_cred_id_len(cred)),
                _bytes(LIB.fido_cred_pubkey_ptr(cred), LIB.fido_cred_pubkey_len(cred)),
            )
        finally:
            LIB.fido_cred_free(byref(cred))

    def get(self, rp_id, public_key, *, allow=(), pin=None, algorithm=ES256, salt=None, up=OPT_OMIT, uv=OPT_OMIT):
        """Gets an assertion and has libfido2 verify its signature; returns a dict."""
        request = c_void_p(LIB.fido_assert_new())
        try:
            check("fido_assert_set_clientdata_hash", request, b"\x22" * 32, c_size_t(32))
            check("fido_assert_set_rp", request, rp_id.encode())
            check("fido_assert_set_up", request, up)
            check("fido_assert_set_uv", request, uv)
            for credential_id in allow:
                check("fido_assert_allow_cred", request, credential_id, c_size_t(len(credential_id)))
            if salt:
                check("fido_assert_set_extensions", request, EXT_HMAC_SECRET)
                check("fido_assert_set_hmac_salt", request, salt, c_size_t(len(salt)))
            check("fido_dev_get_assert", self.dev, request, pin.encode() if pin else None)
            key = self._public_key(public_key, algorithm)
            try:
                check("fido_assert_verify", request, c_size_t(0), algorithm, key)
            finally:
                free = LIB.es256_pk_free if algorithm == ES256 else LIB.eddsa_pk_free
                free(byref(key))
            zero = c_size_t(0)
            return {
                "count": LIB.fido_assert_count(request),
                "flags": LIB.fido_assert_flags(request, zero),
                "id": _bytes(LIB.fido_assert_id_ptr(request, zero), LIB.fido_assert_id_len(request, zero)),
                "user_id": _bytes(LIB.fido_assert_user_id_ptr(request, zero), LIB.fido_assert_user_id_len(request, zero)),
                "hmac": _bytes(LIB.fido_assert_hmac_secret_ptr(request, zero), LIB.fido_assert_hmac_secret_len(request, zero)),
            }
        finally:
            LIB.fido_assert_free(byref(request))

    @staticmethod
    def _public_key(raw, algorithm):
        kind = "es256" if algorithm == ES256 else "eddsa"
        new = getattr(LIB, f"{kind}_pk_new")
        new.restype = c_void_p
        key = c_void_p(new())
        check(f"{kind}_pk_from_ptr", key, raw, c_size_t(len(raw)))
        return key
