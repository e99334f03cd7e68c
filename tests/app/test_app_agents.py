"""The file of agents: strict, private, changed whole, and looked at before each request."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernels import Place
from helm_ai_kernel.app import agents
from helm_ai_kernel.app.config import Paths
from helm_ai_kernel.gateway.identity import Agent, Agents, Limits
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused

some = st.builds(
    Agent,
    name=st.from_regex(agents.NAME, fullmatch=True).filter(lambda name: name != "kernel"),
    token=st.none() | st.binary(max_size=4).map(digest),
    uid=st.none() | st.integers(1, agents.UID_MAX),
    certificate=st.none() | st.binary(max_size=4).map(digest),
    owner=st.none() | st.text(min_size=1, max_size=20),
    limits=st.builds(Limits, per_s=st.integers(1, 9), burst=st.none() | st.integers(1, 9), concurrent=st.integers(1, 4096)),
    unattended=st.booleans(),
)


def distinct(listed: list[Agent]) -> list[Agent]:
    kept: list[Agent] = []
    for agent in listed:
        taken = [(a.name, a.token, a.uid, a.certificate) for a in kept]
        new = (agent.name, agent.token, agent.uid, agent.certificate)
        if not any(mine == theirs for row in taken for mine, theirs in zip(new, row, strict=True) if mine is not None):
            kept.append(agent)
    return kept


@given(st.lists(some, max_size=6).map(distinct))
def test_what_is_written_is_read_as_it_was(listed: list[Agent]) -> None:
    data = agents.to_bytes(listed)
    assert agents.from_bytes(data) == sorted(listed, key=lambda agent: agent.name)
    assert agents.to_bytes(agents.from_bytes(data)) == data


ONE = '{"name":"a","token":"sha256:' + "0" * 64 + '"}'


@pytest.mark.parametrize(
    "rows",
    [
        '{"name":"kernel"}',
        '{"name":"a b"}',
        '{"name":""}',
        '{"name":"a","uid":0}',
        '{"name":"a","uid":true}',
        '{"name":"a","uid":-1}',
        '{"name":"a","owner":""}',
        '{"name":"a","token":"' + "0" * 64 + '"}',
        '{"name":"a","secret":"x"}',
        '{"name":"a","unattended":false}',
        '{"burst":3,"name":"a"}',
        '{"concurrent":0,"name":"a"}',
        '{"name":"a","per_s":0}',
        '{"name":"a"},{"name":"a"}',
        '{"name":"b"},{"name":"a"}',
        ONE + "," + ONE.replace('"a"', '"b"'),
        '{"name":"a","uid":5},{"name":"b","uid":5}',
    ],
)
def test_a_file_that_was_not_written_by_us_is_not_read(rows: str) -> None:
    with pytest.raises(EvidenceError):
        agents.from_bytes(b'{"agents":[%b],"kind":"agents","v":1}\n' % rows.encode())


def test_a_token_is_shown_once_and_kept_as_its_digest(place: Place) -> None:
    made = agents.add(place.paths, Agent("coder"), token=True)
    assert made.token is not None and len(made.token) == 43
    data = place.paths.agents.read_bytes()
    assert made.token.encode() not in data
    assert place.paths.agents.stat().st_mode & 0o777 == 0o600
    assert Agents(agents.read(place.paths)).of_token(made.token) == made.agent
    again = agents.rotate(place.paths, "coder")
    known = Agents(agents.read(place.paths))
    assert again.token is not None and known.of_token(again.token) is not None and known.of_token(made.token) is None
    agents.remove(place.paths, "coder")
    assert agents.read(place.paths) == []


def test_names_and_credentials_are_taken_once(place: Place) -> None:
    agents.add(place.paths, Agent("a", uid=4001), token=False)
    for agent in (Agent("a"), Agent("b", uid=4001)):
        with pytest.raises(Refused):
            agents.add(place.paths, agent, token=True)
    for change in (agents.rotate, agents.remove):
        with pytest.raises(Refused, match="no agent"):
            change(place.paths, "nobody")
    assert [agent.name for agent in agents.read(place.paths)] == ["a"]


def test_the_kernels_own_user_is_no_agent(place: Place) -> None:
    mine = place.paths.home.stat().st_uid or os.geteuid()
    with pytest.raises((OutsideError, EvidenceError, Refused)):
        agents.add(place.paths, Agent("a", uid=mine), token=False)
    assert agents.read(place.paths) == []


def test_a_file_that_others_can_read_or_that_is_a_link_lets_nobody_in(place: Place, tmp_path: Path) -> None:
    agents.add(place.paths, Agent("a"), token=True)
    watched = agents.Watched(place.paths)
    assert list(watched().by_name) == ["a"]
    place.paths.agents.chmod(0o644)
    with pytest.raises(OutsideError):
        watched()
    place.paths.agents.chmod(0o600)
    assert list(watched().by_name) == ["a"]
    place.paths.agents.rename(tmp_path / "elsewhere")
    place.paths.agents.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutsideError):
        watched()
    place.paths.agents.unlink()
    place.paths.agents.write_bytes(b"{}\n")
    place.paths.agents.chmod(0o600)
    with pytest.raises(OutsideError, match="not as it was written"):
        watched()


def test_a_change_counts_from_the_next_look_on(place: Place) -> None:
    watched = agents.Watched(place.paths)
    assert watched().by_name == {}
    first = agents.add(place.paths, Agent("a"), token=True)
    assert list(watched().by_name) == ["a"]
    same = watched()
    assert watched() is same, "it is read where it changed"
    agents.rotate(place.paths, "a")
    assert watched().of_token(first.token or "") is None
    agents.remove(place.paths, "a")
    assert watched().by_name == {}


def test_a_change_while_the_file_is_read_for_the_first_time_is_seen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    read = agents.read

    def late(paths: Paths) -> list[Agent]:
        found = read(paths)
        monkeypatch.undo()
        agents.remove(place.paths, "a")
        return found

    agents.add(place.paths, Agent("a"), token=True)
    monkeypatch.setattr(agents, "read", late)
    assert agents.Watched(place.paths)().by_name == {}, "who was taken away in between opens nothing"


def test_two_changes_at_once_are_both_there(place: Place) -> None:
    threads = [threading.Thread(target=agents.add, args=(place.paths, Agent(f"a{n}")), kwargs={"token": True}) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [agent.name for agent in agents.read(place.paths)] == [f"a{n}" for n in range(8)]


def test_the_operators_token_is_made_once_and_private(place: Place) -> None:
    token = agents.operator_token(place.paths)
    assert agents.operator_token(place.paths) == token
    assert place.paths.operator_token.stat().st_mode & 0o777 == 0o600
    place.paths.operator_token.chmod(0o640)
    with pytest.raises(OutsideError):
        agents.operator_token(place.paths)
