"""Everything on the server is in the wrong hands: no machine installs what was not agreed upon.

The attacker has the director's key, the maker's online keys, and all that was ever published: old
metadata, approvals that are over, for others or withdrawn, releases of other products, the words of
yesterday; he flips bytes, cuts, is silent, replays, and names what he likes. In between maker and
owner do their work, the machine crashes and starts, its clock is set, and its installer fails.
`tests/adversary/hostile_director.py` tells the moves, and its oracle looks on at each switch:

    whatever is switched to was signed by the maker whom the owner's policy names, is for this
    hardware, has no counter below one that was committed, and is allowed at that moment by an
    approval that the machine was not told is withdrawn;
    what is active was switched to; and no counter falls.

`bench/hostile_director.py --minutes 10` goes on where this ends.
"""

from __future__ import annotations

from typing import Final

import pytest
from tests.adversary.hostile_director import REACHED, play

HISTORIES: Final = 208
EACH: Final = 26


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, HISTORIES, EACH))
def test_nothing_is_installed_but_what_maker_and_owner_agreed_upon(first: int) -> None:
    before = REACHED["switched"]
    for seed in range(first, first + EACH):
        play(seed)
    # An oracle over machines that never switch would have judged nothing.
    assert REACHED["switched"] - before >= EACH // 6


def test_the_oracle_sees_what_nobody_signed_and_what_nobody_allowed() -> None:
    one = play(0)
    one.judge_switch("kiosk", ("ab" * 32,))
    with pytest.raises(AssertionError, match="nobody signed it"):
        one.check()
    one.wrong.clear()
    one.given.clear()
    sha256 = next(iter(one.released))
    one.judge_switch("kiosk", (sha256,))
    with pytest.raises(AssertionError, match=sha256[:8]):
        one.check()
    one.wrong.clear()
    one.floors["kiosk"] = 99
    with pytest.raises(AssertionError, match="fell"):
        one.check()
