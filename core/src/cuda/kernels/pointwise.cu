// A function of single numbers, y = f(v) with v = x + shift + added. VALUE, DERIVATIVE and SECOND are put in for it.

struct Pointwise {
  const real *x, *shift, *added; // shift and added may be null
  real *argument;                // v, where derivatives want it
  real *y;
  unsigned rows, width;
};

extern "C" __global__ void value(Pointwise p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= (size_t)p.rows * p.width) return;
  real x = p.x[index];
  if (p.shift) x += p.shift[index % p.width];
  if (p.added) x += p.added[index];
  if (p.argument) p.argument[index] = x;
  p.y[index] = VALUE;
}

struct PointwiseBack {
  const real *argument, *result;
  const real *in, *factor; // factor may be null
  real *out;               // in f', or in factor f'' where there is a factor; added to what is there where `add`
  unsigned count, add;
};

extern "C" __global__ void back(PointwiseBack p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= p.count) return;
  const real x = p.argument[index], y = p.result[index];
  const real slope = p.factor ? (real)(SECOND) * p.factor[index] : (real)(DERIVATIVE);
  const real value = p.in[index] * slope;
  p.out[index] = p.add ? p.out[index] + value : value;
}
