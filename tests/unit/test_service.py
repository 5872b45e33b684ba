"""The service over a crew that is made up: fields that are wrong, batches, swaps, charges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel.errors import BusyError, InputError, NotFoundError, PackError, UnavailableError
from umbel.host import Learned, Lesson, Spent
from umbel.inquiries import Inquiry, Reply
from umbel.questions import Choice, Option, Predicate
from umbel.records import Result
from umbel.scheduler import Limits
from umbel.server.service import Service, charge
from umbel.server.work import tokens_of, work_of


class Crew:
    """Answers every text with the key of the pack; `gate` holds it back."""

    lanes, restarts, ready = 1, 0, True

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.done: list[tuple[Any, ...]] = []
        self.parts = 1

    async def start(self) -> None:
        self.done.append(("start",))

    async def load(self, key: str, folder: Path) -> None:
        self.done.append(("load", key))

    async def drop(self, key: str) -> None:
        self.done.append(("drop", key))

    async def close(self) -> None:
        self.done.append(("close",))

    async def inquire(self, key: str, inquiries: list[Inquiry]) -> list[tuple[list[Any], Spent]]:
        self.done.append(("inquire", key, len(inquiries)))
        await self.gate.wait()
        replies = [Reply(Result(inquiry.text, {}, key)) for inquiry in inquiries]
        return [([reply], Spent(encodings=1)) for reply in replies]  # in several parts, as after a death

    async def call(self, method: str, *arguments: Any) -> Any:
        self.done.append((method, *arguments))
        if method == "teach":
            return Learned(self.taught, None, 100.0, "2 examples", 2, {"answers": 1})
        return [{"source": "a"}]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("service")
    backbone = write_tiny_backbone(folder / "backbone")
    return {
        "one": write_tiny_pack(folder / "one", backbone, branches=True).folder,
        "plain": write_tiny_pack(folder / "plain", backbone, "0.2.0").folder,
    }


def serving(folders: dict[str, Path], use: Callable[[Service, Crew], Awaitable[None]], **more: Any) -> None:
    async def main() -> None:
        crew = Crew()
        crew.taught = folders["plain"]
        service = Service(crew, **more)
        await service.start(folders)
        await use(service, crew)
        await service.close(5)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("inquiries", "field"),
    [
        ([Inquiry(" ")], "text"),
        ([Inquiry("good"), Inquiry("")], "texts[1]"),
        ([Inquiry("good", ["sentiment", "nothing"])], "tasks[1]"),
        ([Inquiry("good", [], [Predicate("x"), Choice("?", (Option("a"),))])], "questions[1]"),
    ],
)
def test_what_is_wrong_is_told_by_field_before_it_costs_anything(
    folders: dict[str, Path], inquiries: list[Inquiry], field: str
) -> None:
    async def use(service: Service, crew: Crew) -> None:
        with pytest.raises(InputError) as raised:
            await service.inquire(inquiries)
        assert raised.value.field == field
        assert not any(done[0] == "inquire" for done in crew.done)

    serving(folders, use)


def test_packs_are_found_by_name_and_the_first_is_the_default(folders: dict[str, Path]) -> None:
    async def use(service: Service, crew: Crew) -> None:
        assert (service.pack().name, service.pack("plain").manifest.version) == ("one", "0.2.0")
        with pytest.raises(NotFoundError, match="did you mean 'plain'"):
            service.pack("plane")
        with pytest.raises(InputError, match="answers no questions") as raised:
            await service.ask("good", [Predicate("x")], pack="plain")
        assert raised.value.field == "pack"
        with pytest.raises(NotFoundError):
            await service.search("docs", "good")

    serving(folders, use)


def test_what_waits_together_is_one_batch_and_parts_are_put_together(folders: dict[str, Path]) -> None:
    async def use(service: Service, crew: Crew) -> None:
        found = await asyncio.gather(service.analyze(["a", "b"]), service.analyze(["c"]), service.analyze(["d"]))
        assert [[result.text for result in each] for each in found] == [["a", "b"], ["c"], ["d"]]
        assert [done[2] for done in crew.done if done[0] == "inquire"] == [4]

    serving(folders, use)


def test_a_swapped_pack_answers_what_it_was_given_and_is_then_dropped(folders: dict[str, Path]) -> None:
    async def use(service: Service, crew: Crew) -> None:
        crew.gate.clear()
        old = service.pack("one").key
        asked = asyncio.ensure_future(service.analyze(["a"]))
        await asyncio.sleep(0.01)
        new = await service.deploy("one", folders["plain"])
        assert service.pack().key == new.key != old
        assert ("drop", old) not in crew.done
        crew.gate.set()
        assert [result.language for result in await asked] == [old]
        while ("drop", old) not in crew.done:
            await asyncio.sleep(0.01)
        assert [result.language for result in await service.analyze(["b"])] == [new.key]

    serving(folders, use)


def test_packs_are_removed_but_for_the_last(folders: dict[str, Path]) -> None:
    async def use(service: Service, crew: Crew) -> None:
        await service.remove("one")
        assert list(service.packs) == ["plain"]
        with pytest.raises(InputError, match="only pack"):
            await service.remove("plain")
        with pytest.raises(PackError):
            await service.deploy("other", "/nowhere")
        assert list(service.packs) == ["plain"]

    serving(folders, use)


def test_a_taught_pack_is_served_under_its_name(folders: dict[str, Path], tmp_path: Path) -> None:
    async def use(service: Service, crew: Crew) -> None:
        found, learned = await service.teach(Lesson("mood", examples=[("a", "b")]), "one", "moody")
        assert (found.name, found.folder, learned.examples) == ("moody", folders["plain"], 2)
        _, key, folder, lesson = next(done for done in crew.done if done[0] == "teach")
        assert (key, folder.parent, lesson.task) == (service.pack("one").key, tmp_path, "mood")
        assert list(service.packs) == ["one", "plain", "moody"]

    serving(folders, use, taught=tmp_path)


def test_work_is_charged_to_who_asks_and_a_refusal_stops_it(folders: dict[str, Path]) -> None:
    async def use(service: Service, crew: Crew) -> None:
        charged: list[int] = []
        charge.set(charged.append)
        await service.analyze(["good to Paris"])
        assert charged == [tokens_of("good to Paris")]

        def refuse(work: int) -> None:
            raise BusyError("no more today")

        charge.set(refuse)
        with pytest.raises(BusyError):
            await service.analyze(["good"])
        charge.set(None)
        assert len([done for done in crew.done if done[0] == "inquire"]) == 1

    serving(folders, use)


def test_it_is_ready_between_its_start_and_its_end(folders: dict[str, Path]) -> None:
    async def main() -> None:
        service = Service(Crew(), Limits())
        assert not service.ready
        with pytest.raises(UnavailableError):
            service.pack()
        await service.start(folders)
        assert service.ready
        await service.close(1)
        assert not service.ready
        with pytest.raises(UnavailableError):
            await service.analyze(["good"])

    asyncio.run(main())


def test_work_is_about_the_tokens_of_texts_and_questions() -> None:
    assert tokens_of("我昨天在你们店里买的手机充不进电，麻烦换一台新的") == pytest.approx(22, abs=6)
    assert tokens_of("My parcel from Berlin has not arrived yet") == pytest.approx(11, abs=4)
    asked = Inquiry("good", [], [Predicate("It is good"), Choice("Which?", (Option("a"), Option("b")))])
    assert work_of(asked) > tokens_of("good") + 8
