// modrwkv_kernels::rwkv7_decode_cpu: one token of each sequence through all layers, from embedding to logits. Its schema and
// shape function are registered in Python (modrwkv_kernels/decode_op.py), which also packs the weights.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "decode.h"
#include "instruction_set.h"

namespace modrwkv {

DecodeKernels decode_kernels(int64_t head_size) {
#if defined(__x86_64__)
  if (instruction_set() == InstructionSet::kAvx512) return decode_kernels_avx512(head_size);
  if (instruction_set() == InstructionSet::kAvx2) return decode_kernels_avx2(head_size);
#endif
  return decode_kernels_portable(head_size);
}

namespace {

using at::Tensor;
using at::TensorList;

// A thread should have at least this many weights to multiply.
constexpr int64_t kWeightsPerThread = 1 << 14;
// Parts of the value matrix that threads take, with a sum each; a fixed number, so that results do not depend on threads.
constexpr int64_t kParts = 16;

void check_shape(const Tensor& x, const char* name, at::IntArrayRef shape) {
  TORCH_CHECK_VALUE(x.sizes() == shape, name, " is ", x.sizes(), " but must be ", shape);
  TORCH_CHECK_VALUE(x.is_contiguous(), name, " must be contiguous");
}

template <class Element = float>
const Element* dense(const Tensor& x, const char* name, at::IntArrayRef shape) {
  check_shape(x, name, shape);
  return x.const_data_ptr<Element>();
}

Matrix matrix(const Tensor& x, const char* name, int64_t rows, int64_t cols, const Tensor* scale = nullptr) {
  check_shape(x, name, {rows, cols});
  Matrix m{x.const_data_ptr(), Format::kFloat32, nullptr, rows, cols, cols};
  switch (x.scalar_type()) {
    case at::kFloat: break;
    case at::kBFloat16: m.format = Format::kBfloat16; break;
    case at::kChar:
      TORCH_CHECK_VALUE(scale, name, " is int8 but has no scale");
      m.format = Format::kInt8;
      m.scale = dense(*scale, "the scale of an int8 matrix", {rows});
      break;
    default: TORCH_CHECK_VALUE(false, name, " must be float32, bfloat16 or int8, not ", x.scalar_type());
  }
  return m;
}

int64_t bytes(const Matrix& m) {
  return m.format == Format::kFloat32 ? 4 : m.format == Format::kBfloat16 ? 2 : 1;
}

// Rows [begin, begin + rows) of a matrix.
Matrix slice(const Matrix& m, int64_t begin, int64_t rows) {
  const char* data = static_cast<const char*>(m.data) + begin * m.stride * bytes(m);
  return {data, m.format, m.scale ? m.scale + begin : nullptr, rows, m.cols, m.stride};
}

struct Layer {
  Vectors vectors;
  Matrix mixed, up, output, key, value;
};

// The tensors of one layer, in this order; those of `kScaled` have a scale each when they are int8.
constexpr int64_t kLayerTensors = 6, kScaled = 4;

// The sizes of a model, and what one step needs of memory.
class Step {
 public:
  Step(const Tensor& x, int64_t head_size, at::IntArrayRef ranks)
      : kernels_(decode_kernels(head_size)), size_(head_size), ranks_(ranks) {
    TORCH_CHECK_VALUE(kernels_.head, "the cpu decoder takes heads of 32, 64 or 128, not ", head_size);
    TORCH_CHECK_VALUE(x.dim() == 2 && x.size(1) % head_size == 0, "x must be [batch, hidden], heads of ", head_size,
                      ", not ", x.sizes());
    TORCH_CHECK_VALUE(ranks.size() == 4 && std::all_of(ranks.begin(), ranks.end(), [](int64_t r) {
                        return r > 0 && r % 32 == 0;
                      }), "ranks must be those of decay, rate, value residual and gate, multiples of 32, not ", ranks);
    batch_ = x.size(0);
    width_ = x.size(1);
  }

