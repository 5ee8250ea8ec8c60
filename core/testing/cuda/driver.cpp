// libcuda, cuBLAS and NVRTC on the CPU, as far as cudarc calls them. For tests of what is computed and of what is asked for, not of speed.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

enum { SUCCESS = 0, INVALID_VALUE = 1, INVALID_IMAGE = 200, NOT_FOUND = 500 };

// ---- What was asked for. The order is that of `Counters` in equilibria-testing.

enum Count { LAUNCHES, PRODUCTS, COPIES_TO, BYTES_TO, COPIES_BACK, BYTES_BACK, COPIES_WITHIN, ALLOCATIONS, COUNTS };
static std::atomic<uint64_t> counts[COUNTS];
static std::map<std::string, uint64_t> kernel_counts;
static std::mutex one_at_a_time;

static void count(Count what, uint64_t by = 1) { counts[what] += by; }
API void stand_in_counters(uint64_t *to) {
  for (int i = 0; i < COUNTS; i++) to[i] = counts[i];
}
// Prints how often each kernel was launched since the last call.
API void stand_in_print_kernels() {
  std::lock_guard<std::mutex> guard(one_at_a_time);
  for (auto &kernel : kernel_counts) fprintf(stderr, "%6llu %s\n", (unsigned long long)kernel.second, kernel.first.c_str());
  kernel_counts.clear();
}

// ---- Threads of a block, one after the other from barrier to barrier. A fiber runs threads until one of them waits at a barrier; then
// another fiber takes the next thread. Kernels without barriers need a single one.

struct Dim {
  unsigned x, y, z;
};
API Dim threadIdx, blockIdx, blockDim, gridDim;
Dim threadIdx, blockIdx, blockDim, gridDim;

// Saves the registers that calls preserve on one stack and restores them from another.
extern "C" void stand_in_switch(void **from, void *to);
asm(R"(
.globl stand_in_switch
stand_in_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");

struct Fiber {
  static const size_t STACK = 1 << 16;
  void *sp;
  std::unique_ptr<char[]> stack{new char[STACK]};
  unsigned thread = 0;
};
typedef void (*Entry)(void **);
struct Kernel {
  Entry entry;
  std::string name;
};
static std::vector<std::unique_ptr<Fiber>> fibers;
static std::vector<Fiber *> idle, waiting;
static Fiber *running;
static void *scheduler;
static Entry entry;
static void **arguments;
static unsigned next_thread;

// Whether blocks, and threads of a block between barriers, run from the last to the first.
static bool backwards;

API void stand_in_run_backwards(int yes) {
  // Not within a launch: some of its threads would run twice and others never.
  std::lock_guard<std::mutex> guard(one_at_a_time);
  backwards = yes;
}

static unsigned ordered(unsigned index, unsigned count) { return backwards ? count - 1 - index : index; }

static void leave() { stand_in_switch(&running->sp, scheduler); }

static void fiber_main() {
  for (;;) {
    while (next_thread < blockDim.x) {
      running->thread = ordered(next_thread++, blockDim.x);
      threadIdx = {running->thread, 0, 0};
      entry(arguments);
    }
    idle.push_back(running);
    leave();
  }
}

API void stand_in_barrier() {
  waiting.push_back(running);
  leave();
}

static void enter(Fiber *fiber) {
  running = fiber;
  threadIdx = {fiber->thread, 0, 0};
  stand_in_switch(&scheduler, fiber->sp);
}

static Fiber *idle_fiber() {
  if (idle.empty()) {
    fibers.emplace_back(new Fiber);
    Fiber *fiber = fibers.back().get();
    void **sp = (void **)((uintptr_t)(fiber->stack.get() + Fiber::STACK) & ~(uintptr_t)15);
    *--sp = nullptr;
    *--sp = (void *)fiber_main;
    for (int i = 0; i < 6; i++) *--sp = nullptr;
    fiber->sp = sp;
    return fiber;
  }
  Fiber *fiber = idle.back();
  idle.pop_back();
  return fiber;
}

static void run_block() {
  next_thread = 0;
  while (next_thread < blockDim.x) enter(idle_fiber());
  // A barrier is passed when all threads that have not ended wait at it.
  while (!waiting.empty()) {
    std::vector<Fiber *> passing;
    passing.swap(waiting);
    for (Fiber *fiber : passing) enter(fiber);
  }
}

API int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned, void *, void **params, void **) {
  if (gx == 0 || bx == 0 || bx > 1024 || gy != 1 || gz != 1 || by != 1 || bz != 1) return INVALID_VALUE;
  std::lock_guard<std::mutex> guard(one_at_a_time);
  auto kernel = (Kernel *)function;
  count(LAUNCHES);
  kernel_counts[kernel->name]++;
  entry = kernel->entry;
  arguments = params;
  blockDim = {bx, 1, 1};
  gridDim = {gx, 1, 1};
  for (unsigned block = 0; block < gx; block++) {
    blockIdx = {ordered(block, gx), 0, 0};
    run_block();
  }
  return SUCCESS;
}

