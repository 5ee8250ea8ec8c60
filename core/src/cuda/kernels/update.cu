// A rule of an optimizer, put in for RULE, and the average beside it.

struct Update {
  const real *old, *gradient;
  real *values, *first, *second, *average; // means and average may be null
  double numbers[10], decay;
  unsigned count;
};

#define c(index) ((real)p.numbers[index])

extern "C" __global__ void update(Update p) {
  const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= p.count) return;
  real w = p.old[index], g = p.gradient[index];
  real m = p.first ? p.first[index] : (real)0, v = p.second ? p.second[index] : (real)0;
  RULE;
  p.values[index] = w;
  if (p.first) p.first[index] = m;
  if (p.second) p.second[index] = v;
  if (p.average) {
    const real kept = (real)p.decay;
    p.average[index] = kept * p.average[index] + ((real)1 - kept) * w;
  }
}
