"""Certificates for tests: an authority, and what it signs."""

import datetime
import ipaddress
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


class Authority:
    """An authority whose certificate is in `file`; what it issues is for 127.0.0.1 and localhost."""

    def __init__(self, directory):
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tickerd test authority")])
        certificate = self._signed(self.name, self.key, 3650, x509.BasicConstraints(ca=True, path_length=0))
        self.file = directory / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _signed(self, name, key, days, *extensions, since_days=1):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=since_days)).not_valid_after(now + datetime.timedelta(days=days))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name="server", *, days=90, since_days=1, kind="ec"):
        """Files with a certificate and its key, and the serial number."""
        key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = self._signed(subject, key, days, x509.BasicConstraints(ca=False, path_length=None), names, usage, since_days=since_days)
        return self.write(name, certificate, key)

    def write(self, name, certificate, key):
        files = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        pem = serialization.Encoding.PEM
        files[0].write_bytes(certificate.public_bytes(pem))
        files[1].touch(mode=0o600)
        files[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return *files, certificate.serial_number

    def context(self, versions=None):
        """A client's context that trusts this authority alone; `versions` is the lowest and the highest."""
        context = ssl.create_default_context(cafile=self.file)
        if versions:
            context.minimum_version, context.maximum_version = versions
        return context

    def context_of_threads(self):
        """For `Client`, which reads in one thread and sends in another. Python's TLS is not made for that before 3.13: with TLS 1.3, whose tickets
        come after the handshake, a request is now and then never sent. So TLS 1.2."""
        return self.context((ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2))
