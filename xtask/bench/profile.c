/* A plugin of QEMU for `cargo xtask bench peers --profile`: counts instructions of the guest by
 * process, system call and piece of code, between two marks that the measurement's programs execute
 * (MARK of bench.h). It knows no names: those are put to it afterwards. x86_64 only.
 *
 * Arguments: out=FILE, and addresses in the guest's kernel: switch= (__switch_to_asm),
 * fork= (ret_from_fork), exec= (begin_new_exec), calls=FILE (an address a line: where system calls
 * and exceptions begin; the line's number is what it is counted under). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is used of QEMU's qemu-plugin.h, version 1 of its interface. */
typedef struct qemu_plugin_tb tb_t;
typedef struct qemu_plugin_insn insn_t;
typedef void trans_cb(uint64_t id, tb_t *tb);
typedef void exec_cb(unsigned cpu, void *data);
typedef void mem_cb(unsigned cpu, uint32_t info, uint64_t address, void *data);
typedef void exit_cb(uint64_t id, void *data);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, trans_cb *cb);
extern void qemu_plugin_register_vcpu_tb_exec_cb(tb_t *tb, exec_cb *cb, int flags, void *data);
extern void qemu_plugin_register_vcpu_mem_cb(insn_t *insn, mem_cb *cb, int flags, int rw, void *data);
extern _Bool qemu_plugin_mem_is_store(uint32_t info);
extern void qemu_plugin_register_atexit_cb(uint64_t id, exit_cb *cb, void *data);
extern size_t qemu_plugin_tb_n_insns(const tb_t *tb);
extern uint64_t qemu_plugin_tb_vaddr(const tb_t *tb);
extern insn_t *qemu_plugin_tb_get_insn(const tb_t *tb, size_t index);
extern const void *qemu_plugin_insn_data(const insn_t *insn);
extern size_t qemu_plugin_insn_size(const insn_t *insn);
int qemu_plugin_version = 1;

#define STACK 0x4000UL /* Kernel stacks are as large, and aligned to it. */
#define CODE 64
#define MAX_STACKS 65536
#define MAX_CALLS 4096
#define MAX_BLOCKS (1UL << 21)
#define SWITCH 0x80 /* Bytes that __switch_to_asm has at most. */

struct block {
  uint64_t at;
  uint32_t number, count, call, size;
  int begins, ends;
  unsigned char code[CODE];
};
struct life { uint64_t stack; uint32_t number, call; };
struct cell { uint32_t life, block; uint64_t call, times; };

static struct block **blocks, *by_code[MAX_BLOCKS];
static uint32_t block_count, block_room, life_count;
static struct life lives[MAX_STACKS], *current;
static uint64_t calls[MAX_CALLS], address_switch, address_fork, address_exec;
static uint32_t call_count;
static struct cell *cells;
static uint64_t cell_room = 1 << 22, cell_count;
static int counting;
static FILE *out;

/* What runs on a kernel stack, from a fork to an exec or from an exec on, is one life. */
static void new_life(char how, struct life *life) {
  uint32_t before = life->number;
  life->number = ++life_count;
  fprintf(out, "%c %u %u\n", how, life->number, before);
}

static struct life *life_at(uint64_t stack) {
  uint64_t at = stack / STACK * 0x9e3779b97f4a7c15UL >> 48;
  while (lives[at].stack && lives[at].stack != stack) at = (at + 1) % MAX_STACKS;
  lives[at].stack = stack;
  return &lives[at];
}

static void on_stack(unsigned cpu, uint32_t info, uint64_t address, void *data) {
  (void)cpu, (void)data;
  /* Neither pushes, nor what is read of the task itself, nor what the processor does for an interrupt. */
  int is_stack = (address >= 0xffffc90000000000UL && address < 0xffffe90000000000UL) ||
                 address >= 0xffffffff80000000UL;
  if (qemu_plugin_mem_is_store(info) || !is_stack) return;
  current = life_at(address & ~(STACK - 1));
}

static uint64_t spread(struct cell *it) {
  return ((uint64_t)it->life << 32 ^ (uint64_t)it->call << 20 ^ it->block) * 0x9e3779b97f4a7c15UL >> 20;
}

static struct cell *place(struct cell *wanted) {
  uint64_t at = spread(wanted) & (cell_room - 1);
  for (;; at = (at + 1) & (cell_room - 1)) {
    struct cell *it = &cells[at];
    if (!it->times || (it->life == wanted->life && it->block == wanted->block && it->call == wanted->call))
      return it;
  }
}

static void grow(void) {
  struct cell *old = cells;
  uint64_t room = cell_room;
  cell_room *= 2;
  cells = calloc(cell_room, sizeof *cells);
  if (!cells) abort();
  for (uint64_t i = 0; i < room; i++)
    if (old[i].times) *place(&old[i]) = old[i];
  free(old);
}

