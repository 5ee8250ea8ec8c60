// Columns that move, or are added up.

struct Gather {
  const real *x;
  real *y;
  const unsigned *columns; // of x, one per column of y; none of these where the column is 0
  unsigned rows, width, from, add;
};

extern "C" __global__ void gather(Gather p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= (size_t)p.rows * p.width) return;
  const unsigned column = p.columns[index % p.width];
  const real value = column < p.from ? p.x[index / p.width * p.from + column] : (real)0;
  p.y[index] = p.add ? p.y[index] + value : value;
}

struct Scatter {
  const real *x;
  real *y;
  const unsigned *begins, *columns; // column j of y is the sum of those columns of x, from begins[j] on up to begins[j + 1]
  unsigned rows, width, from, add;
};

extern "C" __global__ void scatter(Scatter p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= (size_t)p.rows * p.width) return;
  const unsigned column = index % p.width;
  const real *x = p.x + index / p.width * p.from;
  real value = 0;
  for (unsigned k = p.begins[column]; k < p.begins[column + 1]; k++) value += x[p.columns[k]];
  p.y[index] = p.add ? p.y[index] + value : value;
}

struct Turn {
  const real *x; // [rows, height, width, block]
  real *y;       // [rows, width, height, block]
  unsigned rows, height, width, block, add;
};

extern "C" __global__ void turn(Turn p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  const size_t size = (size_t)p.height * p.width * p.block;
  if (index >= p.rows * size) return;
  const size_t place = index % size, row = place / p.block % p.height, column = place / p.block / p.height;
  const real value = p.x[index - place + (row * p.width + column) * p.block + place % p.block];
  p.y[index] = p.add ? p.y[index] + value : value;
}

struct Copies {
  const real *x; // [outer, inner], or [outer, count, inner] to be added up
  real *y;       // [outer, count, inner], or [outer, inner]
  double factor;
  unsigned outer, count, inner, add;
};

extern "C" __global__ void copies(Copies p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= (size_t)p.outer * p.count * p.inner) return;
  const size_t outer = index / p.inner / p.count, inner = index % p.inner;
  const real value = (real)p.factor * p.x[outer * p.inner + inner];
  p.y[index] = p.add ? p.y[index] + value : value;
}

extern "C" __global__ void sum_copies(Copies p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= (size_t)p.outer * p.inner) return;
  const real *x = p.x + index / p.inner * p.count * p.inner + index % p.inner;
  double sum = 0;
  for (size_t k = 0; k < p.count; k++) sum += x[k * p.inner];
  const real value = (real)(p.factor * sum);
  p.y[index] = p.add ? p.y[index] + value : value;
}

struct Stretch {
  const real *x; // null for 1
  const real *row;
  real *y;
  unsigned rows, width, add;
};

// Every row times the same numbers.
extern "C" __global__ void stretch(Stretch p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= (size_t)p.rows * p.width) return;
  const real factor = p.row[index % p.width], value = p.x ? p.x[index] * factor : factor;
  p.y[index] = p.add ? p.y[index] + value : value;
}
