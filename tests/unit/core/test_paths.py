"""What a job may name, and what its files are called at the API."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import parse_options_header
from urllib3.fields import RequestField

from agent.core.errors import JobFailed
from agent.core.models import OutputFile, OutputListing, Upload, UploadKind
from agent.core.paths import (
    MAX_BASE_PATH_BYTES,
    InputFile,
    input_path,
    output_root,
    plan_inputs,
    plan_roots,
    plan_uploads,
    shown,
    upload_key,
)

OUTPUT, LOG, ARTIFACT = UploadKind.OUTPUT, UploadKind.LOG, UploadKind.ARTIFACT

# What can be a name on the disk: any bytes but `/` and NUL, as `os.fsdecode` spells them.
disk_names = (
    st.binary(min_size=1, max_size=255)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_").decode("utf-8", "surrogateescape"))
    .filter(lambda name: name not in (".", ".."))
)
nasty_names = st.text(st.sampled_from('a"%2\\C:\r\n~.\udcff\udc80${}é'), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)


def file(path: str | tuple[str, ...], size: int = 1, modified: int = 2) -> OutputFile:
    return OutputFile(tuple(path.split("/")) if isinstance(path, str) else path, size, modified)


def plan(*paths: str, kind: UploadKind = OUTPUT) -> list[tuple[str, str]]:
    listing = OutputListing(tuple(file(path) for path in paths))
    return [(u.base_path, u.name) for u in plan_uploads({}, {kind: listing})]


REFUSED = [
    ("", "empty"),
    ("/etc/passwd", "relative"),
    ("//files/x", "relative"),
    ("../x", "'..'"),
    ("a/../b", "'..'"),
    ("a/..", "'..'"),
    ("..", "'..'"),
    (".", "folder itself"),
    ("./.", "folder itself"),
    ("a\0b", "NUL"),
    ("x" * 256, "255 bytes"),
    ("é" * 128, "255 bytes"),
    ("a/" * 2100 + "b", "4088 bytes"),
    ("a\ud800", "Unicode"),
    ("a\udcff", "Unicode"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_unsafe_input_paths_are_refused(text: str, why: str):
    """A path that could leave the folder, or that no disk takes, is the job's error and names the field."""
    with pytest.raises(JobFailed, match=r"^files_down: ") as caught:
        plan_inputs({text: "id"})
    assert why in caught.value.reason
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 400


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_unsafe_output_roots_are_refused(text: str, why: str):
    """`files_up` follows the same rules; the text names which of its entries."""
    with pytest.raises(JobFailed, match=r"^files_up\.artifact: ") as caught:
        plan_roots({"output": "fine", "artifact": text})
    assert why in caught.value.reason


@pytest.mark.parametrize("text", ["data/", "data/.", "data//"])
def test_an_input_cannot_be_a_folder(text: str):
    """An input that ends in a slash names no file."""
    with pytest.raises(JobFailed, match="folder, not a file"):
        input_path(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("data/x.csv", ("data", "x.csv")),
        ("./a//b", ("a", "b")),
        ("-rf", ("-rf",)),
        ("...", ("...",)),
        ("a\\..\\b", ("a\\..\\b",)),
        (" ", (" ",)),
        ("line\nbreak", ("line\nbreak",)),
        ("x" * 255, ("x" * 255,)),
    ],
)
def test_harmless_input_paths_are_normalised(text: str, parts: tuple[str, ...]):
    """Odd but safe names are the user's business; empty parts and `.` fall away."""
    assert input_path(text) == parts


def test_an_output_root_may_end_in_a_slash():
    """`out/` means the folder."""
    assert output_root(OUTPUT, "./out/") == ("out",)


def test_inputs_keep_the_order_of_the_spec():
    """What to download comes in the order in which the job names it, with a label to show."""
    assert plan_inputs({"b": "1", "./a\n/c": "2"}) == (
        InputFile(("b",), "1", "b"),
        InputFile(("a\n", "c"), "2", "a\\n/c"),
    )
    assert plan_inputs(None) == plan_inputs({}) == ()


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({"a": "1", "./a": "2"}, "two inputs"),
        ({"a": "1", "a/b": "2"}, "'a/b': lies below 'a'"),
        ({"a/b/c": "1", "a!": "3", "a": "2"}, "'a/b/c': lies below 'a'"),
        ({"a": ""}, "file id"),
        ({"a": "\ud800"}, "file id"),
    ],
)
def test_conflicting_inputs_are_refused(inputs: dict[str, str], why: str):
    """Two inputs on one path, one below another that is a file, and empty ids are the job's error."""
    with pytest.raises(JobFailed, match=r"^files_down: ") as caught:
        plan_inputs(inputs)
    assert why in caught.value.reason


