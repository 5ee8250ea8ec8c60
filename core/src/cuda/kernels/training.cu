// Training: gradient norms, masks, rows by number, and projections.

#define SUM_THREADS 256

// The sum of what all threads of a block have, for each of them.
static __device__ double summed(double own, double *part) {
  const unsigned t = threadIdx.x;
  part[t] = own;
  __syncthreads();
  for (unsigned half = SUM_THREADS / 2; half > 0; half /= 2) {
    if (t < half) part[t] += part[t + half];
    __syncthreads();
  }
  const double sum = part[0];
  __syncthreads();
  return sum;
}

struct Squares {
  const real *x;
  double *parts; // one sum per block
  unsigned count;
};

extern "C" __global__ void squares(Squares p) {
  __shared__ double part[SUM_THREADS];
  const unsigned t = threadIdx.x;
  double sum = 0;
  for (size_t index = (size_t)blockIdx.x * SUM_THREADS + t; index < p.count; index += (size_t)gridDim.x * SUM_THREADS)
    sum += (double)p.x[index] * p.x[index];
  sum = summed(sum, part);
  if (t == 0) p.parts[blockIdx.x] = sum;
}

static __device__ unsigned long long stirred(unsigned long long value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

struct Mask {
  real *out;
  unsigned long long stream, dropped;
  double kept;
  unsigned count;
};

// As on the host: each half of a random number makes one entry of each half of the mask.
extern "C" __global__ void mask(Mask p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x, half = (p.count + 1) / 2;
  if (index >= p.count) return;
  const bool first = index < half;
  const unsigned long long number = first ? index : index - half;
  const unsigned long long bits = stirred(p.stream + (number + 1) * 0x9E3779B97F4A7C15ull);
  p.out[index] = (first ? bits >> 32 : bits & 0xFFFFFFFFull) < p.dropped ? (real)0 : (real)p.kept;
}

struct MoveRows {
  const real *from;
  real *to;
  const unsigned *places;
  unsigned rows, width, limit, scatter;
};

// One block per row. What is scattered is finite, or left out.
extern "C" __global__ void move_rows(MoveRows p) {
  __shared__ int infinite;
  const unsigned row = blockIdx.x, place = p.places[row];
  const bool there = place < p.limit;
  if (threadIdx.x == 0) infinite = 0;
  __syncthreads();
  if (p.scatter)
    for (unsigned j = threadIdx.x; j < p.width; j += blockDim.x) {
      const real x = p.from[(size_t)row * p.width + j];
      if (!(x - x == 0)) infinite = 1;
    }
  __syncthreads();
  if (infinite) return;
  for (unsigned j = threadIdx.x; j < p.width; j += blockDim.x) {
    const size_t near = (size_t)row * p.width + j, far = (size_t)place * p.width + j;
    if (!p.scatter)
      p.to[near] = there ? p.from[far] : (real)0;
    else if (there)
      p.to[far] = p.from[near];
  }
}

struct Leading {
  const real *x; // [rows, columns]
  double *u, *v; // v is given
  double *sigma;
  real *outer; // u v
  unsigned rows, columns, iterations;
};

// The length of a vector over all threads, and the vector scaled to length 1, unless it is 0.
static __device__ double to_unit(double *vector, unsigned count, double *part) {
  const unsigned t = threadIdx.x;
  double sum = 0;
  for (unsigned j = t; j < count; j += SUM_THREADS) sum += vector[j] * vector[j];
  const double length = sqrt(summed(sum, part));
  if (length > 0)
    for (unsigned j = t; j < count; j += SUM_THREADS) vector[j] /= length;
  __syncthreads();
  return length;
}

// Power steps, as on the host, by one block.
extern "C" __global__ void leading(Leading p) {
  __shared__ double part[SUM_THREADS];
  const unsigned t = threadIdx.x;
  double sigma = 0;
  for (unsigned step = 0; step < p.iterations; step++) {
    for (unsigned row = t; row < p.rows; row += SUM_THREADS) {
      double sum = 0;
      for (unsigned j = 0; j < p.columns; j++) sum += (double)p.x[(size_t)row * p.columns + j] * p.v[j];
      p.u[row] = sum;
    }
    __syncthreads();
    to_unit(p.u, p.rows, part);
    for (unsigned j = t; j < p.columns; j += SUM_THREADS) {
      double sum = 0;
      for (unsigned row = 0; row < p.rows; row++) sum += p.u[row] * (double)p.x[(size_t)row * p.columns + j];
      p.v[j] = sum;
    }
    __syncthreads();
    sigma = to_unit(p.v, p.columns, part);
  }
  for (size_t index = t; index < (size_t)p.rows * p.columns; index += SUM_THREADS)
    p.outer[index] = (real)(p.u[index / p.columns] * p.v[index % p.columns]);
  if (t == 0) *p.sigma = sigma;
}

struct Project {
  const real *from;
  real *to;
  double bound, slack;
  unsigned rows, columns, set;
};

#define AT_LEAST 0
#define ROWS_IN_L1_BALL 1
#define COLUMNS_IN_L2_BALL 2

// What absolute values of a row lose, so that their sum is `radius`. It grows from step to step, and ends as soon as no more numbers fall
// below it (Michelot, Journal of Optimization Theory and Applications 50, 1986).
static __device__ double l1_threshold(const real *row, unsigned count, double radius, double *part) {
  double threshold = 0, last = 0;
  for (;;) {
    double size = 0, above = 0;
    for (unsigned j = threadIdx.x; j < count; j += SUM_THREADS) {
      const double a = fabs((double)row[j]);
      if (a > threshold) {
        size += a;
        above += 1;
      }
    }
    size = summed(size, part);
    above = summed(above, part);
    // A row within the ball, and a row with NaN, stay as they are.
    if (last == 0 && !(size > radius)) return 0;
    if (above == 0 || above == last) return threshold;
    threshold = (size - radius) / above;
    last = above;
  }
}

// One block per row, or per column.
extern "C" __global__ void project(Project p) {
  __shared__ double part[SUM_THREADS];
  const bool by_column = p.set == COLUMNS_IN_L2_BALL;
  const unsigned count = by_column ? p.rows : p.columns;
  const size_t first = by_column ? blockIdx.x : (size_t)blockIdx.x * p.columns, stride = by_column ? p.columns : 1;
  double scale = 1, threshold = 0;
  if (by_column) {
    double sum = 0;
    for (unsigned j = threadIdx.x; j < count; j += SUM_THREADS) {
      const double a = p.from[first + j * stride];
      sum += a * a;
    }
    const double length = sqrt(summed(sum, part));
    if (length > p.bound * (1 + p.slack)) scale = length / p.bound;
  } else if (p.set == ROWS_IN_L1_BALL)
    threshold = l1_threshold(p.from + first, count, p.bound, part);
  for (unsigned j = threadIdx.x; j < count; j += SUM_THREADS) {
    const double a = p.from[first + j * stride];
    double moved = a;
    if (by_column)
      moved = a / scale;
    else if (p.set == AT_LEAST)
      moved = a < p.bound ? p.bound : a;
    else if (threshold > 0)
      moved = fabs(a) > threshold ? copysign(fabs(a) - threshold, a) : copysign(0.0, a);
    p.to[first + j * stride] = (real)moved;
  }
}
