"""What becomes of the flags that Disco's ``disco run`` had."""

from disco.cli.disco_flags import translated
from disco.cli.request import request_from
from disco.util import kvgroup


def test_disco_s_flags_say_the_same_as_ours() -> None:
    asked = translated(
        {
            "short_name": "words",
            "params": (("n", 1),),
            "pairs": (("limit", "(1, 2)"), ("text", "no literal")),
            "reduce": "disco.util.kvgroup",
            "save": True,
            "scheduler": (("max_cores", "4"),),
        }
    )
    request = request_from("module:Words", ["raw://x"], asked)
    assert request.name == "words"
    assert request.params == {"n": 1, "limit": (1, 2), "text": "no literal"}
    assert request.jobargs == {
        "reduce": kvgroup,
        "save_results": True,
        "scheduler": {"max_cores": 4},
    }


def test_without_them_nothing_changes() -> None:
    assert translated({"name": "words", "partitions": 3}) == {"name": "words", "partitions": 3}
