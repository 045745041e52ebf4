from __future__ import annotations

import asyncio
import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_extract.exceptions import ConfigurationError
from audio_extract.settings import load_settings, masked_dict
from audio_extract.web.access import passwords
from audio_extract.web.access.origin import local_path
from audio_extract.web.access.passwords import BusyError, PasswordCheck, hash_of
from audio_extract.web.access.sessions import Sessions, kept_key
from audio_extract.web.access.throttle import Throttle, address_key

HASH = hash_of("correct horse")


def test_so_many_tries_are_free_and_then_one_in_a_while() -> None:
    throttle = Throttle(3, 10.0)
    assert [throttle.take("a", 100.0) for _ in range(3)] == [0, 0, 0]
    assert throttle.take("a", 100.0) == 10
    assert throttle.take("b", 100.0) == 0
    assert throttle.take("a", 109.5) == 1
    assert throttle.take("a", 110.0) == 0
    assert throttle.take("a", 110.0) == 10
    assert [throttle.take("a", 1000.0) for _ in range(4)] == [0, 0, 0, 10]


def test_a_good_try_does_not_count() -> None:
    throttle = Throttle(1, 10.0)
    for _ in range(5):
        assert throttle.take("a", 100.0) == 0
        throttle.give_back("a")


def test_memory_for_those_who_try_is_bounded() -> None:
    throttle = Throttle(1, 10.0)
    for number in range(30_000):
        throttle.take(str(number), 100.0)
    assert len(throttle) == 10_000
    assert throttle.take("29999", 100.0) == 10


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "?"),
        ("unknown", "?"),
    ],
)
def test_whoever_has_one_address_of_ipv6_has_the_network(address: str, key: str) -> None:
    assert address_key(address) == key


@given(st.text(alphabet=st.characters() | st.sampled_from("/\\:?#@\t\n\r.evil"), max_size=40))
def test_a_browser_is_led_to_a_path_of_this_site_whatever_is_asked(path: str) -> None:
    found = local_path(path)
    # As browsers read it: https://url.spec.whatwg.org/#url-parsing
    read = "".join(one for one in found if one not in "\t\n\r").strip().replace("\\", "/")
    assert read.startswith("/")
    assert not read.startswith("//")
    assert found.isascii()
    assert found.isprintable()


def test_passwords_are_checked_one_at_a_time_and_those_who_come_too_many_are_sent_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once, most = 0, 0
    may_go = threading.Event()

    def matches(hashed: str, password: str) -> bool:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        may_go.wait(10)
        at_once -= 1
        return password == "right"

    monkeypatch.setattr(passwords, "_matches", matches)

    async def flood() -> list[bool | BaseException]:
        check = PasswordCheck({"ann": HASH})
        tries = [asyncio.create_task(check.is_right("ann", "right")) for _ in range(50)]
        await asyncio.sleep(0)
        # Whoever hangs up does not make room for one more before the thread is done with theirs.
        tries[1].cancel()
        await asyncio.sleep(0)
        late = asyncio.create_task(check.is_right("ann", "right"))
        await asyncio.sleep(0)
        may_go.set()
        results = await asyncio.gather(*tries, late, return_exceptions=True)
        assert await check.is_right("ann", "right")
        check.close()
        return results

    results = asyncio.run(flood())
    assert most == 1
    assert [result for result in results if result is True] == [True] * 7
    assert sum(isinstance(result, BusyError) for result in results) == 43
    assert isinstance(results[-1], BusyError)


def test_the_thread_that_checks_gives_way_to_transfers() -> None:
    async def niceness() -> tuple[int, int]:
        check = PasswordCheck({"ann": HASH})
        await check.is_right("ann", "x")
        found = await asyncio.get_running_loop().run_in_executor(
            check._pool, lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        )
        check.close()
        return found, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own, others = asyncio.run(niceness())
    assert own == max(10, others)
    assert others < 10 or own == others


