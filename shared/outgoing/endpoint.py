"""Where a declared URL is, and the secret that goes with it: both are told by the environment."""

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


def base(who: str, url: str, environment: Mapping[str, str]) -> str:
    """The URL with its variable replaced; `who` needs it, like `The source crm`. Raises PermanentFailure."""
    variable = VARIABLE.match(url)
    if variable is None:
        return url
    name = variable[1]
    told = environment.get(name, "")
    if not told:
        hint = f"Set {name} for the service that asks, to a URL like https://crm.example."
        raise wrong("source_unset", f"{who} needs {name}, which is not set.", hint)
    return told.rstrip("/") + url[variable.end() :]


def authorize(
    auth: Auth | None,
    environment: Mapping[str, str],
    headers: dict[str, str],
    params: dict[str, str | int | float | bool],
) -> tuple[str, ...]:
    """Puts the secret where it belongs; returns it in every way in which it may be written. Raises PermanentFailure."""
    if auth is None:
        return ()
    told = secret(auth.secret, environment)
    shown = [told, quote_plus(told)]
    match auth:
        case Bearer():
            headers["Authorization"] = f"Bearer {told}"
        case HttpBasic(username=username):
            pair = base64.b64encode(f"{username}:{told}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
            shown.append(pair)
        case ApiKey(name=name, location="header"):
            headers[name] = told
        case ApiKey(name=name):
            params[name] = told
    return tuple(shown)


def secret(name: str, environment: Mapping[str, str]) -> str:
    """From `SECRET_<NAME>`, or from the file of that name in SECRETS_DIR. Raises PermanentFailure."""
    told = environment.get(f"SECRET_{name.upper()}", "")
    if not told and environment.get("SECRETS_DIR"):
        try:
            told = (Path(environment["SECRETS_DIR"]) / name).read_text()
        except (OSError, UnicodeDecodeError):
            told = ""
    told = told.strip()
    if not PRINTABLE.fullmatch(told):
        hint = f"Give the service that asks SECRET_{name.upper()}, or a file called {name} in the folder SECRETS_DIR."
        raise wrong("secret_missing", f"The secret {name} is not set, or is not of printable ASCII characters.", hint)
    return told


def wrong(code: str, detail: str, hint: str = "") -> PermanentFailure:
    """What no further attempt would mend."""
    return PermanentFailure(Problem(code=code, detail=detail, hint=hint))
