// Groups of adjacent columns, one block each: all derivatives are of x and y. Threads are as many as a power of two, and sums in their
// order: the same from run to run.

#define MOST_THREADS 256

// The sum over the threads of a block, for all of them.
static __device__ double over_threads(double sum, double *part) {
  const unsigned t = threadIdx.x;
  __syncthreads();
  part[t] = sum;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (t < half) part[t] += part[t + half];
    __syncthreads();
  }
  return part[0];
}

// NaN is larger than all else.
static __device__ real larger(real a, real b) { return b <= a || a != a ? a : b; }

// The largest number of a group, for all threads. What is NaN is left out, unless it is to stay.
static __device__ real largest(const real *x, unsigned size, bool keep, real *part) {
  const unsigned t = threadIdx.x;
  real most = (real)(-1.0 / 0.0);
  for (unsigned j = t; j < size; j += blockDim.x)
    if (keep || x[j] == x[j]) most = larger(most, x[j]);
  part[t] = most;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (t < half) part[t] = larger(part[t], part[t + half]);
    __syncthreads();
  }
  return part[0];
}

// The first of the numbers of a group that is y, or the first one where none is, for all threads.
static __device__ unsigned first_place(const real *x, unsigned size, real y, unsigned *part) {
  const unsigned t = threadIdx.x;
  unsigned place = size;
  for (unsigned j = t; j < size && place == size; j += blockDim.x)
    if (x[j] == y) place = j;
  part[t] = place;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (t < half && part[t + half] < part[t]) part[t] = part[t + half];
    __syncthreads();
  }
  return part[0] == size ? 0 : part[0];
}

struct Groups {
  const real *x, *y;
  const real *u, *v; // what is multiplied by derivatives
  real *out;
  double factor;
  unsigned groups, size, add;
};

static __device__ void put(const Groups &p, size_t at, real value) { p.out[at] = p.add ? p.out[at] + value : value; }

extern "C" __global__ void sum_groups(Groups p) {
  __shared__ double part[MOST_THREADS];
  const real *x = p.x + (size_t)blockIdx.x * p.size;
  double sum = 0;
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) sum += x[j];
  sum = over_threads(sum, part);
  if (threadIdx.x == 0) put(p, blockIdx.x, (real)(p.factor * sum));
}

extern "C" __global__ void softmax(Groups p) {
  __shared__ real numbers[MOST_THREADS];
  __shared__ double part[MOST_THREADS];
  const size_t first = (size_t)blockIdx.x * p.size;
  const real most = largest(p.x + first, p.size, false, numbers);
  double sum = 0;
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) {
    const real value = exp(p.x[first + j] - most);
    p.out[first + j] = value;
    sum += value;
  }
  const real share = (real)(1.0 / over_threads(sum, part));
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) p.out[first + j] *= share;
}

// y (u - sum y u): the Jacobian is symmetric.
extern "C" __global__ void softmax_along(Groups p) {
  __shared__ double part[MOST_THREADS];
  const size_t first = (size_t)blockIdx.x * p.size;
  double sum = 0;
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) sum += (double)p.y[first + j] * p.u[first + j];
  sum = over_threads(sum, part);
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) put(p, first + j, (real)(p.y[first + j] * (p.u[first + j] - sum)));
}

// The derivative of sum y u v - (sum y u) (sum y v) by y, through the Jacobian.
extern "C" __global__ void softmax_bend(Groups p) {
  __shared__ double part[MOST_THREADS];
  const size_t first = (size_t)blockIdx.x * p.size;
  double u = 0, v = 0, both = 0;
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) {
    const double y = p.y[first + j];
    u += y * p.u[first + j], v += y * p.v[first + j], both += y * p.u[first + j] * p.v[first + j];
  }
  u = over_threads(u, part), v = over_threads(v, part), both = over_threads(both, part);
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) {
    const double a = p.u[first + j], b = p.v[first + j];
    put(p, first + j, (real)(p.y[first + j] * (a * b - b * u - a * v - both + 2 * u * v)));
  }
}