def test_neighbours_are_no_conflict():
    """A name that only begins like another one is fine."""
    assert len(plan_inputs({"a": "1", "ab": "2", "a.d/b": "3", "b/a": "4"})) == 4


@given(st.text())
def test_whatever_passes_stays_inside(text: str):
    """No accepted path has a part that a file system would treat specially."""
    try:
        parts = input_path(text)
    except JobFailed:
        return
    assert parts
    assert not {"", ".", ".."} & set(parts)
    assert not any("/" in part or "\0" in part for part in parts)


def test_shown_is_one_line():
    """A path in a log line cannot break the line, and odd bytes can be told apart."""
    assert shown(("a\n", "\udcff", "é\x1b", "\ud800")) == "'a\\n/\\xff/é\\x1b/\\ud800'"
    assert len(shown("x" * 5000)) < 320


def test_the_base_path_is_the_folder_with_its_first_component():
    """`files_up: {"output": "out"}` and `out/a/b.h5` give base_path `out/a` (docs/protocol.md)."""
    assert plan("out/a/b.h5", "out/c") == [("out", "c"), ("out/a", "b.h5")]
    assert plan("single.log") == [("", "single.log")]


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("r\udce9sultat.csv", "r%E9sultat.csv"),
        ('say "hi".txt', "say %22hi%22.txt"),
        ("two\r\nlines", "two%0D%0Alines"),
        ("C:\\x\\y", "C:%5Cx%5Cy"),
        ("50%.csv", "50%.csv"),
        ("ünïcode ☃ #?+.txt", "ünïcode ☃ #?+.txt"),
        ("-rf", "-rf"),
    ],
)
def test_names_that_would_not_arrive_are_escaped(name: str, sent: str):
    """What is not UTF-8, or would arrive changed, goes as percent escapes; all else stays."""
    assert plan(f"out/{name}") == [("out", sent)]


def test_folders_are_escaped_too():
    """Folders travel in a query: only bytes that are not UTF-8, and S3's own `${filename}`, are a problem."""
    assert plan('out/\udcff/"${filename}\\/x') == [('out/%FF/"%24{filename}\\', "x")]


@pytest.mark.parametrize(
    ("names", "sent"),
    [
        ((("\udcff.csv"), "%FF.csv"), ["%FF.csv", "%FF~2.csv"]),
        (('a"', "a%22", "a%22~2"), ["a%22~3", "a%22", "a%22~2"]),
        (("\udcff", "%FF"), ["%FF", "%FF~2"]),
    ],
)
def test_names_that_fall_together_are_told_apart(names: tuple[str, ...], sent: list[str]):
    """The file whose own name it is keeps it, others get a number before the suffix."""
    assert sorted(plan(*(f"out/{name}" for name in names))) == sorted(("out", name) for name in sent)
    assert plan(*(f"out/{name}" for name in names)) == plan(*(f"out/{name}" for name in reversed(names)))


def test_a_folder_and_a_file_that_fall_together_are_told_apart():
    """On local storage a file cannot lie where a folder has to be."""
    assert sorted(plan('out/a"', "out/a%22/x", "out/\udcff/y", "out/%FF")) == [
        ("out", "%FF"),
        ("out", "a%22~2"),
        ("out/%FF~2", "y"),
        ("out/a%22", "x"),
    ]


def test_long_names_are_cut_to_what_the_server_takes():
    """A name that is too long once it is escaped keeps its beginning and its suffix."""
    (_, one), (_, two) = plan("out/" + '"' * 200 + "1.csv", "out/" + '"' * 200 + "2.csv")
    for name in one, two:
        assert len(name.encode()) <= 255
        assert re.fullmatch(r"(%22)+.*~[0-9a-f]{12}\.csv", name)
    assert one != two


