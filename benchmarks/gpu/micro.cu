// What a device can do at best, one thing a kernel. `rounds` is in memory so that no compiler knows it.
#define uint unsigned int
#ifndef CNNCC_EMULATED
static __device__ __forceinline__ void cnncc_mma(float* s, const uint* a, const uint* b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};" : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
static __device__ __forceinline__ void cnncc_mma_tf32(float* s, const uint* a, const uint* b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};" : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
#define cnncc_mma_tf32 cnncc_mma
#endif

extern "C" __global__ void __launch_bounds__(32) micro_empty(float* __restrict__ out) {
  if (out == nullptr) out[0] = 0.0f;
}

// 64 multiply-adds of each thread a round, on 16 sums that do not wait for each other.
extern "C" __global__ void __launch_bounds__(256) micro_fma(float* __restrict__ out, const int* __restrict__ rounds) {
  float sums[16];
  const float factor = 1.0f + 1e-6f * (float)((int)threadIdx.x);
  for (int i = 0; i < 16; ++i) sums[i] = (float)i;
  for (int n = rounds[0]; n > 0; --n) {
#pragma unroll
    for (int i = 0; i < 64; ++i) sums[i % 16] = sums[i % 16] * factor + 1.0f;
  }
  float total = 0.0f;
  for (int i = 0; i < 16; ++i) total += sums[i];
  out[((int)blockIdx.x) * 256 + ((int)threadIdx.x)] = total;
}

// 16 products of 16 x 8 x 16 of each warp a round, on 8 tiles of sums.
extern "C" __global__ void __launch_bounds__(256) micro_mma(float* __restrict__ out, const int* __restrict__ rounds) {
  float sums[32];
  uint a[4], b[2];
  __syncthreads();  // by this the emulated driver sees that threads work together
  for (int i = 0; i < 32; ++i) sums[i] = 0.0f;
  for (int i = 0; i < 4; ++i) a[i] = 0x3c003c00u;
  for (int i = 0; i < 2; ++i) b[i] = 0x00010001u;
  for (int n = rounds[0]; n > 0; --n) {
#pragma unroll
    for (int i = 0; i < 16; ++i) cnncc_mma(sums + 4 * (i % 8), a, b);
  }
  float total = 0.0f;
  for (int i = 0; i < 32; ++i) total += sums[i];
  out[((int)blockIdx.x) * 256 + ((int)threadIdx.x)] = total;
}

// 16 products of 16 x 8 x 8 of each warp a round.
extern "C" __global__ void __launch_bounds__(256) micro_tf32(float* __restrict__ out, const int* __restrict__ rounds) {
  float sums[32];
  uint a[4], b[2];
  __syncthreads();  // by this the emulated driver sees that threads work together
  for (int i = 0; i < 32; ++i) sums[i] = 0.0f;
  for (int i = 0; i < 4; ++i) a[i] = 0x3f800000u;
  for (int i = 0; i < 2; ++i) b[i] = 0x30000000u;
  for (int n = rounds[0]; n > 0; --n) {
#pragma unroll
    for (int i = 0; i < 16; ++i) cnncc_mma_tf32(sums + 4 * (i % 8), a, b);
  }
  float total = 0.0f;
  for (int i = 0; i < 32; ++i) total += sums[i];
  out[((int)blockIdx.x) * 256 + ((int)threadIdx.x)] = total;
}

// Each round 4 x 16 bytes of each thread out of 16 MiB, which lie in the L2 and in no L1. `rounds[1]` is the number of
// threads.
extern "C" __global__ void __launch_bounds__(256) micro_read(const float* __restrict__ data, float* __restrict__ out,
                                                             const int* __restrict__ rounds) {
  const int self = ((int)blockIdx.x) * 256 + ((int)threadIdx.x), all = rounds[1];
  float total = 0.0f;
  for (int n = 0; n < rounds[0]; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float4 four = *(const float4*)(data + 4 * ((self + (4 * n + i) * all) & 1048575));
      total += four.x + four.y + four.z + four.w;
    }
  }
  out[self] = total;
}

// One thread goes from place to place; each load waits for the one before it.
extern "C" __global__ void __launch_bounds__(32) micro_chase(const int* __restrict__ next, int* __restrict__ out,
                                                            const int* __restrict__ rounds) {
  if (((int)threadIdx.x) == 0) {
    int at = 0;
    for (int n = rounds[0]; n > 0; --n) at = next[at];
    out[0] = at;
  }
}
