# SPDX-License-Identifier: Apache-2.0
"""TLS in front of a PostgreSQL that has none: any certificate, any version, asked for or direct.

PostgreSQL 17 speaks TLS from the first byte (ALPN "postgresql"); the one of Debian 12 does not, so
this server stands for it. Certificates are made by the openssl command line."""
import select
import socket
import ssl
import struct
import subprocess
import threading

SSL_REQUEST = struct.pack(">II", 8, 80877103)


class Authority:
    """A certificate authority in a folder, and what it issues."""

    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN=authority {name}", "-keyout", self.key(name), "-out", self.cert(name),
        )  # fmt: skip

    def cert(self, name):
        return str(self.folder / f"{name}.crt")

    def key(self, name):
        return str(self.folder / f"{name}.key")

    def _openssl(self, *args):
        out = subprocess.run(["openssl", *args], capture_output=True, text=True, timeout=60)
        assert out.returncode == 0, out.stderr

    def issue(self, name, cn, san=None, dates=None, own=False):
        """A certificate NAME.crt with its key NAME.key. `dates`: notBefore and notAfter as
        YYYYMMDDHHMMSSZ; `own`: signed by itself."""
        request = str(self.folder / f"{name}.csr")
        self._openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={cn}", "-keyout", self.key(name), "-out", request,
        )  # fmt: skip
        extensions = self.folder / f"{name}.ext"
        extensions.write_text("basicConstraints = CA:FALSE\n" + (f"subjectAltName = {san}\n" if san else ""))
        # `openssl ca` is what sets both dates; it wants a little database.
        base = self.folder / f"{name}.ca"
        base.mkdir()
        (base / "index.txt").touch()
        (base / "conf").write_text(
            "[ca]\ndefault_ca = d\n[d]\ndatabase = {0}/index.txt\nnew_certs_dir = {0}\n"
            "default_md = sha256\npolicy = p\nrand_serial = yes\n[p]\ncommonName = supplied\n".format(base)
        )
        signer = ["-selfsign", "-keyfile", self.key(name)] if own else [
            "-cert", self.cert(self.name), "-keyfile", self.key(self.name)]  # fmt: skip
        when = ["-startdate", dates[0], "-enddate", dates[1]] if dates else ["-days", "2"]
        self._openssl(
            "ca", "-batch", "-notext", "-config", str(base / "conf"), "-in", request, "-out", self.cert(name),
            "-extfile", str(extensions), *signer, *when,
        )  # fmt: skip
        return self.cert(name), self.key(name)


class TlsServer:
    """Listens on a port of 127.0.0.1, takes TLS off, and passes the rest to a plain server."""

    def __init__(self, target, cert, key, direct=False, version=None, client_ca=None, answer=None):
        """`answer`: the bytes to say to SSLRequest in place of b"S", and then nothing more."""
        self.target = target
        self.direct = direct
        self.answer = answer
        self.resumed = self.accepted = 0
        self.names = []  # of SNI
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.context.set_alpn_protocols(["postgresql"])
        self.context.sni_callback = lambda sock, name, context: self.names.append(name)
        if version:
            self.context.minimum_version = self.context.maximum_version = version
        if client_ca:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._open = set()
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        for s in list(self._open):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self):
        while True:
            try:
                raw, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw):
        raw.settimeout(30)
        self._open.add(raw)
        try:
            if not self.direct:
                assert raw.recv(8, socket.MSG_WAITALL) == SSL_REQUEST
                raw.sendall(self.answer or b"S")
                if self.answer:
                    raw.recv(1)
                    return
            with self.context.wrap_socket(raw, server_side=True) as tls:
                self._open.add(tls)
                self.resumed += bool(tls.session_reused)
                if self.direct and tls.selected_alpn_protocol() != "postgresql":
                    return
                with socket.create_connection(self.target) as plain:
                    self._pump(tls, plain)
        except (OSError, AssertionError):
            pass
        finally:
            self._open.discard(raw)
            raw.close()

    @staticmethod
    def _pump(tls, plain):
        while True:
            ready = [tls] if tls.pending() else select.select([tls, plain], [], [], 60)[0]
            for side in ready:
                data = side.recv(65536)
                if not data:
                    return
                (plain if side is tls else tls).sendall(data)
