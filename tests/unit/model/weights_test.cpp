// Are weights checked, divided and hashed as promised?
#include "model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numbers>

#include <algorithm>
#include <cmath>

#include "model/digest.h"
#include "model/rope.h"
#include "tests/golden/checkpoint_writer.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;
const std::string kData = FATHOM_SOURCE_DIR "/tests/golden/data/";

TEST(ShardTable, every_tensor_of_the_main_model_has_one_rule) {
  for (const char* name : {"v3-tiny-bf16", "v3-tiny-fp8", "v3-tiny-negbias"}) {
    const Checkpoint checkpoint = Checkpoint::open(kData + name).value();
    for (const auto& t : checkpoint.tensors()) {
      if (t.name.ends_with("_scale_inv")) continue;
      EXPECT_NE(find_shard_rule(t.name), nullptr) << t.name;
    }
  }
  EXPECT_EQ(find_shard_rule("model.layers.x.self_attn.o_proj.weight"), nullptr);
  EXPECT_EQ(find_shard_rule("model.layers.3.self_attn.o_proj.weights"), nullptr);
  EXPECT_EQ(find_shard_rule("model.layers.12.mlp.experts.7.up_proj.weight")->split, Split::experts);
}

TEST(ShardTable, a_size_that_does_not_divide_is_named_with_its_numbers) {
  ModelConfig c = read_model_config(kData + "v3-tiny-fp8").value();
  EXPECT_TRUE(check_shardable(c, 1).ok());
  const Status got = check_shardable(c, 2);
  ASSERT_FALSE(got.ok());
  EXPECT_THAT(got.error().message, HasSubstr("num_attention_heads is 3, which tensor_parallel 2"));
  c.heads = 4;
  EXPECT_TRUE(check_shardable(c, 2).ok());
  c.experts = 9;
  EXPECT_THAT(check_shardable(c, 2).error().message, HasSubstr("n_routed_experts is 9"));
  EXPECT_FALSE(check_shardable(c, 0).ok());
}

// Query heads are cut over the group; key-value heads over the ranks of each process, however few
// there are.
TEST(Weights, every_process_holds_all_keys_and_values) {
  const std::string dir = kData + "llama-tiny-tied";  // one key-value head
  const ModelConfig c = read_model_config(dir).value();
  const Checkpoint checkpoint = Checkpoint::open(dir).value();
  for (const int32_t process : {0, 1}) {
    int32_t kv_rows = 0;
    for (const int32_t local : {0, 1}) {
      const Shard shard{process * 2 + local, 4, local, 2};
      WeightReader reader(checkpoint, shard);
      const ModelWeights part = read_model_weights(c, shard, reader).value();
      const auto& attention = std::get<GqaWeights>(part.layers[0].attention);
      EXPECT_EQ(attention.q.rows, c.head_dim);
      EXPECT_EQ(attention.k.rows, attention.v.rows);
      EXPECT_EQ(part.ends.lm_head.rows, c.vocab / 4);
      kv_rows += attention.k.rows;
    }
    EXPECT_EQ(kv_rows, c.head_dim);
  }
  Shard shard{0, 8, 0, 3};
  for (const int32_t begin : {0, 2, 5}) {  // 8 heads over 3 ranks
    EXPECT_EQ(shard.local_begin(8), begin);
    ++shard.local_rank;
  }
}

