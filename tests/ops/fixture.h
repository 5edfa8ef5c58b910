/* The tensors of one op case, on the host (initial values) and on a backend.
 *
 * A case declares each tensor under a slot number of its own and a role; the role tells the drivers what to
 * compare, what must not change, and what to differentiate. Slots that are not declared stay absent tensors.
 */
#ifndef BEAM_TESTS_OPS_FIXTURE_H
#define BEAM_TESTS_OPS_FIXTURE_H

#include "kernels/ops.h"
#include "support/block.h"

/* Sizes of a case, with the letters of kernels/backend.h; what an op does not use is 0. */
typedef struct {
    int64_t T, D, E, K, F, H, G, Dh, V;
    int64_t nulls;          /* null experts: ids from E on */
    int64_t M, N;           /* gemm: C [M,N], inner dimension D */
    int64_t Dv, R;          /* width of values, numbers of a head that rotate; 0: Dh */
    const int64_t *lengths; /* attention: sequence lengths, 0 ends; T is their sum */
    int64_t window;         /* attention: of beam_attention_rule */
    unsigned options;       /* OP_... of ops/cases.h; each op documents its own */
    double alpha, beta;     /* each op documents its own */
    double temperature;     /* 0: 1 */
    double floor; /* size of the terms, where they cancel: their rounding stays, the result may be 0 */
} op_shape;

typedef enum {
    OP_INPUT,    /* read only */
    OP_VARIABLE, /* read only; the functional is differentiated with respect to it */
    OP_OUTPUT,   /* written by run */
    OP_SEED,     /* read only; gradient of the functional with respect to the output `of` */
    OP_GRADIENT, /* written by back: gradient with respect to the variable `of`, plus carry * initial value */
    OP_RESULT,   /* written by back, compared between backends only */
    OP_ROOM,     /* written by run, or not; compared with nothing */
} op_role;

enum { OP_SLOTS = 40 };

typedef struct {
    const char *name;  /* NULL: not declared */
    beam_tensor host;  /* initial value; data NULL while measuring */
    beam_tensor local; /* on the backend; data NULL when not declared, i.e. absent */
    op_role role;
    int of;
    double carry; /* 1 for "+=" */
} op_slot;

typedef struct {
    double bytes, flops; /* bytes: every tensor the pass names, once; flops: multiply and add count as 2 */
} op_cost;

struct op_case;

typedef struct {
    const struct op_case *what;
    op_shape shape;
    beam_backend *be;
    test_block host; /* the image that is uploaded: slots, guards and pattern */
    beam_tensor local;
    op_slot slot[OP_SLOTS];
    beam_tensor t[OP_SLOTS]; /* slot[i].local, for short calls */
    op_cost run, back;
} op_fixture;

/* Builds the tensors of a case, allocates them on the backend and uploads them. A failure of the backend
 * shows in be->status. */
void op_open(op_fixture *f, const struct op_case *what, beam_backend *be);
void op_close(op_fixture *f);

/* Puts every tensor on the backend back to its initial value. */
void op_reset(op_fixture *f);

/* Copies everything back, guards included, into `image` of f->host.size bytes. */
void op_results(op_fixture *f, char *image);

/* Slot i in an image. */
beam_tensor op_in(const op_fixture *f, int i, char *image);

/* True when guards, inputs, variables and seeds of an image are as they were uploaded. */
bool op_unharmed(const op_fixture *f, char *image);

/* For build functions. */

/* Declares slot i and returns the host tensor to fill (data NULL while measuring: fills do nothing then).
 * What is not filled holds the pattern of support/block.h. */
beam_tensor op_declare(op_fixture *f, int i, const char *name, op_role role, beam_dtype t, int ndim,
                       const int64_t dim[]);
/* A real tensor filled with normal numbers times scale; op_wide_...: a wide one. */
beam_tensor op_variable(op_fixture *f, int i, const char *name, double scale, int ndim, const int64_t dim[]);
beam_tensor op_input(op_fixture *f, int i, const char *name, double scale, int ndim, const int64_t dim[]);
beam_tensor op_wide_variable(op_fixture *f, int i, const char *name, double scale, int ndim,
                             const int64_t dim[]);
beam_tensor op_wide_input(op_fixture *f, int i, const char *name, double scale, int ndim,
                          const int64_t dim[]);
/* A real or wide output, unfilled. */
beam_tensor op_output(op_fixture *f, int i, const char *name, int ndim, const int64_t dim[]);
beam_tensor op_wide_output(op_fixture *f, int i, const char *name, int ndim, const int64_t dim[]);
/* The seed of output `of`, of its type, normal numbers. */
beam_tensor op_seed(op_fixture *f, int i, const char *name, int of);
/* The gradient of variable `of`, unfilled: of its type, or wide where it is a parameter. op_added starts it
 * with normal numbers that the op adds to, times carry. */
beam_tensor op_gradient(op_fixture *f, int i, const char *name, int of);
beam_tensor op_wide_gradient(op_fixture *f, int i, const char *name, int of);
beam_tensor op_added(op_fixture *f, int i, const char *name, int of, double carry);
beam_tensor op_wide_added(op_fixture *f, int i, const char *name, int of);

#endif