extern "C" __global__ void log_sum_exp(Groups p) {
  __shared__ real numbers[MOST_THREADS];
  __shared__ double part[MOST_THREADS];
  const real *x = p.x + (size_t)blockIdx.x * p.size;
  const real most = largest(x, p.size, false, numbers);
  double sum = 0;
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) sum += exp(x[j] - most);
  sum = over_threads(sum, part);
  if (threadIdx.x == 0) p.out[blockIdx.x] = most + log((real)sum);
}

// sum s u with the softmax s = exp(x - y).
extern "C" __global__ void log_sum_exp_tangent(Groups p) {
  __shared__ double part[MOST_THREADS];
  const size_t first = (size_t)blockIdx.x * p.size;
  const real y = p.y[blockIdx.x];
  double sum = 0;
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) sum += (double)exp(p.x[first + j] - y) * p.u[first + j];
  sum = over_threads(sum, part);
  if (threadIdx.x == 0) p.out[blockIdx.x] = (real)sum;
}

// s u, of the group; where there is a v, s u (v - sum s v).
extern "C" __global__ void log_sum_exp_back(Groups p) {
  __shared__ double part[MOST_THREADS];
  const size_t first = (size_t)blockIdx.x * p.size;
  const real y = p.y[blockIdx.x], u = p.u[blockIdx.x];
  double sum = 0;
  if (p.v) {
    for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) sum += (double)exp(p.x[first + j] - y) * p.v[first + j];
    sum = over_threads(sum, part);
  }
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) {
    const double value = (double)exp(p.x[first + j] - y) * u;
    put(p, first + j, (real)(p.v ? value * (p.v[first + j] - sum) : value));
  }
}

extern "C" __global__ void largest_of_groups(Groups p) {
  __shared__ real part[MOST_THREADS];
  const real most = largest(p.x + (size_t)blockIdx.x * p.size, p.size, true, part);
  if (threadIdx.x == 0) p.out[blockIdx.x] = most;
}

extern "C" __global__ void largest_tangent(Groups p) {
  __shared__ unsigned part[MOST_THREADS];
  const size_t first = (size_t)blockIdx.x * p.size;
  const unsigned place = first_place(p.x + first, p.size, p.y[blockIdx.x], part);
  if (threadIdx.x == 0) p.out[blockIdx.x] = p.u[first + place];
}

extern "C" __global__ void largest_back(Groups p) {
  __shared__ unsigned part[MOST_THREADS];
  const size_t first = (size_t)blockIdx.x * p.size;
  const unsigned place = first_place(p.x + first, p.size, p.y[blockIdx.x], part);
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) put(p, first + j, j == place ? p.u[blockIdx.x] : (real)0);
}

struct RowNorms {
  const real *weight; // [groups, size]
  const real *y_bar;  // [rows, groups]
  real *out;
  unsigned rows, groups, size;
};

// The sum of the sizes of numbers in each row of a parameter, in all rows.
extern "C" __global__ void row_norms(RowNorms p) {
  __shared__ double part[MOST_THREADS];
  const real *weight = p.weight + (size_t)blockIdx.x * p.size;
  double sum = 0;
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) sum += fabs(weight[j]);
  sum = over_threads(sum, part);
  for (unsigned row = threadIdx.x; row < p.rows; row += blockDim.x) p.out[(size_t)row * p.groups + blockIdx.x] = (real)sum;
}

// Added to the gradient of the parameter. Where a number is 0, nothing is.
extern "C" __global__ void row_norms_back(RowNorms p) {
  __shared__ double part[MOST_THREADS];
  const size_t first = (size_t)blockIdx.x * p.size;
  double sum = 0;
  for (unsigned row = threadIdx.x; row < p.rows; row += blockDim.x) sum += p.y_bar[(size_t)row * p.groups + blockIdx.x];
  sum = over_threads(sum, part);
  for (unsigned j = threadIdx.x; j < p.size; j += blockDim.x) {
    const real weight = p.weight[first + j];
    if (weight != 0) p.out[first + j] += (real)(weight < 0 ? -sum : sum);
  }
}
