"""Detectors of torchvision: Faster, Mask and Keypoint R-CNN, RetinaNet, FCOS, SSD and SSDlite."""
