#!/usr/bin/env python3
"""What we depend on, held to rules: where it comes from, its licence, what is banned, what must be new enough.

    tests/audit.py              over `cargo metadata`; also `cargo audit` (known vulnerabilities) where it is installed
    tests/audit.py --self-test  each rule on a bad sample: a rule that cannot fire is no rule
"""

import json
import re
import shutil
import subprocess
import sys

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"

# Permissive only. A crate under `A OR B` needs one of them here, under `A AND B` both.
LICENCES = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}

BANNED = {
    "async-std": "no async runtime in the daemon",
    "core_affinity": "unmaintained; rustix has the call",
    "figment": "clap and toml are enough",
    "prometheus-client": "hand-written text over per-thread counters is smaller",
    "r2d2": "no pools in the daemon",
    "rsa": "RUSTSEC-2023-0071 (timing) is not patched; aws-lc-rs does RSA",
    "rustls-pemfile": "unmaintained; pki-types reads PEM",
    "tokio": "no async runtime in the daemon",
}

# Older ones have known defects.
AT_LEAST = {
    "bytes": (1, 11, 1),
    "slab": (0, 4, 12),
    "tracing-subscriber": (0, 3, 20),
}

# What `cargo audit` says when it could not look, as opposed to having found something.
UNREACHABLE = re.compile(r"couldn't fetch|error loading advisory database|failed to (prepare )?fetch|network|resolve host", re.I)


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    packages = metadata()
    faults = [fault for package in packages for fault in faults_of(package)]
    for fault in faults:
        print(f"audit: {fault}", file=sys.stderr)
    print(f"audit: {len(packages)} packages, {len(faults)} faults")
    advisories_ok = advisories()
    return 1 if faults or not packages or not advisories_ok else 0


def metadata():
    """All packages that the lock file resolves to, for every platform."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["packages"]


def faults_of(package):
    name, version = package["name"], package["version"]
    label = f"{name} {version}"
    if package["source"] not in (None, CRATES_IO):
        yield f"{label} comes from {package['source']}: depend on a release from crates.io"
    if package["source"] and not allowed(package["license"]):
        yield f"{label} has licence {package['license']!r}, which is not among the allowed: {', '.join(sorted(LICENCES))}"
    if name in BANNED:
        yield f"{label} is banned: {BANNED[name]}; `cargo tree -i {name}` shows who wants it"
    minimum = AT_LEAST.get(name)
    if minimum and release(version) < minimum:
        yield f"{label} is too old: at least {'.'.join(map(str, minimum))}, `cargo update -p {name}`"


def release(version):
    """The three numbers; a pre-release or build suffix does not count."""
    return tuple(int(number) for number in re.split(r"[-+]", version)[0].split("."))


def allowed(expression):
    """Whether an SPDX expression (or the older `A/B`) can be met with LICENCES alone."""
    if not expression:
        return False
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    met, rest = any_of(tokens)
    return met and not rest


def any_of(tokens):
    met, tokens = all_of(tokens)
    while tokens and tokens[0] == "OR":
        also, tokens = all_of(tokens[1:])
        met = met or also
    return met, tokens


def all_of(tokens):
    met, tokens = one(tokens)
    while tokens and tokens[0] == "AND":
        also, tokens = one(tokens[1:])
        met = met and also
    return met, tokens


def one(tokens):
    if tokens[:1] == ["("]:
        met, tokens = any_of(tokens[1:])
        return met, tokens[1:]
    if tokens[1:2] == ["WITH"]:
        return " ".join(tokens[:3]) in LICENCES, tokens[3:]
    return tokens[0] in LICENCES, tokens[1:]


def advisories():
    """False only if a known vulnerability was found: not every machine has the tool or the network."""
    if not shutil.which("cargo-audit"):
        print("audit: known vulnerabilities NOT checked: cargo-audit is not installed (`cargo install cargo-audit --locked`)")
        return True
    done = subprocess.run(["cargo", "audit"], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout.strip())
    if done.returncode and "vulnerabilit" not in done.stdout and UNREACHABLE.search(done.stdout):
        print("audit: known vulnerabilities NOT checked: the advisory database could not be reached")
        return True
    return done.returncode == 0


def self_test():
    good = {"name": "mio", "version": "1.2.0", "source": CRATES_IO, "license": "MIT"}
    bad = [
        ({"source": "git+https://example.org/mio"}, "crates.io"),
        ({"license": "GPL-3.0-only"}, "licence"),
        ({"license": None}, "licence"),
        ({"license": "MIT AND GPL-3.0-only"}, "licence"),
        ({"license": "ISC AND (GPL-2.0-only OR SSPL-1.0)"}, "licence"),
        ({"license": "Apache-2.0 WITH Some-exception"}, "licence"),
        ({"name": "tokio"}, "banned"),
        ({"name": "slab", "version": "0.4.11"}, "too old"),
        ({"name": "tracing-subscriber", "version": "0.3.19+build"}, "too old"),
    ]
    assert not list(faults_of(good)), "a good package is refused"
    for fine in ("MIT/Apache-2.0", "ISC AND (GPL-2.0-only OR ISC)", "Apache-2.0 WITH LLVM-exception OR GPL-3.0-only", "(MIT OR X) AND Zlib"):
        assert allowed(fine), fine
    for change, word in bad:
        faults = list(faults_of(good | change))
        assert len(faults) == 1 and word in faults[0], (change, faults)
    for older, newer in (("0.4.9", (0, 4, 12)), ("1.11.0-rc.1", (1, 11, 1))):
        assert release(older) < newer
    print(f"audit: all {len(bad)} bad samples are refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
