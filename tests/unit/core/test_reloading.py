"""What is said of settings that were read again."""

from agent.core.reloading import sentences_of

BEFORE = {"LOOK": 30.0, "GROUPS": (), "API_URL": "https://a", "PASSWORD": "old s3cret", "RUNTIME": None}


def said(**after):
    return sentences_of(BEFORE, BEFORE | after, {"LOOK", "GROUPS", "RUNTIME", "PASSWORD"}, {"PASSWORD"})


def test_nothing_changed():
    """Then nothing is said."""
    assert said() == ()


def test_what_changes_now_is_said_with_both_values():
    """Empty and missing values too."""
    assert said(LOOK=10.5, GROUPS=("a", "b\n"), RUNTIME=3600.0) == (
        "LOOK is 10.5 now (was 30)",
        "GROUPS is a, b now (was not set)",
        "RUNTIME is 3600 now (was not set)",
    )


def test_what_waits_for_a_restart_is_named():
    """It would touch jobs that run."""
    assert said(API_URL="https://b") == ("API_URL has changed: takes effect at the next restart",)


def test_a_secret_is_never_shown():
    """Neither the old nor the new one, whatever list it is on."""
    (sentence,) = said(PASSWORD="new s3cret")
    assert "s3cret" not in sentence
