// A CUDA device made of host memory, for finding host/device mistakes without a GPU.
//
// To PyTorch its tensors are CUDA tensors (dispatch key, autograd key, autocast key, device type),
// but their memory comes from malloc. Every ATen operation of the CUDA key is replaced by a boxed
// function that refuses what CUDA refuses and then computes on the CPU.
#include <torch/extension.h>

#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/ForeachUtils.h>
#include <ATen/native/Resize.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

namespace {

using at::Tensor;
using c10::DeviceType;

// -------------------------------------------------------------------------------------------------
// State

constexpr int kDevices = 2;
thread_local c10::DeviceIndex current_device = 0;
thread_local c10::StreamId current_stream[kDevices] = {0, 0};
std::atomic<int64_t> next_stream{1};

std::atomic<int64_t> allocated[kDevices], peak[kDevices];
std::atomic<int64_t> pending{0};  // kernels since the last time the host waited
std::atomic<int64_t> syncs{0};
std::atomic<int64_t> capturing{-1};  // the stream that is recorded
// Within one of these functions what PyTorch does is not what the program does.
thread_local int inside = 0;
std::mutex mutex;
std::map<void*, c10::DeviceIndex> device_of;  // live device memory
std::set<void*> pinned;
bool cuda_kernels_known = false;  // whether this PyTorch was built with CUDA

void waited(const char* what) {
  if (inside) return;
  TORCH_CHECK(capturing < 0 || current_stream[current_device] != capturing,
              "CUDA error: operation not permitted when stream is capturing (", what, ")");
  pending = 0;
  syncs++;
}

struct Inside {
  Inside() { inside++; }
  ~Inside() { inside--; }
};

// -------------------------------------------------------------------------------------------------
// Memory

void free_device(void* ctx) {
  if (!ctx) return;
  std::lock_guard<std::mutex> lock(mutex);
  auto found = device_of.find(ctx);
  int64_t size = *static_cast<int64_t*>(ctx);
  allocated[found->second] -= size;
  device_of.erase(found);
  std::free(ctx);
}

struct DeviceAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    auto device = current_device;
    if (n == 0) return {nullptr, nullptr, &free_device, at::Device(DeviceType::CUDA, device)};
    // A header keeps the size. The memory starts as NaN: what is read before it is written shows.
    size_t rounded = (n + 511) / 512 * 512;
    char* raw = static_cast<char*>(std::aligned_alloc(64, rounded + 64));
    *reinterpret_cast<int64_t*>(raw) = rounded;
    std::memset(raw + 64, 0xFF, rounded);
    std::lock_guard<std::mutex> lock(mutex);
    device_of[raw] = device;
    int64_t now = allocated[device] += rounded;
    if (now > peak[device]) peak[device] = now;
    return {raw + 64, raw, &free_device, at::Device(DeviceType::CUDA, device)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_device; }
  void copy_data(void* dest, const void* src, std::size_t count) const override {
    default_copy_data(dest, src, count);
  }
};
DeviceAllocator device_allocator;

void free_pinned(void* p) {
  {
    std::lock_guard<std::mutex> lock(mutex);
    pinned.erase(p);
  }
  std::free(p);
}

struct PinnedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    void* p = std::aligned_alloc(64, (n + 127) / 64 * 64);
    std::lock_guard<std::mutex> lock(mutex);
    pinned.insert(p);
    return {p, p, &free_pinned, at::Device(DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_pinned; }
  void copy_data(void* dest, const void* src, std::size_t count) const override {
    default_copy_data(dest, src, count);
  }
};
PinnedAllocator pinned_allocator;

