"""The state of a training: what is kept, what an older or damaged file gives, and writes that fail."""

import errno
import json
import platform
import resource
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from umbel import checkpoint
from umbel.checkpoint import FILE, Progress, restore, save
from umbel.errors import InputError


def stepped(steps=3, seed=0):
    """Return a model whose last layer missed the first steps, and its optimiser."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 3), torch.nn.Linear(3, 2))
    model[0].requires_grad_(False)
    optimizer = torch.optim.AdamW(model[1:].parameters(), lr=0.1)
    for step in range(steps):
        hidden = model[:2](torch.randn(5, 4))
        (hidden.sum() if step < 2 else model[2](hidden).sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def state_of(model, optimizer):
    return {
        name: [parameter.detach(), *(optimizer.state[parameter][key] for key in ("step", "exp_avg", "exp_avg_sq"))]
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
    }


def assert_same_state(first, second):
    left, right = state_of(*first), state_of(*second)
    assert left.keys() == right.keys()
    assert all(torch.equal(a, b) for name in left for a, b in zip(left[name], right[name], strict=True))


def test_a_state_comes_back_as_it_was(tmp_path):
    progress = Progress(
        "declared", 2, 5, 3, 40, 1.5, 1, {"a": 0.25}, [{"step": 2, "scores": {"a": 91.3}}], {"a": (91.3, 0)}, {"b": 1}
    )
    kept = stepped()
    save(tmp_path / "new", progress, *kept)
    other = stepped(0, seed=9)
    found = restore(tmp_path / "new", "declared", *other)
    assert found == Progress(**json.loads(json.dumps(vars(progress))))
    assert_same_state(kept, other)
    assert int(other[1].state[other[0][2].weight]["step"]) == 1  # it missed two of three


def test_what_is_frozen_is_neither_kept_nor_touched(tmp_path):
    save(tmp_path, Progress("declared"), *stepped())
    with safe_open(tmp_path / FILE, "pt") as file:
        assert not any(name.endswith(("/0.weight", "/0.bias")) for name in file.keys())  # noqa: SIM118
    other = stepped(0, seed=9)
    before = other[0][0].weight.clone()
    restore(tmp_path, "declared", *other)
    assert torch.equal(before, other[0][0].weight)


def test_a_training_goes_on_to_the_same_bits(tmp_path):
    first = stepped()
    save(tmp_path, Progress("declared"), *first)
    second = stepped(0, seed=9)
    restore(tmp_path, "declared", *second)
    for model, optimizer in (first, second):
        for parameter in model[1:].parameters():
            parameter.grad = torch.full_like(parameter, 0.3)
        optimizer.step()
    assert_same_state(first, second)


def test_where_nothing_was_saved_it_starts(tmp_path):
    assert restore(tmp_path / "none", "declared", *stepped(0)) == Progress("declared")


def test_a_state_saved_without_steps_of_single_parameters_counts_all_steps(tmp_path):
    kept = stepped()
    save(tmp_path, Progress("declared", step=3), *kept)
    with safe_open(tmp_path / FILE, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if not name.startswith("step/")}  # noqa: SIM118
        progress = json.loads(file.metadata()["progress"])
    del progress["losses"]
    save_file(tensors, tmp_path / FILE, {"progress": json.dumps(progress)})
    other = stepped(0, seed=9)
    assert restore(tmp_path, "declared", *other).losses == {}
    for parameter in other[0][1:].parameters():
        assert other[1].state[parameter]["step"] == 3
    assert torch.equal(kept[1].state[kept[0][1].bias]["exp_avg"], other[1].state[other[0][1].bias]["exp_avg"])


def test_the_state_of_another_declaration_is_refused_and_loads_nothing(tmp_path):
    save(tmp_path, Progress("declared"), *stepped())
    other = stepped(0, seed=9)
    before = other[0][1].weight.clone()
    with pytest.raises(InputError, match="belongs to another declaration"):
        restore(tmp_path, "changed", *other)
    assert torch.equal(before, other[0][1].weight)


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "folder"])
def test_a_damaged_state_is_told(tmp_path, damage):
    path = tmp_path / FILE
    save(tmp_path, Progress("declared"), *stepped())
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        save_file({"a": torch.zeros(2)}, path, {"progress": '{"pages": 3}'})
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: cannot be read") as caught:
        restore(tmp_path, "declared", *stepped(0))
    assert "--restart" in caught.value.hint


def test_a_full_disk_is_told_and_the_state_before_is_kept(tmp_path, monkeypatch):
    kept = stepped()
    save(tmp_path, Progress("declared", step=1), *kept)

    def full(tensors, path, metadata):  # half of it fits
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(InputError, match="No space left on device") as caught:
        save(tmp_path, Progress("declared", step=2), *stepped(seed=3))
    assert "make room" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert restore(tmp_path, "declared", *stepped(0)).step == 1


def test_what_a_kill_left_half_written_is_overwritten(tmp_path):
    (tmp_path / f"{FILE}.tmp").write_bytes(b"half")
    save(tmp_path, Progress("declared"), *stepped())
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed")
def test_saving_gives_freed_memory_back(tmp_path):
    def resident():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6

    blocks = [bytearray(5_000) for _ in range(20_000)]
    del blocks[:-1]  # the last one holds the heap where it is
    before = resident()
    model = torch.nn.Linear(2, 2)
    save(tmp_path, Progress("state"), model, torch.optim.AdamW(model.parameters()))
    assert before - resident() > 80
    assert len(blocks) == 1
