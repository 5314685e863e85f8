"""What a plain `mkdir` in a command makes."""

import time

import pytest

from agent.core.shell import plain_mkdirs

OUT = frozenset({"/files/output"})

MAKES_OUTPUT = [
    "mkdir /files/output",
    "mkdir /files/output && python run.py",
    "  mkdir   /files/output  ",
    "mkdir /files/output/",
    "mkdir /files//output",
    "mkdir //files/./output",
    "mkdir /files/data/../output",
    "/bin/mkdir /files/output",
    "'mkdir' /files/output",
    "mk'dir' /files/output",
    "mkdir '/files/output'",
    'mkdir "/files/output"',
    'mkdir /files/"output"',
    r"mkdir /files/out\put",
    "mkdir \\\n /files/output",
    "mkdir -m 755 /files/output",
    "mkdir -m755 /files/output",
    "mkdir -vm 755 /files/output",
    "mkdir -v /files/output",
    "mkdir --mode=700 /files/output",
    "mkdir --mode 700 /files/output",
    "mkdir --verbose /files/output",
    "mkdir -- /files/output",
    "mkdir /files/output -v",
    "mkdir /files/output 2>/dev/null",
    "mkdir /files/output>/dev/null",
    "mkdir 2> /files/log /files/output",
    "mkdir /files/output 2>&1 | tee log",
    "mkdir /files/output &",
    "true;mkdir /files/output",
    "true && mkdir /files/output",
    "true || mkdir /files/output;",
    "cat x|mkdir /files/output",
    "sleep 1& mkdir /files/output",
    "set -e\nmkdir /files/output\nrun",
    "(mkdir /files/output)",
    "{ mkdir /files/output; }",
    "if [ ! -d /files/output ]; then mkdir /files/output; fi",
    "if ! mkdir /files/output; then exit 1; fi",
    "[ -d /files/output ] || mkdir /files/output",
    "case $x in a) mkdir /files/output;; esac",
    "X=$(mkdir /files/output && echo made)",
    'X="$(mkdir /files/output)"',
    "`mkdir /files/output`",
    'echo "`mkdir /files/output`"',
    "echo $(mkdir /files/output)",
    "diff <(mkdir /files/output) x",
    "umask 0 && sudo mkdir /files/output",
    "timeout 5 mkdir /files/output",
    "busybox mkdir /files/output",
    "A=1 B=2 mkdir /files/output",
    "sh -c 'mkdir /files/output && run'",
    'bash -lc "mkdir /files/output"',
    "bash -c 'sh -c \"mkdir /files/output\"'",
    'eval "mkdir /files/output"',
    "cd /files && mkdir output",
    "cd /files; mkdir ./output",
    "cd /files/data; cd ..; mkdir output",
    "cd /files/data && mkdir ../output",
    "cd '/files' && (mkdir output)",
    "sh -c 'cd /files; mkdir output'",
    "cd /files && sh -c 'mkdir output'",
    "OUT=/files/output; mkdir $OUT",
    'OUT=/files/output; mkdir "${OUT}"',
    "export ROOT=/files\nmkdir $ROOT/output",
    "mkdir $FROM_ENV/output",
    "mkdir -p /files/log; mkdir /files/output",
    "# a comment\nmkdir /files/output",
]

MAKES_NOTHING = [
    "",
    "   ",
    "python run.py",
    "mkdir",
    "mkdir -p /files/output",
    "mkdir -pv /files/output",
    "mkdir -vp /files/output",
    "mkdir -pm 755 /files/output",
    "mkdir --parents /files/output",
    "mkdir --par /files/output",
    "mkdir /files/output -p",
    "echo mkdir /files/output",
    "echo 'mkdir /files/output'",
    "printf 'mkdir /files/output'",
    "true # mkdir /files/output",
    "amkdir /files/output",
    "mkdirs /files/output",
    "python mkdir.py /files/output",
    "mkdir > /files/output",
    "mkdir output",
    "cd; mkdir output",
    "cd - && mkdir output",
    "cd $WHERE && mkdir output",
    "(cd /files); mkdir output",
    "OUT=/files/output mkdir",
    "mkdir $UNKNOWN",
    "mkdir $UNKNOWN/output",
    "mkdir $(dirname /files/x)",
    "mkdir ''",
]


@pytest.mark.parametrize("text", MAKES_OUTPUT)
def test_a_plain_mkdir_is_found_however_it_is_written(text):
    assert plain_mkdirs(text, {"FROM_ENV": "/files"}) == OUT


@pytest.mark.parametrize("text", MAKES_NOTHING)
def test_what_is_no_plain_mkdir_makes_nothing(text):
    assert plain_mkdirs(text, {}) == frozenset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mkdir /a /b /c", {"/a", "/b", "/c"}),
        ("mkdir -- -p /b", {"/b"}),
        ("cd /files; mkdir a; cd a; mkdir b", {"/files/a", "/files/a/b"}),
        ("(cd /files; mkdir a); cd /x; mkdir b", {"/files/a", "/x/b"}),
        ("mkdir /files/{output,log}", {"/files/output", "/files/log"}),
        ("mkdir /files/{a,b}/{c,d}", {"/files/a/c", "/files/a/d", "/files/b/c", "/files/b/d"}),
        ('mkdir "/files/my output"', {"/files/my output"}),
        (r"mkdir /files/my\ output", {"/files/my output"}),
        ("mkdir /files/ä", {"/files/ä"}),
    ],
)
def test_several_arguments_are_several_folders(text, expected):
    assert plain_mkdirs(text, {}) == expected


@pytest.mark.parametrize(
    "text",
    [
        "(" * 20000,
        "$(" * 20000,
        "`" * 20001,
        '"' * 20001,
        "'\"`$(\\",
        "A=x;" + "A=$A$A;" * 5000,
        "mkdir " + "{a,b}" * 500,
        "mkdir {" + "a," * 20000 + "}{b,c}",
        "sh -c '" * 5000 + "mkdir /x",
        'eval "' + "mkdir \\" * 5000,
        "${" * 20000,
        "<" * 20000,
        "mkdir " * 20000,
    ],
)
def test_hostile_text_is_read_in_no_time(text):
    """A command of the longest length that Linux takes cannot keep the agent busy."""
    began = time.thread_time()  # what other processes do does not count
    plain_mkdirs(text, {})
    assert time.thread_time() - began < 20
