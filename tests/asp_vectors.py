#!/usr/bin/env python3
"""Recomputes the golden sessions: canonical forms, digests, hashes, signatures. Standard library only."""
import hashlib, json, pathlib, sys
from decimal import Decimal
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, I = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P)
def point(b):  # RFC 8032, section 5.1.3
    y, odd = int.from_bytes(b, "little") % 2**255, b[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if (x * x - square) % P == 0 else x * I % P
    assert (x * x - square) % P == 0 and y < P, "no point of the curve"
    return (x if x % 2 == odd else P - x), y
def add(a, b):
    t = D * a[0] * b[0] * a[1] * b[1]
    return ((a[0] * b[1] + b[0] * a[1]) * pow(1 + t, -1, P) % P, (a[1] * b[1] + a[0] * b[0]) * pow(1 - t, -1, P) % P)
def times(n, p):
    return (0, 1) if n == 0 else add(times(n - 1, p), p) if n % 2 else times(n // 2, add(p, p))
def is_signed(key, signature, text):
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + text).digest(), "little")
    s, base = int.from_bytes(signature[32:], "little"), point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    return s < L and times(s, base) == add(point(signature[:32]), times(k % L, point(key)))
def number(x):  # ECMAScript, Number::toString
    sign, digits, exponent = Decimal(repr(x)).normalize().as_tuple()
    s, k, n = "".join(map(str, digits)), len(digits), len(digits) + exponent
    if x == 0: return "0"
    if k <= n <= 21: s += "0" * (n - k)
    elif 0 < n <= 21: s = s[:n] + "." + s[n:]
    elif -6 < n <= 0: s = "0." + "0" * -n + s
    else: s = s[0] + ("." + s[1:] if k > 1 else "") + "e" + ("+" if n > 0 else "-") + str(abs(n - 1))
    return "-" * sign + s
def form(v):  # RFC 8785
    if isinstance(v, dict): return "{" + ",".join(form(k) + ":" + form(v[k]) for k in sorted(v, key=lambda k: k.encode("utf-16-be"))) + "}"
    if isinstance(v, list): return "[" + ",".join(map(form, v)) + "]"
    return json.dumps(v, ensure_ascii=False) if v is None or isinstance(v, (str, bool)) else number(v)
def read(text):
    def fit(value, fits):
        if not fits: raise OverflowError(value)
        return value
    members, integer = lambda pairs: fit(dict(pairs), len(dict(pairs)) == len(pairs)), lambda text: fit(int(text), abs(int(text)) < 2**53)
    return json.loads(text, object_pairs_hook=members, parse_int=integer)
def sha(*parts): return "sha256:" + hashlib.sha256(b"".join(p.encode() if isinstance(p, str) else p for p in parts)).hexdigest()
def raw(text): return bytes.fromhex(text.split(":")[1])
golden = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "golden/asp")
load = lambda name: json.loads((golden / name).read_text(encoding="utf-8"))
for case in load("canonical.json")["forms"]: assert form(json.loads(case["given"], parse_int=float)) == case["form"], ("form", case)
for case in load("canonical.json")["refused"]:
    try: read(case["given"])
    except OverflowError: continue
    sys.exit(f"not refused: {case}")
for name in ["closed.json", "expired.json"]:
    before, positions = bytes(32), []
    for n, vector in enumerate(load(name)["records"]):
        r, where = read(vector["record"]), f"{name}, record {n}"
        assert form(r) == vector["record"], where + ": form"
        hashed = form({k: v for k, v in r.items() if k not in ("hash", "payload")})
        assert hashed == vector["hashed"] and r["hash"] == sha("npayload/asp/link/1\n", before, hashed), where + ": hash"
        assert r["sequence"] == n and r.get("back") == (positions[-1] if n else None), where + ": back"
        if "message" in vector:
            m, digest = form(r["message"]), sha("npayload/asp/message/1\n", form(r["message"]))
            assert m == vector["message"] and r["digest"] == digest, where + ": digest"
            assert r["message"]["payload"] == sha(form(r.get("payload"))), where + ": payload"
            signed = b"npayload/asp/signature/1\n" + raw(digest)
            assert "key" not in r or is_signed(raw(r["key"]), raw(r["signature"]), signed), where + ": signature"
        before, positions = raw(r["hash"]), positions + [[n, vector["offset"]]]
for text in load("of_all.json")["filed"]: assert form(read(text)) == text, text
def uuid(text): return int(text.split("_")[1].replace("-", ""), 16).to_bytes(16, "little")
promises, parts, sealed, filed, drawn = load("promises.json"), {}, None, {}, {}
for n, vector in enumerate(promises["commitments"]):
    r, where = read(vector["record"]), f"promises.json, record {n}"
    assert form(r) == vector["record"], where + ": form"
    if "promise" in r: assert r["termsHash"] == sha("npayload/asp/terms/1\n", form(r["promise"])), where + ": terms"
    if "evidenceHash" in r: assert r["evidenceHash"] == sha("npayload/asp/evidence/1\n", form(r["evidence"])), where + ": evidence"
    if r["type"] == "arbitration.sealed": sealed = r["seal"]
    if r["type"] == "dispute.filed":
        assert r["seal"] == sealed, where + ": sealed"
        filed[r["dispute"]], sealed = r, r["nextSeal"]
    if r["type"] == "dispute.reviewed": drawn[r["dispute"]] = r
    if "secret" in r:
        f, d, secret, best = filed[r["dispute"]], drawn[r["dispute"]], bytes.fromhex(r["secret"]), {}
        assert f["seal"] == sha("npayload/asp/seal/1\n", secret), where + ": sealed"
        lot = lambda org, agent: raw(sha("npayload/asp/lot/1\n", raw(f["logHash"]), secret, uuid(f["dispute"]), org.to_bytes(4, "little"), agent))
        for c in d["candidates"]: best[c["org"]] = min(best.get(c["org"], c), c, key=lambda c: lot(c["org"], uuid(c["agent"])))
        assert d["order"] == sorted(best.values(), key=lambda c: lot(c["org"], b"")), where + ": drawn"
for n, vector in enumerate(promises["escrow"]):
    r = read(vector["record"])
    assert form(r) == vector["record"], f"promises.json, movement {n}: form"
    for side, sign in [("from", -1), ("to", 1)]:
        place = form(r.get(side)) + r["currency"]
        parts[place] = parts.get(place, 0) + sign * r["amount"]
        assert parts[place] >= 0 or side not in r, f"promises.json, movement {n}: money"
assert sum(parts.values()) == 0, "promises.json: money"
for vector in promises["evidence"] + [v for v in promises["of_all"] if v["type"] != "trust.folded"]: assert form(read(vector["record"])) == vector["record"], vector["type"]
print("the golden sessions are right")
