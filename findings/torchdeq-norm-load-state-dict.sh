#!/usr/bin/env bash
# TorchDEQ 0.1.0 (torch 2.15.0): after apply_norm(), load_state_dict() reports "All keys matched successfully" and the module goes on
# computing with the weights it had before. `weight` is then a plain attribute that only reset_deq() recomputes from weight_g and
# weight_v; in eval() nothing else does, so a restored model predicts what an untrained one would.
# Seen: largest difference from the saved model's outputs 1.5e+00 after load_state_dict(), 0.0e+00 after reset_deq().
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 torchdeq==0.1.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torchdeq import reset_deq
from torchdeq.norm import apply_norm

torch.manual_seed(0)
x = torch.randn(2, 4)
saved, restored = (torch.nn.Linear(4, 4, bias=False) for _ in range(2))
for module in (saved, restored):
    apply_norm(module, "weight_norm")
    module.eval()
with torch.no_grad():
    untrained = restored(x)
    keys = restored.load_state_dict(saved.state_dict())
    assert not keys.missing_keys and not keys.unexpected_keys
    loaded = restored(x)
    print(keys, f"difference {float((loaded - saved(x)).abs().max()):.1e}")
    assert torch.equal(loaded, untrained) and not torch.allclose(loaded, saved(x), atol=0.1)
    reset_deq(restored)
    print(f"after reset_deq(): {float((restored(x) - saved(x)).abs().max()):.1e}")
    assert torch.equal(restored(x), saved(x))
PYTHON
