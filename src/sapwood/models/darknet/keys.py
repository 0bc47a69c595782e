"""Which sections and keys a Darknet ``.cfg`` may hold: those that Darknet, its published files or OpenCV's reader know.

Source: ``src/parser.c`` of https://github.com/AlexeyAB/darknet, and the 43 ``.cfg`` files of that repository.
"""

from __future__ import annotations

from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALIASES: Mapping[str, str] = {
    "network": "net",
    "conv": "convolutional",
    "conn": "connected",
    "max": "maxpool",
    "avg": "avgpool",
    "soft": "softmax",
    "silence": "empty",
    "lrn": "normalization",
    "local_avg": "local_avgpool",
}
"""Other names of sections, as Darknet accepts them."""

UNSUPPORTED = _words(
    "rnn gru lstm crnn conv_lstm history local detection Gaussian_yolo normalization batchnorm contrastive implicit "
    "local_avgpool activation"
)
"""Sections that Darknet knows and Sapwood cannot run: read and written, but refused when a network is built."""

_EVERY_LAYER = _words(
    "clip onlyforward dont_update burnin_update stopbackward train_only_bn dontload dontloadscales learning_rate"
)

_YOLO_LOSS = _words(
    "max max_delta counters_per_class label_smooth_eps objectness_smooth iou_normalizer obj_normalizer cls_normalizer "
    "delta_normalizer iou_loss iou_thresh_kind beta_nms nms_kind jitter resize focal_loss ignore_thresh truth_thresh "
    "iou_thresh random track_history_size sim_thresh dets_for_track dets_for_show track_ciou_norm embedding_layer map "
    "show_details"
)

_REGION_LOSS = _words(
    "max log sqrt focal_loss jitter resize rescore thresh classfix absolute random coord_scale object_scale "
    "noobject_scale nms_threshold mask_scale class_scale bias_match map"
)

KNOWN_KEYS: Mapping[str, frozenset[str]] = {
    "net": _words(
        "batch subdivisions height width channels inputs time_steps letter_box max_batches learning_rate "
        "learning_rate_min sgdr_cycle sgdr_mult momentum decay track augment_speed sequential_subdivisions try_fix_nan "
        "weights_reject_freq equidistant_point badlabels_rejection_percentage num_sigmas_reject_badlabels ema_alpha "
        "use_cuda_graph loss_scale dynamic_minibatch optimized_memory workspace_size_limit_MB adam B1 B2 eps max_crop "
        "min_crop flip blur gaussian_noise mixup cutmix mosaic mosaic_bound contrastive contrastive_jit_flip "
        "contrastive_color unsupervised label_smooth_eps resize_step attention adversarial_lr max_chart_loss angle "
        "aspect saturation exposure hue power policy burn_in step scale steps scales seq_scales gamma "
        "show_receptive_field seen"
    ),
    "convolutional": _EVERY_LAYER
    | _words(
        "filters groups size stride stride_x stride_y dilation antialiasing pad padding activation assisted_excitation "
        "share_index batch_normalize cbn binary xnor bin_output sway rotate stretch stretch_sway flipped dot angle "
        "grad_centr reverse coordconv stream wait_stream"
    ),
    "connected": _EVERY_LAYER | _words("output activation batch_normalize"),
    "maxpool": _EVERY_LAYER
    | _words("stride stride_x stride_y size padding maxpool_depth out_channels antialiasing maxpool_zero_nonmax"),
    "avgpool": _EVERY_LAYER,
    "upsample": _EVERY_LAYER | _words("stride scale"),
    "route": _EVERY_LAYER | _words("layers groups group_id stream wait_stream"),
    "shortcut": _EVERY_LAYER | _words("from activation weights_type weights_normalization"),
    "scale_channels": _EVERY_LAYER | _words("from scale_wh activation"),
    "sam": _EVERY_LAYER | _words("from activation"),
    "dropout": _EVERY_LAYER | _words("probability dropblock dropblock_size_rel dropblock_size_abs"),
    "softmax": _EVERY_LAYER | _words("groups temperature tree spatial noloss"),
    "cost": _EVERY_LAYER | _words("type scale ratio"),
    "crop": _EVERY_LAYER | _words("crop_height crop_width flip angle saturation exposure noadjust shift"),
    "reorg": _EVERY_LAYER | _words("stride reverse"),
    "reorg3d": _EVERY_LAYER | _words("stride reverse"),
    "empty": _EVERY_LAYER,
    "region": _EVERY_LAYER | _REGION_LOSS | _words("anchors classes coords num softmax tree"),
    "yolo": _EVERY_LAYER | _YOLO_LOSS | _words("mask anchors classes num scale_x_y new_coords thresh nms_threshold"),
}
"""The keys of each section that Sapwood can build, by the section's full name."""

NETWORK_KEYS = _words(
    "height width channels inputs letter_box filters groups group_id size stride stride_x stride_y dilation "
    "antialiasing pad padding activation batch_normalize binary xnor flipped share_index output maxpool_depth "
    "out_channels scale layers from weights_type weights_normalization scale_wh temperature tree spatial crop_height "
    "crop_width noadjust reverse anchors classes coords num softmax mask scale_x_y new_coords"
)
"""The keys that say what a network computes: a misspelt one makes another network."""
