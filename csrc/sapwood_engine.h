/* The C interface of Sapwood's sparse engine. No torch, no Python: plain pointers and numbers.
 *
 * A map is a set of channel planes in one arena of floats. Value (row, column) of channel c stands at
 *
 *     arena[offset + c * stride + (row + margin) * pitch + column]
 *
 * The `margin` rows above and below, and the columns from `width` to `pitch`, are zero: they are the padding of
 * whatever reads the map, and the last columns of a row are the left padding of the next. Nothing ever writes there.
 */
#ifndef SAPWOOD_ENGINE_H
#define SAPWOOD_ENGINE_H

#include <stdint.h>

#if defined(_WIN32)
#define SW_API __declspec(dllexport)
#else
#define SW_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever a function below does, or the meaning of a field. Structs and values: sw_facts. */
#define SW_ABI 8

/* Bytes of a cache line: where planes start. */
#define SW_ALIGN 64

/* The largest strip of a depthwise convolution, in floats. */
#define SW_STRIP 4096

/* The largest size that a map may have. */
#define SW_LARGEST (1 << 28)

typedef struct sw_map {
  int64_t offset; /* of channel 0, in floats, a multiple of SW_ALIGN / 4 */
  int64_t stride; /* floats from a channel to the next */
  int32_t channels;
  int32_t height;
  int32_t width;
  int32_t margin; /* rows of zeros above and below */
  int32_t pitch;  /* floats from a row to the next, a multiple of the lanes */
  int32_t reserved;
} sw_map;

/* One weight that is not zero. */
typedef struct sw_entry {
  int32_t offset; /* bytes from value (0, 0) of channel 0 of the input to what output (0, 0) multiplies it with */
  float value;
} sw_entry;

enum sw_activation {
  SW_LINEAR = 0,
  SW_LEAKY = 1, /* max(x, slope x) with slope in [0, 1]; ReLU has slope 0 */
  SW_SILU = 2,
  SW_MISH = 3,
  SW_HARDSWISH = 4,
  SW_SIGMOID = 5,
  SW_TANH = 6,
  SW_RELU6 = 7,
  SW_HARDSIGMOID = 8,
  SW_GELU = 9,       /* x times the normal distribution's share below x */
  SW_GELU_TANH = 10, /* the same by its formula with tanh */
  SW_NUM_ACTIVATIONS = 11
};

enum sw_kind {
  SW_PACK = 0,   /* a dense NCHW picture -> out */
  SW_UNPACK = 1, /* in -> a dense NCHW picture */
  SW_CONV = 2,   /* in -> out */
  SW_PHASES = 3, /* in -> out */
  SW_MAXPOOL = 4,
  SW_AVGPOOL = 5,
  SW_UPSAMPLE = 6,   /* nearest, by whole factors */
  SW_ADD = 7,        /* in + other -> out, channel by channel */
  SW_MUL = 8,        /* in * other -> out; `other` may be 1 x 1 */
  SW_COPY = 9,       /* in -> out */
  SW_DEPTHWISE = 10, /* in -> out, each channel by itself */
  SW_CHAIN = 11,     /* the operations behind it, some rows at a time */
  SW_VIEW = 12,      /* values of `in` in another order -> out */
  SW_CONSTANT = 13,
  SW_NORM = 14,      /* in -> out: each place is brought to one size over its channels */
  SW_ATTENTION = 15, /* queries `in`, keys `other` -> out */
  SW_EMBED = 16,     /* rows of a table, whose numbers are the places of `in` -> out */
  SW_NUM_KINDS = 17
};

/* What each kind has to itself: SW_ADD, SW_MUL and SW_COPY nothing. */

typedef struct sw_pack {
  int32_t index;  /* of the input */
  int32_t phased; /* 1: `out` holds the phases of a picture of the size below, as PHASES would make them of it */
  int32_t step[2];
  int32_t channels;
  int32_t height;
  int32_t width;
} sw_pack;