TEST(KvHeads, a_rank_with_kv_of_its_own_makes_all_that_it_reads_and_all_make_equally_many) {
  struct Model {
    int32_t heads, kv_heads;
  };
  for (const auto [heads, kv_heads] :
       {Model{32, 8}, Model{6, 2}, Model{4, 1}, Model{28, 4}, Model{12, 4}, Model{64, 8}})
    for (const int32_t processes : {1, 2, 3})
      for (const int32_t local : {1, 2, 3, 4, 6}) {
        const int32_t size = processes * local;
        if (heads % size != 0) continue;
        SCOPED_TRACE(std::to_string(heads) + " over " + std::to_string(kv_heads) + ", " +
                     std::to_string(processes) + " times " + std::to_string(local));
        std::vector<int32_t> counts;
        for (int32_t process = 0; process < processes; ++process) {
          std::vector<bool> made(static_cast<size_t>(kv_heads));
          for (int32_t i = 0; i < local; ++i) {
            const Shard shard{.rank = process * local + i,
                              .size = size,
                              .local_rank = i,
                              .local_size = local,
                              .own_kv = true};
            const KvHeads got = kv_heads_of(shard, heads, kv_heads);
            ASSERT_GE(got.first, 0);
            ASSERT_LE(got.end(), kv_heads);
            for (int32_t h = shard.begin(heads); h < shard.begin(heads) + shard.part(heads); ++h) {
              EXPECT_GE(h / (heads / kv_heads), got.first);
              EXPECT_LT(h / (heads / kv_heads), got.end());
            }
            std::fill_n(made.begin() + got.first, got.count, true);
            counts.push_back(got.count);
          }
          EXPECT_EQ(std::ranges::count(made, false), 0) << "process " << process;
        }
        EXPECT_EQ(std::ranges::count(counts, counts.front()), size);
      }
  const auto of = [](int32_t rank, int32_t size) {
    return Shard{
        .rank = rank, .size = size, .local_rank = rank, .local_size = size, .own_kv = true};
  };
  EXPECT_EQ(kv_heads_of(of(1, 8), 64, 8), (KvHeads{1, 1})) << "no head more than needed";
  EXPECT_EQ(kv_heads_of(of(3, 16), 64, 8), (KvHeads{1, 1}));
}

TEST(Weights, ranks_together_hold_every_divided_byte_once) {
  const std::string dir = kData + "v3-tiny-fp8-k128";
  const ModelConfig c = read_model_config(dir).value();
  const Checkpoint checkpoint = Checkpoint::open(dir).value();
  WeightReader whole(checkpoint, {0, 1});
  const ModelWeights all = read_model_weights(c, {0, 1}, whole).value();
  for (int32_t rank = 0; rank < 4; ++rank) {
    WeightReader reader(checkpoint, {rank, 4});
    const ModelWeights part = read_model_weights(c, {rank, 4}, reader).value();
    EXPECT_EQ(part.ends.lm_head.rows, c.vocab / 4);
    EXPECT_EQ(part.layers[1].feed_forward.experts.size(), 4u);
    EXPECT_EQ(part.layers[1].feed_forward.experts[0].up.data,
              all.layers[1].feed_forward.experts[static_cast<size_t>(rank) * 4].up.data);
    const Weight& kv_b = std::get<MlaWeights>(part.layers[0].attention).kv_b;
    EXPECT_EQ(kv_b.rows, std::get<MlaWeights>(all.layers[0].attention).kv_b.rows / 4);
    // A slice of FP8 rows that starts inside a scale block keeps its place in it.
    const int32_t first = rank * kv_b.rows;
    EXPECT_EQ(kv_b.scale_row, first % kScaleBlock);
    EXPECT_LT(reader.bytes(), whole.bytes());
    WeightReader lister = WeightReader::lister(checkpoint, {rank, 4});
    ASSERT_TRUE(read_model_weights(c, {rank, 4}, lister).ok());
    EXPECT_EQ(lister.bytes(), reader.bytes());
    EXPECT_EQ(lister.extents().size(), reader.extents().size());
  }
}

// One dense layer of FP8 that can be damaged.
struct Small {
  ModelConfig config{.model_type = "deepseek_v3",
                     .vocab = 4,
                     .hidden = 130,
                     .layers = 1,
                     .heads = 1,
                     .kv_rank = 2,
                     .nope = 1,
                     .rope = 2,
                     .value = 1,
                     .intermediate = 3,
                     .expert_intermediate = 1,
                     .experts = 1,
                     .experts_chosen = 1,
                     .dense_layers = 1};
  TestFolder folder;
  std::vector<TensorToWrite> tensors;

