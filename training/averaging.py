"""Average the weights of a network over its training steps (exponential moving average)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AveragedWeights:
    """The moving average of a network's weights, which is the result of a training.

    Args:
        network: its present weights are the first average.
        decay: largest decay; it rises over the first steps.
    """

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        self._decay, self._steps = decay, 0
        self.weights = {name: value.detach().clone() for name, value in _state(network).items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Add the weights after one more step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        averages, present = [], []
        for name, value in _state(network).items():
            if value.is_floating_point():
                averages.append(self.weights[name])
                present.append(value)
            else:
                self.weights[name].copy_(value)
        torch._foreach_lerp_(averages, present, 1 - decay)

    def state_dict(self) -> dict[str, object]:
        """Return what `load_state_dict` takes."""
        return {"weights": self.weights, "steps": self._steps}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from an earlier average of the same network."""
        weights, steps = state["weights"], state["steps"]
        assert isinstance(weights, dict)
        assert isinstance(steps, int)
        self._steps = steps
        for name, value in self.weights.items():
            value.copy_(weights[name])


def _state(network: nn.Module) -> dict[str, Tensor]:
    state: dict[str, Tensor] = network.state_dict()
    return state
