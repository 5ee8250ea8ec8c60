// Number by number.

struct Linear {
  const real *a, *b; // b may be null, [rows, width], or [1, width] where `row`
  real *out;         // c a + d b + e, added to what is there where `add`
  double c, d, e;
  unsigned rows, width, row, add;
};

extern "C" __global__ void linear(Linear p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= (size_t)p.rows * p.width) return;
  real value = (real)p.c * p.a[index] + (real)p.e;
  if (p.b) value += (real)p.d * p.b[p.row ? index % p.width : index];
  p.out[index] = p.add ? p.out[index] + value : value;
}

struct Multiply {
  const real *a, *b, *c, *d; // c and d may be null
  real *out;                 // a b + c d, added to what is there where `add`
  unsigned count, add;
};

extern "C" __global__ void multiply(Multiply p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= p.count) return;
  real value = p.a[index] * p.b[index];
  if (p.c) value += p.c[index] * p.d[index];
  p.out[index] = p.add ? p.out[index] + value : value;
}

struct Block {
  const real *from; // null for 0
  real *to;
  unsigned rows, width, from_width, from_first, to_width, to_first, add;
};

// A block of columns from one matrix to another.
extern "C" __global__ void block(Block p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= (size_t)p.rows * p.width) return;
  const size_t row = index / p.width, column = index % p.width;
  const real value = p.from ? p.from[row * p.from_width + p.from_first + column] : (real)0;
  real *to = p.to + row * p.to_width + p.to_first + column;
  *to = p.add ? *to + value : value;
}

struct Quotient {
  const real *a, *y, *b, *x; // a is null for 0, y for 1, b for 0
  const real *p;             // null for x
  real *out;                 // p (a + c y b) / x / x, added to what is there where `add`
  double c;
  unsigned count, add;
};

extern "C" __global__ void quotient(Quotient p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= p.count) return;
  real value = p.a ? p.a[index] : (real)0;
  if (p.b) value += (real)p.c * (p.y ? p.y[index] : (real)1) * p.b[index];
  value /= p.x[index];
  if (p.p) value *= p.p[index] / p.x[index];
  p.out[index] = p.add ? p.out[index] + value : value;
}