// ---- Modules: a source, compiled when it is loaded, and kept for the next process.

static std::string place(const char *name) {
  const char *value = getenv(name);
  if (!value) {
    fprintf(stderr, "%s is not set: start the program with core/testing/cuda/run\n", name);
    abort();
  }
  return value;
}

static std::vector<std::string> kernels_in(const std::string &source) {
  std::vector<std::string> names;
  const std::string mark = "__global__";
  for (size_t at = 0; (at = source.find(mark, at)) != std::string::npos;) {
    at += mark.size();
    size_t end = source.find('(', at), begin = source.find_last_of(" \n", end - 1) + 1;
    names.push_back(source.substr(begin, end - begin));
  }
  return names;
}

static void *compiled(const std::string &source, const std::string &includes = "") {
  std::ostringstream base;
  base << place("CUDA_STAND_IN") << "/kernels/" << std::hex << std::hash<std::string>()(source);
  std::string library = base.str() + ".so";
  if (access(library.c_str(), R_OK)) {
    // Under a name of its own first: other processes may do the same.
    std::string own = base.str() + "-" + std::to_string(getpid());
    {
      std::ofstream out(own + ".cpp");
      out << "#include \"device.h\"\n" << source << "\n";
      for (auto &name : kernels_in(source)) out << "extern \"C\" void stand_in_" << name << "(void **p) { stand_in_call(" << name << ", p); }\n";
    }
    std::string command = "g++ -std=c++17 -O1 -w -shared -fPIC -I" + place("CUDA_STAND_IN_SOURCE") + " -I" + place("CUDA_STAND_IN") + "/include" + includes + " " + own + ".cpp -o " + own + ".so";
    if (system(command.c_str())) return nullptr;
    rename((own + ".so").c_str(), library.c_str());
    unlink((own + ".cpp").c_str());
  }
  void *handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) fprintf(stderr, "%s\n", dlerror());
  return handle;
}

API int cuModuleLoadData(void **module, const void *image) {
  std::lock_guard<std::mutex> guard(one_at_a_time);
  *module = compiled((const char *)image);
  return *module ? SUCCESS : INVALID_IMAGE;
}
API int cuModuleLoad(void **, const char *) { return INVALID_IMAGE; }
API int cuModuleUnload(void *) { return SUCCESS; }
API int cuModuleGetFunction(void **function, void *module, const char *name) {
  auto entry = (Entry)dlsym(module, ("stand_in_" + std::string(name)).c_str());
  if (!entry) return NOT_FOUND;
  *function = new Kernel{entry, name};
  return SUCCESS;
}

// ---- NVRTC: hands the source on, and finds mistakes when it is asked to compile.

