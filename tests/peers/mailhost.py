"""A mail host for tests, made of aiosmtpd.

mailhost.py DIR [--tls CERT KEY] [--implicit] [--require-tls] [--auth USER PASSWORD] [--rcpt REPLY] [--data REPLY]
            [--mail REPLY] [--hello REPLY] [--first REPLY]

Prints its port, then keeps what it takes as DIR/1.eml, DIR/2.eml, ... beside DIR/1.json (envelope), and counts
connections in DIR/connections and marks a QUIT in DIR/quit. With --first the first mail is kept as DIR/first.eml and
answered with REPLY.
"""

import argparse
import asyncio
import json
import pathlib
import ssl

from aiosmtpd.smtp import SMTP, AuthResult, Envelope

parser = argparse.ArgumentParser()
parser.add_argument("dir", type=pathlib.Path)
parser.add_argument("--tls", nargs=2)
parser.add_argument("--implicit", action="store_true")
parser.add_argument("--require-tls", action="store_true")
parser.add_argument("--auth", nargs=2)
parser.add_argument("--mail")
parser.add_argument("--rcpt")
parser.add_argument("--data")
parser.add_argument("--hello")
parser.add_argument("--first")
parser.add_argument("--mails-per-connection", type=int, default=10**9)
options = parser.parse_args()
counts = {"mails": 0, "connections": 0}


class Handler:
    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        if options.hello:
            return [options.hello]
        session.host_name = hostname
        return responses

    async def handle_QUIT(self, server, session, envelope):
        (options.dir / "quit").touch()
        return "221 2.0.0 bye"

    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        if getattr(session, "taken", 0) >= options.mails_per_connection:
            server.transport.close()
            return "421 4.7.0 enough"
        if options.mail:
            return options.mail
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return "250 2.1.0 OK"

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if options.rcpt and not address.startswith("good"):
            return options.rcpt
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope: Envelope):
        if options.data:
            return options.data
        if options.first and not (options.dir / "first.eml").exists():
            (options.dir / "first.eml").write_bytes(envelope.original_content)
            return options.first
        counts["mails"] += 1
        session.taken = getattr(session, "taken", 0) + 1
        name = options.dir / f"{counts['mails']}"
        name.with_suffix(".eml").write_bytes(envelope.original_content)
        about = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None,
                 "user": getattr(session, "user", None),
                 "ehlo": session.host_name, "options": envelope.mail_options}
        name.with_suffix(".json").write_text(json.dumps(about))
        return "250 2.0.0 taken for <somebody@example.jp>"


def authenticate(server, session, envelope, mechanism, data):
    good = [data.login.decode(), data.password.decode()] == options.auth
    if good:
        session.user = data.login.decode()
    return AuthResult(success=good, handled=False)


def server():
    counts["connections"] += 1
    (options.dir / "connections").write_text(str(counts["connections"]))
    return SMTP(Handler(), hostname="mail.example.jp", tls_context=None if options.implicit else context,
                require_starttls=options.require_tls, authenticator=authenticate if options.auth else None,
                auth_required=bool(options.auth), auth_require_tls=False)


context = None
if options.tls:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*options.tls)


async def main():
    listener = await asyncio.get_running_loop().create_server(
        server, "127.0.0.1", 0, ssl=context if options.implicit else None)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


asyncio.run(main())