  Small() {
    const auto bf16 = [&](const std::string& name, std::vector<int64_t> shape) {
      size_t n = 2;
      for (const int64_t d : shape) n *= static_cast<size_t>(d);
      tensors.push_back({name, "BF16", std::move(shape), std::string(n, '\x3f')});
    };
    bf16("model.embed_tokens.weight", {4, 130});
    bf16("lm_head.weight", {4, 130});
    bf16("model.norm.weight", {130});
    const std::string p = "model.layers.0.";
    bf16(p + "input_layernorm.weight", {130});
    bf16(p + "post_attention_layernorm.weight", {130});
    bf16(p + "self_attn.q_proj.weight", {3, 130});
    bf16(p + "self_attn.kv_a_proj_with_mqa.weight", {4, 130});
    bf16(p + "self_attn.kv_a_layernorm.weight", {2});
    bf16(p + "self_attn.kv_b_proj.weight", {2, 2});
    bf16(p + "self_attn.o_proj.weight", {130, 1});
    bf16(p + "mlp.gate_proj.weight", {3, 130});
    bf16(p + "mlp.down_proj.weight", {130, 3});
    tensors.push_back({p + "mlp.up_proj.weight", "F8_E4M3", {3, 130}, std::string(390, '\x38')});
    tensors.push_back({p + "mlp.up_proj.weight_scale_inv", "F8_E8M0", {1, 2}, "\x80\x7e"});
  }
  TensorToWrite& tensor(const std::string& ending) {
    for (auto& t : tensors)
      if (t.name.ends_with(ending)) return t;
    CHECK(false, ending);
    return tensors[0];
  }
  std::string read(bool aligned = true) {
    folder.write("model.safetensors", safetensors_bytes(tensors, aligned));
    const Checkpoint checkpoint = Checkpoint::open(folder.path()).value();
    WeightReader reader(checkpoint, {});
    const auto got = read_model_weights(config, {}, reader);
    if (!got.ok()) return got.error().text();
    const Weight& up = got->layers[0].feed_forward.dense.up;
    EXPECT_EQ(up.scale[0], 2.0f);  // 2^(128 - 127)
    EXPECT_EQ(up.scale[1], 0.5f);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(got->ends.final_norm.data) % 2, 0u);
    return "read";
  }
};

TEST(Weights, e8m0_scales_are_widened_and_unaligned_tensors_copied) {
  EXPECT_EQ(Small().read(true), "read");
  EXPECT_EQ(Small().read(false), "read");
}

TEST(Weights, every_misfit_names_file_and_tensor) {
  const auto says = [](auto damage) {
    Small small;
    damage(small);
    const std::string text = small.read();
    EXPECT_THAT(text, HasSubstr("model.safetensors"));
    return text;
  };
  EXPECT_THAT(says([](Small& s) { s.tensor("o_proj.weight").name = "other"; }),
              HasSubstr("self_attn.o_proj.weight is missing"));
  EXPECT_THAT(says([](Small& s) { s.tensor("o_proj.weight").shape = {1, 130}; }),
              HasSubstr("has shape [1, 130], config.json says [130, 1]"));
  EXPECT_THAT(says([](Small& s) { s.tensor("o_proj.weight").dtype = "I16"; }),
              HasSubstr("o_proj.weight: is I16"));
  EXPECT_THAT(says([](Small& s) { s.tensor("scale_inv").name = "other"; }),
              HasSubstr("up_proj.weight_scale_inv is missing"));
  EXPECT_THAT(says([](Small& s) { s.tensor("scale_inv").shape = {2, 1}; }),
              HasSubstr("up_proj.weight_scale_inv: has shape [2, 1], not [1, 2]"));
  EXPECT_THAT(says([](Small& s) { s.tensor("scale_inv").bytes[1] = '\xff'; }),
              HasSubstr("value 1 of type F8_E8M0 is not a finite scale"));
  EXPECT_THAT(says([](Small& s) { s.tensor("scale_inv").dtype = "U8"; }),
              HasSubstr("not a finite scale"));
}

