// CUDA C++ as C++ on the CPU, as far as kernels of dfdx and of this project go.
#pragma once
#include <cassert>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __CUDA_ARCH__ 900
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
// Blocks run one after the other.
#define __shared__ static

using std::isinf;
using std::isnan;
using std::signbit;

// The driver has these, and sets them for every thread.
struct StandInDim {
  unsigned x, y, z;
};
extern "C" StandInDim threadIdx, blockIdx, blockDim, gridDim;
extern "C" void stand_in_barrier();
inline void __syncthreads() { stand_in_barrier(); }

// Called by the driver with the addresses of the arguments.
template <class... A, size_t... I> void stand_in_call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
  kernel(*static_cast<typename std::remove_reference<A>::type *>(arguments[I])...);
}
template <class... A> void stand_in_call(void (*kernel)(A...), void **arguments) {
  stand_in_call(kernel, arguments, std::index_sequence_for<A...>());
}

template <class A, class B> typename std::common_type<A, B>::type max(A a, B b) { return a > b ? a : b; }
template <class A, class B> typename std::common_type<A, B>::type min(A a, B b) { return a < b ? a : b; }

// Atomic where one thread runs at a time.
template <class T, class U> T atomicAdd(T *place, U value) {
  T old = *place;
  *place = T(old + T(value));
  return old;
}
template <class T, class U> T atomicMin(T *place, U value) {
  T old = *place;
  if (T(value) < old) *place = T(value);
  return old;
}
template <class T, class U> T atomicMax(T *place, U value) {
  T old = *place;
  if (T(value) > old) *place = T(value);
  return old;
}
template <class T, class U, class V> T atomicCAS(T *place, U expected, V value) {
  T old = *place;
  if (old == T(expected)) *place = T(value);
  return old;
}

template <class To, class From> To stand_in_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
inline float __uint_as_float(unsigned bits) { return stand_in_bits<float>(bits); }
inline float __int_as_float(int bits) { return stand_in_bits<float>(bits); }
inline unsigned __float_as_uint(float x) { return stand_in_bits<unsigned>(x); }
inline int __float_as_int(float x) { return stand_in_bits<int>(x); }
inline double __longlong_as_double(long long bits) { return stand_in_bits<double>(bits); }
inline long long __double_as_longlong(double x) { return stand_in_bits<long long>(x); }

// Floats of 16 bits, so that kernels for them compile; none is called.
struct __half {
  float value;
  __half() = default;
  template <class T, class = typename std::enable_if<std::is_arithmetic<T>::value>::type> __half(T x) : value(float(x)) {}
  operator float() const { return value; }
  __half &operator+=(__half other) { return *this = value + other.value; }
  __half &operator-=(__half other) { return *this = value - other.value; }
  __half &operator*=(__half other) { return *this = value * other.value; }
  __half &operator/=(__half other) { return *this = value / other.value; }
};
#define STAND_IN_HALF(result, op) \
  inline result operator op(__half a, __half b) { return result(a.value op b.value); }
STAND_IN_HALF(__half, +) STAND_IN_HALF(__half, -) STAND_IN_HALF(__half, *) STAND_IN_HALF(__half, /)
STAND_IN_HALF(bool, <) STAND_IN_HALF(bool, >) STAND_IN_HALF(bool, <=) STAND_IN_HALF(bool, >=) STAND_IN_HALF(bool, ==) STAND_IN_HALF(bool, !=)
inline __half operator-(__half a) { return -a.value; }
inline float __half2float(__half a) { return a.value; }
inline __half __float2half(float a) { return a; }
inline bool __hisnan(__half a) { return std::isnan(a.value); }
inline __half __hmax(__half a, __half b) { return std::fmax(a.value, b.value); }
inline __half __hmin(__half a, __half b) { return std::fmin(a.value, b.value); }
inline __half __hmax_nan(__half a, __half b) { return __hisnan(a) ? a : __hisnan(b) ? b : __hmax(a, b); }
inline __half __hmin_nan(__half a, __half b) { return __hisnan(a) ? a : __hisnan(b) ? b : __hmin(a, b); }
inline __half __habs(__half a) { return std::fabs(a.value); }
#define STAND_IN_HALF_FUNCTION(name) \
  inline __half h##name(__half a) { return std::name(a.value); }
STAND_IN_HALF_FUNCTION(cos) STAND_IN_HALF_FUNCTION(sin) STAND_IN_HALF_FUNCTION(sqrt) STAND_IN_HALF_FUNCTION(log)
STAND_IN_HALF_FUNCTION(exp) STAND_IN_HALF_FUNCTION(ceil) STAND_IN_HALF_FUNCTION(floor)
inline unsigned short __half_as_ushort(__half a) { return (unsigned short)a.value; }
inline __half __ushort_as_half(unsigned short a) { return float(a); }