def test_deep_folders_are_cut_to_what_an_s3_key_takes():
    """The folder keeps its beginning; a digest stands for the rest, another one for every folder."""
    deep = "out/" + "/".join(f"level{n}" for n in range(3000))
    planned = plan(f"{deep}/a", f"{deep}/b", f"{deep}/x/a", f"{deep}/y/a")
    assert len(set(planned)) == 4
    assert len({base for base, _ in planned}) == 3
    for base, _ in planned:
        assert base.startswith("out/level0/level1/")
        assert len(base.encode()) <= MAX_BASE_PATH_BYTES + 20


@given(st.lists(st.tuples(st.sampled_from(["d", "\udcff", "%FF"]), nasty_names | disk_names), max_size=30))
def test_every_upload_has_a_place_of_its_own(paths: list[tuple[str, str]]):
    """Names are UTF-8, short enough, arrive as they are sent, and no two fall together."""
    listing = OutputListing(tuple(file(("out", *path)) for path in set(paths)))
    planned = plan_uploads({}, {OUTPUT: listing})
    assert len({(u.base_path, u.name) for u in planned}) == len(planned) == len(set(paths))
    for upload in planned:
        upload.base_path.encode()
        assert len(upload.name.encode()) <= 255
        assert arrived(upload.name) == upload.name


def arrived(name: str) -> str:
    """The name as the API's form parser reads it."""
    part = RequestField("file", b"", filename=name)
    part.make_multipart()
    head = part.render_headers().encode().split(b"\r\n")[0].removeprefix(b"Content-Disposition: ")
    return parse_options_header(head)[1][b"filename"].decode()


def test_kinds_do_not_disturb_each_other():
    """One file may be collected as two kinds; each kind has its own place at the API."""
    listing = OutputListing((file("out/a"),))
    planned = plan_uploads({}, {OUTPUT: listing, ARTIFACT: listing})
    assert [(u.kind, u.base_path, u.name) for u in planned] == [(OUTPUT, "out", "a"), (ARTIFACT, "out", "a")]


CONTAINER = OutputFile((), 7, 9)


@pytest.mark.parametrize(
    ("root", "paths", "place"),
    [
        ("log", ["log/log.log"], ("log", "container.log")),
        ("log", [], ("log", "container.log")),
        ("log", ["log/container.log"], ("log", "container~2.log")),
        ("log", ["log/container.log", "log/container~2.log"], ("log", "container~3.log")),
        ("log", ["log/container.log/x"], ("log", "container~2.log")),
        ("log", ["log/sub/container.log"], ("log", "container.log")),
        ("log/run.txt", ["log/run.txt"], ("log", "container.log")),
        ("run.txt", ["run.txt"], ("", "container.log")),
        ("container.log", ["container.log"], ("", "container~2.log")),
    ],
)
def test_the_containers_log_lies_beside_the_jobs_logs(root: str, paths: list[str], place: tuple[str, str]):
    """It goes to the folder of `files_up.log` under a name the job did not take."""
    listing = OutputListing(tuple(file(path) for path in paths))
    planned = plan_uploads({LOG: output_root(LOG, root)}, {LOG: listing}, CONTAINER)
    assert planned[-1] == Upload(LOG, *place, CONTAINER)
    assert len(planned) == len(paths) + 1


def test_the_containers_log_needs_a_place_to_go():
    """Without `log` in `files_up` it is not uploaded."""
    assert plan_uploads({OUTPUT: ("log",)}, {OUTPUT: OutputListing(())}, CONTAINER) == ()


def test_many_names_that_fall_together_take_no_longer_than_others():
    """A job cannot keep the agent busy with names that are all the same once they are escaped."""
    names = [f"{n:016b}".replace("0", '"').replace("1", "%22") for n in range(1 << 16)]
    planned = plan(*(f"out/{name}" for name in names))
    assert len(set(planned)) == 1 << 16


def test_the_upload_key_changes_with_the_file():
    """A file that is another one by now is uploaded again; odd bytes and great depth are no obstacle."""
    upload = Upload(OUTPUT, "out", "a", file("out/\udcff"))
    assert upload_key(upload) == "output:out/%FF:1:2"
    others = [
        file("out/\udcff", size=3),
        file("out/\udcff", modified=3),
        file("out/%FF"),
        file("out/" + "a/" * 900),
    ]
    keys = {upload_key(Upload(OUTPUT, "out", "a", other)) for other in others}
    keys |= {upload_key(upload), upload_key(Upload(LOG, "out", "a", upload.file))}
    assert len(keys) == 6
    assert all(len(key) < 1000 and key.isascii() for key in keys)