  Tensor run(const Tensor& x, const Tensor& slots, Tensor& states, Tensor& time_shift, Tensor& channel_shift,
             TensorList layers, TensorList scales, const Tensor& norms, const Tensor& head) {
    TORCH_CHECK_VALUE(!layers.empty() && layers.size() % kLayerTensors == 0, "layers must hold ", kLayerTensors,
                      " tensors a layer");
    const int64_t count = layers.size() / kLayerTensors;
    TORCH_CHECK_VALUE(scales.empty() || static_cast<int64_t>(scales.size()) == count * kScaled + 1,
                      "scales must be empty or hold ", kScaled, " tensors a layer and that of the head");
    TORCH_CHECK_VALUE(states.dim() == 5, "states must be [layers, slots, heads, value, key], not ", states.sizes());
    const int64_t heads = width_ / size_, seats = states.size(1);
    dense(states, "states", {count, seats, heads, size_, size_});
    dense(time_shift, "time_shift", {count, seats, width_});
    dense(channel_shift, "channel_shift", {count, seats, width_});
    slots_ = dense<int64_t>(slots, "slots", {batch_});
    for (int64_t b = 0; b < batch_; ++b) {
      TORCH_CHECK_VALUE(slots_[b] >= 0 && slots_[b] < seats, "slot ", slots_[b], " is not one of the ", seats);
    }
    const float* ends = dense(norms, "norms", {4, width_});
    TORCH_CHECK_VALUE(head.dim() == 2, "head must be [vocabulary, hidden], not ", head.sizes());
    const Matrix scores = matrix(head, "head", head.size(0), width_, scales.empty() ? nullptr : &scales.back());

    const Tensor stream = at::empty_like(x);
    x_ = stream.mutable_data_ptr<float>();
    const float* embedded = dense(x, "x", {batch_, width_});
    each_sequence([&](int64_t b) {
      kernels_.normalize(embedded + b * width_, ends, ends + width_, width_, x_ + b * width_);
    });

    float *state = states.mutable_data_ptr<float>(), *time = time_shift.mutable_data_ptr<float>(),
          *channel = channel_shift.mutable_data_ptr<float>();
    for (int64_t l = 0; l < count; ++l) {
      const Layer layer = layer_of(layers.slice(l * kLayerTensors, kLayerTensors),
                                   scales.empty() ? scales : scales.slice(l * kScaled, kScaled), l == 0);
      if (l == 0) allocate(layer, x);
      time_mix(layer, l == 0, state + l * seats * width_ * size_, time + l * seats * width_);
      channel_mix(layer, channel + l * seats * width_);
    }

    Tensor logits = at::empty({batch_, head.size(0)}, x.options());
    each_sequence([&](int64_t b) {
      kernels_.normalize(x_ + b * width_, ends + 2 * width_, ends + 3 * width_, width_, normed_ + b * width_);
    });
    multiply({{scores, normed_, width_, logits.mutable_data_ptr<float>(), head.size(0), false}});
    return logits;
  }

 private:
  Layer layer_of(TensorList tensors, TensorList scales, bool first) const {
    const auto scale = [&](int i) { return scales.empty() ? nullptr : &scales[i]; };
    const int64_t low = low_width(first);
    TORCH_CHECK_VALUE(tensors[4].dim() == 2 && tensors[4].size(0) % 32 == 0, "key must be [ffn, hidden], ffn a multiple ",
                      "of 32, not ", tensors[4].sizes());
    const int64_t ffn = tensors[4].size(0);
    Layer layer{{},
                matrix(tensors[1], "mixed", 3 * width_ + low, width_, scale(0)),
                matrix(tensors[2], "up", width_, low),
                matrix(tensors[3], "output", width_, width_, scale(1)),
                matrix(tensors[4], "key", ffn, width_, scale(2)),
                matrix(tensors[5], "value", ffn, width_, scale(3))};
    const float* vectors = dense(tensors[0], "vectors", {kVectors, width_});
    auto** each = reinterpret_cast<const float**>(&layer.vectors);
    for (int64_t i = 0; i < kVectors; ++i) each[i] = vectors + i * width_;
    return layer;
  }

