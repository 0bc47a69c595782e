#include "facts.h"

#include <cstddef>

namespace sapwood {
namespace {

#define SIZE(type) {"sizeof " #type, sizeof(type)}
#define FIELD(type, field) {"offsetof " #type "." #field, offsetof(type, field)}
#define VALUE(name) {#name, name}

const sw_fact kFacts[] = {
    VALUE(SW_ALIGN),
    VALUE(SW_LARGEST),

    SIZE(sw_map),
    FIELD(sw_map, offset),
    FIELD(sw_map, stride),
    FIELD(sw_map, channels),
    FIELD(sw_map, height),
    FIELD(sw_map, width),
    FIELD(sw_map, margin),
    FIELD(sw_map, pitch),
    FIELD(sw_map, reserved),

    SIZE(sw_entry),
    FIELD(sw_entry, offset),
    FIELD(sw_entry, value),

    SIZE(sw_pack),
    FIELD(sw_pack, index),
    FIELD(sw_pack, phased),
    FIELD(sw_pack, step),
    FIELD(sw_pack, channels),
    FIELD(sw_pack, height),
    FIELD(sw_pack, width),

    SIZE(sw_unpack),
    FIELD(sw_unpack, index),

    SIZE(sw_phases),
    FIELD(sw_phases, step),

    SIZE(sw_pool),
    FIELD(sw_pool, kernel),
    FIELD(sw_pool, step),
    FIELD(sw_pool, pad),
    FIELD(sw_pool, all_places),

    SIZE(sw_upsample),
    FIELD(sw_upsample, step),

    SIZE(sw_conv),
    FIELD(sw_conv, phased),
    FIELD(sw_conv, channels),
    FIELD(sw_conv, height),
    FIELD(sw_conv, width),
    FIELD(sw_conv, rows),
    FIELD(sw_conv, columns),
    FIELD(sw_conv, num_chunks),
    FIELD(sw_conv, groups),
    FIELD(sw_conv, starts),
    FIELD(sw_conv, entries),
    FIELD(sw_conv, bias),
    FIELD(sw_conv, num_starts),
    FIELD(sw_conv, num_entries),
    FIELD(sw_conv, num_bias),
    FIELD(sw_conv, weights),
    FIELD(sw_conv, num_weights),
    FIELD(sw_conv, by_channels),
    FIELD(sw_conv, reserved),

    SIZE(sw_op),
    FIELD(sw_op, kind),
    FIELD(sw_op, activation),
    FIELD(sw_op, slope),
    FIELD(sw_op, reserved),
    FIELD(sw_op, in),
    FIELD(sw_op, other),
    FIELD(sw_op, out),
    FIELD(sw_op, pack),
    FIELD(sw_op, unpack),
    FIELD(sw_op, phases),
    FIELD(sw_op, pool),
    FIELD(sw_op, upsample),
    FIELD(sw_op, conv),

    SIZE(sw_picture),
    FIELD(sw_picture, values),
    FIELD(sw_picture, floats),

    VALUE(SW_LINEAR),
    VALUE(SW_LEAKY),
    VALUE(SW_SILU),
    VALUE(SW_MISH),
    VALUE(SW_HARDSWISH),
    VALUE(SW_SIGMOID),
    VALUE(SW_TANH),
    VALUE(SW_RELU6),
    VALUE(SW_HARDSIGMOID),
    VALUE(SW_NUM_ACTIVATIONS),

    VALUE(SW_PACK),
    VALUE(SW_UNPACK),
    VALUE(SW_CONV),
    VALUE(SW_PHASES),
    VALUE(SW_MAXPOOL),
    VALUE(SW_AVGPOOL),
    VALUE(SW_UPSAMPLE),
    VALUE(SW_ADD),
    VALUE(SW_MUL),
    VALUE(SW_COPY),
    VALUE(SW_NUM_KINDS),

    VALUE(SW_DONE),
    VALUE(SW_NO_THREADS),
    VALUE(SW_WRONG_PICTURES),

    {nullptr, 0},
};

}  // namespace

const sw_fact* facts() { return kFacts; }

}  // namespace sapwood
