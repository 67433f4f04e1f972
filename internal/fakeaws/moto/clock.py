"""Serves moto with a clock that is moved from outside.

Prints "port N" when it listens. Then reads commands, one a line, and answers each with "ok":
  freeze SECONDS   the clock stands at that Unix time
  run SECONDS      the clock runs on from that Unix time
  real             the clock is the real one
The end of the input is the end of the process, so no server outlives its test.
"""

import datetime
import json
import logging
import os
import sys
import threading
import time


class Clock:
    """Answers moto's question for the time; one tuple, replaced whole, so threads need no lock."""

    def __init__(self):
        self.state = ("real", 0.0, 0.0)

    def command(self, line):
        word, _, value = line.strip().partition(" ")
        if word not in ("freeze", "run", "real"):
            raise ValueError("unknown command: " + line)
        self.state = (word, float(value or 0), time.monotonic())

    def now(self):
        word, base, since = self.state
        if word == "real":
            seconds = time.time()
        elif word == "run":
            seconds = base + time.monotonic() - since
        else:
            seconds = base
        at = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
        return at.replace(tzinfo=None)


def frame_refusals():
    """Frames moto's refusals of credentials and permissions as IAM does, with the error right below the root.

    moto puts a list around it, as EC2 does, in which the SDK for Go finds no code. What is refused stays
    moto's to decide.
    """
    from moto.core import exceptions

    for refusal in (
        exceptions.AccessDeniedError,
        exceptions.InvalidClientTokenIdError,
        exceptions.SignatureDoesNotMatchError,
    ):

        def framed(self, *args, original=refusal.__init__, **named):
            original(self, *args, **named)
            for tag in ("<Errors>", "</Errors>"):
                self.description = self.description.replace(tag, "", 1)

        refusal.__init__ = framed


def few_policies():
    """Leaves moto the managed policies that tests attach: it reads all thousand anew for each account, in a second."""
    from moto.iam import models

    wanted = ("AWSCompromisedKeyQuarantine", "AdministratorAccess", "IAMReadOnlyAccess", "SecurityAudit")
    every = json.loads(models.aws_managed_policies_data)
    models.aws_managed_policies_data = json.dumps(
        {name: policy for name, policy in every.items() if name.startswith(wanted)}
    )


def write_policies():
    """Keeps a role's policy that comes from a CloudFormation template as JSON, as IAM does; moto keeps the dict."""
    from moto.iam.models import Role

    put = Role.put_policy
    Role.put_policy = lambda self, name, policy: put(self, name, policy if isinstance(policy, str) else json.dumps(policy))


def main():
    # Without this the account has no managed policies, so none to put a user in quarantine with.
    os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    try:
        import moto.core.utils
    except ImportError as why:
        print("missing", why, flush=True)
        return 3
    clock = Clock()
    # Before any backend is loaded: each takes its own reference to utcnow.
    moto.core.utils.utcnow = clock.now
    frame_refusals()
    few_policies()
    write_policies()

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    os.environ["MOTO_PORT"] = str(server.port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("port", server.port, flush=True)
    for line in sys.stdin:
        clock.command(line)
        print("ok", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
