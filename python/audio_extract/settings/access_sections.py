"""Settings of who may see and do what on the dashboard: ``security``."""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator

from audio_extract.settings.base import COMMA_LIST, Section, Texts, key

#: More would let one login take the machine's memory or time; what RFC 9106 recommends for servers is 2 GiB.
_MOST_HASH_KIB: Final = 2 * 1024 * 1024
_MOST_HASH_ROUNDS: Final = 64
_LEAST_TOKEN: Final = 16
_LEAST_SECRET: Final = 32
_HOST: Final = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_])?|[0-9a-f:.]+", re.ASCII)


def _password_hash(value: SecretStr) -> SecretStr:
    import argon2

    wrong = ValueError(
        "a hash as `audio-extract config hash-password` prints it, beginning with $argon2id$ "
        "(in a compose file every $ is written $$)"
    )
    try:
        parameters = argon2.extract_parameters(value.get_secret_value())
    except argon2.exceptions.InvalidHashError:
        raise wrong from None
    if parameters.type is not argon2.Type.ID:
        raise wrong
    if parameters.memory_cost > _MOST_HASH_KIB or parameters.time_cost > _MOST_HASH_ROUNDS:
        raise ValueError(f"a hash that takes at most {_MOST_HASH_KIB} KiB and {_MOST_HASH_ROUNDS} rounds")
    return value


#: An argon2id hash, as PHC writes it.
PasswordHash = Annotated[SecretStr, AfterValidator(_password_hash)]


def _name(value: str) -> str:
    from unicodedata import category, normalize

    name = normalize("NFC", value)
    if not name or len(name) > 100 or any(category(one).startswith("C") for one in name):
        raise ValueError("a name of 1 to 100 characters, none of them a control character")
    return name


#: Whom the audit log names.
PersonName = Annotated[str, AfterValidator(_name)]


