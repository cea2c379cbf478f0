"""torch.export takes two example inputs that are the same tensor for one input: of an LSTM's two states, both made as
one tensor of zeros, the program and its ONNX file read the second only. Nothing is said. Two tensors of zeros are
kept apart."""

import torch
from torch import nn


class Carry(nn.Module):
    """The state of an LSTM after a text, from the state before it."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(2, 3, batch_first=True)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        return self.rnn(x, (hidden, cell))[1][0]


torch.manual_seed(0)
module, x = Carry().eval(), torch.randn(2, 9, 2)
zeros = torch.zeros(1, 2, 3)
for name, states in (("the same tensor", (zeros, zeros)), ("two tensors", (zeros, zeros.clone()))):
    program = torch.export.export(module, (x, *states)).module()
    given = (x, torch.full((1, 2, 3), 5.0), torch.zeros(1, 2, 3))
    off = (module(*given) - program(*given)).abs().max().item()
    print(f"torch {torch.__version__}, exported with {name}: off by {off:.4f}")