typedef struct sw_unpack {
  int32_t index; /* of the output */
} sw_unpack;

/* Channel (i step[1] + j) C + c of the output holds rows step[0] r + i, columns step[1] x + j of channel c of C. */
typedef struct sw_phases {
  int32_t step[2];
} sw_phases;

/* Of SW_MAXPOOL and SW_AVGPOOL. */
typedef struct sw_pool {
  int32_t kernel[2];
  int32_t step[2];
  int32_t pad[2];
  int32_t all_places; /* an average divides by all places of the window, or else by those inside the map */
} sw_pool;

typedef struct sw_upsample {
  int32_t step[2];
} sw_upsample;

typedef struct sw_conv {
  int32_t phased;     /* 1: `out` holds the phases of the result, as PHASES of step 2 would make them of it */
  int32_t channels;   /* of the result; */
  int32_t height;     /* its rows */
  int32_t width;      /* and columns. Its pitch is the input's */
  int32_t rows;       /* of a tile */
  int32_t columns;    /* vectors of a tile's row: all; or fewer where `rows` is 1 and only the third lists are filled */
  int32_t num_chunks; /* parts of the input channels, one after the other */
  int32_t groups;     /* 0: lists of single weights; else dense weights, in so many groups of channels */
  /* num_chunks * channels * 3 + 1: where the entries of each list begin. The three lists of an output in a chunk are
   * for columns x - 1, x + 1 and x. Offsets of the first two are those of x, and the sums are moved; those of the third
   * may reach any column. Of dense weights there are num_chunks * groups lists: the places that the outputs of a group
   * read, any column; the values of the entries mean nothing. */
  const int64_t* starts;
  const sw_entry* entries;
  const float* bias;  /* channels */
  int64_t num_starts; /* how many there are of each */
  int64_t num_entries;
  int64_t num_bias;
  /* Of dense weights: for each list, each block of sw_block() outputs of its group (the last one filled up) and each
   * entry, what these outputs multiply it with. */
  const float* weights;
  int64_t num_weights;
  int32_t by_channels; /* 1: dense weights in blocks of sw_wide() outputs, for small maps: vectors hold channels. One
                        * chunk and one group; tiles do not matter */
  int32_t stays;       /* 1: `entries` and `weights` are not copied: they stay where they are until the program and its
                        * copies are freed, and nobody changes them. Of megabytes, on large pages */
} sw_conv;

/* Channel c of the result multiplies windows of channel c / multiplier of the input; what is outside of the input is
 * read as it stands: rows from the margin, columns from the padding. As a strip, columns that are outside count as zero
 * instead, so that rows need no padding, and vectors go on from row to row; input and result have the same size and
 * pitch, and a pitch times the rows of at most SW_STRIP. */
typedef struct sw_depthwise {
  int32_t multiplier;
  int32_t kernel[2];
  int32_t step[2];
  int32_t pad[2];
  int32_t dilation[2];
  int32_t strip;        /* 1: as a strip */
  const float* weights; /* channels * kernel[0] * kernel[1] */
  const float* bias;    /* channels */
  int64_t num_weights;  /* how many there are of each */
  int64_t num_bias;
} sw_depthwise;

/* Of the next `count` operations, one is DEPTHWISE; a CONV may stand in front of it, whose result it reads, and one may
 * stand behind it that reads its result place by place. What one of them hands to the next stands in no arena: its
 * offset is -1, and only some rows of it are there at a time. */
typedef struct sw_chain {
  int32_t count;
  int32_t rows; /* of the last one's result at a time */
} sw_chain;

/* Values of a map are counted channel by channel, row by row, padding left out. Channel i0 count[1] + i1 of the output,
 * place `at` + i2 count[3] + i3, gets value number first + i0 step[0] + i1 step[1] + i2 step[2] + i3 step[3]. */
typedef struct sw_view {
  int64_t first;
  int64_t step[4];
  int32_t count[4];
  int32_t at; /* what lies before, and behind, is written by other operations */
  int32_t reserved;
} sw_view;

