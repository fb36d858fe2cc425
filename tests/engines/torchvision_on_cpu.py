"""Lets PyPI's torchvision be imported beside a torch without CUDA, whose C++ operators it cannot load.

Their schemas are declared just before torchvision is imported. Resizing and normalising are plain Python and work;
``torchvision.ops`` does not, and is not needed.
"""

import importlib.abc
import importlib.util
import sys

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor a, Tensor b, float c, int d, int e, int f, bool g) -> Tensor",
    "qroi_align(Tensor a, Tensor b, float c, int d, int e, int f, bool g) -> Tensor",
    "_roi_align_backward(Tensor a, Tensor b, float c, int d, int e, int f, int g, int h, int i, int j, bool k) -> Tensor",
    "ps_roi_align(Tensor a, Tensor b, float c, int d, int e, int f) -> (Tensor, Tensor)",
    "_ps_roi_align_backward(Tensor a, Tensor b, Tensor c, float d, int e, int f, int g, int h, int i, int j, int k)"
    " -> Tensor",
    "roi_pool(Tensor a, Tensor b, float c, int d, int e) -> (Tensor, Tensor)",
    "_roi_pool_backward(Tensor a, Tensor b, Tensor c, float d, int e, int f, int g, int h, int i, int j) -> Tensor",
    "ps_roi_pool(Tensor a, Tensor b, float c, int d, int e) -> (Tensor, Tensor)",
    "_ps_roi_pool_backward(Tensor a, Tensor b, Tensor c, float d, int e, int f, int g, int h, int i, int j) -> Tensor",
    "deform_conv2d(Tensor a, Tensor b, Tensor c, Tensor d, Tensor e, int f, int g, int h, int i, int j, int k, int l,"
    " int m, bool n) -> Tensor",
    "_deform_conv2d_backward(Tensor z, Tensor a, Tensor b, Tensor c, Tensor d, Tensor e, int f, int g, int h, int i,"
    " int j, int k, int l, int m, bool n) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)


class Declaring(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        import torch

        self.library = torch.library.Library("torchvision", "DEF")
        sys.torchvision_operators = self.library  # kept for as long as the process lives
        for operator in OPERATORS:
            self.library.define(operator)
        return importlib.util.find_spec(name)


sys.meta_path.insert(0, Declaring())
