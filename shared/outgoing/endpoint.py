"""Resolves declared URLs and secrets from environment variables."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote_plus

from shared.bus.failures import PermanentFailure
from shared.catalog.source import ApiKey, Auth, Bearer, HttpBasic
from shared.catalog.source_mistakes import VARIABLE
from shared.contracts.parts import Problem

PRINTABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def resolve_url(owner: str, url: str, environment: Mapping[str, str]) -> str:
    """Returns the URL with its variable replaced. `owner` is like `The source crm`. Raises PermanentFailure."""
    variable = VARIABLE.match(url)
    if variable is None:
        return url
    name = variable[1]
    base = environment.get(name, "")
    if not base:
        hint = f"Set {name} in the service's environment to a URL like https://crm.example."
        raise to_failure("source_unset", f"{owner} needs {name}, which is not set.", hint)
    return base.rstrip("/") + url[variable.end() :]


def authorize(
    auth: Auth | None,
    environment: Mapping[str, str],
    headers: dict[str, str],
    params: dict[str, str | int | float | bool],
) -> tuple[str, ...]:
    """Adds the secret to headers or params. Returns all forms of it, for masking. Raises PermanentFailure."""
    if auth is None:
        return ()
    secret = read_secret(auth.secret, environment)
    forms = [secret, quote_plus(secret)]
    match auth:
        case Bearer():
            headers["Authorization"] = f"Bearer {secret}"
        case HttpBasic(username=username):
            pair = base64.b64encode(f"{username}:{secret}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
            forms.append(pair)
        case ApiKey(name=name, location="header"):
            headers[name] = secret
        case ApiKey(name=name):
            params[name] = secret
    return tuple(forms)


def read_secret(name: str, environment: Mapping[str, str]) -> str:
    """Reads a secret from `SECRET_<NAME>`, or from the file `<name>` in SECRETS_DIR. Raises PermanentFailure."""
    secret = environment.get(f"SECRET_{name.upper()}", "")
    if not secret and environment.get("SECRETS_DIR"):
        try:
            secret = (Path(environment["SECRETS_DIR"]) / name).read_text()
        except (OSError, UnicodeDecodeError):
            secret = ""
    secret = secret.strip()
    if not PRINTABLE.fullmatch(secret):
        hint = f"Set SECRET_{name.upper()} in the service's environment, or create the file {name} in SECRETS_DIR."
        raise to_failure("secret_missing", f"The secret {name} is not set, or not printable ASCII.", hint)
    return secret


def to_failure(code: str, detail: str, hint: str = "") -> PermanentFailure:
    """Returns a permanent failure with this problem."""
    return PermanentFailure(Problem(code=code, detail=detail, hint=hint))