// -------------------------------------------------------------------------------------------------
// Guard and hooks: what PyTorch asks of a CUDA runtime

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static c10::Device whole(c10::Device d) {
    return {DeviceType::CUDA, d.index() < 0 ? current_device : d.index()};
  }
  DeviceType type() const override { return DeviceType::CUDA; }
  c10::Device exchangeDevice(c10::Device d) const override {
    auto old = current_device;
    if (d.index() >= 0) current_device = d.index();
    return {DeviceType::CUDA, old};
  }
  c10::Device getDevice() const override { return {DeviceType::CUDA, current_device}; }
  void setDevice(c10::Device d) const override { uncheckedSetDevice(d); }
  void uncheckedSetDevice(c10::Device d) const noexcept override {
    if (d.index() >= 0) current_device = d.index();
  }
  c10::Stream getStream(c10::Device d) const noexcept override {
    auto i = d.index() < 0 ? current_device : d.index();
    return c10::Stream(c10::Stream::UNSAFE, {DeviceType::CUDA, i}, current_stream[i]);
  }
  c10::Stream getDefaultStream(c10::Device d) const override {
    return c10::Stream(c10::Stream::DEFAULT, whole(d));
  }
  c10::Stream getNewStream(c10::Device d, int) const override {
    return c10::Stream(c10::Stream::UNSAFE, whole(d), next_stream++);
  }
  c10::Stream getStreamFromGlobalPool(c10::Device d, bool) const override {
    return getNewStream(d, 0);
  }
  c10::Stream exchangeStream(c10::Stream s) const noexcept override {
    auto i = s.device_index();
    c10::Stream old{c10::Stream::UNSAFE, {DeviceType::CUDA, i}, current_stream[i]};
    current_stream[i] = s.id();
    return old;
  }
  void record(void** event, const c10::Stream&, const c10::DeviceIndex,
              const c10::EventFlag) const override {
    *event = reinterpret_cast<void*>(1);
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  c10::DeviceIndex deviceCount() const noexcept override { return kDevices; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { waited("synchronizeStream"); }
  void synchronizeEvent(void*) const override { waited("synchronizeEvent"); }
  void synchronizeDevice(const c10::DeviceIndex) const override { waited("synchronizeDevice"); }
  double elapsedTime(void*, void*, const c10::DeviceIndex) const override { return 1.0; }
};

struct Hooks final : at::CUDAHooksInterface {
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  bool isBuilt() const { return true; }
  bool isAvailable() const { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex current_device() const override { return ::current_device; }
  c10::DeviceIndex deviceCount() const override { return kDevices; }
  void setCurrentDevice(c10::DeviceIndex d) const override { ::current_device = d; }
  c10::DeviceIndex getCurrentDevice() const override { return ::current_device; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex d) const override {
    auto old = ::current_device;
    ::current_device = d;
    return old;
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex d) const override {
    return exchangeDevice(d);
  }
  int getNumGPUs() const override { return kDevices; }
  bool isPinnedPtr(const void* p) const override {
    std::lock_guard<std::mutex> lock(mutex);
    return pinned.count(const_cast<void*>(p)) > 0;
  }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator; }
  c10::Allocator* getCUDADeviceAllocator() const override { return &device_allocator; }
  void deviceSynchronize(c10::DeviceIndex) const override { waited("deviceSynchronize"); }
};

// -------------------------------------------------------------------------------------------------
// The same memory as a CPU tensor

Tensor on_host(const Tensor& t) {
  if (!t.is_cuda()) return t;
  auto storage = t.storage();  // held until the view goes
  size_t bytes = storage.nbytes();
  auto release = [](void* p) { delete static_cast<c10::Storage*>(p); };
  c10::DataPtr data(storage.mutable_data(), new c10::Storage(storage), release, at::kCPU);
  c10::Storage host(c10::Storage::use_byte_size_t(), bytes, std::move(data));
  auto out = at::detail::make_tensor<c10::TensorImpl>(
      std::move(host), c10::DispatchKeySet(c10::DispatchKey::CPU), t.dtype());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
  if (t.is_conj()) out._set_conj(true);
  if (t.is_neg()) out._set_neg(true);
  return out;
}

// -------------------------------------------------------------------------------------------------
// What CUDA refuses

// TensorIterator takes a CPU tensor without dimensions beside CUDA tensors as a number.
const std::set<std::string> kScalarsWelcome = {
    "aten::add", "aten::add_", "aten::sub", "aten::sub_", "aten::rsub", "aten::mul", "aten::mul_",
    "aten::div", "aten::div_", "aten::pow", "aten::pow_", "aten::maximum", "aten::minimum",
    "aten::fmax", "aten::fmin", "aten::eq", "aten::ne", "aten::lt", "aten::le", "aten::gt",
    "aten::ge", "aten::eq_", "aten::where", "aten::masked_fill", "aten::masked_fill_",
    "aten::remainder", "aten::fmod", "aten::atan2", "aten::logical_and", "aten::logical_or",
    "aten::bitwise_and", "aten::bitwise_or", "aten::floor_divide", "aten::copysign",
    "aten::hypot", "aten::addcmul", "aten::addcmul_", "aten::addcdiv", "aten::addcdiv_",
    "aten::lerp", "aten::lerp_", "aten::index_put_", "aten::_index_put_impl_", "aten::fill_"};
const std::set<std::string> kIndicesWelcome = {
    "aten::index", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index",
    "aten::_unsafe_index_put"};
const std::set<std::string> kWaits = {
    "aten::nonzero", "aten::masked_select", "aten::unique2", "aten::_unique2", "aten::unique_dim",
    "aten::unique_consecutive", "aten::equal", "aten::repeat_interleave", "aten::bincount",
    "aten::_linalg_eigh", "aten::linalg_eig", "aten::_linalg_svd", "aten::linalg_eigvalsh",
    "aten::_linalg_eigvals"};

std::optional<at::Device> one_device(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto& args = schema.arguments();
  const auto& name = schema.name();
  auto values = torch::jit::last(stack, args.size());
  std::optional<at::Device> device;
  std::vector<std::pair<Tensor, std::string>> tensors;
  bool cpu_generator = false;
  for (size_t i = 0; i < args.size(); i++) {
    const c10::IValue& v = values[i];
    auto take = [&](const Tensor& t) { if (t.defined()) tensors.emplace_back(t, args[i].name()); };
    if (v.isTensor()) {
      take(v.toTensor());
    } else if (v.isTensorList()) {
      for (const Tensor& t : v.toTensorVector()) take(t);
    } else if (v.isOptionalTensorList()) {
      for (const auto& t : v.toOptionalTensorVector())
        if (t) take(*t);
    } else if (v.isGenerator()) {
      auto generator = v.toGenerator();
      cpu_generator |= generator.defined() && generator.device().is_cpu();
    } else if (v.isDevice() && v.toDevice().is_cuda()) {
      device = v.toDevice();
    }
  }
  TORCH_CHECK(!cpu_generator,
              "Expected a 'cuda' device type for generator but found 'cpu' (", name, ")");
  for (auto& [t, arg] : tensors)
    if (t.is_cuda() && !device) device = t.device();
  if (device && !device->has_index()) device = at::Device(DeviceType::CUDA, current_device);
  for (auto& [t, arg] : tensors) {
    if (device && t.device() == *device) continue;
    bool number = kScalarsWelcome.count(name) || t.unsafeGetTensorImpl()->is_wrapped_number();
    if (t.is_cpu() && t.dim() == 0 && number) continue;
    if (t.is_cpu() && arg == "indices" && kIndicesWelcome.count(name)) {
      waited("host indices");
      continue;
    }
    TORCH_CHECK(false, "Expected all tensors to be on the same device, but argument '", arg,
                "' of ", name, " is on ", t.device(), " and others are on ",
                device ? device->str() : "none");
  }
  for (auto& [t, arg] : tensors) {
    bool mask = t.scalar_type() == at::kBool || t.scalar_type() == at::kByte;
    if (arg == "indices" && mask && t.is_cuda()) waited("boolean index");
  }
  return device;
}

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  std::string name = op.schema().name();
  auto device = one_device(op, stack);
  if (kWaits.count(name)) waited(name.c_str());
  if (name == "aten::_fused_adam_" || name == "aten::_fused_adamw_") {
    size_t arguments = op.schema().arguments().size();
    auto list = [&](size_t i) { return torch::jit::peek(*stack, i, arguments).toTensorVector(); };
    auto p = list(0), g = list(1), m = list(2), v = list(3);
    TORCH_CHECK(at::native::check_fast_path_restrictions({p, g, m, v}),
                "params, grads, exp_avgs and exp_avg_sqs must have same dtype, device and layout");
  }
  Inside here;
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
  // The fallback takes the device of the first tensor, which may be a number's.
  for (auto& value : torch::jit::last(*stack, op.schema().returns().size())) {
    auto& mutable_value = const_cast<c10::IValue&>(value);
    if (!device || !value.isTensor()) continue;
    Tensor result = value.toTensor();
    if (result.defined() && result.is_cpu()) mutable_value = result.to(*device);
  }
  pending++;
}

