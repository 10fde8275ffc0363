// What describes a tensor to the copy engine? cuTensorMapEncodeTiled refuses what the driver's
// does, and keeps in the map what ptx.cpp needs to copy a box of it.
#include <cuda.h>

#include <cstddef>
#include <cstdint>

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank,
                                void* base, const cuuint64_t* shape, const cuuint64_t* strides,
                                const cuuint32_t* box, const cuuint32_t* steps,
                                CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  const uint64_t element = type == CU_TENSOR_MAP_DATA_TYPE_UINT8      ? 1
                           : type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 ? 2
                                                                      : 4;
  if (rank < 2 || rank > 3 || reinterpret_cast<uintptr_t>(base) % 16 != 0)
    return CUDA_ERROR_INVALID_VALUE;
  *map = {};
  map->base = static_cast<std::byte*>(base);
  map->rank = rank;
  map->swizzled = swizzle == CU_TENSOR_MAP_SWIZZLE_128B;
  map->magic = kTensorMapMagic;
  map->strides[0] = element;
  for (uint32_t d = 0; d < 3; ++d) {
    map->shape[d] = d < rank ? shape[d] : 1;
    map->box[d] = d < rank ? box[d] : 1;
    if (d > 0 && d < rank) map->strides[d] = strides[d - 1];
    if (map->shape[d] == 0 || map->shape[d] > uint64_t{1} << 32 || map->box[d] == 0 ||
        map->box[d] > 256 || (d < rank && steps[d] != 1) || (d > 0 && map->strides[d] % 16 != 0) ||
        map->strides[d] >= uint64_t{1} << 40)
      return CUDA_ERROR_INVALID_VALUE;
  }
  const uint64_t inner = map->box[0] * element;
  if (inner % 16 != 0 || (map->swizzled && inner > 128)) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}