def test_the_key_of_cookies_is_made_once_and_for_this_account_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / "key"
    first = kept_key(path)
    assert len(first) == 32
    assert kept_key(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["key"]


def test_all_who_make_the_key_at_the_same_time_get_the_same(tmp_path: Path) -> None:
    keys: list[bytes] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        keys.append(kept_key(tmp_path / "key"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


def test_a_key_that_cannot_be_used_is_told_and_replaced_for_this_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"short")
    assert kept_key(path) != kept_key(path)
    assert "5 bytes" in caplog.text
    caplog.clear()
    assert len(kept_key(path / "below")) == 32
    assert "again" in caplog.text


def test_sessions_that_were_ended_take_bounded_memory() -> None:
    sessions = Sessions(b"k" * 32, 100)
    made = [sessions.read(sessions.new("user ann", "p", 0), 1) for _ in range(10_050)]
    for session in made:
        assert session is not None
        sessions.end(session)
    assert len(sessions._ended) == 10_000


def problem(**security: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(overrides={"security": security}, environ={})
    return caught.value.message


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        ({"username": "ann"}, "security.password_hash is not set"),
        ({"password_hash": HASH}, "security.username is not set"),
        ({"username": "ann", "password_hash": "hunter2-hunter2"}, "config hash-password"),
        ({"username": "ann", "password_hash": HASH.replace("argon2id", "argon2i")}, "config hash-password"),
        ({"username": "ann", "password_hash": HASH.replace("m=19456", "m=99999999")}, "at most"),
        ({"username": "a\nb", "password_hash": HASH}, "control character"),
        (
            {"username": "ann", "password_hash": HASH, "users": [{"name": "ann", "password_hash": HASH}]},
            "twice",
        ),
        ({"users": [{"name": "ann", "password_hash": HASH, "role": "admin"}]}, "viewer, operator"),
        ({"tokens": [{"name": "ci"}]}, "security.tokens[0]: set either"),
        ({"tokens": [{"name": "ci", "token": "hunter2"}]}, "16 characters"),
        ({"tokens": [{"name": "ci", "token_sha256": "hunter2-hunter2"}]}, "64 hexadecimal digits"),
        ({"cookie_secret": "hunter2-hunter2"}, "32 characters"),
        ({"proxy": {"user_header": "X-Forwarded-User"}}, "security.proxy.networks is empty"),
        ({"proxy": {"user_header": "X Y", "networks": ["::1"]}}, "a header's name"),
        ({"proxy": {"user_header": "X-Forwarded-User", "networks": ["::/0"]}}, "every address there is"),
        ({"proxy": {"networks": ["10.0.0.1/8"]}}, "a network such as"),
        ({"proxy": {"networks": ["proxy.internal"]}}, "a network such as"),
        ({"proxy": {"operators": ["ann"]}}, "says how people are known"),
        ({"proxy": {"iap_audience": "123"}}, "/projects/"),
        ({"allowed_hosts": ["http://audio.example.com/"]}, "without scheme"),
        ({"allowed_hosts": ["*"]}, "without scheme"),
        ({"users": "ann:hunter2-hunter2"}, "JSON"),
    ],
)
def test_what_does_not_say_who_may_come_in_is_named_and_no_secret_shown(
    security: dict[str, object], expected: str
) -> None:
    text = problem(**security)
    assert expected in text
    assert "hunter2" not in text
    assert "$argon2id$v" not in text


def test_the_environment_can_say_who_may_come_in() -> None:
    settings = load_settings(
        environ={
            "AUDIO_EXTRACT__SECURITY__USERNAME": "ann",
            "AUDIO_EXTRACT__SECURITY__PASSWORD_HASH": HASH,
            "AUDIO_EXTRACT__SECURITY__TOKENS": '[{"name": "ci", "token": "a-secret-of-a-program"}]',
            "AUDIO_EXTRACT__SECURITY__PROXY__NETWORKS": "10.0.0.5, fd00::/8",
            "AUDIO_EXTRACT__SECURITY__ALLOWED_HOSTS": "Audio.Example.com",
        }
    )
    security = settings.security
    assert [(user.name, user.role) for user in security.all_users] == [("ann", "operator")]
    assert security.proxy.networks == ["10.0.0.5/32", "fd00::/8"]
    assert security.allowed_hosts == ["audio.example.com"]
    for shown in (str(masked_dict(settings)), repr(settings), str(security.tokens)):
        assert "a-secret-of" not in shown
        assert "argon2id" not in shown


def test_the_settings_that_the_page_about_access_shows_are_ones_that_load(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "access.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        file = tmp_path / "settings.yaml"
        file.write_text(block, encoding="utf-8")
        assert load_settings(file, environ={"GRAFANA_TOKEN": "x" * 32}).security.has_credentials