/* `count` values of each channel of `out`, from place `at` on. */
typedef struct sw_constant {
  const float* values; /* channels * count */
  int64_t num_values;
  int32_t at;
  int32_t count;
} sw_constant;

/* out = in' factor + shift, with in' = (in - mean) / sqrt(variance + epsilon) where it is centred, and
 * in / sqrt(mean of the squares + epsilon) else. */
typedef struct sw_norm {
  const float* factors; /* channels */
  const float* shifts;  /* channels */
  int64_t num_factors;
  int64_t num_shifts;
  float epsilon;
  int32_t centred;
} sw_norm;

/* Places are tokens, maps have one row. Head h of the queries begins at channel h step[0]; its keys and values are
 * those of group h * groups / heads, which begin at channels step[1] and step[2] times the group. The result's heads
 * follow each other. A token's shares are softmax(scale keys * queries + mask) over the tokens of the keys. */
typedef struct sw_attention {
  sw_map value;
  sw_map mask; /* none where it has no channels; else (1 or heads) * keys channels, of 1 or all queries' places */
  int32_t heads;
  int32_t groups;
  int32_t depth;       /* channels of a head of queries and keys */
  int32_t value_depth; /* of values */
  int32_t step[3];
  int32_t safe; /* 1: a token for which all of the mask is -inf gets 0, or else NaN */
  float scale;
  int32_t reserved;
} sw_attention;

typedef struct sw_embed {
  const float* table; /* rows * channels of the output */
  int64_t num_values;
  int32_t rows;
  int32_t stays; /* 1: the table is not copied, as of sw_conv */
} sw_embed;

/* Only the block of its kind is looked at. PACK, UNPACK and the kinds behind CHAIN have no activation. */
typedef struct sw_op {
  int32_t kind;
  int32_t activation;
  float slope;
  int32_t reserved;
  sw_map in;
  sw_map other; /* second operand of ADD and MUL; of CONV and DEPTHWISE what is added, if channels > 0 */
  sw_map out;
  sw_pack pack;
  sw_unpack unpack;
  sw_phases phases;
  sw_pool pool;
  sw_upsample upsample;
  sw_conv conv;
  sw_depthwise depthwise;
  sw_chain chain;
  sw_view view;
  sw_constant constant;
  sw_norm norm;
  sw_attention attention;
  sw_embed embed;
} sw_op;

/* A dense NCHW picture that is read or written. */
typedef struct sw_picture {
  float* values;
  int64_t floats;
} sw_picture;

/* What sw_run says. */
enum sw_result {
  SW_DONE = 0,
  SW_NO_THREADS = -1,     /* a thread could not be started, or there is no memory for it */
  SW_WRONG_PICTURES = -2, /* one is missing, or of another size than its PACK or UNPACK */
  SW_WRONG_ROW = -3       /* an EMBED was asked for a row that its table does not have, and took zeros */
};

/* A number that this library was compiled with. */
typedef struct sw_fact {
  const char* name; /* "sizeof sw_op", "offsetof sw_op.kind", "SW_CONV" */
  int64_t value;
} sw_fact;

/* One tap of a kernel. */
typedef struct sw_tap {
  int64_t offset; /* bytes from an output's own place to what it reads there, its channel's plane left out */
  int32_t number; /* of the tap in the weights: row * columns + column */
  int32_t phase;  /* that it reads */
  int32_t list;   /* 0, 1, 2: as of sw_conv */
  int32_t reserved;
} sw_tap;

/* A convolution's weights, and how it goes through them. */
typedef struct sw_weights {
  const float* values; /* [outputs][inputs][num_taps] */
  int64_t outputs;
  int64_t inputs; /* of an output: those of its group */
  int64_t groups;
  int64_t plane_bytes; /* from a channel's plane to the next */
  int64_t at_once;     /* channels of a chunk, and */
  int64_t num_chunks;  /* how many chunks there are */
  const sw_tap* taps;  /* num_taps of them, in order of list and phase */
  int32_t num_taps;
  int32_t reserved;
} sw_weights;

