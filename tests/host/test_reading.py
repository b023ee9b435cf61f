"""What the program finds that reads a host's files, by the files of a folder."""

import subprocess
from pathlib import Path

import pytest
from netaddr import IPAddress

from tasks.declared.model import Node
from tasks.host import answer, asking
from tasks.host.state import File, Search, UnreadableStateError
from tests import answers, namespaces


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = {
        "a": "one\n  two\n",
        "b.conf": "two without an end",
        "below/c": "two\n",
        "below/.hidden": "two\n",
        "binary": "two\n\0two\n",
        "empty": "",
        "60-culvert-x": "größe\n",
        "culvert/y": "",
        "culvert/deep/z": "z\r\n",
        "culvert/.new": "waits\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "60-culvert-x").chmod(0o600)
    (tmp_path / "below/link").symlink_to(tmp_path / "a")
    (tmp_path / "60-culvert-link").symlink_to(tmp_path / "a")
    (tmp_path / "masked").symlink_to("/dev/null")
    return tmp_path


def found(*searches: Search, tables: str = "", sysctls: str = "") -> dict[str, str]:
    script = f"tables={tables} sysctls='{sysctls}'\n{asking.searching(searches)}\n"
    done = subprocess.run(["sh", "-s"], input=script, text=True, capture_output=True, check=True)
    return answers.sections(done.stdout)


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ("line", ["  two", "two without an end"]),
        ("path:line", ["{0}/a:  two", "{0}/b.conf:two without an end"]),
        ("path:number:line", ["{0}/a:2:  two", "{0}/b.conf:1:two without an end"]),
        ("path", ["{0}/a", "{0}/b.conf"]),
    ],
)
def test_lines_that_fit_are_told_in_a_form(folder: Path, form: str, lines: list[str]) -> None:
    places = (f"{folder}/a", f"{folder}/*.conf", f"{folder}/*.none", f"{folder}/gone")
    told = found(Search("x", r"^\s*two", places, form))["x"]
    assert told.split("\n") == [line.format(folder) for line in lines]


def test_folders_are_searched_but_for_links_and_what_is_left_out(folder: Path) -> None:
    told = found(Search("x", "two", (f"{folder}/below",), "path"))["x"]
    assert told.split() == [f"{folder}/below/.hidden", f"{folder}/below/c"]
    left_out = Search("x", "two", (f"{folder}/below",), "path", left_out=r"\..*|d")
    assert found(left_out)["x"] == f"{folder}/below/c"


def test_what_is_no_text_has_no_lines(folder: Path) -> None:
    places = (f"{folder}/binary", f"{folder}/empty", f"{folder}/masked", "/dev/zero")
    assert found(Search("x", "", places))["x"] == ""


def test_of_a_program_that_is_not_there_nothing_is_looked_for(folder: Path) -> None:
    for program, line in (("perl", "one"), ("no-program", "")):
        search = Search("x", "one", (f"{folder}/a",), "line", program=program)
        assert found(search)["x"] == line


def test_the_script_names_more_places(folder: Path) -> None:
    search = Search("x", "one|two", ("-",), "line")
    assert found(search, sysctls=f"{folder}/b.conf\n {folder}/a")["x"].split("\n") == [
        *("two without an end", "one", "  two")
    ]


def test_culverts_own_files_are_told_as_a_whole(folder: Path) -> None:
    nothing = Node("db1", None, None, ())
    (search, *_) = asking._searches(nothing, (), (str(folder),), ())
    told = found(search)
    assert told["unreadable"] == ""
    assert answer._files(told["files"]) == {
        f"{folder}/60-culvert-x": File("größe\n", 0o600),
        f"{folder}/culvert/deep/z": File("z\r\n"),
        f"{folder}/culvert/y": File(""),
    }


SETS = """table ip filter {{
    set blocked {{
        type ipv4_addr
        elements = {{ {elements} }}
    }}
    chain input {{
        type filter hook input priority 0
        ip saddr @blocked drop
    }}
}}
table inet culvert {{
}}"""


@namespaces.needed
@pytest.mark.parametrize(("elements", "form"), [(2, "whole"), (80_000, "terse")])
def test_sets_are_told_where_they_are_not_very_large(elements: int, form: str) -> None:
    rules = SETS.format(elements=", ".join(str(IPAddress(0x0A000001 + n)) for n in range(elements)))
    script = f"tables=$(nft list tables) sysctls=\n{asking.searching([])}"
    told = answers.sections(namespaces.run([f"nft -f - <<'RULES'\n{rules}\nRULES", script]))
    found, _, listing = told["ruleset"].partition("\n")
    assert found == form
    assert ("10.0.0.1" in listing) == (form == "whole")
    assert "blocked" in listing
    assert "culvert" not in listing


@pytest.mark.parametrize("length", range(1, 100, 7))
def test_files_of_any_length_come_whole(tmp_path: Path, length: int) -> None:
    text = "".join(chr(33 + number % 90) for number in range(length))
    (tmp_path / "60-culvert-x").write_text(text)
    told = found(Search("files", "60-culvert", (str(tmp_path),), "file"))
    (file,) = answer._files(told["files"]).values()
    assert file.text == text


def test_a_folder_may_be_a_link_to_another(folder: Path) -> None:
    (folder / "elsewhere").symlink_to(folder / "culvert")
    told = found(Search("files", "", (f"{folder}/elsewhere",), "file"))
    names = [f"{folder}/elsewhere/{name}" for name in (".new", "deep/z", "y")]
    assert sorted(answer._files(told["files"])) == names


def test_a_host_without_perl_is_told_so() -> None:
    reading = asking.script(Node("db1", None, None, ()), (), (), (), "")
    script = reading.replace("\nexport LC_ALL", "\nhas() { false; }\nexport LC_ALL", 1)
    done = subprocess.run(["sh", "-s"], input=script, text=True, capture_output=True, check=True)
    with pytest.raises(UnreadableStateError, match=r"`perl` isn't there, .* install perl-base"):
        answer.parse(done.stdout)
