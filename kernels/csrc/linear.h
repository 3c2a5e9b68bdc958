// A linear layer whose arguments have been checked, and room for its result.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "dense.h"
#include "product.h"

namespace modrwkv {

class Linear {
 public:
  // Inputs and outputs must be multiples of `multiple`.
  Linear(const at::Tensor& x, const at::Tensor& weight, int64_t multiple) {
    TORCH_CHECK_VALUE(weight.dim() == 2 && x.dim() > 0 && x.size(-1) == weight.size(1), "x is ", x.sizes(),
                      " but weight is ", weight.sizes(), "; it needs [outputs, inputs]");
    const int64_t outputs = weight.size(0), inputs = weight.size(1);
    TORCH_CHECK_VALUE(outputs % multiple == 0 && inputs % multiple == 0, "weight must be of multiples of ", multiple,
                      ", not ", weight.sizes());
    auto shape = x.sizes().vec();
    shape.back() = outputs;
    result_ = at::empty(shape, x.options());
    product_ = {dense_(x, "x", x.sizes()),
                dense_(weight, "weight", weight.sizes()),
                result_.mutable_data_ptr<float>(),
                inputs == 0 ? 0 : x.numel() / inputs,
                inputs,
                outputs};
  }

  const LinearProduct& product() const { return product_; }
  const at::Tensor& result() const { return result_; }

 private:
  Dense dense_;
  at::Tensor result_;
  LinearProduct product_;
};

}  // namespace modrwkv
