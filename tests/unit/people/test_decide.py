"""Properties of what the slice decides, over generated states and times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.people.decide import (
    decide_admin_stays,
    decide_redeem,
    decide_session,
    decide_session_caller,
    decide_token_caller,
    decide_token_life,
)
from fleetward.server.people.model import (
    SESSION_LIFE_MS,
    TOKEN_LIFE_MAX_SECONDS,
    LoginLink,
    Person,
    SignIn,
    Token,
)
from fleetward.server.web.caller import WHOLE_FLEET, Caller, Role, Scope
from fleetward.trust.errors import Malformed, Refused, Untrusted

TIMES = st.integers(0, 2**45)
MAYBE = st.none() | TIMES
ROLES = st.sampled_from(list(Role))
SIGN_INS = st.sampled_from(["link", "passkey"])


def person(role: Role = Role.VIEWER, removed_at: int | None = None) -> Person:
    return Person("p", "Ada", role, 0, None, removed_at)


@given(TIMES, MAYBE, MAYBE, TIMES)
def test_a_link_signs_in_only_once_in_time_and_only_who_is_there(
    expires_at: int, used_at: int | None, removed_at: int | None, now_ms: int
) -> None:
    link, who = LoginLink("h", "p", expires_at, used_at), person(removed_at=removed_at)
    if used_at is None and removed_at is None and now_ms < expires_at:
        assert decide_redeem(link, who, now_ms) is who
    else:
        with pytest.raises(Untrusted):
            decide_redeem(link, who, now_ms)


@given(SIGN_INS, TIMES, st.integers(-10, SESSION_LIFE_MS * 2), st.booleans(), MAYBE, ROLES)
def test_a_session_ends_and_owes_its_passkey(
    made_by: SignIn, opened: int, later: int, may_defer: bool, removed_at: int | None, role: Role
) -> None:
    session = decide_session("s", person(), made_by, opened, may_defer_passkey=may_defer)
    who = person(role, removed_at)
    if later >= SESSION_LIFE_MS or removed_at is not None:
        with pytest.raises(Untrusted):
            decide_session_caller(session, who, opened + later)
        return
    caller = decide_session_caller(session, who, opened + later)
    assert caller.role is role
    assert caller.passkey_only == (made_by == "link" and not may_defer)


@given(ROLES, ROLES, st.integers(-5, TOKEN_LIFE_MAX_SECONDS * 2), TIMES)
def test_a_token_never_exceeds_its_author_or_a_year(
    author: Role, role: Role, ttl_seconds: int, now_ms: int
) -> None:
    caller = Caller("person", "p", "Ada", author)
    try:
        expires_at = decide_token_life(caller, role, WHOLE_FLEET, ttl_seconds, now_ms)
    except (Refused, Malformed):
        assert role > author or not 60 <= ttl_seconds <= TOKEN_LIFE_MAX_SECONDS
        return
    assert role <= author
    assert now_ms < expires_at <= now_ms + TOKEN_LIFE_MAX_SECONDS * 1000
    token = Token("t", "n", role, WHOLE_FLEET, "p", now_ms, expires_at)
    assert decide_token_caller(token, expires_at - 1).role is role
    with pytest.raises(Untrusted):
        decide_token_caller(token, expires_at)


@given(ROLES, st.integers(1, 5), st.none() | ROLES)
def test_there_is_always_an_admin(role: Role, admins: int, new_role: Role | None) -> None:
    loses_one = role is Role.ADMIN and new_role is not Role.ADMIN
    if loses_one and admins == 1:
        with pytest.raises(Refused):
            decide_admin_stays(person(role), admins, new_role)
    else:
        decide_admin_stays(person(role), admins, new_role)
        assert admins - loses_one >= 1


NAMES = st.frozensets(st.sampled_from(["a", "b", "c"]))


@given(st.none() | NAMES, st.none() | NAMES, st.sampled_from("abcd"), st.sampled_from("abcd"))
def test_a_scope_covers_only_what_it_names(
    sites: frozenset[str] | None, devices: frozenset[str] | None, device_id: str, site: str
) -> None:
    expected = (
        (sites is None and devices is None) or device_id in (devices or ()) or site in (sites or ())
    )
    assert Scope(sites, devices).covers(device_id, site) == expected
