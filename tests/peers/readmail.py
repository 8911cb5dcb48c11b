"""Reads a mail from standard input as a mail program would, and prints what that shows as JSON."""

import email
import email.policy
import json
import sys

raw = sys.stdin.buffer.read()
mail = email.message_from_bytes(raw, policy=email.policy.default)
print(json.dumps({
    "headers": {name.lower(): str(value) for name, value in mail.items()},
    "names": sorted(name for name, _ in mail.items()),
    "type": mail.get_content_type(),
    "charset": mail.get_content_charset(),
    "body": mail.get_content(),
    "defects": [str(d) for d in mail.defects] + [str(d) for v in mail.values() for d in getattr(v, "defects", ())],
    "ascii": raw.isascii(),
    "longest": max(len(line) for line in raw.split(b"\r\n")),
}))
