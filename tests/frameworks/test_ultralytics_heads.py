"""Networks of two heads: the one that is not looked at keeps what it returns, and Ultralytics trains both."""

from __future__ import annotations

import fnmatch

import pytest
import torch

import sapwood

ultralytics_cfg = pytest.importorskip("ultralytics.cfg", reason="needs pip install sapwood[ultralytics]")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that Ultralytics imports

LAST = ("*cv2.?.2.weight", "*cv3.?.2.weight", "*cv4_kpts.?.weight", "*cv4_sigma.?.weight", "*proto.semseg.2.weight")


def is_last(name: str) -> bool:
    """Whether a weight makes what a head returns."""
    return any(fnmatch.fnmatchcase(name, end) for end in LAST)


@pytest.mark.parametrize("name", ["yolov10n", "yolo26n", "yolo26n-pose", "yolo26n-seg"])
def test_both_heads_return_what_they_did_and_are_trained(name: str) -> None:
    torch.manual_seed(0)
    bundle = sapwood.load_model(f"ultralytics:{name}.yaml")
    inputs = torch.rand(1, 3, 64, 64)
    pruned = sapwood.prune(bundle.model, inputs, target=sapwood.Target(sparsity=0.5))
    widths = [
        {
            key: len(tensor)
            for key, tensor in one.named_parameters()
            if any(fnmatch.fnmatchcase(key, end) for end in LAST)
        }
        for one in (bundle.model, pruned.model)
    ]
    assert widths[0] == widths[1]
    assert any("one2one" in key for key in widths[0])
    network = pruned.model.own().train()  # type: ignore[operator]
    network.args = ultralytics_cfg.get_cfg()
    batch = {
        "img": torch.rand(2, 3, 64, 64),
        "batch_idx": torch.tensor([0.0, 1.0]),
        "cls": torch.zeros(2, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.4, 0.4, 0.3, 0.3]]),
        "keypoints": torch.rand(2, 17, 3),
        "masks": torch.eye(16).expand(2, 16, 16),
        "sem_masks": torch.zeros(2, 16, 16, dtype=torch.long),
    }
    network.loss(batch)[0].sum().backward()
    trained = [key for key, tensor in network.named_parameters() if tensor.grad is not None]
    assert any("one2one_cv3" in key for key in trained)
    assert any(".cv3." in key for key in trained)