  // Outputs of the first halves of the low-rank maps; the first layer has no value residual.
  int64_t low_width(bool first) const { return ranks_[0] + ranks_[1] + (first ? 0 : ranks_[2]) + ranks_[3]; }

  void allocate(const Layer& layer, const Tensor& like) {
    const int64_t ffn = layer.key.rows, low = low_width(false);
    memory_ = at::empty({batch_ * (6 + 3 + 3 + kParts) * width_ + batch_ * (low + ffn)}, like.options());
    float* at = memory_.mutable_data_ptr<float>();
    const auto take = [&](int64_t floats) {
      float* taken = at;
      at += batch_ * floats;
      return taken;
    };
    mixes_ = take(6 * width_);
    projected_ = take(3 * width_);
    normed_ = take(width_);
    v_first_ = take(width_);
    gated_ = take(width_);
    low_ = take(low);
    hidden_ = take(ffn);
    parts_ = take(kParts * width_);
    listed_.resize(ffn);
  }

  template <class Work>
  void each_sequence(const Work& work) const {
    at::parallel_for(0, batch_, std::max<int64_t>(1, kWeightsPerThread / (8 * width_)), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) work(b);
    });
  }

  // All products in one parallel region; every thread takes a run of rows, which may span several of them.
  void multiply(const std::vector<Product>& products) const {
    constexpr int64_t kTogether = 4;
    int64_t total = 0;
    for (const Product& p : products) total += (p.weights.rows + kTogether - 1) / kTogether;
    const int64_t grain = std::max<int64_t>(1, kWeightsPerThread / (kTogether * products[0].weights.cols));
    at::parallel_for(0, total, grain, [&](int64_t begin, int64_t end) {
      int64_t before = 0;
      for (const Product& p : products) {
        const int64_t blocks = (p.weights.rows + kTogether - 1) / kTogether;
        const int64_t from = std::max(begin - before, int64_t{0}) * kTogether;
        const int64_t to = std::min((end - before) * kTogether, p.weights.rows);
        if (from < to) kernels_.multiply(p, batch_, from, to);
        before += blocks;
      }
    });
  }