void missing(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, "Could not run '", op.schema().name(), ".",
                              op.schema().overload_name(),
                              "' with arguments from the 'CUDA' backend.");
}

// -------------------------------------------------------------------------------------------------
// Memory and views: no computing

at::Device resolved(std::optional<at::Device> d) {
  if (!d || !d->has_index()) return {DeviceType::CUDA, current_device};
  TORCH_CHECK(d->index() < kDevices, "CUDA error: invalid device ordinal");
  return *d;
}

const c10::DispatchKeySet kCuda(c10::DispatchKey::CUDA);

Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype,
             std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool> pin,
             std::optional<at::MemoryFormat> format) {
  TORCH_CHECK(!pin.value_or(false), "Only dense CPU tensors can be pinned");
  c10::DeviceGuard guard(resolved(device));
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &device_allocator, kCuda,
                                   c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                     std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                     std::optional<at::Device> device, std::optional<bool> pin) {
  TORCH_CHECK(!pin.value_or(false), "Only dense CPU tensors can be pinned");
  c10::DeviceGuard guard(resolved(device));
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size),
                                           C10_AS_INTARRAYREF_SLOW(stride), &device_allocator,
                                           kCuda, c10::dtype_or_default(dtype));
}

Tensor view_of(const Tensor& self, at::IntArrayRef size, at::IntArrayRef stride, int64_t offset) {
  auto out = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(self.storage()), self.key_set(), self.dtype());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride, offset);
  return out;
}

