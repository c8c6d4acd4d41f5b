"""Settings: unknown keys and wrong values are refused by name."""

import dataclasses

import pytest

from fleetward.runtime.config import between, load_config
from fleetward.trust.errors import Refused


@dataclasses.dataclass(frozen=True)
class Intake:
    """A table of the example."""

    workers: int = between(16, 1, 256)
    batch_entries: int = between(500, 1, 5000)


@dataclasses.dataclass(frozen=True)
class Retention:
    """Another one."""

    events_days: int = between(400, 7, 36_500)


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """Settings of every kind that a program may have."""

    host: str = "127.0.0.1"
    port: int = between(8300, 1, 65_535)
    public_names: tuple[str, ...] = ()
    intake: Intake = dataclasses.field(default_factory=Intake)
    retention: Retention = dataclasses.field(default_factory=Retention)


def test_no_file_content_means_the_defaults() -> None:
    assert load_config(ServerConfig, b"") == ServerConfig()


def test_values_and_tables_are_read() -> None:
    config = load_config(
        ServerConfig,
        b'port = 9000\npublic_names = ["fleet.example.org"]\n[intake]\nbatch_entries = 100\n',
    )
    assert (config.port, config.public_names) == (9000, ("fleet.example.org",))
    assert config.intake.batch_entries == 100
    assert config.intake.workers == ServerConfig().intake.workers


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (b"prot = 1", "config_unknown_key", "did you mean port?"),
        (b"[intake]\nbatch_entires = 1", "config_unknown_key", "did you mean intake.batch_entries"),
        (b"zzzzzz = 1", "config_unknown_key", "known are host, port"),
        (b"port = 0", "config_wrong_value", "from 1 to 65535"),
        (b'port = "80"', "config_wrong_value", "a whole number for port"),
        (b"port = true", "config_wrong_value", "a whole number for port"),
        (b"port = 80.0", "config_wrong_value", "a whole number for port"),
        (b"host = 1", "config_wrong_value", "a string for host"),
        (b'public_names = "x"', "config_wrong_value", "a list of strings"),
        (b"public_names = [1]", "config_wrong_value", "a list of strings"),
        (b"intake = 3", "config_wrong_value", "a table [intake]"),
        (b"[retention]\nevents_days = 1", "config_wrong_value", "retention.events_days"),
        (b"port = ", "config_not_toml", "TOML"),
        (b"port = 1\nport = 2", "config_not_toml", "TOML"),
        (b"\xff", "config_not_toml", "UTF-8"),
    ],
)
def test_everything_else_is_refused_with_words(content: bytes, reason: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        load_config(ServerConfig, content)
    assert caught.value.reason == reason
    assert words in caught.value.message
