"""What does a question cost whose answer stands in a passage, against reading the passage?

    python bench/passages.py [--pack FOLDER] [--threads 2] [--rounds 9] [--quick]

Theory: a question is read by itself once and remembered, read as a branch (a dozen tokens through all layers), and
compared with every token of the passage by the reading head, whose arithmetic is a twentieth of the encoder's: two
layers a third as wide. Without a pack it is the shipped `base` that is asked.

`question_over_reading_*`: one question of a kept passage over reading it.
`further_question_over_reading_*`: each of nine questions more, asked in the same call.
"""

from __future__ import annotations

from _common import finish, interleaved, machine, milliseconds, options_of, ratio, start

LENGTHS = (128, 256)


def main() -> None:
    """Measure and print."""
    options = options_of(__doc__, ("--pack", {"default": "base", "help": "a pack that finds answers in passages"}))
    workers = start({"umbel": ("asking", options.pack)}, options.threads)
    operations = [
        f"{what}{n}{more}" for n in LENGTHS for what, more in (("encode ", ""), ("extract ", " 1"), ("extract ", " 10"))
    ]
    seconds = interleaved([(workers["umbel"], operations)], options.rounds, options.quick)
    for (name, operation), values in seconds.items():
        print(f"{name:10}{operation:24}{milliseconds(values):10.2f} ms a call", flush=True)
    figures = {}
    for tokens in LENGTHS:
        one, ten = (
            ratio(seconds, ("umbel", f"extract {tokens} {count}"), ("umbel", f"encode {tokens}")) or 0.0
            for count in (1, 10)
        )
        figures[f"question_over_reading_{tokens}"] = one
        figures[f"further_question_over_reading_{tokens}"] = round((ten - one) / 9, 3)
    workers["umbel"].close()
    finish(figures | {"machine": machine()}, options.write)


if __name__ == "__main__":
    main()
