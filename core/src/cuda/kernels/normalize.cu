// Group normalization with what is beside it: y = w n + b, n = (v - mean) / sqrt(variance + epsilon), with v = x + shift + added, rectified
// before or y after. One block per row and group; all derivatives are of what the first kernel has left.

#define GROUP_THREADS 128

static __device__ bool below(real x) { return !(x > 0); }

// The sums over the threads of a block, in a fixed order, for all of them.
template <int N> static __device__ void sum_over_threads(double (&sums)[N], double (*part)[GROUP_THREADS]) {
  const unsigned t = threadIdx.x;
  __syncthreads();
  for (int k = 0; k < N; k++) part[k][t] = sums[k];
  __syncthreads();
  for (unsigned half = GROUP_THREADS / 2; half > 0; half /= 2) {
    if (t < half)
      for (int k = 0; k < N; k++) part[k][t] += part[k][t + half];
    __syncthreads();
  }
  for (int k = 0; k < N; k++) sums[k] = part[k][0];
}

struct Normalize {
  const real *x, *shift, *added; // shift and added may be null
  const real *weight, *bias;
  real *y;
  real *values, *scales, *rectified; // n, 1 / sqrt(..) and v, for derivatives; null where none are wanted
  double epsilon;
  unsigned width, groups, before, after;
};

static __device__ real argument(const Normalize &p, size_t row, unsigned j) {
  real v = p.x[row * p.width + j];
  if (p.shift) v += p.shift[j];
  if (p.added) v += p.added[row * p.width + j];
  // NaN is not below 0, and stays.
  return p.before && v < 0 ? (real)0 : v;
}

extern "C" __global__ void normalize(Normalize p) {
  __shared__ double part[1][GROUP_THREADS];
  const unsigned size = p.width / p.groups, group = blockIdx.x % p.groups, first = group * size;
  const size_t row = blockIdx.x / p.groups;
  double sum[1] = {0};
  for (unsigned j = threadIdx.x; j < size; j += GROUP_THREADS) sum[0] += argument(p, row, first + j);
  sum_over_threads(sum, part);
  const double mean = sum[0] / size;
  sum[0] = 0;
  for (unsigned j = threadIdx.x; j < size; j += GROUP_THREADS) {
    const double d = argument(p, row, first + j) - mean;
    sum[0] += d * d;
  }
  sum_over_threads(sum, part);
  const double scale = 1.0 / sqrt(sum[0] / size + p.epsilon);
  for (unsigned j = threadIdx.x; j < size; j += GROUP_THREADS) {
    const size_t at = row * p.width + first + j;
    const real v = argument(p, row, first + j), n = (real)((v - mean) * scale);
    if (p.values) p.values[at] = n;
    if (p.rectified) p.rectified[at] = v;
    const real y = p.weight[first + j] * n + p.bias[first + j];
    p.y[at] = p.after && y < 0 ? (real)0 : y;
  }
  if (p.scales && threadIdx.x == 0) p.scales[row * p.groups + group] = (real)scale;
}

struct NormalizeBack {
  const real *values, *scales, *weight;
  const real *before, *after; // what the ReLU before or after has left, null where there is none
  const real *in;             // y_bar, or x_dot
  real *out;                  // x_bar, or y_dot
  real *plain;                // n_dot, where it is wanted
  unsigned width, groups, add;
};

// x_bar = scale (g - mean g - n mean(g n)) with g = w y_bar.
extern "C" __global__ void normalize_back(NormalizeBack p) {
  __shared__ double part[2][GROUP_THREADS];
  const unsigned size = p.width / p.groups, group = blockIdx.x % p.groups, first = group * size;
  const size_t row = blockIdx.x / p.groups;
  double sums[2] = {0, 0};
  for (unsigned j = threadIdx.x; j < size; j += GROUP_THREADS) {
    const size_t at = row * p.width + first + j;
    const double g = p.after && below(p.after[at]) ? 0.0 : (double)p.weight[first + j] * p.in[at];
    sums[0] += g;
    sums[1] += g * p.values[at];
  }
  sum_over_threads(sums, part);
  const double scale = p.scales[row * p.groups + group];
  for (unsigned j = threadIdx.x; j < size; j += GROUP_THREADS) {
    const size_t at = row * p.width + first + j;
    const double g = p.after && below(p.after[at]) ? 0.0 : (double)p.weight[first + j] * p.in[at];
    double x_bar = scale * (g - sums[0] / size - p.values[at] * (sums[1] / size));
    if (p.before && below(p.before[at])) x_bar = 0;
    p.out[at] = p.add ? p.out[at] + (real)x_bar : (real)x_bar;
  }
}

