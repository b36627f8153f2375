// SPDX-License-Identifier: Apache-2.0
// The texts of a vocabulary's tokens as one tree of bytes, in preorder.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::text::grammar {

class TokenTrie {
 public:
  // `tokens`: those that stand for text, each once, with their bytes (not empty). `vocabulary`: the
  // number of ids, those without text counted.
  TokenTrie(std::vector<std::pair<std::string_view, int32_t>> tokens, size_t vocabulary);

  size_t vocabulary() const { return vocabulary_; }
  size_t longest() const { return longest_; }  // bytes

  // Node 0 is the root. The nodes below `node` are node + 1 .. end(node); the children of a node
  // follow it, each after the whole tree of the one before.
  struct Node {
    uint32_t end;
    uint32_t first_token;  // into tokens(), of what ends in this node and below
    uint16_t depth;        // bytes from the root
    uint8_t byte;
  };
  const Node& node(size_t id) const { return nodes_[id]; }
  size_t size() const { return nodes_.size() - 1; }
  std::span<const int32_t> tokens_at(size_t id) const {
    return std::span(tokens_).subspan(nodes_[id].first_token,
                                      nodes_[id + 1].first_token - nodes_[id].first_token);
  }
  const std::vector<int32_t>& tokens() const { return tokens_; }

 private:
  std::vector<Node> nodes_;  // one more than there are
  std::vector<int32_t> tokens_;
  size_t vocabulary_;
  size_t longest_ = 0;
};

}  // namespace sluice::text::grammar
