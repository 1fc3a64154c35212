"""Every way in which a token can be bad, by name: `make(keys)` gives its text, `expired` tells those that a new one would mend."""

import base64
import hashlib
import hmac
import json
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from harness import SECRET, mint

ISSUER, AUDIENCE = "https://issuer.example", "tickerd"


class Keys:
    """The daemon's keys (an HMAC secret and an RSA key of which it has the public half) and a stranger's."""

    def __init__(self, directory):
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self.rsa.public_key()
        self.public_pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.secret_file, self.public_file = directory / "hmac.key", directory / "rsa.pem"
        self.secret_file.write_text(SECRET)
        self.public_file.write_bytes(self.public_pem)

    def flags(self):
        return {"jwt_key": [self.secret_file, self.public_file], "jwt_iss": ISSUER, "jwt_aud": AUDIENCE}


def good(**claims):
    return mint(**({"iss": ISSUER, "aud": AUDIENCE} | claims))


def good_rsa(keys):
    return good(key=keys.rsa, alg="RS256")


def segment(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def by_hand(header, claims, secret=SECRET.encode()):
    """A token that no library would make, with a good HMAC."""
    signed = f"{segment(header)}.{segment(claims)}"
    return f"{signed}.{segment(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def claims_of(**changes):
    now = int(time.time())
    claims = {"sub": "u1", "iat": now, "exp": now + 600, "iss": ISSUER, "aud": AUDIENCE} | changes
    return {name: value for name, value in claims.items() if value is not None}


HS256 = {"alg": "HS256", "typ": "JWT"}


def alg_none(name):
    return f"{segment({'alg': name, 'typ': 'JWT'})}.{segment(claims_of())}."


def flipped_signature():
    head, signature = good().rsplit(".", 1)
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def other_claims():
    header, _, signature = good().split(".")
    return f"{header}.{segment(claims_of(sub='admin'))}.{signature}"


BAD_TOKENS = {
    "expired": lambda keys: good(ttl=-60),
    "not yet valid": lambda keys: good(nbf=int(time.time()) + 600),
    "issued in the future": lambda keys: good(iat=int(time.time()) + 600),
    "another secret": lambda keys: good(key="some-other-secret-that-is-long-enough-0123"),
    "another RSA key": lambda keys: good(key=keys.stranger, alg="RS256"),
    "a flipped signature": lambda keys: flipped_signature(),
    "another token's signature": lambda keys: other_claims(),
    "alg none": lambda keys: alg_none("none"),
    "alg nOnE": lambda keys: alg_none("nOnE"),
    "HS256 with the RSA public key": lambda keys: by_hand(HS256, claims_of(), keys.public_pem),
    "HS256's key named RS256": lambda keys: by_hand({"alg": "RS256"}, claims_of()),
    "HS512": lambda keys: good(alg="HS512", key=SECRET * 2),
    "PS256 of the RSA key": lambda keys: good(key=keys.rsa, alg="PS256"),
    "a key in its own header": lambda keys: jwt.encode(claims_of(), keys.stranger, "RS256", headers={"jwk": {"kty": "RSA"}, "jku": "http://127.0.0.1/"}),
    "wrong audience": lambda keys: good(aud="another"),
    "no audience": lambda keys: good(aud=None),
    "wrong issuer": lambda keys: good(iss="https://evil.example"),
    "no issuer": lambda keys: good(iss=None),
    "no sub": lambda keys: good(sub=None),
    "empty sub": lambda keys: by_hand(HS256, claims_of(sub="")),
    "sub is a number": lambda keys: by_hand(HS256, claims_of(sub=7)),
    "no exp": lambda keys: good(exp=None),
    "exp is a text": lambda keys: by_hand(HS256, claims_of(exp=str(int(time.time()) + 600))),
    "exp is null": lambda keys: by_hand(HS256, json.dumps(claims_of()).replace('"exp": ', '"exp": null, "x": ').encode()),
    "oversize": lambda keys: good(filler="x" * 9000),
    "a refresh token": lambda keys: good(type="refresh"),
    "crit": lambda keys: by_hand(HS256 | {"crit": ["exp"]}, claims_of()),
    "claims are no object": lambda keys: by_hand(HS256, [1]),
    "claims are no JSON": lambda keys: by_hand(HS256, b"{]"),
    "header is no JSON": lambda keys: "bm8." + good().split(".", 1)[1],
    "garbage": lambda keys: "garbage",
    "two parts": lambda keys: good().rsplit(".", 1)[0],
    "truncated": lambda keys: good()[:-5],
    "four parts": lambda keys: good() + ".AAAA",
}
# These alone are mended by a new token, and say so.
EXPIRED = {"expired"}