TEST(Digest, copies_agree_and_any_change_shows) {
  Small a;
  const auto digest = [](Small& s, const std::string& config = "{}", bool aligned = true) {
    s.folder.write("model.safetensors", safetensors_bytes(s.tensors, aligned));
    return model_digest(config, Checkpoint::open(s.folder.path()).value());
  };
  const std::string before = digest(a);
  EXPECT_EQ(before.size(), 32u);
  Small copy;
  std::reverse(copy.tensors.begin(), copy.tensors.end());  // order in the file is no difference
  EXPECT_EQ(digest(copy), before);
  EXPECT_EQ(digest(copy, "{}", false), before);
  EXPECT_NE(digest(copy, "{ }"), before);
  copy.tensor("o_proj.weight").bytes[0] ^= 1;
  EXPECT_NE(digest(copy), before);
  Small renamed;
  renamed.tensor("lm_head.weight").name = "lm_head.weighs";
  EXPECT_NE(digest(renamed), before);
}

TEST(Rope, published_numbers_are_reproduced) {
  const RopeScaling v3{.kind = RopeScaling::Kind::yarn,
                       .factor = 40,
                       .original_context = 4096,
                       .mscale = 1,
                       .mscale_all_dim = 1};
  const RopeTable t = make_rope_table(64, 10000, v3);
  EXPECT_NEAR(t.softmax_factor, 1.873854, 1e-6);
  EXPECT_NEAR(t.softmax_factor / std::sqrt(192.0), 0.135234, 1e-6);
  EXPECT_EQ(t.magnitude, 1);
  EXPECT_EQ(t.frequencies[0], 1);
  for (size_t i = 0; i < 32;
       ++i) {  // pairs up to 10 keep their frequency, from 23 on it is divided
    const double f = std::pow(10000.0, -2.0 * static_cast<double>(i) / 64);
    const double keeps = t.frequencies[i] / f;
    EXPECT_NEAR(keeps, i <= 10 ? 1 : i >= 23 ? 1.0 / 40 : std::clamp(keeps, 0.03, 0.97), 1e-6) << i;
  }
  const RopeScaling v2{.kind = RopeScaling::Kind::yarn,
                       .factor = 40,
                       .original_context = 4096,
                       .mscale = 0.707,
                       .mscale_all_dim = 0.707};
  EXPECT_NEAR(std::sqrt(make_rope_table(64, 10000, v2).softmax_factor), 1.260804, 1e-6);
}

TEST(Rope, llama3_stretches_long_waves_and_keeps_short_ones) {
  const RopeScaling s{.kind = RopeScaling::Kind::llama3,
                      .factor = 8,
                      .original_context = 8192,
                      .low_factor = 1,
                      .high_factor = 4};
  const RopeTable t = make_rope_table(128, 500000, s), plain = make_rope_table(128, 500000, {});
  for (size_t i = 0; i < 64; ++i) {
    const double f = plain.frequencies[i], wave = 2 * std::numbers::pi / f;
    const double blend = std::clamp((8192 / wave - 1) / 3, 0.0, 1.0);
    EXPECT_NEAR(t.frequencies[i] / f, (1 - blend) / 8 + blend, 1e-5) << i;
  }
  EXPECT_EQ(t.magnitude, 1);
  EXPECT_EQ(t.softmax_factor, 1);
}

TEST(Rope, yarn_without_mscales_turns_and_enlarges_as_qwen_does) {
  RopeScaling s{.kind = RopeScaling::Kind::yarn, .factor = 4, .original_context = 32768};
  EXPECT_NEAR(make_rope_table(128, 1e6, s).magnitude, 0.1 * std::log(4.0) + 1, 1e-6);
  s.magnitude = 1.5;
  EXPECT_EQ(make_rope_table(128, 1e6, s).magnitude, 1.5f);
}

}  // namespace
}  // namespace fathom
