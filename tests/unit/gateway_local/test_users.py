from pathlib import Path

import pytest

from disco_gateway.backend import Caller, Verb
from disco_gateway.errors import DeniedError, UnauthenticatedError
from disco_gateway.local.users import UsersError, check_owner, read_users


def written(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "users"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_token_says_who_comes_and_to_which_groups_he_belongs(tmp_path: Path) -> None:
    users = read_users(
        written(
            tmp_path,
            "# token, user, groups\n\n"
            'token-of-ann-0123,ann\n"token-of-bob-0123", bob,admin , ops\n',
        )
    )

    ann, bob = users.of("token-of-ann-0123"), users.of("token-of-bob-0123")

    assert (ann.name, ann.groups, ann.token) == ("ann", (), "token-of-ann-0123")
    assert (bob.name, bob.groups) == ("bob", ("admin", "ops"))
    with pytest.raises(UnauthenticatedError):
        users.of("token-of-eve-0123")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, "token-of-ann-0123,ann\n", mode)

    with pytest.raises(UsersError, match=rf"others can read .* run chmod 600 {path}"):
        read_users(path)


def test_all_mistakes_of_a_file_are_named_and_no_token_is(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "token-of-ann-0123,ann\nshort,bob\ntoken-of-ann-0123,cy\ntoken-of-dan-0123\n",
    )

    with pytest.raises(UsersError) as told:
        read_users(path)

    assert str(told.value).splitlines() == [
        f"{path}:2: the token needs at least 16 printable ASCII characters",
        f"{path}:3: the token is that of line 1: give each user his own",
        f"{path}:4: expected token,user[,group], found no user",
    ]


@pytest.mark.parametrize("content", ["", "# nobody\n"])
def test_a_file_without_users_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsersError, match="has no users"):
        read_users(written(tmp_path, content))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsersError, match="No such file"):
        read_users(tmp_path / "users")
    (tmp_path / "users").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsersError, match="cannot be read"):
        read_users(tmp_path / "users")


def test_a_job_is_changed_by_its_owner_and_by_admins_only() -> None:
    check_owner(Caller(name="ann"), "ann", Verb.DELETE, "default")
    check_owner(Caller(name="root", groups=("admin",)), "ann", Verb.DELETE, "default")

    with pytest.raises(DeniedError, match="'bob' may not delete discojobs in namespace 'default'"):
        check_owner(Caller(name="bob", groups=("ops",)), "ann", Verb.DELETE, "default")