Tensor as_strided(const Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                  std::optional<c10::SymInt> offset) {
  return view_of(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                 offset ? offset->expect_int() : self.storage_offset());
}

Tensor as_host_says(const Tensor& self, const Tensor& host) {
  return view_of(self, host.sizes(), host.strides(), host.storage_offset());
}

Tensor view(const Tensor& self, c10::SymIntArrayRef size) {
  return as_host_says(self, on_host(self).view_symint(size));
}

Tensor reshape_alias(const Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  return as_strided(self, size, stride, std::nullopt);
}

Tensor unfold(const Tensor& self, int64_t dim, int64_t size, int64_t step) {
  return as_host_says(self, on_host(self).unfold(dim, size, step));
}

void resize_storage(const c10::Storage& storage, size_t bytes) {
  if (bytes <= storage.nbytes()) return;
  c10::DeviceGuard guard(storage.device());
  auto data = device_allocator.allocate(bytes);
  if (storage.nbytes()) std::memcpy(data.get(), storage.data(), storage.nbytes());
  storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(data));
  storage.unsafeGetStorageImpl()->set_nbytes(bytes);
}

const Tensor& resize_(const Tensor& self, c10::SymIntArrayRef size,
                      std::optional<at::MemoryFormat> format) {
  auto sizes = C10_AS_INTARRAYREF_SLOW(size);
  auto* impl = self.unsafeGetTensorImpl();
  if (self.sizes() != sizes) {
    impl->set_sizes_contiguous(sizes);
    resize_storage(self.storage(), (self.storage_offset() + self.numel()) * self.itemsize());
  }
  if (format) impl->empty_tensor_restride(*format);
  return self;
}

Tensor& set_storage_(Tensor& self, at::Storage source, c10::SymInt offset, c10::SymIntArrayRef size,
                     c10::SymIntArrayRef stride) {
  TORCH_CHECK(source.device().is_cuda(),
              "Attempted to set the storage of a tensor on device cuda to a storage on ",
              source.device());
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(source);
  auto sizes = C10_AS_INTARRAYREF_SLOW(size);
  if (stride.empty() && !sizes.empty()) {
    impl->set_storage_offset(offset.expect_int());
    impl->set_sizes_contiguous(sizes);
  } else {
    impl->set_sizes_and_strides(sizes, C10_AS_INTARRAYREF_SLOW(stride), offset.expect_int());
  }
  resize_storage(source, at::detail::computeStorageNbytes(self.sizes(), self.strides(),
                                                          self.itemsize(), self.storage_offset()));
  return self;
}

Tensor& set_whole_(Tensor& self, at::Storage source) {
  std::vector<c10::SymInt> size{static_cast<int64_t>(source.nbytes() / self.itemsize())}, stride{1};
  return set_storage_(self, source, 0, size, stride);
}

Tensor& set_tensor_(Tensor& self, const Tensor& source) {
  return set_storage_(self, source.storage(), source.storage_offset(), source.sym_sizes(),
                      source.sym_strides());
}

Tensor& set_empty_(Tensor& self) {
  c10::Storage storage(c10::Storage::use_byte_size_t(), 0, &device_allocator, true);
  std::vector<c10::SymInt> size{0}, stride{1};
  return set_storage_(self, storage, 0, size, stride);
}

Tensor& copy_(Tensor& self, const Tensor& source, bool non_blocking) {
  if (!source.defined() || self.is_same(source)) return self;
  if (self.device() != source.device() && !(self.is_cuda() && source.is_cuda())) {
    const Tensor& host = self.is_cpu() ? self : source;
    bool is_pinned = host.numel() && at::detail::getCUDAHooks().isPinnedPtr(host.storage().data());
    if (!(non_blocking && is_pinned)) waited(self.is_cpu() ? "copy to host" : "copy from host");
  }
  Tensor target = on_host(self);
  target.copy_(on_host(source), false);
  if (!inside) pending += self.is_cuda();
  return self;
}

Tensor copy_and_resize(const Tensor& self, const Tensor& dst) {
  Tensor target = dst;
  if (dst.sizes() != self.sizes()) target.resize_(self.sizes());
  on_host(target).copy_(on_host(self));
  return dst;
}