def _objects(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else []
    except ValueError:
        # Not the cause: it would quote what can be a secret.
        raise ValueError('a list of objects, in the environment as JSON: [{"name": "ann", …}]') from None


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError("an address or a network such as 10.0.0.0/8 or 127.0.0.1") from None


#: ``10.0.0.0/8``; one address is a network too.
Network = Annotated[str, AfterValidator(_network)]


def _host_name(value: str) -> str:
    host = value.lower().rstrip(".").removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(host):
        raise ValueError(
            "a host name without scheme, port and path, such as audio.example.com or *.example.com"
        )
    return host


#: ``audio.example.com``, an address, or ``*.example.com``.
HostName = Annotated[str, AfterValidator(_host_name)]


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError('64 hexadecimal digits: printf %s "$TOKEN" | sha256sum')
    return value.lower()


#: A checksum, as ``sha256sum`` writes it.
Sha256 = Annotated[str, AfterValidator(_sha256)]

Role = Literal["viewer", "operator"]


class User(Section):
    """One who signs in with a password."""

    name: PersonName = Field(description="What is typed at sign-in, and what the audit log says.")
    password_hash: PasswordHash = Field(
        description="Of the password, from `audio-extract config hash-password`."
    )
    role: Role = key("viewer", "viewer sees everything but the settings; operator also acts.")


class Token(Section):
    """One program that sends ``Authorization: Bearer …``."""

    name: PersonName = Field(description="What the audit log says.")
    token: SecretStr | None = key(None, "The token itself, as ${TOKEN}, 16 characters or more.")
    token_sha256: Sha256 | None = key(None, "Or its SHA-256 in hexadecimal.")
    role: Role = key("viewer", "viewer sees everything but the settings; operator also acts.")

    @field_validator("token")
    @classmethod
    def _is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _LEAST_TOKEN:
            raise ValueError(f"{_LEAST_TOKEN} characters or more, as `openssl rand -hex 32` prints")
        return value


class Proxy(Section):
    """A proxy in front of the dashboard that people sign in at, or that speaks HTTPS."""

    networks: Annotated[list[Network], COMMA_LIST] = key(
        [],
        "Addresses of the proxy, such as 10.0.0.5 or 10.0.0.0/8: only from there X-Forwarded-For, -Proto and "
        "-Host are believed, and the header below. Whoever can connect from there can be anybody.",
    )
    user_header: str | None = key(
        None,
        "The header in which the proxy says who it is, such as X-Forwarded-Email (oauth2-proxy). The proxy "
        "must remove what browsers send under this name.",
        pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$",
        expected="a header's name such as X-Forwarded-Email",
    )
    iap_audience: str | None = key(
        None,
        "Google's Identity-Aware Proxy: the audience its signed header is for, such as "
        "/projects/123/global/backendServices/456. Then user_header is not looked at.",
        pattern=r"^/projects/\S+$",
        expected="an audience such as /projects/123/global/backendServices/456",
    )
    operators: Texts = key(
        [], "Who of them acts, and not only sees; * is everybody whom the proxy lets through."
    )

    @property
    def says_who(self) -> bool:
        """Whether the proxy signs people in."""
        return bool(self.user_header or self.iap_audience)


class Security(Section):
    """Who may see and do what on the dashboard. The probes on monitoring.health_port need no sign-in."""

    username: PersonName | None = key(None, "The one operator who signs in; for several there is users.")
    password_hash: PasswordHash | None = key(
        None, "Of the operator's password, from `audio-extract config hash-password`."
    )
    users: Annotated[list[User], BeforeValidator(_objects)] = key(
        [], "Who signs in with a password: name, password_hash, role (viewer or operator)."
    )
    tokens: Annotated[list[Token], BeforeValidator(_objects)] = key(
        [], "Programs that send Authorization: Bearer: name, token (or token_sha256), role."
    )
    proxy: Proxy = key(Proxy, "A proxy in front of the dashboard.")
    session_hours: float = key(12, "How long one stays signed in.", gt=0, le=8_760)
    cookie_secret: SecretStr | None = key(
        None,
        "What cookies are signed with, 32 characters or more. Without it one is made and kept beside the "
        "database; set it where several processes serve the page under one name.",
    )
    allowed_hosts: Annotated[list[HostName], COMMA_LIST] = key(
        [],
        "Names that the page answers under, beside those of loopback; *.example.com is every name below it. "
        "Empty: without sign-in only loopback, with sign-in any.",
    )

    @field_validator("cookie_secret")
    @classmethod
    def _is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _LEAST_SECRET:
            raise ValueError(f"{_LEAST_SECRET} characters or more, as `openssl rand -hex 32` prints")
        return value

    @property
    def all_users(self) -> list[User]:
        """``users``, and the one of ``username``."""
        if self.username is None or self.password_hash is None:
            return list(self.users)
        return [User(name=self.username, password_hash=self.password_hash, role="operator"), *self.users]

    @property
    def has_credentials(self) -> bool:
        """Whether anybody can prove who they are."""
        return bool(self.all_users or self.tokens or self.proxy.says_who)

    def contradictions(self) -> list[str]:
        """Return sentences about keys that do not go together."""
        found = []
        if (self.username is None) != (self.password_hash is None):
            missing = "password_hash" if self.password_hash is None else "username"
            found.append(f"security.{missing} is not set, but the other of username and password_hash is")
        for kind, names in (
            ("users", [user.name for user in self.all_users]),
            ("tokens", [token.name for token in self.tokens]),
        ):
            found.extend(
                f"security.{kind}: {name!r} is there twice"
                for name, count in Counter(names).items()
                if count > 1
            )
        found.extend(
            f"security.tokens[{number}]: set either token or token_sha256"
            for number, token in enumerate(self.tokens)
            if (token.token is None) == (token.token_sha256 is None)
        )
        if self.proxy.user_header and not self.proxy.networks:
            found.append(
                "security.proxy.user_header is set, but security.proxy.networks is empty: "
                "say from which addresses that header is believed"
            )
        if self.proxy.user_header and any(network.endswith("/0") for network in self.proxy.networks):
            found.append(
                "security.proxy.networks has every address there is, so that anybody could say in "
                f"{self.proxy.user_header} who they are: name the proxy's"
            )
        if self.proxy.operators and not self.proxy.says_who:
            found.append(
                "security.proxy.operators is set, but neither security.proxy.user_header nor "
                "security.proxy.iap_audience says how people are known"
            )
        return found
