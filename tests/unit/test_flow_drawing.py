"""A flow as Mermaid."""

from __future__ import annotations

import re
from textwrap import dedent

from umbel.flow_drawing import mermaid, plain_drawing
from umbel.flow_spec import flow_of_pack
from umbel.records import Task

TASKS = {
    "sentiment": Task("sentiment", "text-classification", ("bad", "good")),
    "vector": Task("vector", "feature-extraction"),
}
STEPS = {
    "read": {"tasks": ["sentiment"]},
    "asked": {"ask": {"angry": {"predicate": "x"}}, "when": 'sentiment.label == "bad"'},
    "help": {"search": "help.index", "when": "message.length > 3"},
    "says": {"ask": {"words": {"question": "{message.text}"}}, "of": "help"},
    "end": {"reply": "{words.text|}", "timeout": 2, "fallback": "<sorry>", "when": "angry.holds or help.count > 0"},
}


def test_steps_conditions_and_what_can_be_done_without() -> None:
    drawn = mermaid(flow_of_pack({"steps": STEPS}, "x", TASKS))
    assert drawn == dedent(
        """\
        flowchart TD
            message(["message"])
            step_read["<b>read</b><br/>sentiment"]
            step_asked(["<b>asked</b><br/>angry"])
            step_help[("<b>help</b><br/>help.index")]
            step_says(["<b>says</b><br/>words"])
            step_end[/"<b>end</b><br/><i>if angry.holds or help.count #62; 0</i><br/>at most 2 s<br/>has a fallback"/]
            message --> step_read
            step_read -->|"sentiment.label == 'bad'"| step_asked
            message -->|"message.length #62; 3"| step_help
            step_help --> step_says
            step_asked --> step_end
            step_help --> step_end
            step_says -.-> step_end"""
    )


def test_nothing_of_a_declaration_is_taken_for_mermaids_own() -> None:
    steps = {
        "end": {"reply": "x", "when": 'message.text == "<b>`#|}{[]"'},
        "style": {"search": 'a"b<c>.index'},
    }
    drawn = mermaid(flow_of_pack({"steps": steps}, "x", TASKS))
    labels = re.findall(r'"((?:[^"])*)"', drawn)
    assert all(re.sub(r"</?[bi]>|<br/>|#\d+;", "", label).isprintable() for label in labels)
    assert not any(re.search(r"[<>`]", re.sub(r"</?[bi]>|<br/>", "", label)) for label in labels)
    assert drawn.count('"') % 2 == 0


def test_a_drawing_of_plain_values_says_the_same() -> None:
    drawn = plain_drawing(flow_of_pack({"steps": STEPS, "description": "Says."}, "x", TASKS))
    assert (drawn["name"], drawn["description"]) == ("x", "Says.")
    steps = {step["name"]: step for step in drawn["steps"]}
    assert list(steps) == ["read", "asked", "help", "says", "end"]
    assert steps["read"]["after"] == [{"step": "message", "needed": True, "condition": False}]
    assert steps["asked"]["after"] == [{"step": "read", "needed": True, "condition": True}]
    assert steps["help"]["after"] == [{"step": "message", "needed": True, "condition": True}]
    end = steps["end"]
    assert {each["step"]: (each["needed"], each["condition"]) for each in end["after"]} == {
        "asked": (True, True),
        "help": (True, True),
        "says": (False, False),
    }
    assert (end["action"], end["timeout"], end["fallback"]) == ("reply", 2, True)
    assert end["when"] == "angry.holds or help.count > 0"
