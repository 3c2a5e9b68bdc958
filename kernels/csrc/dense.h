// Memory of the dense float32 tensors that the kernels read.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace modrwkv {

// Keeps the copies it had to make.
class Dense {
 public:
  const float* operator()(const at::Tensor& x, const char* name, at::IntArrayRef shape) {
    TORCH_CHECK_VALUE(x.scalar_type() == at::kFloat, name, " must be float32, not ", x.scalar_type());
    TORCH_CHECK_VALUE(x.sizes() == shape, name, " is ", x.sizes(), " but must be ", shape);
    copies_.push_back(x.contiguous());
    return copies_.back().const_data_ptr<float>();
  }

  const float* operator()(const std::optional<at::Tensor>& x, const char* name, at::IntArrayRef shape) {
    return x ? (*this)(*x, name, shape) : nullptr;
  }

 private:
  std::vector<at::Tensor> copies_;
};

}  // namespace modrwkv
