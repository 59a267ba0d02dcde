/* A balanced search tree (a treap): pointers, unpredictable branches, malloc and free. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct node {
  uint32_t key, priority;
  struct node *left, *right;
};

static uint32_t seed = 12345;

static uint32_t next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed;
}

static struct node *rotate_right(struct node *n) {
  struct node *top = n->left;
  n->left = top->right;
  top->right = n;
  return top;
}

static struct node *rotate_left(struct node *n) {
  struct node *top = n->right;
  n->right = top->left;
  top->left = n;
  return top;
}

static struct node *insert(struct node *n, uint32_t key) {
  if (!n) {
    n = calloc(1, sizeof *n);
    if (!n) exit(1);
    n->key = key;
    n->priority = next_random();
  } else if (key < n->key) {
    n->left = insert(n->left, key);
    if (n->left->priority > n->priority) n = rotate_right(n);
  } else if (key > n->key) {
    n->right = insert(n->right, key);
    if (n->right->priority > n->priority) n = rotate_left(n);
  }
  return n;
}

static struct node *erase(struct node *n, uint32_t key) {
  if (!n) return NULL;
  if (key < n->key) {
    n->left = erase(n->left, key);
  } else if (key > n->key) {
    n->right = erase(n->right, key);
  } else if (!n->left || !n->right) {
    struct node *rest = n->left ? n->left : n->right;
    free(n);
    return rest;
  } else if (n->left->priority > n->right->priority) {
    n = rotate_right(n);
    n->right = erase(n->right, key);
  } else {
    n = rotate_left(n);
    n->left = erase(n->left, key);
  }
  return n;
}

static int depth(const struct node *n) {
  if (!n) return 0;
  int left = depth(n->left), right = depth(n->right);
  return 1 + (left > right ? left : right);
}

static uint64_t sum(const struct node *n) {
  return n ? sum(n->left) + n->key + sum(n->right) : 0;
}

int main(int argc, char **argv) {
  int operations = argc > 1 ? atoi(argv[1]) : 100000;
  struct node *root = NULL;
  for (int i = 0; i < operations; i++) {
    uint32_t key = next_random() % 50000;
    root = i % 3 == 2 ? erase(root, key) : insert(root, key);
  }
  printf("depth %d sum %llu\n", depth(root), (unsigned long long)sum(root));
  return 0;
}