static void on_block(unsigned cpu, void *data) {
  (void)cpu;
  struct block *it = data;
  if (it->begins) counting = 1;
  if (!current) return;
  if (it->at == address_fork) new_life('F', current);
  if (it->at == address_exec) new_life('X', current);
  if (!(it->at >> 63)) current->call = 0;
  else if (it->call && !current->call) current->call = it->call;
  if (counting) {
    struct cell wanted = {current->number, it->number, current->call, 0};
    struct cell *cell = place(&wanted);
    if (!cell->times++) {
      cell->life = wanted.life, cell->block = wanted.block, cell->call = wanted.call;
      if (++cell_count * 2 > cell_room) grow();
    }
  }
  if (it->ends) counting = 0;
}

/* Whether the instructions have the mark with this last byte in them. */
static int marked(struct block *it, char last) {
  unsigned char mark[8] = {0x0f, 0x1f, 0x84, 0x00, 'S', 'H', 'K', (unsigned char)last};
  for (uint32_t i = 0; i + 8 <= it->size; i++)
    if (!memcmp(it->code + i, mark, 8)) return 1;
  return 0;
}

/* Where a block like this one is remembered, or is to be. */
static struct block **known(struct block *it) {
  uint64_t at = it->at ^ (uint64_t)it->count << 50;
  for (uint32_t i = 0; i < it->size; i++) at = (at ^ it->code[i]) * 0x100000001b3UL;
  for (at = at * 0x9e3779b97f4a7c15UL >> 20 & (MAX_BLOCKS - 1);; at = (at + 1) & (MAX_BLOCKS - 1)) {
    struct block *old = by_code[at];
    if (!old || (old->at == it->at && old->count == it->count && !memcmp(old->code, it->code, CODE)))
      return &by_code[at];
  }
}

static void on_translation(uint64_t id, tb_t *tb) {
  (void)id;
  struct block *it = calloc(1, sizeof *it);
  if (!it) abort();
  it->at = qemu_plugin_tb_vaddr(tb);
  it->count = (uint32_t)qemu_plugin_tb_n_insns(tb);
  for (uint32_t i = 0; i < it->count; i++) {
    insn_t *insn = qemu_plugin_tb_get_insn(tb, i);
    size_t size = qemu_plugin_insn_size(insn);
    if (it->size + size <= CODE) {
      memcpy(it->code + it->size, qemu_plugin_insn_data(insn), size);
      it->size += (uint32_t)size;
    }
    /* Its last reads are those of the stack that it has switched to. Asked for reads alone (1),
     * QEMU 7.2 tells of writes. */
    if (it->at - address_switch < SWITCH) qemu_plugin_register_vcpu_mem_cb(insn, on_stack, 0, 3, 0);
  }
  for (uint32_t i = 0; i < call_count; i++)
    if (calls[i] == it->at) it->call = i + 1;
  if (!(it->at >> 63)) it->begins = marked(it, '1'), it->ends = marked(it, '2');
  /* The same code is translated again each time its page is mapped anew. */
  struct block **same = known(it);
  if (*same) {
    free(it);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, 0, *same);
    return;
  }
  *same = it;
  if (block_count == block_room) {
    block_room = block_room ? block_room * 2 : 65536;
    blocks = realloc(blocks, block_room * sizeof *blocks);
    if (!blocks) abort();
  }
  if (block_count > MAX_BLOCKS / 2) abort();
  it->number = block_count;
  blocks[block_count++] = it;
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, 0, it);
}

/* Lines: `F` and `X` as lives begin (its number, that before it); `B` number, address,
 * instructions, code; `C` life, call, block, times. */
static void on_end(uint64_t id, void *data) {
  (void)id, (void)data;
  for (uint32_t i = 0; i < block_count; i++) {
    struct block *it = blocks[i];
    fprintf(out, "B %u %lx %u ", i, it->at, it->count);
    for (uint32_t k = 0; k < it->size; k++) fprintf(out, "%02x", it->code[k]);
    fputc('\n', out);
  }
  for (uint64_t i = 0; i < cell_room; i++)
    if (cells[i].times)
      fprintf(out, "C %u %lu %u %lu\n", cells[i].life, cells[i].call, cells[i].block, cells[i].times);
  fclose(out);
}

static int read_calls(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  while (call_count < MAX_CALLS && fscanf(file, "%lx", &calls[call_count]) == 1) call_count++;
  fclose(file);
  return 1;
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++) {
    char *value = strchr(argv[i], '=');
    if (!value++) return 1;
    switch (argv[i][0]) {
      case 'o': out = fopen(value, "w"); break;
      case 's': address_switch = strtoull(value, 0, 16); break;
      case 'f': address_fork = strtoull(value, 0, 16); break;
      case 'e': address_exec = strtoull(value, 0, 16); break;
      case 'c': if (!read_calls(value)) return 1; break;
      default: return 1;
    }
  }
  cells = calloc(cell_room, sizeof *cells);
  if (!out || !cells) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_atexit_cb(id, on_end, 0);
  return 0;
}