typedef struct sw_program sw_program;

SW_API int32_t sw_abi(void);

/* The size of each struct above, the place of each field, and the value of each name: what a caller in another language
 * compares with its own. The last one has no name. */
SW_API const sw_fact* sw_facts(void);

/* The instruction set in use: "avx512", "avx2", "neon" or "scalar". SAPWOOD_ISA forces one. */
SW_API const char* sw_isa(void);

/* Whether this library holds code for `isa` and this processor runs it. */
SW_API int32_t sw_has_isa(const char* isa);

/* Takes another instruction set from now on; 0, or -1 if it is not there. Layouts depend on sw_lanes(). */
SW_API int32_t sw_set_isa(const char* isa);

/* Floats of a vector, and the most vectors of a tile. */
SW_API int32_t sw_lanes(void);
SW_API int32_t sw_most_vectors(void);

/* Output channels that dense weights are packed for. */
SW_API int32_t sw_block(void);
SW_API int32_t sw_wide(void);
/* Makes the lists of a convolution: `starts` gets num_chunks * outputs * 3 + 1 places, `entries` the weights that are
 * not zero. How many those are, or -1 if they are more than there is `room` for, or a field makes no sense. Unlike
 * sw_create it takes it that `values` and `starts` are as large as the fields say, and that offsets fit into 32 bits.
 */
SW_API int64_t sw_pack_weights(const sw_weights* weights, int64_t* starts, sw_entry* entries, int64_t room);

/* A hash of all bytes: `state` gets eight numbers, which a change of any one aligned run of 8 bytes changes for
 * certain, and of several all but for certain. Not one that withstands somebody who looks for two contents of one hash.
 */
SW_API void sw_hash(const void* data, int64_t bytes, uint64_t* state);

/* The places 0 .. width - 1 at which one of `count` rows of `width` weights is no zero: `used` gets 1 there and 0
 * elsewhere.
 */
SW_API void sw_used(const float* rows, int64_t count, int64_t width, uint8_t* used);

/* Dense weights: `to` gets, for each block of `block` rows (the last one filled up with zeros) and each of the places,
 * what the rows of the block hold there. */
SW_API void sw_pack_blocks(const float* rows, int64_t count, int64_t width, const int64_t* places, int64_t num_places,
                           int64_t block, float* to);

/* Leaves zeros out: `mask` gets a bit for each value, the highest of a byte first, and `kept` those that are no zero,
 * for all of which there must be room, and 64 bytes more. How many they are. */
SW_API int64_t sw_squeeze(const float* values, int64_t count, uint8_t* mask, float* kept);

/* Copies the operations and all that they point to, but for what stays where it is. NULL if one of them is not valid;
 * `error` (of `size` bytes) says which and why. `arena` is in floats. Whatever the fields of the operations are,
 * nothing outside of the arena and of their arrays is read or written, here and in sw_run. */
SW_API sw_program* sw_create(const sw_op* ops, int32_t count, int64_t arena, char* error, int32_t size);

/* The same operations over an arena of their own, which may run at the same time; NULL where there is no memory. */
SW_API sw_program* sw_copy(const sw_program* program);

SW_API void sw_free(sw_program* program);

/* Runs one picture; inputs are only read. Programs may run at the same time from several threads only if they are
 * different ones. `nanoseconds`, if not NULL, gets the time of each operation. An sw_result. A child of `fork` may run
 * and free programs of its parent. */
SW_API int32_t sw_run(sw_program* program, const sw_picture* inputs, int32_t num_inputs, const sw_picture* outputs,
                      int32_t num_outputs, int32_t threads, int64_t* nanoseconds);

/* Bytes that a program holds. */
SW_API int64_t sw_bytes(const sw_program* program);

#ifdef __cplusplus
}
#endif
#endif