struct Source {
  std::string text;
};
API int nvrtcCreateProgram(Source **program, const char *source, const char *, int, const char *const *, const char *const *) {
  *program = new Source{source};
  return SUCCESS;
}
API int nvrtcDestroyProgram(Source **program) {
  delete *program;
  return SUCCESS;
}
API int nvrtcCompileProgram(Source *program, int count, const char *const *options) {
  std::lock_guard<std::mutex> guard(one_at_a_time);
  const std::string include = "--include-path=";
  std::string includes;
  for (int i = 0; i < count; i++)
    if (!include.compare(0, include.size(), options[i], std::min(include.size(), strlen(options[i])))) includes += std::string(" -I") + (options[i] + include.size());
  // As on a machine without the headers of CUDA, if CUDA_STAND_IN_HEADERS is 0.
  const char *headers = getenv("CUDA_STAND_IN_HEADERS");
  if (headers && !strcmp(headers, "0") && program->text.find("#include \"cuda_") != std::string::npos) return 6;
  // Loaded, it is found by its source.
  return compiled(program->text, includes) ? SUCCESS : 6; // NVRTC_ERROR_COMPILATION
}
API int nvrtcGetPTXSize(Source *program, size_t *size) {
  *size = program->text.size() + 1;
  return SUCCESS;
}
API int nvrtcGetPTX(Source *program, char *to) {
  strcpy(to, program->text.c_str());
  return SUCCESS;
}
API int nvrtcGetProgramLogSize(Source *, size_t *size) {
  *size = 1;
  return SUCCESS;
}
API int nvrtcGetProgramLog(Source *, char *to) {
  *to = 0;
  return SUCCESS;
}

// ---- Devices, contexts, streams, events: there is one of each, and all is done when it is asked for. As many devices as
// CUDA_STAND_IN_DEVICES says.

static int devices() {
  const char *value = getenv("CUDA_STAND_IN_DEVICES");
  return value ? atoi(value) : 1;
}
static thread_local void *current = nullptr;
API int cuInit(unsigned) { return devices() > 0 ? SUCCESS : 100; } // CUDA_ERROR_NO_DEVICE
API int cuDeviceGet(int *device, int ordinal) {
  *device = ordinal;
  return ordinal < devices() ? SUCCESS : 101; // CUDA_ERROR_INVALID_DEVICE
}
API int cuDeviceGetCount(int *to) {
  *to = devices();
  return SUCCESS;
}
API int cuDeviceGetAttribute(int *to, int, int) {
  *to = 1;
  return SUCCESS;
}
API int cuDevicePrimaryCtxRetain(void **context, int) {
  *context = (void *)1;
  return SUCCESS;
}
API int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API int cuCtxGetCurrent(void **context) {
  *context = current;
  return SUCCESS;
}
API int cuCtxSetCurrent(void *context) {
  current = context;
  return SUCCESS;
}
API int cuEventCreate(void **event, unsigned) {
  *event = (void *)1;
  return SUCCESS;
}
API int cuEventDestroy_v2(void *) { return SUCCESS; }
API int cuEventRecord(void *, void *) { return SUCCESS; }
API int cuStreamCreate(void **stream, unsigned) {
  *stream = (void *)1;
  return SUCCESS;
}
API int cuStreamDestroy_v2(void *) { return SUCCESS; }
API int cuStreamSynchronize(void *) { return SUCCESS; }
API int cuStreamWaitEvent(void *, void *, unsigned) { return SUCCESS; }
API int cuGetErrorName(int, const char **to) {
  *to = "an error of the stand-in";
  return SUCCESS;
}
API int cuGetErrorString(int, const char **to) { return cuGetErrorName(0, to); }

// ---- Memory: that of the host.

