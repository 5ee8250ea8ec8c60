// Vectors of a solve, [rows, dim]. Sums are in double and in the order of the threads: the same from run to run.

// As many others as one launch reads.
#define MOST 16
// Threads of a block that sums.
#define THREADS 128

struct Dots {
  const real *a, *b; // b may be null
  real *out;         // a - b, where there is a b
  const real *others[MOST];
  double *sums; // [rows, count + 2]: |d|^2, |a|^2, <d, other>, with d = a - b or a
  unsigned count, dim;
};

// One block per row.
extern "C" __global__ void dots(Dots p) {
  __shared__ double part[MOST + 2][THREADS];
  const unsigned row = blockIdx.x, t = threadIdx.x;
  const size_t first = (size_t)row * p.dim;
  double sums[MOST + 2];
  for (unsigned k = 0; k < p.count + 2; k++) sums[k] = 0;
  for (unsigned j = t; j < p.dim; j += THREADS) {
    const real a = p.a[first + j];
    real d = a;
    if (p.b) {
      d = a - p.b[first + j];
      p.out[first + j] = d;
    }
    sums[0] += (double)d * d;
    sums[1] += (double)a * a;
    for (unsigned k = 0; k < p.count; k++) {
      const real other = p.others[k] == p.out ? d : p.others[k][first + j];
      sums[k + 2] += (double)d * other;
    }
  }
  for (unsigned k = 0; k < p.count + 2; k++) part[k][t] = sums[k];
  __syncthreads();
  for (unsigned half = THREADS / 2; half > 0; half /= 2) {
    if (t < half)
      for (unsigned k = 0; k < p.count + 2; k++) part[k][t] += part[k][t + half];
    __syncthreads();
  }
  for (unsigned k = t; k < p.count + 2; k += THREADS) p.sums[(size_t)row * (p.count + 2) + k] = part[k][0];
}

struct Combine {
  const real *terms[MOST];
  double same[MOST];        // the coefficient of all rows,
  const real *coefficients; // or where `each` is set the next [rows] of these
  real *out;
  unsigned each, count, rows, dim; // a bit per term
};

// One thread per number; `out` may be a term.
extern "C" __global__ void combine(Combine p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= (size_t)p.rows * p.dim) return;
  const unsigned row = index / p.dim;
  const real *coefficients = p.coefficients;
  real sum = 0;
  for (unsigned k = 0; k < p.count; k++) {
    real c = (real)p.same[k];
    if (p.each >> k & 1) {
      c = coefficients[row];
      coefficients += p.rows;
    }
    sum += c * p.terms[k][index];
  }
  p.out[index] = sum;
}

// Rows by number, one bit each.
#define MASKED 16384

struct CopyRows {
  const real *from;
  real *to;
  unsigned dim, rows;
  unsigned mask[MASKED / 32];
};

// One block per row.
extern "C" __global__ void copy_rows(CopyRows p) {
  const unsigned row = blockIdx.x;
  if (!(p.mask[row / 32] >> row % 32 & 1)) return;
  for (unsigned j = threadIdx.x; j < p.dim; j += blockDim.x) p.to[(size_t)row * p.dim + j] = p.from[(size_t)row * p.dim + j];
}

// Matrices of any widths with one row per sample.
#define MATRICES 96

struct Exchange {
  real *matrices[MATRICES];
  unsigned widths[MATRICES];
  const unsigned *cycles; // `count` + 1 places where cycles begin, then the rows of all cycles: each takes what is in the next one
  unsigned count, matrices_count;
};

// One block per cycle and matrix.
extern "C" __global__ void exchange(Exchange p) {
  const unsigned cycle = blockIdx.x % p.count, matrix = blockIdx.x / p.count;
  const unsigned *rows = p.cycles + p.count + 1;
  const unsigned begin = p.cycles[cycle], end = p.cycles[cycle + 1];
  real *numbers = p.matrices[matrix];
  const size_t width = p.widths[matrix];
  for (unsigned j = threadIdx.x; j < width; j += blockDim.x) {
    const real first = numbers[rows[begin] * width + j];
    for (unsigned k = begin; k + 1 < end; k++) numbers[rows[k] * width + j] = numbers[rows[k + 1] * width + j];
    numbers[rows[end - 1] * width + j] = first;
  }
}

struct Normal {
  real *out;
  const unsigned long long *streams; // one per row
  unsigned rows, dim;
};

static __device__ unsigned long long stir(unsigned long long value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

static __device__ unsigned long long random_bits(unsigned long long stream, unsigned long long index) {
  return stir(stream + (index + 1) * 0x9E3779B97F4A7C15ull);
}

// The number in [1, 2) that has these bits after the point.
static __device__ double in_one_to_two(unsigned long long bits) { return __longlong_as_double((long long)(0x3FF0000000000000ull | bits)); }

static __device__ double natural_logarithm(double x) {
  const unsigned long long point = (1ull << 52) - 1;
  const double shift = (double)(1ull << 52);
  const unsigned long long bits = (unsigned long long)__double_as_longlong(x);
  double exponent = __longlong_as_double((long long)((unsigned long long)__double_as_longlong(shift) | bits >> 52)) - shift - 1023.0;
  double factor = in_one_to_two(bits & point);
  if (factor > 1.41421356237309504880) {
    factor = 0.5 * factor;
    exponent = exponent + 1.0;
  }
  const double s = (factor - 1.0) / (factor + 1.0), square = s * s;
  double sum = 0;
  for (int k = 11; k > 0; k -= 2) sum = sum * square + 1.0 / k;
  return exponent * 0.693147180559945309417 + 2.0 * s * sum;
}

// One thread per pair of numbers, as on the host: one in each half of a row, and the last one of an odd row alone.
extern "C" __global__ void normal(Normal p) {
  const unsigned half = p.dim / 2, pairs = half + p.dim % 2;
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= (size_t)p.rows * pairs) return;
  const unsigned row = index / pairs, k = index % pairs;
  const unsigned long long bits = random_bits(p.streams[row], k);
  const double u = 2.0 - in_one_to_two(bits >> 32 << 20 | 1 << 19), t = in_one_to_two(bits << 32 >> 12) - 1.5;
  const double radius = sqrt(-2.0 * natural_logarithm(u)), x = 3.14159265358979323846 * t, square = x * x;
  double sin = 1.0, cos = 1.0;
  for (int k = 7; k > 0; k--) {
    sin = 1.0 - sin * square * (1.0 / (2.0 * k * (2.0 * k + 1.0)));
    cos = 1.0 - cos * square * (1.0 / (2.0 * k * (2.0 * k - 1.0)));
  }
  sin = x * sin;
  real *out = p.out + (size_t)row * p.dim;
  if (k < half) {
    out[k] = (real)(radius * (cos * cos - sin * sin));
    out[half + k] = (real)(radius * (2.0 * sin * cos));
  } else {
    out[2 * half] = (real)(radius * (cos * cos - sin * sin));
  }
}
