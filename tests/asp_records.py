#!/usr/bin/env python3
"""asp_records.py START END: the digest of records (docs/asp.md, "The digest of records") of what `npayload consume CHANNEL --from START --to END --json --base64` prints, from stdin."""
import base64, hashlib, json, struct, sys
start, end = int(sys.argv[1]), int(sys.argv[2])
digest, size = hashlib.sha256(b"npayload/asp/records/1\n" + struct.pack("<QQ", start, end)), 0
def text(data): return struct.pack("<Q", len(data)) + data
for line in sys.stdin:
    record = json.loads(line)
    key, payload = (record[name] if record[name] is None else base64.b64decode(record[name]) for name in ("keyBase64", "payloadBase64"))
    event, headers = record["eventTime"], record["headerPairs"]
    flags = (key is not None) + 2 * (payload is not None) + 4 * (event is not None)
    parts = struct.pack("<QqB", record["offset"], record["appendTime"], flags)
    if event is not None: parts += struct.pack("<q", event)
    parts += text(record["type"].encode())
    if key is not None: parts += text(key)
    parts += struct.pack("<Q", len(headers))
    for name, value in headers: parts += text(name.encode()) + text(base64.b64decode(value))
    if payload is not None: parts += text(payload)
    digest.update(parts)
    size += len(parts)
print(f"sha256:{digest.hexdigest()} {size}")