// y_dot = w n_dot, n_dot = scale (v - mean v - n mean(v n)).
extern "C" __global__ void normalize_tangent(NormalizeBack p) {
  __shared__ double part[2][GROUP_THREADS];
  const unsigned size = p.width / p.groups, group = blockIdx.x % p.groups, first = group * size;
  const size_t row = blockIdx.x / p.groups;
  double sums[2] = {0, 0};
  for (unsigned j = threadIdx.x; j < size; j += GROUP_THREADS) {
    const size_t at = row * p.width + first + j;
    const double v = p.before && below(p.before[at]) ? 0.0 : (double)p.in[at];
    sums[0] += v;
    sums[1] += v * p.values[at];
  }
  sum_over_threads(sums, part);
  const double scale = p.scales[row * p.groups + group];
  for (unsigned j = threadIdx.x; j < size; j += GROUP_THREADS) {
    const size_t at = row * p.width + first + j;
    const double v = p.before && below(p.before[at]) ? 0.0 : (double)p.in[at];
    const double n_dot = scale * (v - sums[0] / size - p.values[at] * (sums[1] / size));
    p.plain[at] = (real)n_dot;
    p.out[at] = p.after && below(p.after[at]) ? (real)0 : (real)(p.weight[first + j] * n_dot);
  }
}

struct NormalizeBend {
  const real *values, *scales, *weight;
  const real *before, *after;
  const real *p, *x_dot;
  real *x_bar;
  unsigned width, groups, add;
};

// The derivative of <p, y_dot> by x, with q = w p and phi = <q, n_dot>:
// x_bar = -scale phi n / size - scale^2 (mean(v n) Pq + mean(q n) Pv), where Pa = a - mean a - n mean(a n).
extern "C" __global__ void normalize_bend(NormalizeBend p) {
  __shared__ double part[5][GROUP_THREADS];
  const unsigned size = p.width / p.groups, group = blockIdx.x % p.groups, first = group * size;
  const size_t row = blockIdx.x / p.groups;
  double sums[5] = {0, 0, 0, 0, 0}; // q, q n, v, v n, q v
  for (unsigned j = threadIdx.x; j < size; j += GROUP_THREADS) {
    const size_t at = row * p.width + first + j;
    const double q = p.after && below(p.after[at]) ? 0.0 : (double)p.weight[first + j] * p.p[at];
    const double v = p.before && below(p.before[at]) ? 0.0 : (double)p.x_dot[at];
    const double n = p.values[at];
    sums[0] += q, sums[1] += q * n, sums[2] += v, sums[3] += v * n, sums[4] += q * v;
  }
  sum_over_threads(sums, part);
  const double scale = p.scales[row * p.groups + group];
  const double q_mean = sums[0] / size, qn_mean = sums[1] / size, v_mean = sums[2] / size, vn_mean = sums[3] / size;
  const double phi = scale * (sums[4] - size * q_mean * v_mean - size * qn_mean * vn_mean);
  for (unsigned j = threadIdx.x; j < size; j += GROUP_THREADS) {
    const size_t at = row * p.width + first + j;
    const double q = p.after && below(p.after[at]) ? 0.0 : (double)p.weight[first + j] * p.p[at];
    const double v = p.before && below(p.before[at]) ? 0.0 : (double)p.x_dot[at];
    const double n = p.values[at];
    double x_bar = -scale * phi * n / size - scale * scale * (vn_mean * (q - q_mean - n * qn_mean) + qn_mean * (v - v_mean - n * vn_mean));
    if (p.before && below(p.before[at])) x_bar = 0;
    p.x_bar[at] = p.add ? p.x_bar[at] + (real)x_bar : (real)x_bar;
  }
}

struct ColumnSums {
  const real *a, *b, *c, *after; // b, c and after may be null
  real *products, *sums, *others; // sum over rows of a b, of a and of c, added; null where they are not wanted
  unsigned rows, width;
};

// 32 columns per block, eight threads to each: the order of sums is fixed.
extern "C" __global__ void column_sums(ColumnSums p) {
  __shared__ double part[3][256];
  const unsigned t = threadIdx.x, column = blockIdx.x * 32 + t % 32, lane = t / 32;
  double sums[3] = {0, 0, 0};
  if (column < p.width)
    for (unsigned row = lane; row < p.rows; row += 8) {
      const size_t at = (size_t)row * p.width + column;
      const real a = p.after && below(p.after[at]) ? (real)0 : p.a[at];
      if (p.products) sums[0] += (double)a * p.b[at];
      sums[1] += a;
      if (p.others) sums[2] += p.c[at];
    }
  for (int k = 0; k < 3; k++) part[k][t] = sums[k];
  __syncthreads();
  for (unsigned half = 128; half >= 32; half /= 2) {
    if (t < half)
      for (int k = 0; k < 3; k++) part[k][t] += part[k][t + half];
    __syncthreads();
  }
  if (t < 32 && column < p.width) {
    if (p.products) p.products[column] += (real)part[0][t];
    if (p.sums) p.sums[column] += (real)part[1][t];
    if (p.others) p.others[column] += (real)part[2][t];
  }
}
