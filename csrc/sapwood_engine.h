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

/* Changes whenever a struct or a function below does. */
#define SW_ABI 4

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
  SW_NUM_ACTIVATIONS = 9
};

enum sw_kind {
  SW_PACK = 0,   /* dense NCHW of one picture, inputs[index] -> out; if `phased`, as PHASES would make them of it */
  SW_UNPACK = 1, /* in -> dense, outputs[index] */
  SW_CONV = 2,   /* in -> out */
  SW_PHASES =
      3, /* in -> out: channel (i step[1] + j) C + c holds rows step[0] r + i, columns step[1] x + j of channel c */
  SW_MAXPOOL = 4,
  SW_AVGPOOL = 5,  /* divides by the number of places inside the map, or by all if `all_places` */
  SW_UPSAMPLE = 6, /* nearest, by whole factors */
  SW_ADD = 7,      /* in + other -> out, channel by channel */
  SW_MUL = 8,      /* in * other -> out; `other` may be 1 x 1 */
  SW_COPY = 9,     /* in -> out */
  SW_NUM_KINDS = 10
};

typedef struct sw_op {
  int32_t kind;
  int32_t activation;
  float slope;
  int32_t index; /* of the input or output of a PACK or UNPACK */
  sw_map in;
  sw_map other; /* second operand of ADD and MUL; of CONV what its sums start from, if channels > 0 */
  sw_map out;
  /* pooling and upsampling */
  int32_t kernel[2];
  int32_t step[2];
  int32_t pad[2];
  int32_t all_places;
  /* convolution, and PACK into phases */
  int32_t phased;   /* 1: `out` holds the phases of the result, as PHASES would make them of it; of CONV with step 2 */
  int32_t channels; /* of the result; */
  int32_t height;   /* its rows */
  int32_t width;    /* and columns. Its pitch is the input's */
  int32_t rows;     /* of a tile */
  int32_t columns;  /* vectors of a tile's row: all of them, or fewer where `rows` is 1 and only the third lists are
                       filled */
  int32_t num_chunks;    /* parts of the input channels, one after the other */
  const int64_t* starts; /* num_chunks * channels * 3 + 1: where the entries of each list begin. The three lists of an
                            output in a chunk are for columns x - 1, x + 1 and x. Offsets of the first two are those of
                            x, and the sums are moved; those of the third may reach any column. */
  const sw_entry* entries;
  const float* bias;  /* channels */
  int64_t num_starts; /* how many there are of each */
  int64_t num_entries;
  int64_t num_bias;
} sw_op;

/* A dense NCHW picture that is read or written. */
typedef struct sw_picture {
  float* values;
  int64_t floats;
} sw_picture;

typedef struct sw_program sw_program;

SW_API int32_t sw_abi(void);

/* The instruction set in use: "avx512", "avx2", "neon" or "scalar". SAPWOOD_ISA forces one. */
SW_API const char* sw_isa(void);

/* Whether this library holds code for `isa` and this processor runs it. */
SW_API int32_t sw_has_isa(const char* isa);

/* Takes another instruction set from now on; 0, or -1 if it is not there. Layouts depend on sw_lanes(). */
SW_API int32_t sw_set_isa(const char* isa);

/* Floats of a vector, and the most vectors of a tile. */
SW_API int32_t sw_lanes(void);
SW_API int32_t sw_most_vectors(void);

/* Copies the operations and all that they point to. NULL if one of them is not valid; `error` (of `size` bytes) says
 * which and why. `arena` is in floats. Whatever the fields of the operations are, nothing outside of the arena and of
 * their arrays is read or written, here and in sw_run. */
SW_API sw_program* sw_create(const sw_op* ops, int32_t count, int64_t arena, char* error, int32_t size);

/* The same operations over an arena of their own, which may run at the same time; NULL where there is no memory. */
SW_API sw_program* sw_copy(const sw_program* program);

SW_API void sw_free(sw_program* program);

/* Runs one picture; inputs are only read. Programs may run at the same time from several threads only if they are
 * different ones. `nanoseconds`, if not NULL, gets the time of each operation. 0, -1 where a thread could not be
 * started, or -2 if a picture is missing or of another size than its PACK or UNPACK. A child of `fork` may run and free
 * programs of its parent. */
SW_API int32_t sw_run(sw_program* program, const sw_picture* inputs, int32_t num_inputs, const sw_picture* outputs,
                      int32_t num_outputs, int32_t threads, int64_t* nanoseconds);

/* Bytes that a program holds. */
SW_API int64_t sw_bytes(const sw_program* program);

#ifdef __cplusplus
}
#endif
#endif