Tensor copy_from(const Tensor& self, const Tensor& dst, bool non_blocking) {
  Tensor target = dst;
  return copy_(target, self, non_blocking);
}

at::Scalar local_scalar(const Tensor& self) {
  waited("item");
  return on_host(self).item();
}

void record_stream(Tensor& self, c10::Stream) {}

// -------------------------------------------------------------------------------------------------
// Installing

std::vector<std::unique_ptr<torch::Library>>& libraries() {
  static auto* kept = new std::vector<std::unique_ptr<torch::Library>>();
  return *kept;
}

void install() {
  static const auto* guard = new Guard();
  c10::impl::DeviceGuardImplRegistrar(DeviceType::CUDA, guard);
  static auto* hooks = new Hooks();
  // The hooks were chosen when PyTorch was loaded and cannot be replaced, but all they hold is a
  // table of virtual functions, which can.
  const at::CUDAHooksInterface& there = at::detail::getCUDAHooks();
  std::memcpy(const_cast<void*>(static_cast<const void*>(&there)), static_cast<const void*>(hooks),
              sizeof(void*));
  c10::SetAllocator(DeviceType::CUDA, &device_allocator, 255);

  auto& dispatcher = c10::Dispatcher::singleton();
  auto with_cuda = dispatcher.getRegistrationsForDispatchKey(c10::DispatchKey::CUDA);
  cuda_kernels_known = with_cuda.size() > 1000;

  auto cuda = std::make_optional(c10::DispatchKey::CUDA);
  auto library =
      std::make_unique<torch::Library>(torch::Library::IMPL, "aten", cuda, __FILE__, __LINE__);
  std::set<std::string> done;
  auto own = [&](const char* name, auto function) {
    library->impl(name, std::move(function));
    done.insert(std::string("aten::") + name);
  };
#define OWN(name, f) own(name, torch::CppFunction::makeFromUnboxedFunction(TORCH_FN(f)))
  OWN("empty.memory_format", empty);
  OWN("empty_strided", empty_strided);
  OWN("as_strided", as_strided);
  OWN("view", view);
  OWN("_reshape_alias", reshape_alias);
  OWN("unfold", unfold);
  OWN("resize_", resize_);
  OWN("set_.source_Storage", set_whole_);
  OWN("set_.source_Storage_storage_offset", set_storage_);
  OWN("set_.source_Tensor", set_tensor_);
  OWN("set_", set_empty_);
  OWN("copy_", copy_);
  OWN("_copy_from", copy_from);
  OWN("_copy_from_and_resize", copy_and_resize);
  OWN("_local_scalar_dense", local_scalar);
  OWN("record_stream", record_stream);
#undef OWN
  // Composite ones that would ask for cuDNN.
  for (const char* name : {"convolution", "_convolution", "convolution_backward"})
    own(name, torch::CppFunction::makeFromBoxedFunction<&fallback>());
  for (const auto& name : with_cuda) {
    std::string whole = name.name;
    if (!name.overload_name.empty()) whole += "." + name.overload_name;
    if (name.name.rfind("aten::", 0) != 0 || done.count(whole)) continue;
    library->impl(whole.substr(6).c_str(), torch::CppFunction::makeFromBoxedFunction<&fallback>());
  }
  libraries().push_back(std::move(library));
  auto rest = std::make_unique<torch::Library>(torch::Library::IMPL, "_", cuda, __FILE__, __LINE__);
  rest->fallback(cuda_kernels_known ? torch::CppFunction::makeFromBoxedFunction<&missing>()
                                    : torch::CppFunction::makeFromBoxedFunction<&fallback>());
  libraries().push_back(std::move(rest));
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("install", &install);
  m.def("device_count", [] { return kDevices; });
  m.def("current_device", [] { return static_cast<int>(current_device); });
  m.def("set_device", [](int i) {
    TORCH_CHECK(i < kDevices, "CUDA error: invalid device ordinal");
    if (i >= 0) current_device = i;
  });
  m.def("synchronize", [] { waited("synchronize"); });
  m.def("allocated", [](int i) { return allocated[i].load(); });
  m.def("peak", [](int i) { return peak[i].load(); });
  m.def("reset_peak", [](int i) { peak[i] = allocated[i].load(); });
  m.def("pending", [] { return pending.load(); });
  m.def("syncs", [] { return syncs.load(); });
  m.def("set_capturing", [](int64_t stream) { capturing = stream; });
  m.def("built_with_cuda", [] { return cuda_kernels_known; });
  m.def("exchange_stream", [](int device, int64_t id) {
    auto old = current_stream[device];
    current_stream[device] = id;
    return old;
  });
  m.def("new_stream", [] { return next_stream++; });
}
