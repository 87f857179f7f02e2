"""Pruning by least squares, and distillation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from img_to_segments import PART_NAMES
from networks import PartNetwork
from training.distil import distil_loss
from training.prune import Moments, how_many, observe, prune, removals, units_of

AREA = 96 * 128


def network(seed: int = 0, **options: object) -> PartNetwork:
    torch.manual_seed(seed)
    made = PartNetwork("tf_efficientnet_lite0", 1 + len(PART_NAMES), **options)  # type: ignore[arg-type]
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    return made.eval()


def photos(count: int = 8) -> Iterator[NDArray[np.uint8]]:
    random = np.random.default_rng(1)
    for _ in range(count):
        coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        yield np.kron(coarse, np.ones((16, 16, 1), np.uint8))


def inputs() -> Tensor:
    found = [torch.from_numpy(photo).permute(2, 0, 1).float() for photo in photos(2)]
    return torch.stack(found).sub(127).div(128)


def samples(count: int = 500) -> Tensor:
    """Five channels; the last is made of the first two, the one before it is silent."""
    values = torch.randn(count, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values[:, 3] *= 1e-3
    values[:, 4] = values[:, 0] - 2 * values[:, 1]
    return values - values.mean(0)


def lost(weight: Tensor, values: Tensor, left: list[int]) -> float:
    """The share of the output's variance that the best weights for some channels don't give."""
    wanted = values @ weight.T
    best = torch.linalg.lstsq(values[:, left], wanted).solution
    return float(((values[:, left] @ best - wanted) ** 2).sum() / (wanted**2).sum())


def test_what_others_can_make_up_for_goes_first() -> None:
    values = samples()
    weight = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    order, costs = removals(weight, values.T @ values / len(values))
    assert len(order) == len(costs) == 2
    assert 3 in order  # silent
    assert order[0] in (0, 1, 3, 4)
    assert sum(costs) < 1e-3
    assert lost(weight, values, [i for i in range(5) if i not in order]) < 1e-3


def test_the_first_to_go_is_the_best_choice() -> None:
    mixed = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    values = samples() @ mixed + 0.5 * torch.randn(500, 5, dtype=torch.float64)
    weight = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    order, costs = removals(weight, values.T @ values / len(values))
    each = [lost(weight, values, [j for j in range(5) if j != i]) for i in range(5)]
    assert order[0] == int(np.argmin(each))
    assert costs[0] == pytest.approx(min(each), rel=0.05)


def test_arithmetic_that_is_cheap_to_lose_goes_first() -> None:
    units = units_of(network())[:2]
    many = [unit.reader.in_channels for unit in units]
    costs = [[1.0] * (many[0] // 2), [1e-6] * (many[1] // 2)]
    gone = how_many(costs, units, 16 * units[1].operations)
    assert gone == [0, 16]
    assert how_many(costs, units, 0.0) == [0, 0]
    assert how_many(costs, units, 1e15) == [many[0] // 2, many[1] // 2]


def test_a_cut_network_has_the_shape_that_its_options_say(tmp_path: object) -> None:
    whole, cut = network(), network()
    shape = prune(cut, photos(), AREA, 0.4e9)
    assert sum(shape["hidden"]) < sum(unit.reader.in_channels for unit in units_of(whole)[:-3])
    rebuilt = network(seed=1, **shape)
    rebuilt.load_state_dict(cut.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(inputs()), cut(inputs()))
    spared = count_operations(whole) - count_operations(cut)
    assert spared == pytest.approx(0.4e9, rel=0.25)


def test_the_fit_answers_nearer_to_the_whole_than_bare_cutting() -> None:
    whole, fitted, bare = network(), network(), network()
    prune(fitted, photos(), AREA, 0.4e9)
    moments = observe(whole, units_of(whole), photos(), AREA)
    kept = [unit.reader.in_channels for unit in units_of(fitted)]
    for unit, seen, count in zip(units_of(bare), moments, kept, strict=True):
        strongest = seen.covariance.diagonal().argsort(descending=True)[:count]
        unit.keep(strongest.sort().values)
    with torch.no_grad():
        wanted = whole(inputs())
        errors = [float((cut(inputs()) - wanted).square().mean()) for cut in (fitted, bare)]
    assert errors[0] < errors[1] / 2


def test_moments_are_those_of_all_cells() -> None:
    made = network()
    units = units_of(made)
    last: list[Tensor] = []
    hook = made.head.register_forward_pre_hook(lambda _, given: last.append(given[0][0]))
    (moments,) = observe(made, units[-1:], photos(1), AREA)
    hook.remove()
    assert isinstance(moments, Moments)
    values = last[0].flatten(1).double()
    # a part of the cells is looked at
    np.testing.assert_allclose(moments.mean, values.mean(1), atol=0.2 * float(values.std()))


def test_a_step_brings_the_student_nearer_to_its_teacher() -> None:
    teacher, student = network(), network(seed=5)

    def answer(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            given: NDArray[np.float32] = teacher(torch.from_numpy(batch)).numpy()
        return given

    student.train()
    statistics = [b.clone() for n, b in student.named_buffers() if n.endswith("running_mean")]
    optimizer = torch.optim.SGD(student.parameters(), 0.02)
    batch = (inputs(), torch.zeros(2))
    first = distil_loss(student, answer, batch)
    first.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        assert 0 < float(distil_loss(student, answer, batch)) < float(first)
    after = [b for n, b in student.named_buffers() if n.endswith("running_mean")]
    for one, other in zip(statistics, after, strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        assert float(distil_loss(teacher, answer, batch)) == pytest.approx(0.0, abs=1e-5)


def count_operations(made: nn.Module) -> float:
    """Of the convolutions, for an input of 384x512."""
    total = 0.0

    def count(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        nonlocal total
        total += 2 * output[0, 0].numel() * layer.weight.numel()

    hooks = [m.register_forward_hook(count) for m in made.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        made(torch.zeros(1, 3, 384, 512))
    for hook in hooks:
        hook.remove()
    return total