API int cuMemAllocAsync(uint64_t *to, size_t bytes, void *) {
  // As on a device, where dfdx opens one with an empty workspace: nothing, at no address.
  if (bytes == 0) {
    *to = 0;
    return SUCCESS;
  }
  count(ALLOCATIONS);
  void *memory = malloc(bytes);
  // NaN, so that what is read before it is written is seen.
  memset(memory, 0xff, bytes);
  *to = (uint64_t)memory;
  return SUCCESS;
}
API int cuMemAlloc_v2(uint64_t *to, size_t bytes) { return bytes == 0 ? INVALID_VALUE : cuMemAllocAsync(to, bytes, nullptr); }
API int cuMemFreeAsync(uint64_t memory, void *) {
  free((void *)memory);
  return SUCCESS;
}
API int cuMemFree_v2(uint64_t memory) { return cuMemFreeAsync(memory, nullptr); }
API int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *) {
  count(COPIES_WITHIN);
  memmove((void *)to, (void *)from, bytes);
  return SUCCESS;
}
API int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) { return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr); }
API int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *) {
  count(COPIES_BACK);
  count(BYTES_BACK, bytes);
  memcpy(to, (void *)from, bytes);
  return SUCCESS;
}
API int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) { return cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr); }
API int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *) {
  count(COPIES_TO);
  count(BYTES_TO, bytes);
  memcpy((void *)to, from, bytes);
  return SUCCESS;
}
API int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) { return cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr); }
API int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *) {
  memset((void *)to, value, bytes);
  return SUCCESS;
}
API int cuMemsetD8_v2(uint64_t to, unsigned char value, size_t bytes) { return cuMemsetD8Async(to, value, bytes, nullptr); }

// ---- cuBLAS: column by column, sums in f64.

API int cublasCreate_v2(void **handle) {
  *handle = (void *)1;
  return SUCCESS;
}
API int cublasDestroy_v2(void *) { return SUCCESS; }
API int cublasSetStream_v2(void *, void *) { return SUCCESS; }

template <class T>
static int multiply(int ta, int tb, int m, int n, int k, const T *alpha, const T *a, int lda, const T *b, int ldb, const T *beta, T *c, int ldc) {
  if (m < 0 || n < 0 || k < 0 || lda < std::max(1, ta ? k : m) || ldb < std::max(1, tb ? n : k) || ldc < std::max(1, m)) return 7; // CUBLAS_STATUS_INVALID_VALUE
  // Both factors with the summed index last, so that the loop below runs along memory.
  std::vector<T> left((size_t)m * k), right((size_t)n * k);
  for (int i = 0; i < m; i++)
    for (int l = 0; l < k; l++) left[(size_t)i * k + l] = ta ? a[l + (size_t)i * lda] : a[i + (size_t)l * lda];
  for (int j = 0; j < n; j++)
    for (int l = 0; l < k; l++) right[(size_t)j * k + l] = tb ? b[j + (size_t)l * ldb] : b[l + (size_t)j * ldb];
  for (int j = 0; j < n; j++)
    for (int i = 0; i < m; i++) {
      const T *x = &left[(size_t)i * k], *y = &right[(size_t)j * k];
      double sums[4] = {0, 0, 0, 0};
      int l = 0;
      for (; l + 4 <= k; l += 4)
        for (int part = 0; part < 4; part++) sums[part] += (double)x[l + part] * y[l + part];
      for (; l < k; l++) sums[0] += (double)x[l] * y[l];
      double sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      T &place = c[i + (size_t)j * ldc];
      // What is there is not read where it counts 0.
      place = (T)(*alpha * sum + (*beta == 0 ? 0 : *beta * place));
    }
  return SUCCESS;
}

#define PRODUCT(T, name)                                                                                                \
  API int cublas##name##gemm_v2(void *, int ta, int tb, int m, int n, int k, const T *alpha, const T *a, int lda,       \
                                const T *b, int ldb, const T *beta, T *c, int ldc) {                                    \
    count(PRODUCTS);                                                                                                    \
    return multiply(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);                                              \
  }                                                                                                                     \
  API int cublas##name##gemmStridedBatched(void *, int ta, int tb, int m, int n, int k, const T *alpha, const T *a,     \
                                           int lda, long long sa, const T *b, int ldb, long long sb, const T *beta,     \
                                           T *c, int ldc, long long sc, int batch) {                                    \
    count(PRODUCTS);                                                                                                    \
    for (int i = 0; i < batch; i++)                                                                                     \
      if (int wrong = multiply(ta, tb, m, n, k, alpha, a + i * sa, lda, b + i * sb, ldb, beta, c + i * sc, ldc))        \
        return wrong;                                                                                                   \
    return SUCCESS;                                                                                                     \
  }
PRODUCT(float, S)
PRODUCT(double, D)