  void time_mix(const Layer& layer, bool first, float* states, float* shift) {
    const int64_t heads = width_ / size_, low = low_width(first);
    const Vectors& p = layer.vectors;
    each_sequence([&](int64_t b) {
      float *before = shift + slots_[b] * width_, *now = normed_ + b * width_;
      kernels_.normalize(x_ + b * width_, p.ln1_weight, p.ln1_bias, width_, now);
      for (int i = 0; i < 6; ++i) kernels_.mix(now, before, p.mix[i], width_, mixes_ + (b * 6 + i) * width_);
      std::copy_n(now, width_, before);
    });

    std::vector<Product> products;
    for (int i = 0; i < 3; ++i) {
      products.push_back({slice(layer.mixed, i * width_, width_), mixes_ + i * width_, 6 * width_,
                          projected_ + i * width_, 3 * width_, false});
    }
    // Inputs of the decay, the rate, the value residual and the gate among the mixes.
    constexpr int kInput[4] = {3, 4, 2, 5};
    int64_t offset[4], at = 0;
    for (int i = 0; i < 4; ++i) {
      offset[i] = at;
      if (first && i == 2) continue;
      products.push_back({slice(layer.mixed, 3 * width_ + at, ranks_[i]), mixes_ + kInput[i] * width_, 6 * width_,
                          low_ + at, low, false});
      at += ranks_[i];
    }
    multiply(products);

    each_sequence([&](int64_t b) {
      kernels_.tanh(low_ + b * low + offset[0], ranks_[0]);
      kernels_.sigmoid(low_ + b * low + offset[3], ranks_[3]);
    });
    const int64_t grain = std::max<int64_t>(1, kWeightsPerThread / (size_ * (low + 2 * size_)));
    at::parallel_for(0, heads * batch_, grain, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t h = task / batch_, b = task % batch_, channel = h * size_;
        const float* projected = projected_ + b * 3 * width_ + channel;
        Head head{&p,
                  {},
                  {},
                  projected,
                  projected + width_,
                  projected + 2 * width_,
                  v_first_ + b * width_ + channel,
                  states + (slots_[b] * heads + h) * size_ * size_,
                  gated_ + b * width_ + channel,
                  channel,
                  first};
        for (int i = 0; i < 4; ++i) {
          head.low[i] = low_ + b * low + offset[i];
          if (first && i == 2) continue;
          Matrix up = slice(layer.up, channel, size_);
          up.data = static_cast<const char*>(up.data) + offset[i] * bytes(up);
          up.cols = ranks_[i];
          head.up[i] = up;
        }
        kernels_.head(head);
      }
    });
    multiply({{layer.output, gated_, width_, x_, width_, true}});
  }

  void channel_mix(const Layer& layer, float* shift) {
    const Vectors& p = layer.vectors;
    const int64_t ffn = layer.key.rows;
    each_sequence([&](int64_t b) {
      float *before = shift + slots_[b] * width_, *now = normed_ + b * width_;
      kernels_.normalize(x_ + b * width_, p.ln2_weight, p.ln2_bias, width_, now);
      kernels_.mix(now, before, p.ffn_x_k, width_, mixes_ + b * width_);
      std::copy_n(now, width_, before);
    });
    multiply({{layer.key, mixes_, width_, hidden_, ffn, false}});
    each_sequence([&](int64_t b) { kernels_.relu_squared(hidden_ + b * ffn, ffn); });

    // Rows of the value matrix whose activation is zero in the whole batch are never loaded. Parts begin at fixed rows, so
    // that no sequence's sum depends on the others.
    const int64_t part = batch_ * width_;
    at::parallel_for(0, kParts, std::max<int64_t>(1, kWeightsPerThread * kParts / (width_ * (ffn + 1))),
                     [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        std::fill_n(parts_ + i * part, part, 0.0f);
        const int64_t from = ffn * i / kParts, to = ffn * (i + 1) / kParts;
        int64_t count = 0;
        for (int64_t row = from; row < to; ++row) {
          listed_[from + count] = static_cast<int32_t>(row);
          bool active = false;
          for (int64_t b = 0; b < batch_; ++b) active |= hidden_[b * ffn + row] != 0.0f;
          count += active;
        }
        kernels_.accumulate({layer.value, hidden_, ffn, parts_ + i * part, width_, true}, batch_, listed_.data() + from,
                            count);
      }
    });
    each_sequence([&](int64_t b) { kernels_.add(parts_ + b * width_, kParts, part, width_, x_ + b * width_); });
  }

  const DecodeKernels kernels_;
  const int64_t size_;
  const at::IntArrayRef ranks_;
  int64_t batch_, width_;
  const int64_t* slots_;
  Tensor memory_;
  // Activations, [batch, ...]: the residual stream, the six mixed inputs, r k v, layer norms, values of the first layer,
  // gated outputs, low-rank inputs, the hidden layer of channel mixing and the parts of its output, [parts, batch, width].
  float *x_, *mixes_, *projected_, *normed_, *v_first_, *gated_, *low_, *hidden_, *parts_;
  std::vector<int32_t> listed_;
};

Tensor rwkv7_decode(const Tensor& x, const Tensor& slots, Tensor& states, Tensor& time_shift, Tensor& channel_shift,
                    TensorList layers, TensorList scales, const Tensor& norms, const Tensor& head, int64_t head_size,
                    at::IntArrayRef ranks) {
  return Step(x, head_size, ranks).run(x, slots, states, time_shift, channel_shift, layers, scales, norms, head);
}

}  // namespace
}  // namespace modrwkv

TORCH_LIBRARY_IMPL(modrwkv_kernels, CPU, m) { m.impl("rwkv7_decode_cpu", &modrwkv::rwkv7_decode); }
